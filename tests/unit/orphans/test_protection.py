"""Protect globs as SQL: pathspec's own matching for ordinary keys, and never less for odd ones."""

import re
import warnings
from functools import cache

import duckdb
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from pathspec import GitIgnoreSpec
from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

from orphan_pipeline.errors import Refused
from orphan_pipeline.inventory.prefixes import OWN_PREFIX
from orphan_pipeline.orphans.protection import protection_expression

LITERALS = ("a", "b", "B", ".keep", "/", "/", ".", "+", "(", "|", "$", "\\", "[", "]", " ", "é", "😀")
PARTS = (*LITERALS, "*", "**", "?", "[ab]", "[!a]", "[a-c]", "^")
globs = st.lists(st.sampled_from(PARTS), min_size=1, max_size=6).map("".join)
keys = st.lists(st.sampled_from([*LITERALS, "c", "e\u0301", "?"]), min_size=1, max_size=7)
ordinary_keys = keys.map("".join).filter(lambda key: not key.startswith(("/", "./")))
odd_keys = st.lists(st.sampled_from(["a", "b", ".keep", "/", "\n", "\r", "\x00", "\x7f", "\u2028"]), min_size=1, max_size=7).map("".join)


def protected(keys: list[str], globs: list[str]) -> list[bool]:
    condition, parameters = protection_expression(globs, [OWN_PREFIX])
    query = f"SELECT {condition} FROM (SELECT unnest($keys) AS key)"
    return [found for (found,) in connection().execute(query, {**parameters, "keys": keys}).fetchall()]


@cache
def connection() -> duckdb.DuckDBPyConnection:
    return duckdb.connect()


def usable(glob: str) -> bool:
    """What the settings accept."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            compiled = GitIgnoreSpecPattern(glob)
    except (ValueError, re.error):
        return False
    return bool(compiled.include) and compiled.regex is not None


@settings(max_examples=200, deadline=None)
@given(globs=st.lists(globs, min_size=1, max_size=3), keys=st.lists(ordinary_keys, min_size=1, max_size=12))
@example(globs=["a/"], keys=["a", "a/b", "b/a/c", "ab/c"])
@example(globs=["/a"], keys=["a", "b/a", "a/b"])
@example(globs=["a/**/b"], keys=["a/b", "a/c/b", "a/c/d/b", "ab"])
def test_keys_are_protected_exactly_as_gitignore_says(globs: list[str], keys: list[str]) -> None:
    assume(all(map(usable, globs)))
    spec = GitIgnoreSpec.from_lines(globs)
    assert protected(keys, globs) == [spec.match_file(key) for key in keys]


@settings(max_examples=100, deadline=None)
@given(glob=globs, keys=st.lists(odd_keys, min_size=1, max_size=12), slashes=st.integers(1, 3))
def test_leading_slashes_and_line_breaks_never_take_protection_away(glob: str, keys: list[str], slashes: int) -> None:
    assume(usable(glob))
    stripped = [key.lstrip("/") for key in keys]
    plain = protected(stripped, [glob])
    assert all(slashed >= bare for slashed, bare in zip(protected(["/" * slashes + key for key in stripped], [glob]), plain, strict=True))
    # A line break is a character like any other: it never ends what `*` and `**` stand for.
    harmless = [re.sub(r"[\n\r\x00\x7f\u2028]", "x", key) for key in stripped]
    unbroken = protected(harmless, [glob])
    assert all(broken >= whole for broken, whole in zip(plain, unbroken, strict=True))


@pytest.mark.parametrize("globs", [[], ["nothing"]])
def test_what_this_system_keeps_in_the_bucket_is_protected_whatever_the_settings_say(globs: list[str]) -> None:
    own = [".orphan_pipeline/", ".orphan_pipeline/lease", ".orphan_pipeline/\n"]
    assert protected([*own, "orphan_pipeline/x", ".orphan_pipelinex"], globs) == [True, True, True, False, False]


@pytest.mark.parametrize("key", ["uploads/a\n/.keep", "\n/.keep", "//.keep", ".keep", "/.keep", "uploads//.keep"])
def test_a_kept_folder_marker_is_protected_wherever_it_lies(key: str) -> None:
    assert protected([key], ["**/.keep"]) == [True]


@pytest.mark.parametrize(
    ("glob", "line"),
    [
        ("!a", "protect: '!a' protects nothing, expected a glob such as **/.keep"),
        ("# a", "protect: '# a' protects nothing, expected a glob such as **/.keep"),
        ("", "protect: '' protects nothing, expected a glob such as **/.keep"),
        ("[[:alpha:]]", "protect: '[[:alpha:]]' holds a character class by name, expected its characters, such as [a-z]"),
    ],
)
def test_a_glob_that_protects_nothing_is_refused(glob: str, line: str) -> None:
    with pytest.raises(Refused) as refused:
        protection_expression([glob], [OWN_PREFIX])
    assert str(refused.value) == line
