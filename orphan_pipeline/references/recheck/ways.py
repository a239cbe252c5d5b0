"""How each source is asked again for single keys: by an index, or by one pass over it. An index may answer only where every raw value
that could give a key is known (`raw_candidates`), and only where the planner, given real keys, really uses one; an index that would
help is named. Asking itself belongs in `asking`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import duckdb
import psycopg
import pyarrow as pa
from psycopg import sql

from orphan_pipeline.references.candidates import raw_candidates
from orphan_pipeline.references.cut import Cut, source_statement, table_identifier
from orphan_pipeline.references.extract import prepare
from orphan_pipeline.references.recheck.indexes import (
    COLUMN_KINDS,
    Form,
    equal_to_any,
    form_of_column,
    forms_of_documents,
)
from orphan_pipeline.references.refusals import refusing
from orphan_pipeline.settings.model import ReferenceSettings

Keys: TypeAlias = "pa.ChunkedArray[pa.StringScalar]"

KEYS_EXPLAINED = 1000
"""An index that the planner would use for so many keys is one."""

KEYS_A_STATEMENT = 8000
"""Reading a narrowed source costs 40 ms of ours whatever it gives. Where the planner finds a pass cheaper for so many, it is."""

DEAREST = 0.9
"""An index that leaves more than this share of the whole pass to be paid is no help, or finds something else than keys. Not asked of
containments, one by one: of those the planner knows nothing and supposes a thousandth of the table each."""

BY_INDEX = frozenset({"Index Scan", "Index Only Scan", "Bitmap Index Scan", "Tid Scan", "Bitmap Heap Scan"})

RAWS = "SELECT DISTINCT raw FROM (SELECT unnest({candidates}) AS raw FROM asked_slice)"

COLUMN = sql.SQL("""
SELECT t.typname::text, c.relkind::text, current_setting('server_encoding')
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND a.attname = {column} AND NOT a.attisdropped
JOIN pg_catalog.pg_type AS t ON t.oid = a.atttypid
WHERE c.oid = {table}::regclass
""")

ANSWER_TYPE = sql.SQL("SELECT t.typname::text, current_setting('server_encoding') FROM pg_catalog.pg_type AS t WHERE t.oid = {oid}::oid")

WITH_PLACES = ("r", "p", "m")
"""Kinds of relations whose rows have a ctid: tables, partitioned tables, materialized views."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """How one source is asked. `form` None: by a pass, for the reason `why`; `indexes` are statements, any of which may be missing."""

    source: ReferenceSettings
    form: Form | None
    why: str
    indexes: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        """One line for people."""
        if self.form is not None:
            return "by index"
        return f"by one pass: {self.why}"


def way_of(source: ReferenceSettings, cut: Cut, connection: duckdb.DuckDBPyConnection, keys: Keys) -> Way:
    """Finds the way, by EXPLAIN of the very statements that would ask for these keys (the first `KEYS_EXPLAINED` of them).

    Raises Refused when the source cannot be read.
    """
    with refusing(f"source {source.name} in database {source.database}"):
        forms = _forms(source, cut)
        if isinstance(forms, str):
            return Way(source=source, form=None, why=forms)
        # Where none of these keys can come of this source, the planner would answer without looking at it.
        sample = raws_of(source, connection, keys.slice(0, KEYS_EXPLAINED)) or [f"no such value {n}" for n in range(KEYS_EXPLAINED)]
        whole = _cost(_plan(source, cut))
        for form in forms:
            # A savepoint: what the planner refuses must not end the cut.
            with cut.connection.transaction():
                plan = _plan(narrowed(source, form, sample, cut), cut)
            if _finds_by_index(plan) and (form.one_by_one or _cost(plan) <= DEAREST * whole):
                return Way(source=source, form=form, why="")
    indexes = tuple(index.as_string(cut.connection) for index in forms[0].indexes)
    return Way(source=source, form=None, why="no index that the planner would use for its keys", indexes=indexes)


def narrowed(source: ReferenceSettings, form: Form, raws: Sequence[str], cut: Cut) -> ReferenceSettings:
    """The same source over only those rows that may hold one of the raw values; everything else about it stays."""
    condition = form.condition(raws).as_string(cut.connection)
    if source.sql is not None:
        return source.model_copy(update={"sql": f"SELECT q.key FROM (\n{source.sql}\n) AS q(key) WHERE {condition}"})
    theirs = f"(\n{source.where}\n) AND " if source.where is not None else ""
    return source.model_copy(update={"where": f"{theirs}{condition}"})


def raws_of(source: ReferenceSettings, connection: duckdb.DuckDBPyConnection, keys: Keys) -> list[str]:
    """Every raw value of the source that could give one of the keys. PostgreSQL's text holds no NUL: such a raw value cannot be there."""
    if not source.key.steps:
        return [key for key in dict.fromkeys(map(str, keys.to_pylist())) if "\0" not in key]
    found = raw_candidates(source.key)
    assert found is not None  # asked only where there is a form
    candidates, parameters = found
    connection.register("asked_slice", pa.table({"key": keys}))
    try:
        rows = connection.execute(RAWS.format(candidates=candidates), parameters).fetchall()
    finally:
        connection.unregister("asked_slice")
    return [raw for (raw,) in rows if "\0" not in raw]


