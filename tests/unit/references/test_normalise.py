"""Normalisation: DuckDB's expression against a slow and obvious Python function, and the cases that once went wrong."""

from collections.abc import Iterator, Sequence
from urllib.parse import unquote_to_bytes

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orphan_pipeline.references.normalise import explain, key_sql, variants_sql
from orphan_pipeline.settings.model import Decode, DropQuery, KeyRules, Prepend, Strip
from orphan_pipeline.settings.sources import KeyStep

BLANKS = " \t\r\n\f"
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
HEX = "0123456789abcdefABCDEF"

Meaning = tuple[str | None, str | None]
"""The key, and the problem if there is one."""


def looks_like_a_url(text: str) -> bool:
    text = text.lstrip(BLANKS)
    if text.startswith("//"):
        return len(text) > 2 and text[2] != "/"
    scheme, mark, _ = text.partition("://")
    return bool(mark and scheme) and scheme[0] in LETTERS and all(c in LETTERS + "0123456789+.-" for c in scheme)


def decode_slowly(text: str) -> str | None:
    for place, character in enumerate(text):
        if character == "%" and (len(text) < place + 3 or text[place + 1] not in HEX or text[place + 2] not in HEX):
            return None
    try:
        return unquote_to_bytes(text).decode()
    except UnicodeDecodeError:
        return None


def normalise_slowly(rules: KeyRules, raw: str) -> Meaning:
    value, checked = raw, []
    for step in rules.steps:
        if isinstance(step, Strip):
            for base in sorted(step.bases, key=len, reverse=True):
                if value.startswith(base):
                    value = value[len(base) :]
                    break
        elif isinstance(step, DropQuery):
            value = value.partition("?")[0].partition("#")[0]
        elif isinstance(step, Decode):
            decoded = decode_slowly(value)
            if decoded is None:
                return None, "undecodable"
            value = decoded
        else:
            checked.append(value)
            value = step.prefix + value
    checked.append(value)
    if "" in checked:
        return value, "empty"
    return value, "foreign" if any(map(looks_like_a_url, checked)) else None


def variants_slowly(templates: Sequence[str], key: str) -> list[str]:
    folder, slash, name = key.rpartition("/")
    dot = name.rfind(".")
    stem, suffix = (name[:dot], name[dot:]) if dot > 0 else (name, "")
    return [t.format(dir=folder + slash, stem=stem, suffix=suffix, key=key) for t in templates]


def values_of(duck: duckdb.DuckDBPyConnection, select: str, raws: Sequence[str], parameters: dict[str, str]) -> list[tuple[object, ...]]:
    duck.register("extracted", pa.table({"raw": pa.array(raws, pa.string())}))
    return duck.execute(f"SELECT {select} FROM extracted", parameters).fetchall()


@pytest.fixture(scope="module")
def duck() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(config={"threads": 1}) as connection:
        yield connection


def meanings(duck: duckdb.DuckDBPyConnection, rules: KeyRules, raws: Sequence[str]) -> list[tuple[object, ...]]:
    key = key_sql(rules)
    return values_of(duck, f"{key.key}, {key.problem}", raws, key.parameters)


BASES = ["https://cdn.example.com/", "https://cdn.example.com/media/", "s3://acme.media/", "//cdn/", "a", "a.b", "(x)|", "é"]
pieces = st.sampled_from(
    [
        *BASES,
        "/",
        ".",
        "?",
        "#",
        "%",
        "+",
        " ",
        "\n",
        ":",
        "//",
        "%41",
        "%2F",
        "%FF",
        "%c3%a9",
        "%ED%A0%80",
        "%zz",
        "b.jpg",
        "e\u0301",
        "😀",
        "\\",
        "'",
    ]
)
raw_values = st.one_of(
    st.lists(pieces, max_size=6).map("".join),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=12),
)
STEPS: list[KeyStep] = [
    Strip(bases=("https://cdn.example.com/", "https://cdn.example.com/media/", "s3://acme.media/", "//cdn/")),
    Strip(bases=("a", "a.b", "(x)|", "é", "%")),
    DropQuery(),
    Decode(how="percent"),
    Prepend(prefix="uploads/%41?"),
]
steps = st.permutations(STEPS).flatmap(lambda order: st.integers(0, 5).map(lambda n: KeyRules(steps=tuple(order[:n]))))


