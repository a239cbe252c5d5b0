"""Which coming chunks are asked about together, and until when the answer may be used. One question about many chunks costs hardly more
than one about few: a pass over a source takes as long for a million keys as for ten."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from orphan_pipeline.elapsed import elapsed
from orphan_pipeline.references.recheck.ways import Keys

CHUNK_KEYS = 1000
MOST_CHUNKS = 500
"""60-byte keys of a block, in Arrow and in DuckDB's hash table: about 100 MB."""

CHUNKS_BY_INDEX = 8
FRESH_BY_INDEX = timedelta(seconds=10)
"""Where asking costs milliseconds, an answer need not be old."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockSize:
    """So many chunks with one question; its answer is used for `seconds` after the question was begun."""

    chunks: int
    seconds: float


def block_size(*, by_index: bool, max_age: timedelta, keys_per_second: int) -> BlockSize:
    """By index: few chunks, asked often. By a pass: as many chunks as can go in half of `max_age`; the other half is for the pass."""
    if by_index:
        return BlockSize(chunks=CHUNKS_BY_INDEX, seconds=min(max_age, FRESH_BY_INDEX).total_seconds())
    seconds = max_age.total_seconds()
    return BlockSize(chunks=min(MOST_CHUNKS, max(1, int(keys_per_second * seconds / 2) // CHUNK_KEYS)), seconds=seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Chunks that were asked about: how many keys each has, which of their keys are in use, and until when that may be relied on."""

    chunks: Mapping[int, int]
    in_use: Mapping[str, str]
    until: float

    @property
    def fresh(self) -> bool:
        return elapsed() < self.until

    def answers(self, chunk: int) -> bool:
        """Whether it knows of the chunk's keys, and freshly."""
        return self.fresh and chunk in self.chunks


def read_block(plan: Path, first: int, chunks: int, *, finished: Callable[[int], bool] = lambda _: False) -> tuple[Mapping[int, int], Keys]:
    """Chunk `first` and those behind it, as many as there are, but for those that an earlier run finished: how many keys each has, and
    the keys of all."""
    with pq.ParquetFile(plan) as file:
        place = file.schema_arrow.get_field_index("chunk")
        spans: list[Any] = [file.metadata.row_group(group).column(place).statistics for group in range(file.num_row_groups)]
        groups = [group for group, span in enumerate(spans) if span.min < first + chunks and span.max >= first]
        table = file.read_row_groups(groups, columns=["chunk", "key"], use_threads=False)
    numbers = table["chunk"].to_numpy()  # they ascend
    begin, end = np.searchsorted(numbers, [first, first + chunks])
    amounts = Counter(numbers[begin:end].tolist())
    coming = {chunk: keys for chunk, keys in amounts.items() if not finished(chunk)}
    keys = table["key"].slice(begin, end - begin)
    return coming, keys if len(coming) == len(amounts) else keys.filter(pa.array(np.isin(numbers[begin:end], list(coming))))
