"""Writes what the databases still need to the lake: the reference snapshot, one row a reference, complete or not at
all, and its figures. The cut, the reading and the meaning of keys belong in `cut`, `extract` and `normalise`."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from orphan_pipeline.duck import duck
from orphan_pipeline.lake.files import written_whole
from orphan_pipeline.progress import Progress
from orphan_pipeline.references.cut import Cut, DatabaseUnderCut, Limits, open_cut
from orphan_pipeline.references.extract import Batch, Reading, prepare
from orphan_pipeline.references.kinds.files import FileFigures, FileReading, open_files
from orphan_pipeline.references.normalise import explain, key_sql, teach
from orphan_pipeline.references.schema import REFERENCES
from orphan_pipeline.references.variants import variants_sql
from orphan_pipeline.settings.model import ReferenceSettings

PART = "part-00000.parquet"
ROW_GROUP = 122_880
DUCKDB_BYTES = 256 * 2**20
RAW = pa.schema([pa.field("row_id", pa.string(), nullable=False), pa.field("raw", pa.string(), nullable=False)])

# A problem carries its raw value along; the variants of a key that is none are not made.
NORMALISE = """
WITH keyed AS MATERIALIZED (SELECT row_id, raw, {key} AS key, {problem} AS problem FROM extracted)
SELECT key, false AS derived, row_id, problem, CASE WHEN problem IS NOT NULL THEN raw END AS raw FROM keyed
WHERE key IS NOT NULL OR problem IS NOT NULL  -- neither: a foreign URL that is excused
UNION ALL
SELECT derived_key, true, row_id, NULL, NULL
FROM (SELECT unnest({variants}) AS derived_key, row_id FROM keyed WHERE problem IS NULL AND key IS NOT NULL) WHERE derived_key <> ''
"""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFigures:
    """`rows` were read, `without_key` of them yield none; `references` were found in the others, `derived` are the
    variants' keys. `foreign` values were passed over, since the settings excuse them. `globs` are the variants' templates with a `*`: what
    they match for one of this source's keys is in use too."""

    name: str
    database: str
    rows: int
    references: int
    derived: int
    without_key: int
    seconds: float
    foreign: int = 0
    globs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceFigures:
    """What the reference stage wrote down. `snapshot_at` is the earliest of the cuts', or the start of the stage where there are none."""

    inventory_started_at: datetime
    snapshot_at: datetime
    cuts: tuple[CutFigures, ...]
    sources: tuple[SourceFigures, ...]
    files: tuple[FileFigures, ...] = ()


@dataclass(slots=True)
class _Tally:
    rows: int = 0
    references: int = 0
    derived: int = 0
    without_key: int = 0
    foreign: int = 0
    last_row: str | None = None


def snapshot_references(
    *,
    sources: Sequence[ReferenceSettings],
    urls: Mapping[str, str],
    pinned: Mapping[str, str | None],
    inventory_started_at: datetime,
    folder: Path,
    report: Callable[[str], None],
    limits: Limits | None = None,
) -> ReferenceFigures:
    """Streams every reference of every source into `folder` (schema `REFERENCES`); memory holds one row group.

    `urls` and `pinned` (system identifiers) are by database name. Raises Refused, and leaves no Parquet, when anything
    at all is not as declared. That the snapshots lie after the inventory's start is the orphan stage's to check.
    """
    databases = {name: DatabaseUnderCut(url=url, system_identifier=pinned.get(name)) for name, url in urls.items()}
    began_at = datetime.now(UTC)
    files = open_files(sources, now=began_at)
    with (
        open_cut(databases, sources, limits=limits) as cuts,
        written_whole(folder / PART) as unfinished,
        duck(folder, memory_bytes=DUCKDB_BYTES) as connection,
        pq.ParquetWriter(unfinished, REFERENCES, compression="zstd") as writer,
    ):
        teach(connection)
        names = pa.array([source.name for source in sources], pa.string())
        figures = tuple(
            _write_source(
                prepare(source, cuts[source.database]) if source.of_postgres else FileReading(opened=files[source.name]),
                pa.scalar(n, pa.int16()),
                names,
                connection,
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
    )


def _write_source(
    reading: Reading | FileReading,
    number: pa.Int16Scalar,
    names: pa.StringArray,
    connection: duckdb.DuckDBPyConnection,
    writer: pq.ParquetWriter,
    report: Callable[[str], None],
) -> SourceFigures:
    began = monotonic()
    tally = _Tally()
    progress = Progress(f"references: {reading.source.name}", "keys", report)
    gathered: list[pa.Table] = []
    for keys in _keys(reading, connection, tally):
        source = pa.DictionaryArray.from_arrays(pa.repeat(number, keys.num_rows), names)
        gathered.append(keys.add_column(1, REFERENCES.field("source"), source).cast(REFERENCES))
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
        foreign=tally.foreign,
        globs=reading.globs,
    )


def _keys(reading: Reading | FileReading, connection: duckdb.DuckDBPyConnection, tally: _Tally) -> Iterator[pa.Table]:
    """Tables (key, derived, row_id). Raises Refused for the first value that is no key by the source's rules."""
    rules = key_sql(reading.source.key)
    variants, templates = variants_sql(reading.source.variants)
    query = NORMALISE.format(key=rules.key, problem=rules.problem, variants=variants)
    for batch in reading.batches():
        raw_values = _raw_values(batch, tally)
        connection.register("extracted", raw_values)
        keys = connection.sql(query, params={**rules.parameters, **templates}).to_arrow_table()
        connection.unregister("extracted")
        problems = keys.filter(keys["problem"].is_valid()).slice(0, 1).to_pylist()
        for problem in problems:
            raise reading.refused(problem["row_id"], explain(problem["problem"], problem["raw"]))
        derived = pc.sum(keys["derived"]).as_py() or 0
        foreign = raw_values.num_rows - (keys.num_rows - derived)
        tally.derived += derived
        tally.foreign += foreign
        tally.references -= foreign
        yield keys.select(["key", "derived", "row_id"])


def _raw_values(batch: Batch, tally: _Tally) -> pa.Table:
    found = [(row_id, raw) for row_id, raw, _ in batch if raw is not None]
    tally.references += len(found)
    tally.without_key += len(batch) - len(found)
    for row_id, _, _ in batch:  # the references of one row follow one another
        if row_id != tally.last_row:
            tally.rows += 1
            tally.last_row = row_id
    return pa.table({"row_id": [row_id for row_id, _ in found], "raw": [raw for _, raw in found]}, schema=RAW)