@settings(max_examples=300, deadline=None)
@given(rules=steps, raws=st.lists(raw_values, min_size=1, max_size=8))
def test_the_fast_one_says_what_the_slow_one_says(duck: duckdb.DuckDBPyConnection, rules: KeyRules, raws: list[str]) -> None:
    assert meanings(duck, rules, raws) == [normalise_slowly(rules, raw) for raw in raws]


@settings(max_examples=200, deadline=None)
@given(
    templates=st.lists(st.sampled_from(["{dir}{stem}@2x{suffix}", "thumbs/{key}", "{stem}", "{key}.webp", "'{dir}'{key}$x"]), max_size=3),
    keys=st.lists(raw_values, min_size=1, max_size=8),
)
def test_variants_too(duck: duckdb.DuckDBPyConnection, templates: list[str], keys: list[str]) -> None:
    expression, parameters = variants_sql(templates, "raw")
    assert values_of(duck, expression, keys, parameters) == [(variants_slowly(templates, key),) for key in keys]


CDN = KeyRules(steps=(Strip(bases=("https://cdn.example.com/", "https://cdn.example.com/m/")), DropQuery(), Decode(), Prepend(prefix="u/")))


@pytest.mark.parametrize(
    ("rules", "raw", "meaning"),
    [
        (KeyRules(), " a b ", (" a b ", None)),
        (KeyRules(), "e\u0301/%41+?#", ("e\u0301/%41+?#", None)),
        (KeyRules(), "", ("", "empty")),
        (KeyRules(), "a://b", ("a://b", "foreign")),
        (KeyRules(), "\n https://b/c", ("\n https://b/c", "foreign")),
        (KeyRules(), "//host/a", ("//host/a", "foreign")),
        (KeyRules(), "//", ("//", None)),
        (KeyRules(), "/a//b", ("/a//b", None)),
        (KeyRules(), "2026://b", ("2026://b", None)),
        (CDN, "https://cdn.example.com/m/a%20b+c.jpg?v=3#x", ("u/a b+c.jpg", None)),
        (CDN, "a.jpg", ("u/a.jpg", None)),
        # The prefix must not hide that this is someone else's URL, or that nothing is left.
        (CDN, "https://other.example.com/a", ("u/https://other.example.com/a", "foreign")),
        (CDN, "HTTPS://CDN.example.com/a", ("u/HTTPS://CDN.example.com/a", "foreign")),
        (CDN, "https://cdn.example.com/", ("u/", "empty")),
        (CDN, "?a", ("u/", "empty")),
        (CDN, "%FF", (None, "undecodable")),
        (CDN, "%zz", (None, "undecodable")),
        (CDN, "a%4", (None, "undecodable")),
        (CDN, "%2541", ("u/%41", None)),
    ],
)
def test_single_values(duck: duckdb.DuckDBPyConnection, rules: KeyRules, raw: str, meaning: Meaning) -> None:
    assert meanings(duck, rules, [raw]) == [meaning]
    assert normalise_slowly(rules, raw) == meaning


@pytest.mark.parametrize(
    ("key", "variant"),
    [
        ("a/b.tar.gz", "a/b.tar@2x.gz"),
        ("a.d/b", "a.d/b@2x"),
        (".keep", ".keep@2x"),
        ("a/.keep", "a/.keep@2x"),
        ("a/", "a/@2x"),
        ("b.", "b@2x."),
        ("é\u0301/😀.jpg", "é\u0301/😀@2x.jpg"),
    ],
)
def test_single_variants(duck: duckdb.DuckDBPyConnection, key: str, variant: str) -> None:
    expression, parameters = variants_sql(["{dir}{stem}@2x{suffix}"], "raw")
    assert values_of(duck, expression, [key], parameters) == [([variant],)]


def test_a_message_shows_no_signature() -> None:
    signed = "https://user:pass@img.example.com/a%FF.jpg?X-Amz-Signature=abc"
    for line in (explain("foreign", signed), explain("undecodable", signed), explain("empty", signed)):
        assert "abc" not in line
        assert "pass" not in line
