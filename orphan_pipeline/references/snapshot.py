"""Writes what the databases still need to the lake: the reference snapshot, one row a reference, complete or not at
all, and its figures. The cut, the reading and the meaning of keys belong in `cut`, `read` and `normalise`."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from time import monotonic

import pyarrow as pa
import pyarrow.parquet as pq

from orphan_pipeline.flat_memory import flat_memory
from orphan_pipeline.lake.files import written_whole
from orphan_pipeline.progress import Progress
from orphan_pipeline.references.cut import Cut, DatabaseUnderCut, Limits, open_cut
from orphan_pipeline.references.extract import Reading, prepare
from orphan_pipeline.references.figures import CutFigures, ReferenceFigures, SourceFigures
from orphan_pipeline.references.incremental import Previous, Since, declared, greatest_id, since_last
from orphan_pipeline.references.kinds.files import FileReading, OpenFile, open_files
from orphan_pipeline.references.read import Tally, keys_of
from orphan_pipeline.references.schema import REFERENCES
from orphan_pipeline.settings.model import ReferenceSettings

__all__ = ["PART", "CutFigures", "ReferenceFigures", "SourceFigures", "snapshot_references"]

PART = "part-00000.parquet"
ROW_GROUP = 122_880
# Nearly every key and row stands there once: a dictionary of them is built only to be thrown away, and least and greatest say nothing.
ENCODED = ["source"]


def snapshot_references(
    *,
    sources: Sequence[ReferenceSettings],
    databases: Mapping[str, DatabaseUnderCut],
    inventory_started_at: datetime,
    folder: Path,
    report: Callable[[str], None],
    limits: Limits | None = None,
    previous: Previous | None = None,
) -> ReferenceFigures:
    """Streams every reference of every source into `folder` (schema `REFERENCES`); memory holds one row group. Of sources that are declared
    incremental, what `previous` holds is taken over and new rows are put to it, unless a full read is due.

    Raises Refused, and leaves no Parquet, when anything at all is not as declared. That the snapshots lie after the inventory's start is
    the orphan stage's to check.
    """
    began_at = datetime.now(UTC)
    files = open_files(sources, now=began_at)
    with (
        flat_memory("one heap"),
        open_cut(databases, sources, limits=limits) as cuts,
        written_whole(folder / PART) as unfinished,
        pq.ParquetWriter(
            unfinished,
            REFERENCES,
            compression="zstd",
            use_dictionary=ENCODED,  # type: ignore[arg-type]
            write_statistics=ENCODED,
        ) as writer,
    ):
        names = pa.array([source.name for source in sources], pa.string())
        figures = tuple(
            _write_source(
                source,
                cuts[source.database] if source.of_postgres else files[source.name],
                pa.scalar(n, pa.int16()),
                names,
                writer,
                report,
                since_last(source, cuts[source.database], previous) if source.incremental is not None else None,
            )
            for n, source in enumerate(sources)
        )
    return ReferenceFigures(
        inventory_started_at=inventory_started_at,
        snapshot_at=min((cut.snapshot_at for cut in cuts.values()), default=began_at),
        cuts=tuple(cut.figures() for cut in cuts.values()),
        sources=figures,
        ended_at=datetime.now(UTC),
        files=tuple(opened.figures for opened in files.values()),
    )


def _write_source(
    source: ReferenceSettings,
    place: Cut | OpenFile,
    number: pa.Int16Scalar,
    names: pa.StringArray,
    writer: pq.ParquetWriter,
    report: Callable[[str], None],
    since: Since | None,
) -> SourceFigures:
    began = monotonic()
    if isinstance(place, Cut):
        reading: Reading | FileReading = prepare(source if since is None else since.narrowed, place, few=since is not None)
        greatest = greatest_id(source, place)
    else:
        reading, greatest = FileReading(opened=place), None
    tally = Tally()
    progress = Progress(f"references: {source.name}", "keys", report)
    gathered: list[pa.Table] = []
    for keys in chain(since.taken_over() if since is not None else (), keys_of(reading, tally=tally)):
        column = pa.DictionaryArray.from_arrays(pa.repeat(number, keys.num_rows), names)
        gathered.append(keys.add_column(1, REFERENCES.field("source"), column).cast(REFERENCES))
        progress.add(keys.num_rows)
        if sum(table.num_rows for table in gathered) >= ROW_GROUP:
            writer.write_table(pa.concat_tables(gathered))
            gathered.clear()
    if gathered:
        writer.write_table(pa.concat_tables(gathered))
    progress.finish()
    figures = SourceFigures(
        name=source.name,
        database=source.database,
        rows=tally.rows,
        references=tally.references,
        derived=tally.derived,
        without_key=tally.without_key,
        seconds=monotonic() - began,
        received=tally.received,
        foreign=tally.foreign,
        globs=reading.globs,
        greatest=greatest,
        declared=declared(source),
    )
    return figures if since is None else since.added_to(figures)
