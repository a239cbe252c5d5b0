"""Whether one prefix's plan may be carried out now. Every gate is evaluated again here, since a blocking check on the sweep does not
stop a run that somebody launches later."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from orphan_pipeline.deletion.ledger import Ledger, LedgerPlan, Mode
from orphan_pipeline.deletion.undo.notes import refuse_if_restored
from orphan_pipeline.errors import Refused
from orphan_pipeline.gates.evaluate import tripped
from orphan_pipeline.gates.gate import Gate
from orphan_pipeline.lake.layout import BucketLake
from orphan_pipeline.orphans.acceptance import gates_of
from orphan_pipeline.orphans.approvals import still_closed
from orphan_pipeline.orphans.binding import binding
from orphan_pipeline.orphans.manifest import Manifest, PlanEntry, read_manifests
from orphan_pipeline.orphans.pauses import refuse_if_paused
from orphan_pipeline.orphans.plans import find_plan, refuse_unless_bound
from orphan_pipeline.orphans.summary import approval_command
from orphan_pipeline.settings.model import BucketSettings, DatabaseSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Authorised:
    """A plan that may be carried out, and the ledger that it goes into."""

    manifest: Manifest
    plan: PlanEntry
    ledger: Ledger
    mode: Mode
    quarantine: str | None

    @property
    def dry_run(self) -> bool:
        return self.mode == "dry_run"

    @property
    def ledger_plan(self) -> LedgerPlan:
        return LedgerPlan(
            bucket=self.manifest.bucket,
            prefix=self.plan.prefix,
            sweep_id=self.manifest.sweep_id,
            digest=self.plan.digest,
            dry_run=self.dry_run,
            mode=self.mode,
            quarantine=self.quarantine,
        )


def authorise(
    lake: BucketLake,
    prefix: str,
    *,
    digest: str | None,
    settings: BucketSettings,
    databases: dict[str, DatabaseSettings],
    now: datetime,
) -> Authorised | None:
    """The plan of this prefix with this digest, or of the latest sweep when none is named; None when that has no plan for the prefix.

    Raises Refused, with the reason and what to do, when the plan is not bound to what is now true (rule 9), when what it names was
    restored since, while deletion of the bucket is paused (rule 15), or when a gate is tripped that nobody approved (rule 8).
    """
    manifests = read_manifests(lake)
    if not manifests:
        raise Refused("there is no finished sweep yet: run the sweep job first")
    latest = manifests[-1]
    manifest, plan = find_plan(manifests, digest) if digest else (latest, latest.plans.get(prefix))
    if plan is None:
        return None
    if plan.prefix != prefix:
        raise Refused(f"plan {plan.digest[:12]} is of {plan.prefix}, not of {prefix}")
    dry_run = settings.deletion.mode == "dry_run"
    ledger = Ledger(lake.ledger(plan.digest, dry_run=dry_run))
    refuse_unless_bound(
        plan,
        manifest=manifest,
        folder=lake.sweep(manifest.sweep_id),
        bound_now=binding(settings, databases),
        now=now,
        latest_sweep_id=latest.sweep_id,
        begun=ledger.begun,
    )
    refuse_if_restored(lake, manifest, plan)
    refuse_if_paused(lake)
    _refuse_tripped(manifest, plan, still_closed(lake, gates_of(lake, manifest, settings, manifests), manifest.digest, plan.digest))
    mode = settings.deletion.mode
    return Authorised(
        manifest=manifest,
        plan=plan,
        ledger=ledger,
        mode=mode,
        quarantine=settings.deletion.quarantine if mode == "quarantine" else None,
    )


def _refuse_tripped(manifest: Manifest, plan: PlanEntry, gates: Sequence[Gate]) -> None:
    closed = tripped(gates, prefix=plan.prefix)
    if closed:
        raise Refused(
            f"gate {closed[0].name} is tripped: {closed[0].message}"
            + (f" (and {len(closed) - 1} more)" if len(closed) > 1 else "")
            + f". If this is right: {approval_command(manifest.digest)}"
        )
