"""Writes what the databases still need to the lake: the reference snapshot, one row a reference, complete or not at
all, and its figures. The cut, the reading and the meaning of keys belong in `cut`, `read` and `normalise`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic

import pyarrow as pa
import pyarrow.parquet as pq

from orphan_pipeline.lake.files import written_whole
from orphan_pipeline.progress import Progress
from orphan_pipeline.references.cut import Cut, DatabaseUnderCut, Limits, open_cut
from orphan_pipeline.references.extract import Reading, prepare
from orphan_pipeline.references.kinds.files import FileFigures, FileReading, open_files
from orphan_pipeline.references.read import Tally, keys_of
from orphan_pipeline.references.schema import REFERENCES
from orphan_pipeline.settings.model import ReferenceSettings

PART = "part-00000.parquet"
ROW_GROUP = 122_880
# Nearly every key and row stands there once: a dictionary of them is built only to be thrown away, and least and greatest say nothing.
ENCODED = ["source"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CutFigures:
    """When and where a database was frozen. `snapshot_at` by its own clock, `host_snapshot_at` by this host's."""

    database: str
    snapshot_at: datetime
    host_snapshot_at: datetime
    system_identifier: str
    snapshot: str
    lsn: str
    server_version: str
    from_replica: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFigures:
    """`rows` were read, `without_key` of them yield none; `references` were found in the others, `derived` are the
    variants' keys. `received` are bytes of the database's answers. `foreign` values were passed over, since the settings excuse them.
    `globs` are the variants' templates with a `*`: what they match for one of this source's keys is in use too."""

    name: str
    database: str
    rows: int
    references: int
    derived: int
    without_key: int
    seconds: float
    received: int = 0
    foreign: int = 0
    globs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceFigures:
    """What the reference stage wrote down. `snapshot_at` is the earliest of the cuts', or the start of the stage where there are none;
    `ended_at` by this host's clock."""

    inventory_started_at: datetime
    snapshot_at: datetime
    cuts: tuple[CutFigures, ...]
    sources: tuple[SourceFigures, ...]
    ended_at: datetime | None = None
    files: tuple[FileFigures, ...] = ()


def snapshot_references(
    *,
    sources: Sequence[ReferenceSettings],
    databases: Mapping[str, DatabaseUnderCut],
    inventory_started_at: datetime,
    folder: Path,
    report: Callable[[str], None],
    limits: Limits | None = None,
) -> ReferenceFigures:
    """Streams every reference of every source into `folder` (schema `REFERENCES`); memory holds one row group.

    Raises Refused, and leaves no Parquet, when anything at all is not as declared. That the snapshots lie after the inventory's start is
    the orphan stage's to check.
    """
    began_at = datetime.now(UTC)
    files = open_files(sources, now=began_at)
    with (
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
                prepare(source, cuts[source.database]) if source.of_postgres else FileReading(opened=files[source.name]),
                pa.scalar(n, pa.int16()),
                names,
                writer,
                report,
            )
            for n, source in enumerate(sources)
        )
    return ReferenceFigures(
        inventory_started_at=inventory_started_at,
        snapshot_at=min((cut.snapshot_at for cut in cuts.values()), default=began_at),
        cuts=tuple(map(_cut_figures, cuts.values())),
        sources=figures,
        ended_at=datetime.now(UTC),
        files=tuple(opened.figures for opened in files.values()),
    )


def _cut_figures(cut: Cut) -> CutFigures:
    return CutFigures(
        database=cut.database,
        snapshot_at=cut.snapshot_at,
        host_snapshot_at=cut.host_snapshot_at,
        system_identifier=cut.system_identifier,
        snapshot=cut.snapshot,
        lsn=cut.lsn,
        server_version=cut.server_version,
        from_replica=cut.from_replica,
    )


def _write_source(
    reading: Reading | FileReading,
    number: pa.Int16Scalar,
    names: pa.StringArray,
    writer: pq.ParquetWriter,
    report: Callable[[str], None],
) -> SourceFigures:
    began = monotonic()
    tally = Tally()
    progress = Progress(f"references: {reading.source.name}", "keys", report)
    gathered: list[pa.Table] = []
    for keys in keys_of(reading, tally=tally):
        column = pa.DictionaryArray.from_arrays(pa.repeat(number, keys.num_rows), names)
        gathered.append(keys.add_column(1, REFERENCES.field("source"), column).cast(REFERENCES))
        progress.add(keys.num_rows)
        if sum(table.num_rows for table in gathered) >= ROW_GROUP:
            writer.write_table(pa.concat_tables(gathered))
            gathered.clear()
    if gathered:
        writer.write_table(pa.concat_tables(gathered))
    progress.finish()
    return SourceFigures(
        name=reading.source.name,
        database=reading.source.database,
        rows=tally.rows,
        references=tally.references,
        derived=tally.derived,
        without_key=tally.without_key,
        seconds=monotonic() - began,
        received=tally.received,
        foreign=tally.foreign,
        globs=reading.globs,
    )