def slices(keys: Keys) -> Iterator[Keys]:
    for first in range(0, len(keys), KEYS_A_STATEMENT):
        yield keys.slice(first, KEYS_A_STATEMENT)


def _forms(source: ReferenceSettings, cut: Cut) -> list[Form] | str:
    """What could be asked, the form to recommend first; or why only a pass can answer."""
    if raw_candidates(source.key) is None:
        return "its key rules cannot be undone"
    if source.variants:
        return "its variants are derived from keys that are not known beforehand"
    if source.pattern is not None:
        return "its keys stand inside free text"
    if "number" in source.expect_types:
        return "its keys may be numbers, which no index finds as text"
    return _forms_of_statement(source, cut) if source.table is None else _forms_of_table(source, cut)


def _forms_of_statement(source: ReferenceSettings, cut: Cut) -> list[Form] | str:
    columns = cut.connection.execute(sql.SQL("{} LIMIT 0").format(source_statement(source))).description or []
    row = cut.connection.execute(ANSWER_TYPE.format(oid=sql.Literal(columns[0].type_code))).fetchone() if len(columns) == 1 else None
    if row is None:
        return "its statement gives no single column"
    kind = COLUMN_KINDS.get(str(row[0]))
    if kind not in ("text", "uuid"):
        return f"its statement gives a column of type {row[0]}"
    if row[1] != "UTF8":
        return f"the database's encoding is {row[1]}"
    value = sql.SQL("q.key")
    return [Form(condition=lambda raws: equal_to_any(value, kind, raws), indexes=(), one_by_one=False)]


def _forms_of_table(source: ReferenceSettings, cut: Cut) -> list[Form] | str:
    assert source.table is not None
    assert source.column is not None
    table = table_identifier(source.table)
    place = COLUMN.format(table=sql.Literal(table.as_string(cut.connection)), column=sql.Literal(source.column))
    row = cut.connection.execute(place).fetchone()
    if row is None:
        return "its column is not found"
    type_name, relation, encoding = map(str, row)
    kind = COLUMN_KINDS.get(type_name)
    if kind is None or (kind == "jsonb") != bool(source.json_paths):
        return f"no index finds keys in a column of type {type_name}"
    if encoding != "UTF8":
        return f"the database's encoding is {encoding}"
    if relation not in WITH_PLACES and kind in ("jsonb", "array"):
        return "it is a view"
    if kind == "jsonb":
        return forms_of_documents(table=table, column=source.column, json_paths=source.json_paths, partitioned=relation == "p")
    return [form_of_column(table=table, column=source.column, kind=kind, partitioned=relation == "p")]


def _plan(source: ReferenceSettings, cut: Cut) -> dict[str, Any]:
    reading = prepare(source, cut)
    try:
        row = cut.connection.execute(sql.SQL("EXPLAIN (FORMAT JSON) {}").format(reading.statement)).fetchone()
    except psycopg.errors.UndefinedFunction as error:
        raise AssertionError(f"a form asks what its column's type cannot answer: {error}") from error
    assert row is not None  # EXPLAIN gives one row
    document: Any = row[0]
    plan: dict[str, Any] = document[0]["Plan"]
    return plan


def _cost(plan: dict[str, Any]) -> float:
    return float(plan["Total Cost"])


def _finds_by_index(plan: dict[str, Any]) -> bool:
    """Every relation of the plan is reached by an index with a condition of its own, or by places that were so found."""
    nodes = list(_nodes(plan))
    scans = [node for node in nodes if "Relation Name" in node or "Index Name" in node]
    if not scans or not any("Index Name" in node for node in scans):
        return False
    conditions = ("Index Cond", "TID Cond")
    return all(
        node["Node Type"] in BY_INDEX and (node["Node Type"] == "Bitmap Heap Scan" or any(name in node for name in conditions))
        for node in scans
    )


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for below in plan.get("Plans", []):
        yield from _nodes(below)
