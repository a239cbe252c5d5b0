"""The other direction: references whose object is not in the bucket. Reported, never repaired."""

from pathlib import Path

import pyarrow as pa

from orphan_pipeline.duck import duck, rows
from orphan_pipeline.lake.columns import column
from orphan_pipeline.lake.layout import SweepFolder
from orphan_pipeline.orphans import queries
from orphan_pipeline.orphans.manifest import DanglingFigures
from orphan_pipeline.orphans.views import view_inventory, view_references

DANGLING = pa.schema(
    [column("key", pa.string(), "a key that a row points at"), column("source", pa.string(), "the source that the row belongs to")]
)


def write_dangling(sweep: SweepFolder, folder: Path, *, memory_bytes: int | None = None) -> DanglingFigures:
    """Writes `folder/part-00000.parquet` (key, source), one row a dangling reference, ordered by source and key."""
    file = str(folder / "part-00000.parquet")
    with duck(folder, memory_bytes=memory_bytes) as connection:
        view_inventory(connection, sweep)
        place = view_references(connection, sweep)
        connection.execute(queries.DANGLING_PLACES.format(place=place))
        connection.execute(queries.DANGLING.format(place=place), {"file": file})
        counted = rows(connection, queries.DANGLING_BY_SOURCE, {"file": file})
        return DanglingFigures(sources={source: n for source, n, _ in counted}, keys={source: keys for source, _, keys in counted})


def dangling_sample(sweep: SweepFolder, *, each: int) -> list[tuple[str, str]]:
    """Source and key of the first few of every source: of the whole, one source with many would hide the others."""
    with duck(sweep.root) as connection:
        return [
            (source, key) for source, key in rows(connection, queries.DANGLING_SAMPLE, {"files": sweep.parquet("dangling"), "each": each})
        ]
