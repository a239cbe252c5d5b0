"""Rule 15, the after-check: a reference whose object is gone because we deleted it. It means that a source did not name the key when it
should have, so whatever else the plans hold is in doubt too: deletion of the bucket is paused, whichever sweep a plan comes from.

`{bucket}/pauses/{sweep_id}/missed.parquet` (key, source, deleted_at, plan) and `pause.json`. A pause stands until all of its keys were
restored, or until somebody approves its digest; what was approved once is not missed again. The latest pause counts: it names all that
is missed.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from orphan_pipeline.deletion.ledger import GONE, Ledger
from orphan_pipeline.deletion.sending import UNANSWERED
from orphan_pipeline.deletion.undo.unfinished import plan_file_of
from orphan_pipeline.digests import shown
from orphan_pipeline.duck import duck, rows, view_files
from orphan_pipeline.errors import Refused
from orphan_pipeline.inventory.columns import TIME
from orphan_pipeline.lake.columns import column
from orphan_pipeline.lake.files import read_document, sha256_of, write_document, written_whole
from orphan_pipeline.lake.layout import BucketLake, SweepFolder
from orphan_pipeline.orphans import queries
from orphan_pipeline.orphans.approvals import approved
from orphan_pipeline.orphans.manifest import DanglingFigures
from orphan_pipeline.orphans.views import view_inventory, view_references

PAUSE = "pause.json"
MISSED_FILE = "missed.parquet"
SAMPLE = 3

MISSED = pa.schema(
    [
        column("key", pa.string(), "a key that we deleted and a row points at"),
        column("source", pa.string(), "the source that the row belongs to"),
        column("deleted_at", TIME, "when the ledger recorded it"),
        column("plan", pa.string(), "digest of the plan that it was deleted by"),
    ]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """`digest` is of the sweep and of the missed keys; approving it lifts the pause."""

    sweep_id: str
    at: datetime
    keys: int
    sample: tuple[str, ...]
    sources: tuple[str, ...]
    plans: tuple[str, ...]
    digest: str


def with_what_is_missed(
    lake: BucketLake, sweep: SweepFolder, figures: DanglingFigures, *, at: datetime, undo_window: timedelta
) -> DanglingFigures:
    """The figures of a sweep's dangling references, and what of it we took away ourselves: then deletion is paused when this returns."""
    pause = pause_if_missed(lake, sweep, at=at, since=at - undo_window)
    return figures if pause is None else replace(figures, missed=pause.keys, missed_sample=pause.sample, pause=pause.digest)


def pause_if_missed(lake: BucketLake, sweep: SweepFolder, *, at: datetime, since: datetime) -> Pause | None:
    """Looks whether any reference of this sweep, derived ones too, has no object because we deleted it; if so, deletion is paused when
    this returns. What was restored since, or approved before, is not missed; nor is what was deleted before `since` (the undo window
    is over, it cannot be brought back, and years of ledgers are not read every night)."""
    ledgers, unsettled = lake.ledger_parquet(since=since), list(_unsettled(lake, since=since))
    if not ledgers and not unsettled:
        return None
    folder = lake.pause(sweep.sweep_id)
    with duck(sweep.root) as connection:
        view_inventory(connection, sweep)
        view_references(connection, sweep)
        view_files(connection, "restores", lake.restored_parquet(), queries.RESTORES)
        view_files(connection, "acknowledged", _acknowledged(lake), queries.ACKNOWLEDGED)
        if ledgers:
            connection.execute(queries.RECORDED, {"files": ledgers, "gone": list(GONE), "unanswered": list(UNANSWERED)}).fetchall()
        else:
            connection.execute(queries.NOTHING_RECORDED).fetchall()
        connection.execute(queries.UNSETTLED).fetchall()
        for parameters in unsettled:
            connection.execute(queries.ADD_UNSETTLED, parameters).fetchall()
        connection.execute(queries.DELETED_AND_REFERENCED).fetchall()
        connection.execute(queries.MISSED).fetchall()
        [(keys, sample, sources, plans)] = rows(connection, queries.MISSED_FIGURES, {"sample": SAMPLE})
        if not keys:
            return None
        with written_whole(folder / MISSED_FILE) as unfinished:
            connection.execute(queries.WRITE_MISSED, {"file": str(unfinished)}).fetchall()
    pause = Pause(
        sweep_id=sweep.sweep_id,
        at=at,
        keys=keys,
        sample=tuple(sample),
        sources=tuple(sources),
        plans=tuple(plans),
        digest=sha256_of(folder / MISSED_FILE),
    )
    write_document(folder / PAUSE, Pause, pause)
    return pause


