"""Which sweeps the lake still needs. Kept whole are the newest ones and every one that a plan, a ledger or a confirmation may still ask
for; of what the trends go by the manifest is enough. Ledgers, restores and approvals are not touched by this at all."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from orphan_pipeline.deletion.ledger import Ledger
from orphan_pipeline.gates.history import SWEEPS
from orphan_pipeline.lake.layout import BucketLake, SweepFolder
from orphan_pipeline.lake.retention import Freed, remove_sweeps
from orphan_pipeline.orphans.acceptance import accepted, gate_limits, last_accepted
from orphan_pipeline.orphans.manifest import Manifest, read_manifests
from orphan_pipeline.settings.model import BucketSettings

ABANDONED_AFTER = timedelta(days=7)
"""A run that has written nothing into its sweep for so long does not go on: until then it may be retried from where it failed."""


@dataclass(frozen=True, slots=True)
class Keeping:
    """What is kept, by sweep id, and why: the first reason of each."""

    whole: dict[str, str]
    manifests: frozenset[str]


def keep_what_is_needed(lake: BucketLake, settings: BucketSettings, *, sweeps: int, now: datetime) -> Freed:
    """Removes what nothing needs any more. `sweeps`: how many of the newest are kept whole whatever else is true."""
    manifests = read_manifests(lake)
    keeping = what_is_needed(lake, settings, manifests, sweeps=sweeps, now=now)
    published = {manifest.sweep_id for manifest in manifests}
    folders = [sweep for sweep in lake.sweep_folders() if sweep.sweep_id not in keeping.whole]
    return remove_sweeps(
        lake,
        [s for s in folders if s.sweep_id not in keeping.manifests and (s.sweep_id in published or _abandoned(s, now))],
        [s for s in folders if s.sweep_id in keeping.manifests],
    )


def what_is_needed(lake: BucketLake, settings: BucketSettings, manifests: Sequence[Manifest], *, sweeps: int, now: datetime) -> Keeping:
    """`manifests`: all of the bucket, the one that looked last comes last."""
    confirms = last_accepted(lake, gate_limits(settings), before=now, store=(settings.bucket, settings.endpoint), manifests=manifests)
    counting = [manifest for manifest in manifests if accepted(lake, manifest)]
    whole: dict[str, str] = {}
    for n, manifest in enumerate(reversed(manifests)):
        reason = _reason(lake, manifest, settings, newest=n < sweeps, confirms=confirms is not None and confirms == manifest, now=now)
        if reason:
            whole[manifest.sweep_id] = reason
    if counting:
        whole.setdefault(counting[-1].sweep_id, "the last accepted sweep")
    return Keeping(whole=whole, manifests=frozenset(manifest.sweep_id for manifest in counting[-SWEEPS:]))


def _reason(lake: BucketLake, manifest: Manifest, settings: BucketSettings, *, newest: bool, confirms: bool, now: datetime) -> str:
    if newest:
        return "one of the newest"
    if confirms:
        return "the next sweep confirms it"
    if manifest.plans and now < manifest.expires_at:
        return "its plans have not expired"
    # What a plan deleted, it deleted before it expired: so long a restore may ask for the plan's file, to settle an unfinished chunk.
    undoable = now < manifest.expires_at + settings.deletion.undo_window
    for plan in manifest.plans.values():
        ledger = Ledger(lake.ledger(plan.digest, dry_run=False))
        if ledger.begun and (undoable or ledger.unfinished()):
            return "a ledger needs its plan"
    return ""


def _abandoned(sweep: SweepFolder, now: datetime) -> bool:
    touched = max((path.stat().st_mtime for path in [sweep.root, *sweep.root.rglob("*")]), default=0.0)
    return datetime.fromtimestamp(touched, UTC) < now - ABANDONED_AFTER
