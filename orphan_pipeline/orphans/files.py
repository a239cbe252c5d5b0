"""Cuts the stream of orphans, in the order of prefixes and keys, into the files of each prefix: its plan, in numbered chunks, and its
holds. One pass, whatever the number of prefixes; memory holds a row group of each of two files."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import groupby, pairwise
from operator import itemgetter
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from orphan_pipeline.errors import Refused
from orphan_pipeline.inventory.columns import LISTED, TIME
from orphan_pipeline.lake.columns import column
from orphan_pipeline.lake.files import sha256_of
from orphan_pipeline.lake.layout import prefix_folder

CANARY_KEYS = 10
"""Keys of chunk 0: small, so that a store that misbehaves is found out before a thousand keys are gone (rule 12)."""

CHUNK_KEYS = 1000
"""The most keys that one DeleteObjects request carries."""

ROW_GROUP = 61_440

SIGHTED = [
    column("first_seen", TIME, "start of the first sweep that saw this very object as an orphan"),
    column("sightings", pa.int32(), "sweeps that counted, confirmation_gap apart"),
    column("sighted_at", TIME, "start of the last sweep that counted"),
]
ORPHAN = [*LISTED, column("is_multipart", pa.bool_(), "the ETag ends in -N"), *SIGHTED]
PLAN = pa.schema([column("chunk", pa.int32(), "one DeleteObjects request; chunk 0 is the canary"), *ORPHAN])
HOLDS = pa.schema(
    [
        column("hold", pa.string(), "why it must not be deleted yet"),
        column("ready_at", TIME, "when the hold can end by the mere passing of time", nullable=True),
        column("protected_by", pa.string(), "the glob, or the system's own prefix, that protects it", nullable=True),
        column("restored_at", TIME, "when somebody last brought this very object back", nullable=True),
        column("resembles", pa.string(), "the reference that it equals under `view`, the first of them", nullable=True),
        column("view", pa.string(), "what would make the two equal: percent, plus, nfc, case, blank, slashes, host, query", nullable=True),
        *ORPHAN,
    ]
)
REPEATED = ["chunk", "hold", "protected_by", "view", "storage_class", "first_seen", "sightings", "sighted_at"]
"""Columns with few values. Keys and ETags are all different: to look for repetition in them costs a third of the writing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanFile:
    """A plan's file, relative to the stage's folder, and the SHA-256 of its bytes."""

    file: str
    sha256: str
    chunks: int


@dataclass(slots=True)
class _File:
    """Gathers row groups."""

    path: Path
    schema: pa.Schema
    writer: pq.ParquetWriter
    gathered: list[pa.Table] = field(default_factory=list)
    waiting: int = 0
    rows: int = 0

    @classmethod
    @contextmanager
    def opened(cls, path: Path, schema: pa.Schema) -> Iterator[Self]:
        """The file is there from the first moment, and whole at the end."""
        repeated = [name for name in REPEATED if name in schema.names]
        # pyarrow takes names too; its stub only knows the bool.
        with pq.ParquetWriter(path, schema, compression="zstd", use_dictionary=repeated) as writer:  # type: ignore[arg-type]
            file = cls(path, schema, writer)
            yield file
            file._flush()

    def add(self, table: pa.Table) -> None:
        self.gathered.append(table.select(self.schema.names).cast(self.schema))
        self.waiting += table.num_rows
        self.rows += table.num_rows
        if self.waiting >= ROW_GROUP:
            self._flush()

    def _flush(self) -> None:
        if self.waiting:
            self.writer.write_table(pa.concat_tables(self.gathered))
            self.gathered.clear()
            self.waiting = 0


def write_prefixes(batches: Iterable[pa.RecordBatch], folder: Path) -> dict[str, PlanFile]:
    """Writes `folder/{prefix}/holds.parquet` for every prefix that comes, and `plan.parquet` for those with deletable rows, which it gives.

    Batches have the columns of HOLDS and `prefix`, and come ordered by prefix and key; `hold` is null for what is deletable. Raises
    Refused when a key comes twice.
    """
    by_prefix = groupby(_by_prefix(batches), key=itemgetter(0))
    plans = {prefix: _write_prefix((table for _, table in tables), folder / prefix_folder(prefix)) for prefix, tables in by_prefix}
    return {prefix: plan for prefix, plan in plans.items() if plan is not None}


def _write_prefix(tables: Iterable[pa.Table], folder: Path) -> PlanFile | None:
    folder.mkdir()
    last: str | None = None
    with ExitStack() as stack:
        holds = stack.enter_context(_File.opened(folder / "holds.parquet", HOLDS))
        plan: _File | None = None
        for table in tables:
            last = _refuse_what_comes_twice(last, table["key"])
            deletable = pc.is_null(table["hold"])
            holds.add(table.filter(pc.invert(deletable)))
            planned = table.filter(deletable)
            if planned.num_rows:
                plan = plan or stack.enter_context(_File.opened(folder / "plan.parquet", PLAN))
                plan.add(planned.append_column("chunk", pa.array(_chunks(plan.rows, planned.num_rows))))
    if plan is None:
        return None
    file = str(plan.path.relative_to(folder.parent))
    return PlanFile(file=file, sha256=sha256_of(plan.path), chunks=int(_chunks(plan.rows - 1, 1)[0]) + 1)


def _by_prefix(batches: Iterable[pa.RecordBatch]) -> Iterator[tuple[str, pa.Table]]:
    """Each stretch of rows with one prefix."""
    for batch in batches:
        table, prefixes = pa.Table.from_batches([batch]), batch["prefix"]
        changes = np.flatnonzero(pc.not_equal(prefixes.slice(1), prefixes.slice(0, len(prefixes) - 1)).to_numpy(zero_copy_only=False)) + 1
        for start, end in pairwise([0, *changes.tolist(), batch.num_rows]):
            yield prefixes[start].as_py(), table.slice(start, end - start)


def _chunks(first: int, count: int) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
    """Chunk numbers of `count` rows, of which the first stands at place `first` of the plan."""
    place = np.arange(first, first + count)
    return np.where(place < CANARY_KEYS, 0, 1 + (place - CANARY_KEYS) // CHUNK_KEYS).astype(np.int32)


def _refuse_what_comes_twice(last: str | None, keys: "pa.ChunkedArray[pa.StringScalar]") -> str | None:
    """A store that lists a key twice (overwritten while it was listed, say) would have it deleted twice: a second delete marker."""
    place = pc.index(pc.equal(keys.slice(1), keys.slice(0, len(keys) - 1)), True).as_py()
    twice = keys[place].as_py() if place >= 0 else last if keys[0].as_py() == last else None
    if twice is not None:
        raise Refused(f"the inventory holds {twice!r} more than once: the list changed while it was read, run a new sweep")
    return keys[-1].as_py()
