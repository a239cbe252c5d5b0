"""Cuts the stream of orphans, in the order of prefixes and keys, into the files of each prefix: its plan, in numbered chunks, and its
holds. One pass, whatever the number of prefixes; memory holds a row group of each of two files."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
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
        column("view", pa.string(), "what would make the two equal: percent, plus, nfc, case, slashes, host, query", nullable=True),
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
    """Gathers row groups. The file is there from the first moment."""

    path: Path
    schema: pa.Schema
    writer: pq.ParquetWriter
    gathered: list[pa.Table] = field(default_factory=list)
    waiting: int = 0
    rows: int = 0

    @classmethod
    def opened(cls, path: Path, schema: pa.Schema, stack: ExitStack) -> Self:
        # pyarrow takes names too; its stub only knows the bool.
        repeated = [name for name in REPEATED if name in schema.names]
        writer = pq.ParquetWriter(path, schema, compression="zstd", use_dictionary=repeated)  # type: ignore[arg-type]
        return cls(path, schema, stack.enter_context(writer))

    def add(self, table: pa.Table) -> None:
        self.gathered.append(table.select(self.schema.names).cast(self.schema))
        self.waiting += table.num_rows
        self.rows += table.num_rows
        if self.waiting >= ROW_GROUP:
            self.flush()

    def flush(self) -> None:
        if self.waiting:
            self.writer.write_table(pa.concat_tables(self.gathered))
            self.gathered.clear()
            self.waiting = 0


def write_prefixes(batches: Iterable[pa.RecordBatch], folder: Path) -> dict[str, PlanFile]:
    """Writes `folder/{prefix}/holds.parquet` for every prefix that comes, and `plan.parquet` for those with deletable rows, which it gives.

    Batches have the columns of HOLDS and `prefix`, and come ordered by prefix and key; `hold` is null for what is deletable. Raises
    Refused when a key comes twice.
    """
    plans: dict[str, PlanFile] = {}
    prefix: str | None = None
    with ExitStack() as stack:
        for run, of in _by_prefix(batches):
            if of != prefix:
                if prefix is not None:
                    _finish(prefix, holds, plan, stack, plans, folder)
                prefix, last = of, None
                own = folder / prefix_folder(of)
                own.mkdir()
                holds, plan = _File.opened(own / "holds.parquet", HOLDS, stack), None
            last = _refuse_what_comes_twice(run["key"], last)
            deletable = pc.is_null(run["hold"])
            holds.add(run.filter(pc.invert(deletable)))
            planned = run.filter(deletable)
            if planned.num_rows:
                plan = plan or _File.opened(own / "plan.parquet", PLAN, stack)
                plan.add(planned.append_column("chunk", _chunks(plan.rows, planned.num_rows)))
        if prefix is not None:
            _finish(prefix, holds, plan, stack, plans, folder)
    return plans


def _finish(prefix: str, holds: _File, plan: _File | None, stack: ExitStack, plans: dict[str, PlanFile], folder: Path) -> None:
    for file in (holds, plan):
        if file is not None:
            file.flush()
    stack.pop_all().close()
    if plan is not None:
        chunks = int(_chunks(plan.rows - 1, 1)[0].as_py()) + 1
        plans[prefix] = PlanFile(file=str(plan.path.relative_to(folder)), sha256=sha256_of(plan.path), chunks=chunks)


def _by_prefix(batches: Iterable[pa.RecordBatch]) -> Iterator[tuple[pa.Table, str]]:
    """Each stretch of rows with one prefix, and that prefix."""
    for batch in batches:
        table = pa.Table.from_batches([batch])
        encoded = pc.run_end_encode(batch["prefix"])
        start = 0
        for end, prefix in zip(encoded.run_ends.to_pylist(), encoded.values.to_pylist(), strict=True):
            yield table.slice(start, end - start), prefix
            start = end


def _chunks(first: int, count: int) -> pa.Array:
    """Chunk numbers of `count` rows, of which the first stands at place `first` of the plan."""
    place = np.arange(first, first + count)
    return pa.array(np.where(place < CANARY_KEYS, 0, 1 + (place - CANARY_KEYS) // CHUNK_KEYS).astype(np.int32))


def _refuse_what_comes_twice(keys: pa.ChunkedArray, last: str | None) -> str | None:
    """A store that lists a key twice (overwritten while it was listed, say) would have it deleted twice: a second delete marker."""
    same = pc.equal(keys.slice(1), keys.slice(0, max(len(keys) - 1, 0)))
    place = pc.index(same, True).as_py()
    first = keys[0].as_py() if len(keys) else None
    twice = keys[place].as_py() if place >= 0 else first if first is not None and first == last else None
    if twice is not None:
        raise Refused(f"the inventory holds {twice!r} more than once: the list changed while it was read, run a new sweep")
    return keys[-1].as_py() if len(keys) else last
