"""Reads one source inside its cut, in a stream: what each row says, raw. Nothing is skipped: what cannot be read as
declared ends the sweep with the source's name and the row's. What a raw value means as a key belongs in `normalise`."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
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
from orphan_pipeline.references.documents.closing import WindowShape
from orphan_pipeline.references.documents.places import tree
from orphan_pipeline.references.documents.verdicts import document_statement
from orphan_pipeline.references.kinds.columns import column_statement, where_clause
from orphan_pipeline.references.problems import problem_text
from orphan_pipeline.references.refusals import one_line, refusal
from orphan_pipeline.references.transport.copying import read_copies
from orphan_pipeline.references.transport.extracted import BadRow, Extracted
from orphan_pipeline.references.transport.windows import BLOCKS_WORTH_A_CONNECTION, blocks_of, in_blocks, read_windows
from orphan_pipeline.references.unparsed import first_unparsed
from orphan_pipeline.references.variants import is_glob
from orphan_pipeline.settings.json_paths import JsonPath
from orphan_pipeline.settings.model import ReferenceSettings

BATCH_ROWS = 20_000
PIECES_A_CONNECTION = 4

IDENTITY = sql.SQL("""
SELECT c.relkind::text, c.relhassubclass,
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
    """A source that is ready to be read in its cut.

    `statement` gives rows (row_id, raw, problem), one a key; `ranged` the same statement for those rows of `table` only that meet a
    condition on their ctid; `windows` many rows in one answer. What is not given is done without.
    `few`: an index may find the rows that are meant, where ranges would not let it.
    `find_unparsed` gives (row_id, document as text) of each row whose column must parse as JSON.
    """

    source: ReferenceSettings
    cut: Cut
    identity: RowIdentity
    statement: sql.Composed
    find_unparsed: sql.Composed | None
    table: sql.Identifier | None = None
    ranged: Callable[[sql.Composable], sql.Composed] | None = None
    windows: WindowShape | None = None
    few: bool = False

    @property
    def globs(self) -> tuple[str, ...]:
        """The templates of `variants` that stand for keys that nobody has listed."""
        return tuple(template for template in self.source.variants if is_glob(template))

    def refused(self, row_id: str, why: str) -> Refused:
        return Refused(f"{self._what}: {self.identity.label(row_id)}: {why}")

    @property
    def _what(self) -> str:
        return f"source {self.source.name} in database {self.source.database}"

    def extracted(self) -> Iterator[Extracted]:
        """All raw values with their rows, in no order, read with as many connections as the database allows and the table is worth.

        Raises Refused for the first row found that does not say what it should, and for whatever PostgreSQL refuses.
        """
        with self._refusing():
            blocks = None if self.table is None or self.few else blocks_of(self.table, self.cut.connection)
            wanted = 1 if blocks is None else 1 + blocks // BLOCKS_WORTH_A_CONNECTION
            connections = self.cut.sessions.up_to(wanted)
            if blocks is not None and self.windows is not None:
                yield from read_windows(self.windows, connections, blocks)
            elif blocks is not None and self.ranged is not None and len(connections) > 1:
                pieces = PIECES_A_CONNECTION * len(connections)
                bounds = [blocks * n // pieces for n in range(pieces)]
                ends = [*bounds[1:], None]
                yield from read_copies([self.ranged(in_blocks(first, end)) for first, end in zip(bounds, ends, strict=True)], connections)
            else:
                yield from read_copies([self.statement], connections)
            for connection in connections:
                refuse_unlocked(self.cut, self.source.name, connection)

    def batches(self) -> Iterator[Batch]:
        """Rows (row_id, raw or None, None) in the order in which PostgreSQL gives them, up to `BATCH_ROWS` at a time, over one connection.

        Raises Refused as `extracted` does. For samples, and for few rows.
        """
        with self._refusing():
            yield from self._read()
            refuse_unlocked(self.cut, self.source.name)

    @contextmanager
    def _refusing(self) -> Iterator[None]:
        try:
            yield
        except BadRow as bad:
            raise self.refused(bad.row_id, problem_text(bad.problem)) from None
        except psycopg.DataError as error:
            raise self._unparsed(error) from None
        except psycopg.Error as error:
            raise refusal(error, self._what) from None
        except UnicodeDecodeError:
            raise Refused(f"{self._what}: a value is not UTF-8 (a database whose encoding is SQL_ASCII checks nothing)") from None

    def _read(self) -> Iterator[Batch]:
        connection = self.cut.connection
        # A savepoint, so that after a document that does not parse the same snapshot can be asked which row it was.
        with connection.transaction(), connection.cursor(name="orphan_pipeline") as cursor:
            cursor.execute(self.statement)
            while batch := cast(Batch, cursor.fetchmany(BATCH_ROWS)):
                for row_id, _, problem in batch:
                    if problem is not None:
                        raise BadRow(row_id, problem)
                yield batch

    def _unparsed(self, error: psycopg.DataError) -> Refused:
        row_id = first_unparsed(self.find_unparsed, self.cut.connection) if self.find_unparsed is not None else None
        if row_id is None:
            return refusal(error, self._what)
        return self.refused(row_id, f"{self.source.column} does not parse: {one_line(error.diag.message_primary or '')}")


def prepare(source: ReferenceSettings, cut: Cut, *, few: bool = False) -> Reading:
    """Looks at the source's columns. `few`: its `where` means few of its rows. Raises Refused when they are not of a kind that can be read
    without loss."""
    try:
        # The cursor is read to its end: PostgreSQL otherwise plans for its first rows only.
        cut.connection.execute("SET LOCAL cursor_tuple_fraction = 1")
        return replace(_of_table(source, cut), few=few) if source.table is not None else _of_statement(source, cut)
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
    table, column = table_identifier(source.table), sql.Identifier(source.column)
    identity = _identity(source, table, cut.connection)
    [of_type] = _column_types(source, cut)
    if not source.json_paths:

        def of_column(where: sql.Composable | None = None) -> sql.Composed:
            rows = _rows(source, also=where)
            return column_statement(source, cut.connection, row_id=identity.expression, column=column, rows=rows, of_type=of_type)

        return Reading(
            source=source,
            cut=cut,
            identity=identity,
            statement=of_column(),
            find_unparsed=None,
            table=table if identity is not IN_ANSWER else None,
            ranged=of_column,
        )
    name, _, shown_type = of_type
    if name not in DOCUMENT_TYPES:
        raise Refused(
            f"source {source.name} in database {source.database}: column {source.column} is of type {shown_type}, "
            f"expected jsonb, json, or text that holds JSON"
        )
    is_jsonb = name == "jsonb"
    document = column if is_jsonb else sql.SQL("{}::text::jsonb").format(column)
    types = tuple(kind for kind in source.expect_types if kind != "null")
    paths = [JsonPath(path) for path in source.json_paths]
    nulls = [JsonPath(text) for path in paths for text in (str(path), *path.arrays)] if "null" in source.expect_types else []
    root = tree(paths, [*(JsonPath(path) for path in source.ignore), *nulls], [JsonPath(path) for path in source.optional])

    def statement(where: sql.Composable | None = None) -> sql.Composed:
        return document_statement(
            table=_rows(source, also=where),
            row_id=identity.expression,
            document=document,
            fenced=not is_jsonb,
            root=root,
            types=types,
        )

    return Reading(
        source=source,
        cut=cut,
        identity=identity,
        statement=statement(),
        find_unparsed=None if is_jsonb else sql.SQL("SELECT {}, {}::text FROM {}").format(identity.expression, column, _rows(source)),
        table=table if identity is not IN_ANSWER else None,
        ranged=statement,
        windows=WindowShape(
            rows=lambda where: _rows(source, also=where), row_id=identity.expression, document=document, root=root, types=types
        ),
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


def _rows(source: ReferenceSettings, *, also: sql.Composable | None = None) -> sql.Composed:
    """The table and the condition: what may stand behind FROM. `also` is a condition of ours."""
    assert source.table is not None
    return sql.SQL("{} {}").format(table_identifier(source.table), where_clause(source, also=also))


def _column_types(source: ReferenceSettings, cut: Cut) -> list[tuple[str, str, str]]:
    cursor = cut.connection.execute(sql.SQL("{} LIMIT 0").format(source_statement(source)))
    types = []
    for column in cursor.description or []:
        row = cut.connection.execute(COLUMN_TYPE.format(oid=sql.Literal(column.type_code))).fetchone()
        if row is None:  # made since the snapshot, and with it the table, in a schema that is searched first
            raise Refused(
                f"source {source.name} in database {source.database}: column {column.name} is of a type that was made since the snapshot; "
                f"name the schemas of the source's tables, or run the sweep again"
            )
        types.append((str(row[0]), str(row[1]), str(row[2])))
    return types


def _identity(source: ReferenceSettings, table: sql.Identifier, connection: Connection) -> RowIdentity:
    row = connection.execute(IDENTITY.format(table=sql.Literal(table.as_string(connection)))).fetchone()
    if row is None:  # made since the snapshot, in a schema that is searched first
        raise Refused(
            f"source {source.name} in database {source.database}: another table {source.table} was made before the one that was locked; "
            f"name its schema in table, or run the sweep again"
        )
    kind, has_children, columns = row
    assert isinstance(columns, list)
    if kind == "r" and has_children:
        columns = []  # the table's primary key does not hold in those that inherit from it
    if len(columns) == 1:
        return RowIdentity(sql.SQL("{}::text").format(sql.Identifier(columns[0])), f"row {columns[0]} =")
    if columns:
        listed = sql.SQL(", ").join(map(sql.Identifier, columns))
        return RowIdentity(sql.SQL("jsonb_build_array({})::text").format(listed), f"row ({', '.join(columns)}) =")
    if kind == "p" or has_children:  # a ctid is unique within one partition, or child, only
        return RowIdentity(sql.SQL("concat(tableoid::regclass, ' ', ctid)"), "row ctid =")
    if kind == "r":
        return RowIdentity(sql.SQL("ctid::text"), "row ctid =")
    return IN_ANSWER
