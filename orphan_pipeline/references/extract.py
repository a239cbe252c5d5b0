"""Reads one source inside its cut, in a stream: what each row says, raw. Nothing is skipped: what cannot be read as
declared ends the sweep with the source's name and the row's. What a raw value means as a key belongs in `normalise`."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import psycopg
from psycopg import sql

from orphan_pipeline.errors import Refused
from orphan_pipeline.references.cut import (
    Connection,
    Cut,
    refuse_unlocked,
    source_sql,
    source_statement,
    table_identifier,
)
from orphan_pipeline.references.documents import document_statement
from orphan_pipeline.references.kinds.columns import column_statement, where_clause
from orphan_pipeline.references.problems import problem_text
from orphan_pipeline.references.refusals import one_line, refusal
from orphan_pipeline.references.variants import is_glob
from orphan_pipeline.settings.json_paths import JsonPath
from orphan_pipeline.settings.model import ReferenceSettings

BATCH_ROWS = 20_000

IDENTITY = sql.SQL("""
SELECT c.relkind::text,
       ARRAY(SELECT a.attname::text FROM pg_catalog.pg_index AS i, unnest(i.indkey) WITH ORDINALITY AS k(attnum, n)
             JOIN pg_catalog.pg_attribute AS a ON a.attrelid = {table}::regclass AND a.attnum = k.attnum
             WHERE i.indrelid = c.oid AND i.indisprimary ORDER BY k.n)
FROM pg_catalog.pg_class AS c WHERE c.oid = {table}::regclass
""")

COLUMN_TYPE = sql.SQL("""
SELECT t.typname::text, t.typcategory::text, pg_catalog.format_type(t.oid, NULL)
FROM pg_catalog.pg_type AS t WHERE t.oid = {oid}::oid
""")

DOCUMENT_TYPES = {"jsonb", "json", "text", "varchar", "bpchar"}

UNPARSED = """
SELECT source.row_id FROM (SELECT {row_id} AS row_id, {column}::text AS document FROM {table} {where}) AS source
WHERE NOT pg_input_is_valid(source.document, 'jsonb') LIMIT 1
"""


Batch = list[tuple[str, str | None, str | None]]
"""Rows (row_id, raw, problem): what stands for a key, or a problem, or neither where the source's row yields none."""


@dataclass(frozen=True, slots=True)
class RowIdentity:
    """How a source's rows are told apart: an expression, and the words before its value in a message."""

    expression: sql.Composable
    words: str

    def label(self, row_id: str) -> str:
        return f"{self.words} {one_line(row_id, 80)}"


IN_ANSWER = RowIdentity(sql.SQL("(row_number() OVER ())::text"), "row number")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A source that is ready to be read in its cut."""

    source: ReferenceSettings
    cut: Cut
    identity: RowIdentity
    statement: sql.Composed
    find_unparsed: sql.Composed | None

    @property
    def globs(self) -> tuple[str, ...]:
        """The templates of `variants` that stand for keys that nobody has listed."""
        return tuple(template for template in self.source.variants if is_glob(template))

    def refused(self, row_id: str, why: str) -> Refused:
        return Refused(f"{self._what}: {self.identity.label(row_id)}: {why}")

    @property
    def _what(self) -> str:
        return f"source {self.source.name} in database {self.source.database}"

    def batches(self) -> Iterator[Batch]:
        """Rows (row_id, raw or None, None) in the order in which PostgreSQL gives them, up to `BATCH_ROWS` at a time.

        Raises Refused for the first row that does not say what it should, and for whatever PostgreSQL refuses.
        """
        try:
            yield from self._read()
        except psycopg.DataError as error:
            raise self._unparsed(error) from None
        except psycopg.Error as error:
            raise refusal(error, self._what) from None
        except UnicodeDecodeError:
            raise Refused(f"{self._what}: a value is not UTF-8 (a database whose encoding is SQL_ASCII checks nothing)") from None
        refuse_unlocked(self.cut, self.source.name)

    def _read(self) -> Iterator[Batch]:
        connection = self.cut.connection
        # A savepoint, so that after a document that does not parse the same snapshot can be asked which row it was.
        with connection.transaction(), connection.cursor(name="orphan_pipeline") as cursor:
            cursor.execute(self.statement)
            while batch := cast(Batch, cursor.fetchmany(BATCH_ROWS)):
                for row_id, _, problem in batch:
                    if problem is not None:
                        raise self.refused(row_id, problem_text(problem))
                yield batch

    def _unparsed(self, error: psycopg.DataError) -> Refused:
        row = None
        if self.find_unparsed is not None and self.cut.connection.info.server_version >= 160000:
            row = self.cut.connection.execute(self.find_unparsed).fetchone()
        if row is None:
            return refusal(error, self._what)
        return self.refused(str(row[0]), f"{self.source.column} does not parse: {one_line(error.diag.message_primary or '')}")


def prepare(source: ReferenceSettings, cut: Cut) -> Reading:
    """Looks at the source's columns. Raises Refused when they are not of a kind that can be read without loss."""
    try:
        # The cursor is read to its end: PostgreSQL otherwise plans for its first rows only.
        cut.connection.execute("SET LOCAL cursor_tuple_fraction = 1")
        return _of_table(source, cut) if source.table is not None else _of_statement(source, cut)
    except psycopg.Error as error:
        raise refusal(error, f"source {source.name} in database {source.database}") from None


