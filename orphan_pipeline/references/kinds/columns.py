"""The SQL of sources that are a column without documents: text, an array of texts, or free text in which a pattern finds keys.

As everywhere, a statement gives rows (row_id, raw, problem), one a raw value; a row without a key has neither. All of it is computed
in the server. Documents belong in `documents`, running the SQL in `extract`.
"""

import psycopg
from psycopg import sql

from orphan_pipeline.errors import Refused
from orphan_pipeline.references.refusals import one_line, refusal
from orphan_pipeline.settings.model import ReferenceSettings

Connection = psycopg.Connection[tuple[object, ...]]

# As text these are what the application sees. An array, a JSON string or a bytea is not: '{a.jpg}', '"a.jpg"'.
KEY_CATEGORIES = {"S", "N", "E"}

TEXT = """
SELECT source.row_id, source.raw, CASE WHEN source.raw = '' THEN '' END
FROM (SELECT {row_id} AS row_id, {column}::text AS raw FROM {rows}) AS source
"""

# unnest gives the elements of every dimension.
ARRAY = """
SELECT source.row_id, element.raw,
       CASE WHEN element.raw = '' THEN '' WHEN element.n IS NOT NULL AND element.raw IS NULL THEN {null} END
FROM (SELECT {row_id} AS row_id, {column}::text[] AS elements FROM {rows}) AS source
LEFT JOIN LATERAL unnest(source.elements) WITH ORDINALITY AS element(raw, n) ON true
"""
NULL_ELEMENT = "an element of the array is NULL; if that stands for no key, set ignore_null: true"

PATTERN = """
SELECT source.row_id, found.raw, CASE WHEN found.raw = '' THEN '' WHEN found.matched AND found.raw IS NULL THEN {nothing} END
FROM (SELECT {row_id} AS row_id, {column}::text AS body FROM {rows}) AS source
LEFT JOIN LATERAL (
    SELECT (SELECT g.captured FROM unnest(m.groups) WITH ORDINALITY AS g(captured, n)
            WHERE g.captured IS NOT NULL ORDER BY g.n LIMIT 1), true
    FROM regexp_matches(source.body, {pattern}, 'g') AS m(groups)
) AS found(raw, matched) ON true
"""
NOTHING_CAPTURED = "pattern matches, but none of its groups captures anything; correct the pattern"

ELEMENT_TYPE = """
SELECT t.typname::text, t.typcategory::text FROM pg_catalog.pg_type AS t WHERE t.oid = {oid}::oid
"""


def where_clause(source: ReferenceSettings, *, also: sql.Composable | None = None) -> sql.Composable:
    """What stands behind the table's name: the operator's own condition, verbatim and on lines of its own, since it may end in a `--`
    comment; and `also`, one of ours."""
    own = None if source.where is None else sql.SQL(f"(\n{source.where}\n)")
    conditions = [condition for condition in (also, own) if condition is not None]
    return sql.SQL("WHERE {}").format(sql.SQL(" AND ").join(conditions)) if conditions else sql.SQL("")


def column_statement(
    source: ReferenceSettings,
    connection: Connection,
    *,
    row_id: sql.Composable,
    column: sql.Composable,
    rows: sql.Composable,
    of_type: tuple[str, str, str],
) -> sql.Composed:
    """The statement for `column` of `rows` (what may stand behind FROM), whose type is (name, category, name to show).

    Raises Refused for a type that holds no keys as an application sees them, and for a pattern that is no regular expression.
    """
    name, category, shown_type = of_type
    what = f"source {source.name} in database {source.database}"
    where = {"row_id": row_id, "column": column, "rows": rows}
    if source.pattern is not None:
        if category != "S":
            raise Refused(f"{what}: pattern looks into a column of type {shown_type}, expected text (of JSON, take its strings by sql)")
        _must_compile(source.pattern, connection, what)
        return sql.SQL(PATTERN).format(pattern=sql.Literal(source.pattern), nothing=sql.Literal(NOTHING_CAPTURED), **where)
    if category == "A" and source.kind == "table" and _is_key_type(*_element_type(column, rows, connection)):
        return sql.SQL(ARRAY).format(null=sql.Literal(None if source.ignore_null else NULL_ELEMENT), **where)
    if source.ignore_null:
        raise Refused(f"{what}: ignore_null is for arrays of texts, but column {source.column} is of type {shown_type}")
    if _is_key_type(name, category):
        return sql.SQL(TEXT).format(**where)
    if source.kind == "sql":
        raise Refused(
            f"{what}: its sql gives a column of type {shown_type}, expected text "
            f"(of JSON take the string with ->>, of an array its elements with unnest)"
        )
    raise Refused(
        f"{what}: column {source.column} is of type {shown_type}, expected text, uuid or an array of them"
        + (", or json_paths for the keys in its documents" if name in ("json", "jsonb") else "")
    )


def _is_key_type(name: str, category: str) -> bool:
    return category in KEY_CATEGORIES or name == "uuid"


def _element_type(column: sql.Composable, rows: sql.Composable, connection: Connection) -> tuple[str, str]:
    """Asked of an element, since a domain over an array does not tell it."""
    cursor = connection.execute(sql.SQL("SELECT unnest({}) FROM {} LIMIT 0").format(column, rows))
    [described] = cursor.description or []
    row = connection.execute(sql.SQL(ELEMENT_TYPE).format(oid=sql.Literal(described.type_code))).fetchone()
    assert row is not None  # a type that a column has stands in the catalogue
    return str(row[0]), str(row[1])


def _must_compile(pattern: str, connection: Connection, what: str) -> None:
    try:
        with connection.transaction():
            connection.execute(sql.SQL("SELECT regexp_matches('', {}, 'g')").format(sql.Literal(pattern)))
    except psycopg.errors.InvalidRegularExpression as error:
        raise Refused(f"{what}: pattern: {one_line(error.diag.message_primary or '')}") from None
    except psycopg.Error as error:
        raise refusal(error, what) from None
