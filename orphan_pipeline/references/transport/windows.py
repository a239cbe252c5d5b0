"""Reads a table window by window, a few blocks at a time, with several connections in the same snapshot. How wide a window is follows
from how much the last ones held, so that answers stay near a size that costs little memory and little waiting.

A window is a range of blocks, and nothing rests on the order in which rows come: each block is in exactly one window. What is asked of a
window's rows belongs in `documents`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from secrets import token_hex
from threading import Lock
from typing import cast

from psycopg import errors, sql

from orphan_pipeline.references.documents.closing import Way, WindowShape
from orphan_pipeline.references.sessions import Connection
from orphan_pipeline.references.transport.cells import NotAllKeys, read_cells
from orphan_pipeline.references.transport.extracted import RAW, Extracted
from orphan_pipeline.references.transport.parallel import BACK_TO_SAVEPOINT, Put, in_parallel

WANTED_BYTES = 500_000
MOST_BYTES = 16 * WANTED_BYTES
FIRST_BLOCKS = 16
MOST_BLOCKS = 2_048
BLOCKS_WORTH_A_CONNECTION = 256
LAST_BLOCK = 2**32 - 2

# Blocks of the table, or of the largest of what its rows lie in; null where a row's place says nothing (a foreign table, another storage).
BLOCKS = sql.SQL("""
WITH RECURSIVE parts(oid) AS (
    SELECT {table}::regclass::oid
    UNION ALL
    SELECT i.inhrelid FROM parts JOIN pg_catalog.pg_inherits AS i ON i.inhparent = parts.oid
)
SELECT CASE WHEN bool_and(c.relkind = 'p' OR (c.relkind = 'r' AND a.amname = 'heap'))
            THEN max(pg_relation_size(c.oid) / current_setting('block_size')::int) FILTER (WHERE c.relkind = 'r') END
FROM parts JOIN pg_catalog.pg_class AS c USING (oid) LEFT JOIN pg_catalog.pg_am AS a ON a.oid = c.relam
""")


def blocks_of(table: sql.Identifier, connection: Connection) -> int | None:
    """How many blocks ranges over the table must span, as of now: rows of the snapshot lie in no later ones. None for a table that
    cannot be read by ranges: before PostgreSQL 14 each would be a pass over the whole table."""
    if connection.info.server_version < 140000:
        return None
    row = connection.execute(BLOCKS.format(table=sql.Literal(table.as_string(connection)))).fetchone()
    assert row is not None  # an aggregate gives one row
    return cast(int | None, row[0])


def in_blocks(first: int, end: int | None) -> sql.Composed:
    """The condition that a row lies in blocks `first` to `end` (not included; None: to the table's end)."""
    if end is None:
        return sql.SQL("ctid >= {}::tid").format(sql.Literal(f"({first},0)"))
    return sql.SQL("ctid >= {}::tid AND ctid < {}::tid").format(sql.Literal(f"({first},0)"), sql.Literal(f"({end},0)"))


@dataclass(frozen=True, slots=True)
class Window:
    """Blocks `first` to `end`, not included; None: to the table's end."""

    first: int
    end: int | None


class _Windows:
    """Hands out windows to several readers, and learns from what they found."""

    def __init__(self, blocks: int) -> None:
        self._blocks, self._next, self._width, self._lock = blocks, 0, FIRST_BLOCKS, Lock()

    def __iter__(self) -> Iterator[Window]:
        while (window := self._take()) is not None:
            yield window

    def _take(self) -> Window | None:
        with self._lock:
            if self._next >= max(self._blocks, 1):
                return None
            first, self._next = self._next, self._next + self._width
            return Window(first, self._next if self._next < self._blocks else None)

    def found(self, window: Window, received: int) -> None:
        blocks = (window.end or self._blocks) - window.first
        with self._lock:
            wanted = int(max(blocks, 1) * WANTED_BYTES / max(received, 1))
            self._width = max(1, min(wanted, 2 * self._width, MOST_BLOCKS))


class _Statements:
    """The statements of a shape, put together once and asked for many windows. `ways` are tried in turn."""

    def __init__(self, shape: WindowShape, connection: Connection) -> None:
        self._first, self._end = token_hex(16), token_hex(16)
        where = sql.SQL("ctid >= {}::tid AND ctid < {}::tid").format(sql.Literal(f"({self._first},0)"), sql.Literal(f"({self._end},0)"))
        self._texts = {
            (way, limited): shape.statement(where, most=MOST_BYTES if limited else None, way=way).as_bytes(connection)
            for way in shape.ways
            for limited in (True, False)
        }
        self.ways = shape.ways

    def of(self, window: Window, *, way: Way, limited: bool) -> bytes:
        end = LAST_BLOCK if window.end is None else window.end
        text = self._texts[way, limited].replace(self._first.encode(), str(window.first).encode())
        return text.replace(self._end.encode(), str(end).encode())


def read_windows(shape: WindowShape, connections: Sequence[Connection], blocks: int) -> Iterator[Extracted]:
    """The whole table, a window at a time, in no order. Raises what PostgreSQL says, BadRow, and UnicodeDecodeError; whatever happens,
    nothing is asked any more when this ends."""
    windows = _Windows(blocks)
    statements = _Statements(shape, connections[0])

    def read(connection: Connection, put: Put) -> None:
        for window in windows:
            for extracted in _window(statements, connection, window):
                windows.found(window, extracted.received)
                if not put(extracted):
                    return

    return in_parallel(read, connections)


def _window(statements: _Statements, connection: Connection, window: Window) -> Iterator[Extracted]:
    """A window, in parts if it holds too much for one answer."""
    narrow = window.end is not None and window.end - window.first == 1
    try:
        answer = _ask(statements, connection, window, limited=not narrow)
    except errors.ProgramLimitExceeded:  # no text is longer than a gigabyte
        if narrow:
            raise
        connection.execute(BACK_TO_SAVEPOINT)
        answer = None
    if answer is not None:
        yield answer
        return
    end = window.end if window.end is not None else LAST_BLOCK
    middle = window.first + max(1, min(end - window.first, MOST_BLOCKS) // 8)
    for part in (Window(window.first, middle), Window(middle, window.end)):
        yield from _window(statements, connection, part)


def _ask(statements: _Statements, connection: Connection, window: Window, *, limited: bool) -> Extracted | None:
    """None when it is limited, and more than that."""
    for way in statements.ways:
        row = connection.execute(statements.of(window, way=way, limited=limited), binary=True).fetchone()
        assert row is not None  # an aggregate gives one row
        cells, ids, rows, _ = cast(tuple[bytes | None, bytes | None, int, int], row)
        if not rows:
            return Extracted(values=RAW.empty_table(), rows=0, without_key=0, received=0)
        if cells is None or ids is None:
            return None
        try:
            return read_cells(cells, ids, rows)
        except NotAllKeys:
            if way == "each":
                raise
            if way == "whole":  # where one document did not close, more will not
                statements.ways = tuple(other for other in statements.ways if other != "whole")
    raise AssertionError("the loop returns or raises")
