"""`restores/{restore_id}/restore.json`: what a restore was asked for, on disk before it does anything. By it a plan that would delete
again what somebody took back is refused."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from orphan_pipeline.deletion.ledger import Ledger
from orphan_pipeline.deletion.selection import may_own
from orphan_pipeline.duck import duck, rows
from orphan_pipeline.errors import Refused
from orphan_pipeline.lake.files import read_document, write_document
from orphan_pipeline.lake.layout import BucketLake
from orphan_pipeline.orphans.manifest import Manifest, PlanEntry

NOTE = "restore.json"
LATEST = 'SELECT max("at") FROM read_parquet($files, hive_partitioning = false)'


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreNote:
    """What was asked for; of a plan its whole digest, and its prefix too."""

    at: datetime
    plan: str
    prefix: str
    key: str


def note_restore(folder: Path, ledgers: list[Ledger], *, plan: str, prefix: str, key: str, at: datetime) -> None:
    if plan:
        whose = ledgers[0].plan()
        plan, prefix = ledgers[0].folder.name, whose.prefix if whose else ""
    write_document(folder / NOTE, RestoreNote, RestoreNote(at=at, plan=plan, prefix=prefix, key=key))


def refuse_if_restored(lake: BucketLake, manifest: Manifest, plan: PlanEntry) -> None:
    """Raises Refused when objects that this plan may name were restored after its sweep looked which ones had been. Any plan of the
    prefix may name them: they may have stood when it was made, and been deleted by another plan since."""
    looked = min([manifest.published_at, *(cut.host_snapshot_at for cut in manifest.references.cuts)])
    for folder in lake.restores():
        note = read_document(folder / NOTE, RestoreNote)
        touched = note.plan == plan.digest or note.prefix == plan.prefix or (note.key and may_own(plan.prefix, note.key))
        if touched and (at := _last_active(folder, note)) >= looked:
            raise Refused(f"plan {plan.digest[:12]} of {plan.prefix} was restored at {at:%Y-%m-%d %H:%M} UTC: run a new sweep")


def _last_active(folder: Path, note: RestoreNote) -> datetime:
    """A long restore goes on while a sweep looks."""
    files = sorted(str(path) for path in folder.glob("*.parquet"))
    if not files:
        return note.at
    with duck(folder) as connection:
        [(latest,)] = rows(connection, LATEST, {"files": files})
    return max(note.at, latest) if latest else note.at
