"""Reads a table window by window, a stretch of blocks at a time, with several connections in the same snapshot. A window's blocks go in
groups, one answer each, as wide as the last ones say: answers stay near a size that costs little memory and little waiting, and the server
plans a statement once for many of them.

Nothing rests on the order in which rows come: each block is in exactly one group. What is asked of a group's rows belongs in `documents`.
"""

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from threading import Lock
from typing import cast

from psycopg import errors, sql

from orphan_pipeline.errors import Refused
from orphan_pipeline.references.documents.closing import Way, WindowShape
from orphan_pipeline.references.sessions import Connection
from orphan_pipeline.references.transport.cells import NotAllKeys, read_cells
from orphan_pipeline.references.transport.extracted import Extracted
from orphan_pipeline.references.transport.parallel import BACK_TO_SAVEPOINT, Put, in_parallel

WANTED_BYTES = 250_000
MOST_BYTES = 32 * WANTED_BYTES
FIRST_BLOCKS = 16
MOST_BLOCKS = 2_048
GROUPS = 16
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


# The condition stands inside of the table's own query, where the table's names come first: no table is called as its groups are here, or
# its rows would be held against themselves.
GROUPS_OF_BLOCKS = sql.Identifier("orphan_pipeline groups of blocks")
GROUPED = sql.SQL("""
SELECT {groups}.first_block, answer.*
FROM generate_series({first}::bigint, {last}::bigint, {step}::bigint) AS {groups}(first_block) CROSS JOIN LATERAL ({answer}) AS answer
""")
IN_GROUP = sql.SQL(
    "ctid >= format('(%s,0)', {groups}.first_block)::tid AND ctid < format('(%s,0)', least({groups}.first_block + {step}, {end}))::tid"
)

Answer = tuple[int, bytes | None, bytes | None, int]
"""A group's first block, its cells, the ids of its rows, and how many rows it has."""


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
    """Blocks `first` to `end`, not included, in groups of `step`; the last may be smaller."""

    first: int
    end: int
    step: int

    def group(self, first: int) -> "Window":
        return Window(first, min(first + self.step, self.end), self.step)

    def groups(self) -> "list[Window]":
        return [self.group(first) for first in range(self.first, self.end, self.step)]

    def narrowed(self) -> "Window":
        return Window(self.first, self.end, max(1, (self.end - self.first) // 8))


class _Windows:
    """Hands out windows to several readers, and learns from what they found."""

    def __init__(self, blocks: int) -> None:
        self._blocks, self._next, self._step, self._lock = blocks, 0, FIRST_BLOCKS, Lock()

    def __iter__(self) -> Iterator[Window]:
        while (window := self._take()) is not None:
            yield window

    def _take(self) -> Window | None:
        with self._lock:
            first = self._next
            if first >= LAST_BLOCK:
                return None
            step, groups = self._step, min(GROUPS, -(-(self._blocks - first) // self._step))
            if first >= self._blocks:  # behind the last block that was counted: there should be nothing
                step, groups = LAST_BLOCK, 1
            self._next = min(first + step * groups, LAST_BLOCK)
            return Window(first, self._next, step)

    def found(self, group: Window, received: int) -> None:
        with self._lock:
            wanted = int((group.end - group.first) * WANTED_BYTES / received)
            self._step = max(1, min(wanted, 2 * self._step, MOST_BLOCKS))


Again = tuple[Window, Sequence[Way]]
"""What must be asked once more: narrower, or with the ways that are left."""


class _Reader:
    """One connection, and the ways that are worth trying on it."""

    def __init__(self, shape: WindowShape, connection: Connection, windows: _Windows) -> None:
        self._shape, self._connection, self._windows, self._ways = shape, connection, windows, shape.ways

    def read(self) -> Generator[Extracted]:
        for window in self._windows:
            yield from self._read(window, self._ways)

    def _read(self, window: Window, ways: Sequence[Way]) -> Iterator[Extracted]:
        """Each group of the window once."""
        unanswered = {group.first: group for group in window.groups()}
        one_block = window.end - window.first == 1
        again: list[Again] = []
        try:
            with closing(self._answers(window, ways[0])) as answers:
                for first, cells, ids, rows in answers:
                    found = self._said(unanswered.pop(first), cells, ids, rows, ways)
                    if isinstance(found, Extracted):
                        yield found
                    elif found is not None:
                        again.append(found)
            if unanswered:  # an aggregate gives one row for each group
                raise Refused(f"the database gave no answer for {len(unanswered)} groups of blocks, the first from block {min(unanswered)}")
        except errors.ProgramLimitExceeded:  # no text is longer than a gigabyte
            if one_block:
                raise
            self._connection.execute(BACK_TO_SAVEPOINT)
            again += [(group.narrowed(), ways) for group in unanswered.values()]
        for part, others in again:
            yield from self._read(part, others)

    def _said(self, group: Window, cells: bytes | None, ids: bytes | None, rows: int, ways: Sequence[Way]) -> Extracted | Again | None:
        """None where the group has no rows."""
        if not rows:
            return None
        if cells is None or ids is None:
            return group.narrowed(), ways
        self._windows.found(group, len(cells) + len(ids))
        try:
            return read_cells(cells, ids, rows)
        except NotAllKeys:
            if ways[0] == "each":
                raise
            # Where one document did not close, more will not.
            self._ways = tuple(way for way in self._ways if way != "whole")
            return group, ways[1:]

    def _answers(self, window: Window, way: Way) -> Generator[Answer]:
        step, end, most = sql.Literal(window.step), sql.Literal(window.end), sql.Literal(None if window.step == 1 else MOST_BYTES)
        answer = self._shape.statement(IN_GROUP.format(groups=GROUPS_OF_BLOCKS, step=step, end=end), most=most, way=way)
        statement = GROUPED.format(
            groups=GROUPS_OF_BLOCKS, first=sql.Literal(window.first), last=sql.Literal(window.end - 1), step=step, answer=answer
        )
        with self._connection.cursor(binary=True) as cursor:
            yield from cast(Generator[Answer], cursor.stream(statement))


def read_windows(shape: WindowShape, connections: Sequence[Connection], blocks: int) -> Iterator[Extracted]:
    """The whole table, a group at a time, in no order. Raises what PostgreSQL says, BadRow, and UnicodeDecodeError; whatever happens,
    nothing is asked any more when this ends."""
    windows = _Windows(blocks)

    def read(connection: Connection, put: Put) -> None:
        with closing(_Reader(shape, connection, windows).read()) as found:
            for extracted in found:
                if not put(extracted):
                    return

    return in_parallel(read, connections)
