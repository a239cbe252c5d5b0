"""The other direction: references whose object is not in the bucket. Reported, never repaired."""

from pathlib import Path

import pyarrow as pa

from orphan_pipeline.duck import duck, rows
from orphan_pipeline.inventory.columns import CURRENT
from orphan_pipeline.lake.columns import column
from orphan_pipeline.lake.layout import SweepFolder
from orphan_pipeline.orphans import queries
from orphan_pipeline.orphans.manifest import DanglingFigures

DANGLING = pa.schema(
    [column("key", pa.string(), "a key that a row points at"), column("source", pa.string(), "the source that the row belongs to")]
)


def write_dangling(sweep: SweepFolder, folder: Path) -> DanglingFigures:
    """Writes `folder/part-00000.parquet` (key, source), one row a dangling reference, ordered by source and key."""
    file = str(folder / "part-00000.parquet")
    with duck(folder) as connection:
        connection.read_parquet(sweep.parquet("inventory")).filter(CURRENT).create_view("inventory")
        connection.read_parquet(sweep.parquet("references")).create_view("refs")
        connection.execute(queries.DANGLING, {"file": file})
        return DanglingFigures(sources=dict(rows(connection, queries.DANGLING_BY_SOURCE, {"file": file})))


def dangling_sample(sweep: SweepFolder, *, each: int) -> list[tuple[str, str]]:
    """Source and key of the first few of every source: of the whole, one source with many would hide the others."""
    with duck(sweep.root) as connection:
        return [
            (source, key) for source, key in rows(connection, queries.DANGLING_SAMPLE, {"files": sweep.parquet("dangling"), "each": each})
        ]
