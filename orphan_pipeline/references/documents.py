"""The SQL that accounts for JSON documents element by element (rule 4b). Pure text; running it belongs in `extract`.

Lax JSON paths drop what they do not match without a word, so a path is never simply asked for its strings. Each place
that a path names is looked at, and each element of each array, strictly: it is absent, a key, declared ignored, or
a problem. A statement gives rows (row_id, raw, problem): a reference, a problem as JSON (`Problem`), or neither for a
row without a key.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from psycopg import sql
from pydantic import TypeAdapter

from orphan_pipeline.references.refusals import LONGEST_SHOWN, one_line
from orphan_pipeline.settings.json_paths import JsonPath

MEMBER = re.compile(r'\.(?:([A-Za-z_][A-Za-z0-9_]*)|("(?:[^"\\]|\\.)+"))')

STATEMENT = """
SELECT source.row_id, verdict.raw, verdict.problem
FROM (SELECT {row_id} AS row_id, {document} AS document FROM {table} {fence}) AS source
LEFT JOIN LATERAL ({verdicts}) AS verdict ON true
"""

# `found` is fenced by OFFSET 0, or the planner writes each lookup out once for each time that it is named. The verdicts are
# a UNION ALL: VALUES would set its expressions up anew for every element: twice the time.
ELEMENTS = """
SELECT verdict.raw, verdict.problem
FROM jsonb_path_query(source.document, {array}) AS element(value)
CROSS JOIN LATERAL (SELECT {lookups} OFFSET 0) AS found
CROSS JOIN LATERAL ({verdicts}) AS verdict(raw, problem)
WHERE verdict.raw IS NOT NULL OR verdict.problem IS NOT NULL
"""

PLACES = """
SELECT verdict.raw, verdict.problem
FROM (SELECT {lookups} OFFSET 0) AS found
CROSS JOIN LATERAL ({verdicts}) AS verdict(raw, problem)
WHERE verdict.raw IS NOT NULL OR verdict.problem IS NOT NULL
"""

RAW = "CASE WHEN jsonb_typeof({value}) = 'string' AND {value} <> '\"\"' THEN {value} #>> '{{}}' END"

# A string is a key where one is declared. What lies between the root and a key is an object, null or absent.
PLACE_PROBLEM = """
CASE WHEN {value} IS NULL OR found.ignored THEN NULL
     WHEN jsonb_typeof({value}) = 'string' AND {is_key} AND {value} <> '""' THEN NULL
     WHEN jsonb_typeof({value}) = 'object' AND {is_between} THEN NULL
     WHEN jsonb_typeof({value}) = 'null' AND NOT {is_key} THEN NULL
     ELSE {problem} END
"""

ELEMENT_PROBLEM = "CASE WHEN NOT found.ignored AND NOT ({some_string}) THEN {problem} END"

PROBLEM = """
jsonb_build_object('place', {place}, 'ignore', {ignore}, 'wanted', {wanted}, 'found', jsonb_typeof({value}),
                   'value', left({value}::text, {longest}))::text
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A value that gives no key where one was expected. `ignore` is the path by which a null there would be ignored."""

    place: str
    ignore: str
    wanted: Literal["key", "object", "element"]
    found: str
    value: str

    def __str__(self) -> str:
        if self.found == "null":
            return f'{self.place} is null; if a null there stands for no key, add "{self.ignore}" to ignore'
        if self.value == '""':
            return f"{self.place} is an empty string, no key; correct the row, or add a member of such values to ignore"
        article = "an" if self.found in {"object", "array"} else "a"
        found = f"{self.place} is {article} {self.found}, {one_line(self.value, LONGEST_SHOWN)}"
        if self.wanted == "object":
            return f"{found}; expected an object with the members that json_paths names; correct json_paths"
        if self.wanted == "key":
            return f"{found}; expected a string; correct json_paths, or add a member of such values to ignore"
        return f"{found}; json_paths finds no key in it: add the path of its key there, or one of its members to ignore"


PROBLEMS = TypeAdapter(Problem)


@dataclass(frozen=True, slots=True)
class _Place:
    """One path below a root (the document, or an element): whether a key may stand there, or below it."""

    path: str
    is_key: bool
    is_between: bool


def document_statement(
    *,
    table: sql.Composable,
    row_id: sql.Composable,
    document: sql.Composable,
    fenced: bool,
    json_paths: Sequence[JsonPath],
    ignore: Sequence[JsonPath],
) -> sql.Composed:
    """The statement that reads a table's documents. `document` is a jsonb expression; `fenced`: computed once a row."""
    arrays = dict.fromkeys(path.array for path in json_paths if path.array is not None)
    verdicts = [
        _elements(
            array,
            [path.rest for path in json_paths if path.array == array],
            [path.rest for path in ignore if path.array == array],
        )
        for array in arrays
    ]
    places = _places([path.rest for path in json_paths if path.array is None], leading_to=list(arrays))
    verdicts.append(_document_places(places, [path.rest for path in ignore if path.array is None]))
    return sql.SQL(STATEMENT).format(
        row_id=row_id,
        document=document,
        table=table,
        fence=sql.SQL("OFFSET 0" if fenced else ""),
        verdicts=sql.SQL(" UNION ALL ").join(verdicts),
    )


