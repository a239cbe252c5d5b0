"""`orphan-pipeline delete`: carries out plans, one run a prefix. Asks first; approves a tripped gate only for the digest that is named."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orphan_pipeline.cli.approve import approve_as_operator
from orphan_pipeline.cli.common import (
    as_table,
    confirm,
    digest_typed,
    err,
    json_option,
    lake_of,
    one_bucket,
    one_bucket_option,
    open_settings,
    out,
    print_json,
    print_table,
    run_job,
    settings_option,
    yes_option,
)
from orphan_pipeline.cli.since import notes, what_became
from orphan_pipeline.deletion.ledger import Ledger
from orphan_pipeline.digests import shown
from orphan_pipeline.errors import BadSettings, Refused
from orphan_pipeline.inventory.snapshot import Amount
from orphan_pipeline.lake.layout import BucketLake
from orphan_pipeline.orphans.acceptance import closed_gates, gates_of
from orphan_pipeline.orphans.approving import Approvable, approvable
from orphan_pipeline.orphans.manifest import Manifest, PlanEntry, read_manifests
from orphan_pipeline.orphans.plans import find_plan
from orphan_pipeline.settings.model import BucketSettings, Settings
from orphan_pipeline.settings.values import duration_text
from orphan_pipeline.wording import counted

if TYPE_CHECKING:
    from orphan_pipeline.resources.runs import Runs


@dataclass(frozen=True, slots=True, kw_only=True)
class Deleted:
    """What the store answered, by prefix and outcome, the line of each prefix whose run failed, and how each run ended. Of a run that was
    refused before it did anything nothing is in `totals`, whatever an earlier run of the same plan did."""

    totals: dict[str, dict[str, Amount]]
    failures: dict[str, str]
    endings: dict[str, str]

    @property
    def failure(self) -> str | None:
        return "; ".join(f"{prefix}: {failure}" for prefix, failure in self.failures.items()) or None


@click.command("delete")
@settings_option
@one_bucket_option
@click.option("--plan", "digest", type=digest_typed, metavar="DIGEST", help="The plan with this digest (at least 8 characters of it).")
@click.option("--prefix", help="The latest sweep's plan of this prefix.")
@click.option("--all", "everything", is_flag=True, help="Every plan of the latest sweep.")
@click.option(
    "--approve", "approval", type=digest_typed, metavar="DIGEST", help="Let tripped gates pass for this digest: the sweep's, or one plan's."
)
@yes_option
@json_option
def command(
    settings_path: Path | None,
    bucket: str | None,
    digest: str | None,
    prefix: str | None,
    everything: bool,
    approval: str | None,
    yes: bool,
    as_json: bool,
) -> None:
    """Execute plans."""
    if sum((digest is not None, prefix is not None, everything)) != 1:
        raise click.UsageError("expected exactly one of --plan, --prefix and --all")
    settings = open_settings(settings_path)
    name, own = one_bucket(settings, bucket)
    lake = lake_of(settings, name)
    manifest, plans = _chosen(lake, digest, prefix)
    approved = approvable(lake, own, _whole_digest(manifest, approval)) if approval is not None else None
    if not as_json:
        _show(lake, own, manifest, plans)
    if plans or approved:
        confirm(_question(own, manifest, plans, approved), yes=yes)
    if approved:  # only now: an approval that outlived a "no" would let the sensor delete what nobody agreed to
        approve_as_operator(lake, approved)
    deleted = Deleted(totals={}, failures={}, endings={})
    if plans:
        from orphan_pipeline.resources.runs import opened_runs  # takes a second: after whatever can be refused without it

        with opened_runs(settings.file.parent) as runs:
            deleted = delete_plans(runs, settings, name, manifest, plans)
    else:
        err.print("nothing to delete: there is no plan")
    if as_json:
        by_prefix = {prefix: {outcome: amount.objects for outcome, amount in found.items()} for prefix, found in deleted.totals.items()}
        print_json(
            {
                "mode": own.deletion.mode,
                "sweep": manifest.sweep_id,
                "failures": deleted.failures,
                "ended": deleted.endings,
                "prefixes": by_prefix,
            }
        )
    if deleted.failure is not None:
        raise Refused(deleted.failure)


def delete_plans(runs: "Runs", settings: Settings, name: str, manifest: Manifest, plans: list[PlanEntry]) -> Deleted:
    """One run a plan, one after the other; a run that fails does not keep the next from being tried."""
    from orphan_pipeline.assets.names import Names
    from orphan_pipeline.automation import SWEEP_TAG, deletion_config
    from orphan_pipeline.resources.runs import PARTITION_TAG

    dry_run = settings.buckets[name].deletion.mode == "dry_run"
    lake = lake_of(settings, name)
    ledgers = {plan.prefix: Ledger(lake.ledger(plan.digest, dry_run=dry_run)) for plan in plans}
    before = {prefix: ledger.parquet() for prefix, ledger in ledgers.items()}
    failures, run_ids = {}, {}
    for plan in plans:
        ended = run_job(
            runs,
            Names(name).deletion_job,
            what=f"{'dry run' if dry_run else 'deletion'} of {plan.prefix}",
            config=deletion_config(name, plan.digest, mode=settings.buckets[name].deletion.mode),
            tags={PARTITION_TAG: plan.prefix, SWEEP_TAG: manifest.sweep_id},
        )
        run_ids[plan.prefix] = ended.run_id
        if ended.failure is not None:
            failures[plan.prefix] = ended.failure
    told_of = {prefix: ledger for prefix, ledger in ledgers.items() if prefix not in failures or ledger.parquet() != before[prefix]}
    totals = {prefix: ledger.totals() for prefix, ledger in told_of.items()}
    endings = {prefix: str(end) for prefix, ledger in ledgers.items() for end in ledger.endings() if end.run_id == run_ids[prefix]}
    lines = [[prefix, outcome, a.objects, a.bytes] for prefix, found in totals.items() for outcome, a in found.items()]
    if lines:
        title = "dry run: nothing was sent to the store" if dry_run else "what the store answered"
        err.print(as_table(title, ["prefix", "outcome", "objects", "bytes"], lines))
    for prefix, how in endings.items():
        err.print(f"{prefix}: {how}", markup=False, highlight=False)
    return Deleted(totals=totals, failures=failures, endings=endings)


def _chosen(lake: BucketLake, digest: str | None, prefix: str | None) -> tuple[Manifest, list[PlanEntry]]:
    manifests = read_manifests(lake)
    if not manifests:
        raise Refused("there is no finished sweep yet (orphan-pipeline sweep)")
    if digest is not None:
        manifest, plan = find_plan(manifests, digest)
        return manifest, [plan]
    latest = manifests[-1]
    if prefix is None:
        return latest, list(latest.plans.values())
    if prefix not in latest.prefixes:
        raise BadSettings(f"--prefix: found {prefix!r}, expected one of {', '.join(latest.prefixes)}")
    return latest, [latest.plans[prefix]] if prefix in latest.plans else []


def _question(settings: BucketSettings, manifest: Manifest, plans: list[PlanEntry], approved: Approvable | None) -> str:
    doing = {"dry_run": "Pretend to delete", "permanent": "Delete for good, without any undo,"}.get(settings.deletion.mode, "Delete")
    asked = [f"{doing} {counted(sum(plan.amount.objects for plan in plans), 'object')} from {settings.bucket}"] if plans else []
    if approved:
        asked.insert(0, f"Let {counted(len(approved.gates), 'tripped gate')} pass for {approved.what}")
    return " and ".join(asked) + "?"


def _whole_digest(manifest: Manifest, digest: str) -> str:
    whole = [d for d in (manifest.digest, *(plan.digest for plan in manifest.plans.values())) if d.startswith(digest)]
    if len(whole) != 1:
        raise Refused(f"--approve: found {digest!r}, expected the digest of this sweep or of one of its plans")
    return whole[0]


def _show(lake: BucketLake, settings: BucketSettings, manifest: Manifest, plans: list[PlanEntry]) -> None:
    closed = closed_gates(lake, manifest, gates_of(lake, manifest, settings)).plans
    print_table(
        f"{manifest.bucket}: plans of sweep {manifest.sweep_id}",
        ["prefix", "objects", "bytes", "chunks", "plan", "gates"],
        [
            [
                plan.prefix,
                plan.amount.objects,
                plan.amount.bytes,
                plan.chunks,
                shown(plan.digest),
                ", ".join(gate.name for gate in closed[plan.prefix]) or "passed",
            ]
            for plan in plans
        ],
    )
    for line in notes(what_became(lake, manifest, plans, now=datetime.now(UTC))):
        out.print(line, markup=False)
    out.print(f"mode: {settings.deletion.mode}" + _undo_words(settings))


def _undo_words(settings: BucketSettings) -> str:
    deletion = settings.deletion
    if deletion.mode == "permanent":
        return ": what is deleted is gone for good, there is no undo"
    if deletion.mode == "quarantine":
        return f" ({deletion.quarantine}), undo window {duration_text(deletion.undo_window)}"
    return f", undo window {duration_text(deletion.undo_window)}" if deletion.mode == "versioned" else ""
