"""The keys of a source as the snapshot would find them, for asking again: the one place where the re-check touches how sources are
read."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from orphan_pipeline.duck import duck
from orphan_pipeline.references.cut import Cut
from orphan_pipeline.references.extract import prepare
from orphan_pipeline.references.snapshot import DUCKDB_BYTES, Tally, keys_of
from orphan_pipeline.settings.model import ReferenceSettings


def read_keys(source: ReferenceSettings, cut: Cut, *, spill_under: Path) -> Iterator[pa.Table]:
    """Tables with a column `key`, derived keys too, in a stream. Raises Refused for the first row that is not as declared."""
    with duck(spill_under, memory_bytes=DUCKDB_BYTES) as connection:
        for table in keys_of(prepare(source, cut), connection, Tally()):
            yield table.select(["key"])
