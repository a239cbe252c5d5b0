"""Which sweeps count: as a baseline and as the past that a sweep is held against, and as a confirmation (rule 7). One whose gates tripped
saw orphans that may be none; it counts for nothing until somebody approves it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from orphan_pipeline.gates.evaluate import evaluate, evaluate_alone, tripped
from orphan_pipeline.gates.gate import Gate, GateLimits
from orphan_pipeline.gates.history import SWEEPS, Accepted, History
from orphan_pipeline.lake.layout import BucketLake
from orphan_pipeline.orphans.approvals import overridden, still_closed
from orphan_pipeline.orphans.manifest import Manifest, read_manifests
from orphan_pipeline.orphans.pauses import Pause, standing_pause
from orphan_pipeline.settings.model import BucketSettings


def gate_limits(settings: BucketSettings) -> GateLimits:
    return GateLimits(
        source_floors={reference.name: reference.expect_rows_at_least for reference in settings.references},
        min_match_rate=settings.safety.min_match_rate,
        max_orphan_fraction=settings.safety.max_orphan_fraction,
        max_shrink=settings.safety.max_shrink,
        max_growth=settings.safety.max_growth,
        max_age_band_excess=settings.safety.max_age_band_excess,
    )


def gates_of(lake: BucketLake, manifest: Manifest, settings: BucketSettings, manifests: Sequence[Manifest] | None = None) -> list[Gate]:
    """Every gate of a sweep, by the limits of now. `manifests`: all of the bucket, where the caller has read them already."""
    history = history_before(lake, manifest, read_manifests(lake) if manifests is None else manifests)
    return evaluate(manifest, gate_limits(settings), history)


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed:
    """The gates that did not pass and that nobody approved: of the bucket for the whole sweep, and all that hold back each plan. And the
    pause that stands, maybe since an earlier sweep."""

    bucket: tuple[Gate, ...]
    plans: dict[str, tuple[Gate, ...]]
    pause: Pause | None

    @property
    def held_back(self) -> list[str]:
        """Prefixes whose plan waits for an approval."""
        return [prefix for prefix, gates in self.plans.items() if gates]


def closed_gates(lake: BucketLake, manifest: Manifest, gates: Sequence[Gate]) -> Closed:
    of_bucket = [gate for gate in gates if gate.prefix is None and not gate.passed]
    of_prefix: dict[str, list[Gate]] = {}
    for gate in gates:
        if gate.prefix is not None and not gate.passed:
            of_prefix.setdefault(gate.prefix, []).append(gate)
    return Closed(
        bucket=tuple(still_closed(lake, of_bucket, manifest.digest)),
        plans={
            prefix: tuple(still_closed(lake, [*of_bucket, *of_prefix.get(prefix, ())], manifest.digest, plan.digest))
            for prefix, plan in manifest.plans.items()
        },
        pause=standing_pause(lake),
    )


def history_before(lake: BucketLake, manifest: Manifest, manifests: Sequence[Manifest]) -> History:
    """The last accepted sweeps of the same real bucket that looked before this one. Whether they were accepted is a matter of their
    time: limits that were changed since do not rewrite it."""
    found: list[Accepted] = []
    for earlier in sorted(manifests, key=lambda m: m.place, reverse=True):
        if len(found) < SWEEPS and earlier.place < manifest.place and earlier.store == manifest.store and accepted(lake, earlier):
            names = frozenset(label.partition(":")[0] for label in overridden(lake, earlier.digest))
            found.append(Accepted(manifest=earlier, overridden=names))
    return History(tuple(reversed(found)))


def accepted(lake: BucketLake, manifest: Manifest) -> bool:
    """Whether its bucket's gates passed when it was published, or were approved since."""
    return not manifest.tripped or set(manifest.tripped) <= overridden(lake, manifest.digest)


def last_accepted(
    lake: BucketLake, limits: GateLimits, *, before: datetime, store: tuple[str, str | None], manifests: Sequence[Manifest]
) -> Manifest | None:
    """The latest sweep of this real bucket before that moment that confirms: accepted in its time, and by today's limits too unless
    somebody approved it.

    A sweep that was missed or has failed is none, so it neither confirms nor resets; nor does one whose references were not read in
    full: it saw orphans that may be none (rule 4d).
    """
    for manifest in sorted(manifests, key=lambda m: m.place, reverse=True):
        if manifest.inventory.started_at >= before or manifest.store != store or not manifest.references.full:
            continue
        if not accepted(lake, manifest):
            continue
        closed = {gate.name for gate in tripped(evaluate_alone(manifest, limits))}
        if closed <= overridden(lake, manifest.digest):
            return manifest
    return None
