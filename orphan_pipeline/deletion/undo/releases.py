"""Ends the hold of what was restored: until somebody releases it, no sweep plans it again (rule 7).

`{bucket}/releases/{release_id}/release.json`: what was asked for, by whom. `released.parquet`, one row an object: key, etag, at. A row
releases what was restored before it; the same object restored once more is held again.
"""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from orphan_pipeline.deletion.undo.held import view_restored
from orphan_pipeline.deletion.undo.selection import Selection, beginning_of, ledgers_to_restore
from orphan_pipeline.duck import arrow_batches, duck, view_files
from orphan_pipeline.errors import Refused
from orphan_pipeline.inventory.columns import TIME
from orphan_pipeline.lake.columns import column
from orphan_pipeline.lake.files import folder_written_whole, write_document
from orphan_pipeline.lake.layout import BucketLake

RELEASED = pa.schema(
    [
        column("key", pa.string(), "as restored"),
        column("etag", pa.string(), "as restored"),
        column("at", TIME, "when it was released"),
    ]
)
ROWS_A_BATCH = 100_000

HELD = """
SELECT key, etag, $at::TIMESTAMPTZ AS "at" FROM restored
WHERE ($key IS NULL OR key = $key)
  AND ($prefix IS NULL OR starts_with(key, $prefix))
  AND (NOT $of_a_plan OR key IN (SELECT key FROM planned))
ORDER BY key
"""
PLANNED = {"key": "VARCHAR"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseNote:
    """What was asked for; all of it empty: everything."""

    at: datetime
    by: str
    plan: str
    prefix: str
    key: str
    objects: int


def release_restored(lake: BucketLake, selection: Selection, *, release_id: str, by: str, at: datetime) -> int:
    """Releases what is held as restored and selected (a plan's keys, a prefix, a key; nothing named: all). Returns how many objects
    that are; on disk when it returns. Raises Refused when there is nothing to release."""
    folder = lake.release(release_id)
    with folder_written_whole(folder) as unfinished:
        objects = _write_held(lake, selection, at=at, file=unfinished / "released.parquet")
        if not objects:
            raise Refused(f"release: nothing is held as restored{f' of {selection.options}' if selection.options else ''}")
        note = ReleaseNote(at=at, by=by, plan=selection.plan, prefix=selection.prefix, key=selection.key, objects=objects)
        write_document(unfinished / "release.json", ReleaseNote, note)
    return objects


def _write_held(lake: BucketLake, selection: Selection, *, at: datetime, file: Path) -> int:
    of_a_plan = bool(selection.plan)
    ledgers = ledgers_to_restore(lake, Selection(plan=selection.plan)) if of_a_plan else []
    asked = {"at": at, "key": selection.key or None, "prefix": beginning_of(selection.prefix) or None, "of_a_plan": of_a_plan}
    objects = 0
    with duck(file.parent) as connection, pq.ParquetWriter(file, RELEASED, compression="zstd") as writer:
        view_restored(connection, lake.restored_parquet(), lake.released_parquet())
        view_files(connection, "planned", [name for ledger in ledgers for name in ledger.parquet()], PLANNED)
        for batch in arrow_batches(connection, HELD, asked, rows_each=ROWS_A_BATCH):
            writer.write_table(pa.Table.from_batches([batch]).cast(RELEASED))
            objects += batch.num_rows
    return objects