def _places(keys: Sequence[str], leading_to: Sequence[str] = ()) -> list[_Place]:
    between = {before for path in [*keys, *(array.removesuffix("[*]") for array in leading_to)] for before in _before(path)}
    return [_Place(path, path in keys, path in between) for path in sorted({*keys, *between}, key=len)]


def _before(path: str) -> Iterator[str]:
    """The paths that lead to this one: `$` and `$.a` for `$.a.b`."""
    for member in MEMBER.finditer(path):
        yield path[: member.start()]


def _elements(array: str, keys: Sequence[str], ignore: Sequence[str]) -> sql.Composed:
    """The root is looked at as a whole: an element neither string nor object yields nothing: a problem."""
    element = sql.SQL("element.value")
    places = [place for place in _places(keys) if place.path != "$" or place.is_key]
    values = [sql.SQL("found.") + sql.Identifier(f"v{n}") for n in range(len(places))]
    lookups = [_ignored(element, ignore, {"$", *keys})]
    for n, place in enumerate(places):
        lookup = (
            sql.SQL("CASE WHEN jsonb_typeof({0}) = 'string' THEN {0} END").format(element)
            if place.path == "$"
            else _value(element, place.path)
        )
        lookups.append(sql.SQL("{} AS {}").format(lookup, sql.Identifier(f"v{n}")))
    verdicts = [_verdict(place, value, under=array) for place, value in zip(places, values, strict=True)]
    some_string = [
        sql.SQL("coalesce(jsonb_typeof({}) = 'string', false)").format(value)
        for place, value in zip(places, values, strict=True)
        if place.is_key
    ]
    nothing = sql.SQL(ELEMENT_PROBLEM).format(
        some_string=sql.SQL(" OR ").join(some_string), problem=_problem(element, array, "element", array)
    )
    verdicts.append(sql.SQL("SELECT NULL::text, {}").format(nothing))
    return sql.SQL(ELEMENTS).format(array=_path(array), lookups=sql.SQL(", ").join(lookups), verdicts=sql.SQL(" UNION ALL ").join(verdicts))


def _document_places(places: Sequence[_Place], ignore: Sequence[str]) -> sql.Composed:
    document = sql.SQL("source.document")
    lookups = [_ignored(document, ignore, {place.path for place in places if place.is_key})]
    lookups += [sql.SQL("{} AS {}").format(_value(document, place.path), sql.Identifier(f"v{n}")) for n, place in enumerate(places)]
    verdicts = [_verdict(place, sql.SQL("found.") + sql.Identifier(f"v{n}"), under="$") for n, place in enumerate(places)]
    if not verdicts:  # `$[*]` alone: nothing lies above its elements
        verdicts = [sql.SQL("SELECT NULL::text, NULL::text").format()]
    return sql.SQL(PLACES).format(lookups=sql.SQL(", ").join(lookups), verdicts=sql.SQL(" UNION ALL ").join(verdicts))


def _verdict(place: _Place, value: sql.Composable, *, under: str) -> sql.Composed:
    shown = under + place.path.removeprefix("$")
    problem = sql.SQL(PLACE_PROBLEM).format(
        value=value,
        is_key=sql.Literal(place.is_key),
        is_between=sql.Literal(place.is_between),
        problem=_problem(value, shown, "key" if place.is_key else "object", shown),
    )
    raw = sql.SQL(RAW).format(value=value) if place.is_key else sql.SQL("NULL::text")
    return sql.SQL("SELECT {}, {}").format(raw, problem)


def _ignored(root: sql.Composable, ignore: Sequence[str], key_places: set[str]) -> sql.Composed:
    """An ignore that names a place of keys covers a null there and nothing else, or it would end the accounting."""
    exists = [
        sql.SQL("coalesce(jsonb_path_exists({}, {}, '{{}}', true), false)").format(
            root, _path(path, strict=True, only_null=path in key_places)
        )
        for path in dict.fromkeys(ignore)
    ]
    return sql.SQL("({}) AS ignored").format(sql.SQL(" OR ").join(exists) if exists else sql.SQL("false"))


def _value(root: sql.Composable, path: str) -> sql.Composable:
    """The one value at a path without arrays, or NULL. Strict: lax mode would unwrap a nested array, unseen."""
    if path == "$":
        return root
    return sql.SQL("jsonb_path_query_first({}, {}, '{{}}', true)").format(root, _path(path, strict=True))


def _path(path: str, *, strict: bool = False, only_null: bool = False) -> sql.Composed:
    """As a jsonpath literal, every member in quotes: some names are words of PostgreSQL's own."""
    quoted = MEMBER.sub(lambda member: f'."{member[1]}"' if member[1] else f".{member[2]}", path)
    text = f"{'strict ' if strict else ''}{quoted}{' ? (@ == null)' if only_null else ''}"
    return sql.SQL("{}::jsonpath").format(sql.Literal(text))


def _problem(value: sql.Composable, place: str, wanted: str, ignore: str) -> sql.Composed:
    return sql.SQL(PROBLEM).format(
        place=sql.Literal(place),
        ignore=sql.Literal(ignore),
        wanted=sql.Literal(wanted),
        value=value,
        longest=sql.Literal(LONGEST_SHOWN + 1),
    )
