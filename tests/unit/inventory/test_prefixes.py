"""Which partition owns a key: the SQL expression against a slow and obvious function."""

import re
from functools import cache

import duckdb
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from orphan_pipeline.inventory.prefixes import REMAINDER, WHOLE_BUCKET, OwnedPrefix, partition_expression
from orphan_pipeline.settings.checks import overlapping

CHARACTERS = ("a", "b", "A", "é", "e\u0301", "😀", "/", "/", ".", "...", "//", "\n", "\t", "\x00", "\x7f", "'", "$", "(all)", REMAINDER)
texts = st.lists(st.sampled_from(CHARACTERS), max_size=8).map("".join)
paths = st.lists(st.sampled_from(["a", "b", "é", "e\u0301", "😀", "'", "a/b", "a//b", "(rest)", "(all)", "%"]), min_size=1, max_size=2).map(
    lambda parts: "/".join(parts) + "/"
)


@st.composite
def declared(draw: st.DrawFn) -> list[OwnedPrefix]:
    if draw(st.integers(0, 9)) == 0:
        return [OwnedPrefix(path=WHOLE_BUCKET)]
    apart: list[str] = []
    for path in draw(st.lists(paths, min_size=1, max_size=4)):
        if not list(overlapping([*apart, path])):
            apart.append(path)
    return [OwnedPrefix(path=path, split=draw(st.integers(0, 3))) for path in apart]


def slow_partition(key: str, prefix: OwnedPrefix) -> str | None:
    if prefix.path == WHOLE_BUCKET:
        return WHOLE_BUCKET
    if key[: len(prefix.path)] != prefix.path:
        return None
    if prefix.split == 0:
        return prefix.path
    *folders, _ = key[len(prefix.path) :].split("/")
    if len(folders) < prefix.split:
        return prefix.path + "(rest)"
    name = "".join(folder + "/" for folder in folders[: prefix.split])
    return prefix.path + ("(rest)" if "..." in name or re.search("[\x00-\x1f\x7f]", name) else name)


def partitions(prefixes: list[OwnedPrefix], keys: list[str]) -> list[str | None]:
    expression, parameters = partition_expression(prefixes)
    query = f"SELECT {expression} FROM (SELECT unnest($keys) AS key)"
    return [found for (found,) in connection().execute(query, {**parameters, "keys": keys}).fetchall()]


@cache
def connection() -> duckdb.DuckDBPyConnection:
    return duckdb.connect()


@settings(max_examples=200, deadline=None)
@given(prefixes=declared(), below=st.lists(st.tuples(st.integers(0, 4), texts), min_size=1, max_size=15))
@example(prefixes=[OwnedPrefix(path="a/", split=2)], below=[(0, "//"), (0, "b//"), (0, "/b/c"), (0, "b/c"), (0, ""), (9, "/a/b/c/d")])
def test_sql_gives_the_partition_that_the_slow_function_gives(prefixes: list[OwnedPrefix], below: list[tuple[int, str]]) -> None:
    keys = [(prefixes[n].path if n < len(prefixes) else "") + text for n, text in below]
    owners = [[owner for prefix in prefixes if (owner := slow_partition(key, prefix)) is not None] for key in keys]
    assert all(len(owner) <= 1 for owner in owners)
    assert partitions(prefixes, keys) == [owner[0] if owner else None for owner in owners]


@pytest.mark.parametrize(
    ("key", "partition"),
    [
        ("uploads/2026/11/x", "uploads/2026/11/"),
        ("uploads/2026/11/", "uploads/2026/11/"),
        ("uploads/2026/11/deeper/x", "uploads/2026/11/"),
        ("uploads/2026/11", "uploads/(rest)"),
        ("uploads/2026/x", "uploads/(rest)"),
        ("uploads/", "uploads/(rest)"),
        ("uploads///x", "uploads///"),
        ("uploads/a\nb/c/x", "uploads/(rest)"),
        ("uploads/a.../c/x", "uploads/(rest)"),
        ("uploads/a/c/x\n", "uploads/a/c/"),
        ("uploads/(rest)/c/x", "uploads/(rest)/c/"),
        ("uploads", None),
        ("/uploads/a/b/c", None),
        ("Uploads/a/b/c", None),
        ("other/uploads/a/b/c", None),
    ],
)
def test_a_split_of_two_gives_each_second_folder_and_one_remainder(key: str, partition: str | None) -> None:
    assert partitions([OwnedPrefix(path="other-uploads/"), OwnedPrefix(path="uploads/", split=2)], [key]) == [partition]


def test_more_than_nine_prefixes_keep_their_own_parameters() -> None:
    prefixes = [OwnedPrefix(path=f"{n}/", split=n % 2) for n in range(1, 12)]
    assert partitions(prefixes, ["1/a/b", "10/a/b", "11/a/b"]) == ["1/a/", "10/", "11/a/"]
