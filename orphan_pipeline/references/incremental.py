"""A cheaper night: of a source that says which of its rows are new, only those are read, and put to what the last sweep read of it.

What rows gave that are gone since stays referenced until the next full read: too many references protect too much, never too little. Too
few there may be: a transaction can stamp 01:50 and commit after the snapshot of 02:00. So references that were not read in full make no
plans and confirm nothing (rule 4d); `orphans` sees to that.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from psycopg import sql

from orphan_pipeline.references.cut import Cut, table_identifier
from orphan_pipeline.references.figures import ReferenceFigures, SourceFigures
from orphan_pipeline.references.identity import unlike
from orphan_pipeline.references.kinds.columns import where_clause
from orphan_pipeline.references.read import KEYS
from orphan_pipeline.references.refusals import refusing
from orphan_pipeline.settings.model import ReferenceSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Previous:
    """The references of the last sweep: its Parquet files and figures."""

    files: Sequence[str]
    figures: ReferenceFigures


@dataclass(frozen=True, slots=True, kw_only=True)
class Since:
    """What is new in a source since the last sweep, and what that sweep had read. `narrowed` is the source with only its new rows."""

    narrowed: ReferenceSettings
    files: Sequence[str]
    figures: SourceFigures

    def taken_over(self) -> Iterator[pa.Table]:
        """What the last sweep read of the source, as tables of the schema `KEYS`."""
        for file in self.files:
            for batch in pq.ParquetFile(file).iter_batches(columns=["source", *KEYS.names]):
                own = pc.equal(pc.cast(batch["source"], pa.string()), pa.scalar(self.narrowed.name))
                yield pa.Table.from_batches([batch]).filter(own).select(KEYS.names).cast(KEYS)

    def added_to(self, read: SourceFigures) -> SourceFigures:
        """The figures of both together."""
        before = self.figures
        return replace(
            read,
            rows=before.rows + read.rows,
            references=before.references + read.references,
            derived=before.derived + read.derived,
            without_key=before.without_key + read.without_key,
            foreign=before.foreign + read.foreign,
            greatest=read.greatest if read.greatest is not None else before.greatest,
            full=False,
            sweeps_since_full=before.sweeps_since_full + 1,
        )


def since_last(source: ReferenceSettings, cut: Cut, previous: Previous | None) -> Since | None:
    """What is new since `previous`, or None where all must be read: it has nothing of this source, the source was declared otherwise, the
    database was another, or the full read is due."""
    if source.incremental is None or previous is None:
        return None
    figures = next((figures for figures in previous.figures.sources if figures.name == source.name), None)
    before = next((before for before in previous.figures.cuts if before.database == source.database), None)
    if figures is None or before is None or figures.declared != declared(source) or unlike(before, cut) is not None:
        return None
    if figures.sweeps_since_full + 1 >= source.incremental.full_read_every:
        return None
    if source.incremental.updated_at is not None:
        since = (before.snapshot_at - source.incremental.overlap).isoformat(sep=" ", timespec="microseconds")
        column = sql.Identifier(source.incremental.updated_at)
        new = sql.SQL("{0} >= {1} OR {0} IS NULL").format(column, sql.Literal(since))
    else:
        assert source.incremental.append_only is not None
        if figures.greatest is None:  # the table was empty
            return None
        new = sql.SQL("{} > {}").format(sql.Identifier(source.incremental.append_only), sql.Literal(figures.greatest))
    own = "" if source.where is None else f"(\n{source.where}\n) AND "
    narrowed = source.model_copy(update={"where": f"{own}({new.as_string(cut.connection)})"})
    return Since(narrowed=narrowed, files=previous.files, figures=figures)


def greatest_id(source: ReferenceSettings, cut: Cut) -> str | None:
    """The greatest id in the cut, of a source that only grows."""
    if source.incremental is None or source.incremental.append_only is None or source.table is None:
        return None
    statement = sql.SQL("SELECT max({})::text FROM {} {}").format(
        sql.Identifier(source.incremental.append_only), table_identifier(source.table), where_clause(source)
    )
    with refusing(f"source {source.name} in database {source.database}"):
        row = cut.connection.execute(statement).fetchone()
    return None if row is None or row[0] is None else str(row[0])


def declared(source: ReferenceSettings) -> str:
    """A digest of all that the settings say about the source."""
    return hashlib.sha256(source.model_dump_json().encode()).hexdigest()
