"""`restores/{restore_id}/restore.json`: what a restore was asked for, on disk before it does anything. By it a plan that would delete
again what somebody took back is refused."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from orphan_pipeline.deletion.ledger import Ledger
from orphan_pipeline.deletion.undo.selection import Selection, may_own
from orphan_pipeline.duck import duck, rows
from orphan_pipeline.errors import Refused
from orphan_pipeline.lake.files import read_document, write_document
from orphan_pipeline.lake.layout import BucketLake
from orphan_pipeline.orphans.manifest import Manifest, PlanEntry

NOTE = "restore.json"
LATEST = 'SELECT max("at") FROM read_parquet($files, hive_partitioning = false)'


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreNote:
    """What was asked for; of a plan its whole digest, and its prefix too. `at_once`: by the run of this very plan, for keys that became
    referenced while it ran; `why` says what became of them."""

    at: datetime
    plan: str
    prefix: str
    key: str
    since: datetime | None = None
    until: datetime | None = None
    at_once: bool = False
    why: str = ""


def note_restore(folder: Path, ledgers: list[Ledger], selection: Selection, *, at: datetime) -> None:
    plan, prefix = selection.plan, selection.prefix
    if plan:
        whose = ledgers[0].plan()
        plan, prefix = ledgers[0].folder.name, whose.prefix if whose else ""
    note = RestoreNote(at=at, plan=plan, prefix=prefix, key=selection.key, since=selection.since, until=selection.until)
    write_document(folder / NOTE, RestoreNote, note)


def note_at_once(folder: Path, ledger: Ledger, *, why: str, at: datetime) -> None:
    """Once a restore, however many keys come back by it."""
    if not (folder / NOTE).is_file():
        whose = ledger.plan()
        note = RestoreNote(at=at, plan=ledger.folder.name, prefix=whose.prefix if whose else "", key="", at_once=True, why=why)
        write_document(folder / NOTE, RestoreNote, note)


def refuse_if_restored(lake: BucketLake, manifest: Manifest, plan: PlanEntry) -> None:
    """Raises Refused when objects that this plan may name were restored after its sweep looked which ones had been. Any plan of the
    prefix may name them: they may have stood when it was made, and been deleted by another plan since. What its own run brought back
    at once lies in chunks that are finished: it may go on."""
    looked = min([manifest.published_at, *(cut.host_snapshot_at for cut in manifest.references.cuts)])
    for folder in lake.restores():
        note = read_document(folder / NOTE, RestoreNote)
        if _touches(note, plan) and (at := _last_active(folder, note)) >= looked:
            raise Refused(f"plan {plan.digest[:12]} of {plan.prefix} was restored at {at:%Y-%m-%d %H:%M} UTC: run a new sweep")


def _touches(note: RestoreNote, plan: PlanEntry) -> bool:
    if note.at_once and note.plan == plan.digest:
        return False
    if note.plan == plan.digest or note.prefix == plan.prefix:
        return True
    if note.key:
        return may_own(plan.prefix, note.key)
    return not (note.plan or note.prefix)  # a stretch of time is of every prefix


def _last_active(folder: Path, note: RestoreNote) -> datetime:
    """A long restore goes on while a sweep looks."""
    files = sorted(str(path) for path in folder.glob("*.parquet"))
    if not files:
        return note.at
    with duck(folder) as connection:
        [(latest,)] = rows(connection, LATEST, {"files": files})
    return max(note.at, latest) if latest else note.at
