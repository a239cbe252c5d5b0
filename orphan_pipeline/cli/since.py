"""What has become of a sweep's plans since it was published: for `plan` and `delete`, which would otherwise offer what is done already.
Decides nothing: a deletion looks for itself (deletion/authorise.py)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from orphan_pipeline.deletion.ledger import Ledger
from orphan_pipeline.deletion.probing import NotKnown, tried
from orphan_pipeline.deletion.undo.notes import refuse_if_restored
from orphan_pipeline.digests import shown
from orphan_pipeline.lake.layout import BucketLake
from orphan_pipeline.orphans.manifest import Manifest, PlanEntry

MOST_NOTES = 10


@dataclass(frozen=True, slots=True)
class Became:
    """Of all states but `begun`, no more is deleted by the plan."""

    state: Literal["begun", "carried out", "restored", "expired"]
    words: str


def what_became(lake: BucketLake, manifest: Manifest, plans: Iterable[PlanEntry], *, now: datetime) -> dict[str, Became]:
    """Of each prefix whose plan, of these, is not as it was published."""
    found = {plan.prefix: _became(lake, manifest, plan, now) for plan in plans}
    return {prefix: became for prefix, became in found.items() if became is not None}


def spent(became: Mapping[str, Became]) -> dict[str, str]:
    """The state of each prefix whose plan deletes no more."""
    return {prefix: one.state for prefix, one in became.items() if one.state != "begun"}


def notes(became: Mapping[str, Became]) -> list[str]:
    """A line for each of a few prefixes. That plans expire is told by the sweep's own lines."""
    lines = [f"note: {one.words}" for one in became.values() if one.words]
    more = len(lines) - MOST_NOTES
    return lines if more <= 0 else [*lines[:MOST_NOTES], f"note: and {more:,} plans more (--json names them)"]


def _became(lake: BucketLake, manifest: Manifest, plan: PlanEntry, now: datetime) -> Became | None:
    restored = tried(lambda: refuse_if_restored(lake, manifest, plan))
    if isinstance(restored, NotKnown):
        return Became("restored", restored.why)
    ledger = Ledger(lake.ledger(plan.digest, dry_run=False))
    done = len(ledger.parquet())
    name = f"plan {shown(plan.digest)} of {plan.prefix}"
    if done == plan.chunks:
        last = max((end.ended_at for end in ledger.endings()), default=None)
        return Became("carried out", f"{name} was carried out" + (f" at {last:%Y-%m-%d %H:%M} UTC" if last else ""))
    if now >= manifest.expires_at:
        return Became("expired", "")
    if ledger.begun:
        return Became("begun", f"{name} was begun: {done:,} of {plan.chunks:,} chunks are done; `delete` goes on with the others")
    return None