def _unsettled(lake: BucketLake, *, since: datetime) -> Iterator[dict[str, Any]]:
    """Of each ledger the chunks that were begun and have no outcome, where their keys stand, and when the first was begun: as long as
    nobody goes on with the plan, what became of them is not known, so they are taken for deleted. Raises Refused when a plan is gone."""
    for ledger in map(Ledger, lake.ledgers()):
        begun = {chunk: intent.at for chunk in ledger.unfinished() if (intent := ledger.intent(chunk)) and intent.at >= since}
        if begun:
            file = str(plan_file_of(lake, ledger))
            yield {"file": file, "chunks": list(begun), "at": max(begun.values()), "plan": ledger.folder.name}


def standing_pause(lake: BucketLake) -> Pause | None:
    """The pause that holds back deletion now."""
    declared = [(read_document(folder / PAUSE, Pause), folder) for folder in lake.pauses()]
    if not declared:
        return None
    pause, folder = max(declared, key=lambda one: one[0].at)
    if approved(lake, pause.digest) or _all_back(lake, folder):
        return None
    return pause


def refuse_if_paused(lake: BucketLake) -> None:
    """Raises Refused, with what to do, while a pause stands."""
    pause = standing_pause(lake)
    if pause is not None:
        raise Refused(refusal_line(pause))


class PauseWatch:
    """For a run under way, which asks at each chunk: pauses are only read when one was declared since it last looked. One thread at a time
    may use it."""

    def __init__(self, lake: BucketLake) -> None:
        self._lake = lake
        self._let_be: frozenset[tuple[Path, int]] = frozenset()

    def words(self) -> str | None:
        """Why deletion is paused now; None while no pause stands."""
        declared = frozenset((folder, (folder / PAUSE).stat().st_mtime_ns) for folder in self._lake.pauses())
        if declared == self._let_be:
            return None
        pause = standing_pause(self._lake)
        if pause is not None:
            return refusal_line(pause)
        self._let_be = declared
        return None


def refusal_line(pause: Pause) -> str:
    return (
        f"deletion is paused since {pause.at:%Y-%m-%d %H:%M} UTC: {pause.keys:,} keys that were deleted from here are referenced by source "
        f"{', '.join(pause.sources)}, such as {pause.sample[0]!r}. Bring them back (orphan-pipeline restore --key KEY, or --plan "
        f"{shown(pause.plans[0])}) and find out why they were orphans; or let it be: orphan-pipeline approve "
        f"{shown(pause.digest)}"
    )


def _acknowledged(lake: BucketLake) -> list[str]:
    """What somebody has looked at and let be."""
    pauses = ((folder, read_document(folder / PAUSE, Pause)) for folder in lake.pauses())
    return [str(folder / MISSED_FILE) for folder, pause in pauses if approved(lake, pause.digest)]


def _all_back(lake: BucketLake, folder: Path) -> bool:
    restores = lake.restored_parquet()
    if not restores:
        return False
    with duck(folder) as connection:
        view_files(connection, "restores", restores, queries.RESTORES)
        [(still_missed,)] = rows(connection, queries.STILL_MISSED, {"missed": str(folder / MISSED_FILE)})
    return bool(still_missed == 0)