def count_rows(source: ReferenceSettings, connection: Connection) -> int:
    """Rows of the source's table, or of its statement's answer. Raises Refused when PostgreSQL refuses."""
    what = _rows(source) if source.table is not None else sql.SQL("({}\n) AS q").format(source_sql(source))
    try:
        row = connection.execute(sql.SQL("SELECT count(*) FROM {}").format(what)).fetchone()
    except psycopg.Error as error:
        raise refusal(error, f"source {source.name} in database {source.database}") from None
    assert row is not None  # count(*) gives one row
    assert isinstance(row[0], int)
    return row[0]


def _of_table(source: ReferenceSettings, cut: Cut) -> Reading:
    assert source.table is not None
    assert source.column is not None
    [of_type] = _column_types(source, cut)
    table, column = table_identifier(source.table), sql.Identifier(source.column)
    identity = _identity(table, cut.connection)
    if not source.json_paths:
        rows = _rows(source)
        statement = column_statement(source, cut.connection, row_id=identity.expression, column=column, rows=rows, of_type=of_type)
        return Reading(source=source, cut=cut, identity=identity, statement=statement, find_unparsed=None)
    name, _, shown_type = of_type
    if name not in DOCUMENT_TYPES:
        raise Refused(
            f"source {source.name} in database {source.database}: column {source.column} is of type {shown_type}, "
            f"expected jsonb, json, or text that holds JSON"
        )
    is_jsonb = name == "jsonb"
    return Reading(
        source=source,
        cut=cut,
        identity=identity,
        statement=document_statement(
            table=_rows(source),
            row_id=identity.expression,
            document=column if is_jsonb else sql.SQL("{}::text::jsonb").format(column),
            fenced=not is_jsonb,
            json_paths=[JsonPath(path) for path in source.json_paths],
            ignore=[JsonPath(path) for path in source.ignore],
        ),
        find_unparsed=None
        if is_jsonb
        else sql.SQL(UNPARSED).format(row_id=identity.expression, column=column, table=table, where=where_clause(source)),
    )


def _of_statement(source: ReferenceSettings, cut: Cut) -> Reading:
    types = _column_types(source, cut)
    if len(types) != 1:
        raise Refused(
            f"source {source.name} in database {source.database}: its sql gives {len(types)} columns, expected exactly one, the key"
        )
    answer = sql.SQL("({}\n) AS q(key)").format(source_sql(source))
    statement = column_statement(
        source, cut.connection, row_id=IN_ANSWER.expression, column=sql.SQL("q.key"), rows=answer, of_type=types[0]
    )
    return Reading(source=source, cut=cut, identity=IN_ANSWER, statement=statement, find_unparsed=None)


def _rows(source: ReferenceSettings) -> sql.Composed:
    """The table and the condition: what may stand behind FROM."""
    assert source.table is not None
    return sql.SQL("{} {}").format(table_identifier(source.table), where_clause(source))


def _column_types(source: ReferenceSettings, cut: Cut) -> list[tuple[str, str, str]]:
    cursor = cut.connection.execute(sql.SQL("{} LIMIT 0").format(source_statement(source)))
    types = [
        cut.connection.execute(COLUMN_TYPE.format(oid=sql.Literal(column.type_code))).fetchone() for column in cursor.description or []
    ]
    return [(str(row[0]), str(row[1]), str(row[2])) for row in types if row is not None]


def _identity(table: sql.Identifier, connection: Connection) -> RowIdentity:
    row = connection.execute(IDENTITY.format(table=sql.Literal(table.as_string(connection)))).fetchone()
    assert row is not None  # the cut has the table locked
    kind, columns = row
    assert isinstance(columns, list)
    if len(columns) == 1:
        return RowIdentity(sql.SQL("{}::text").format(sql.Identifier(columns[0])), f"row {columns[0]} =")
    if columns:
        listed = sql.SQL(", ").join(map(sql.Identifier, columns))
        return RowIdentity(sql.SQL("jsonb_build_array({})::text").format(listed), f"row ({', '.join(columns)}) =")
    if kind == "r":
        return RowIdentity(sql.SQL("ctid::text"), "row ctid =")
    if kind == "p":  # a ctid is unique within one partition only
        return RowIdentity(sql.SQL("concat(tableoid::regclass, ' ', ctid)"), "row ctid =")
    return IN_ANSWER
