"""Lax views (rule 6): SQL against slow Python, and that the form of all views together covers each single one."""

import unicodedata
from collections.abc import Sequence
from functools import cache

import duckdb
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from slow_engine import slow_form, slow_views

from orphan_pipeline.orphans.lax import NOT_SURELY_NFC, VIEWS, View, with_form
from orphan_pipeline.orphans.resembling import every_combination

HOSTS = ("acme-media", "cdn.example.com")
PARTS = (
    *(
        "a",
        "B",
        "z",
        "/",
        "/",
        "//",
        "+",
        " ",
        "?",
        "#",
        ".",
        ":",
        "%",
        "25",
        "41",
        "é",
        "É",
        "e\u0301",
        "ß",
        "ẞ",
        "ς",
        "Σ",
        "İ",
        "I\u0307",
        "K",
    ),
    *(
        "%20",
        "%2B",
        "%2b",
        "%25",
        "%2525",
        "%41",
        "%3F",
        "%23",
        "%2F",
        "%C3%A9",
        "%c3%89",
        "%FF",
        "%25FF",
        "%2541",
        "%4",
        "%zz",
        "%00",
        "\x00",
    ),
    *(
        "https://h/",
        "HTTP://h:80/",
        "s3://acme-media/",
        "acme-media/",
        "ACME-Media//",
        "cdn.example.com/",
        "https:///",
        "x:/",
        "\n",
        "😀",
        "\uac01",
        "\u1100\u1161\u11a8",
    ),
)
keys = st.lists(st.sampled_from(PARTS), min_size=1, max_size=7).map("".join)


@cache
def connection() -> duckdb.DuckDBPyConnection:
    return duckdb.connect()


def forms(keys: Sequence[str], views: Sequence[View] = VIEWS) -> list[str]:
    query, parameters = with_form("(SELECT unnest($keys) AS key, unnest(range(len($keys))) AS place)", HOSTS, views)
    found = connection().execute(f"SELECT form FROM ({query}) ORDER BY place", {**parameters, "keys": list(keys)}).fetchall()
    return [form for (form,) in found]


@settings(max_examples=150, deadline=None)
@given(keys=st.lists(keys, min_size=1, max_size=20), views=st.sampled_from(every_combination()))
@example(keys=["%2541%FF?", "a%3Fb%FF", "%25%34%31", "?a", "https://h%2Fb/a"], views=VIEWS)
def test_sql_gives_the_forms_that_slow_python_gives(keys: list[str], views: tuple[View, ...]) -> None:
    assert forms(keys, views) == [slow_form(key, HOSTS, views) for key in keys]


@settings(max_examples=150, deadline=None)
@given(keys=st.lists(keys, min_size=1, max_size=20), view=st.sampled_from(VIEWS))
def test_what_one_view_makes_equal_has_one_form(keys: list[str], view: View) -> None:
    """So any chain of views does, and comparing forms misses none of them."""
    assert forms(forms(keys, [view])) == forms(keys)


@pytest.mark.parametrize(
    ("key", "reference", "view"),
    [
        ("a/b c.jpg", "a/b%20c.jpg", "percent"),
        ("a/b c.jpg", "a/b%252520c.jpg", "percent"),
        ("a/b%20c", "a/b c", "percent"),
        ("a/b c.jpg", "a/b+c.jpg", "plus"),
        ("a/b c.jpg", "a/b%2Bc.jpg", "percent+plus"),
        ("a/é", "a/e\u0301", "nfc"),
        ("a/é", "a/e%CC%81", "percent+nfc"),
        ("a/Photo.JPG", "a/photo.jpg", "case"),
        ("a/ΣΊΣΥΦΟΣ", "a/σίσυφος", "case"),
        ("a/STRASSE", "a/straße", "case"),
        ("a/b", "/a/b", "slashes"),
        ("a/b", "a//b", "slashes"),
        ("a/b", "https://cdn.elsewhere.com/a/b", "host"),
        ("a/b", "acme-media/a/b", "host"),
        ("a/b", "//cdn.example.com/a/b", "slashes+host"),
        ("a/b", "s3://acme-media/a/b?versionId=1", "host+query"),
        ("a/b", "a/b?v=2", "query"),
        ("a/b", "a/b#top", "query"),
        ("a/b%FF", "A/b%FF", "case"),
    ],
)
def test_the_fewest_views_are_named(key: str, reference: str, view: str) -> None:
    assert forms([key]) == forms([reference])
    assert slow_views(key, reference, HOSTS) == view


@pytest.mark.parametrize(("key", "other"), [("a/b", "a/c"), ("a/b", "b/a/b"), ("a/1", "a/01"), ("a/é", "a/e"), ("a/b", "a/b ")])
def test_what_no_view_makes_equal_has_two_forms(key: str, other: str) -> None:
    one, two = forms([key, other])
    assert one != two


def test_every_character_that_nfc_could_change_is_looked_at_by_nfc() -> None:
    """Alone, after a letter, and in capitals: whatever the shortcut passes over, NFC leaves as it is."""
    assigned = [chr(n) for n in range(0x80, 0x110000) if unicodedata.category(chr(n)) not in ("Cn", "Cs", "Co")]
    passed = [
        text
        for (text,) in connection()
        .execute(
            "SELECT t FROM (SELECT unnest($texts) AS t) WHERE NOT regexp_matches(t, $pattern)",
            {"texts": assigned, "pattern": NOT_SURELY_NFC},
        )
        .fetchall()
    ]
    assert len(passed) > 100_000
    assert [text for text in passed if not all(unicodedata.is_normalized("NFC", before + text) for before in ("", "e", "\uac00"))] == []


def test_both_canonical_forms_of_a_character_have_one_form() -> None:
    """Of every character that has two. A Greek iota below its letter is the known exception: its capital stands beside."""
    characters = [chr(n) for n in range(0x80, 0x30000) if unicodedata.decomposition(chr(n))[:1] not in ("", "<")]
    decomposed = [unicodedata.normalize("NFD", one) for one in characters]
    different = [c for c, one, two in zip(characters, forms(characters), forms(decomposed), strict=True) if one != two]
    assert [c for c in different if "\u0345" not in unicodedata.normalize("NFD", c)] == []
