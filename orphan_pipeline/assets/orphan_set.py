"""The asset `orphan_set`, whose checks are the gates, and the registration of the prefixes as partitions, so that backfills work with every
sensor off."""

from datetime import UTC, datetime

import dagster as dg

from orphan_pipeline.assets.gate_checks import check_results, check_specs
from orphan_pipeline.assets.names import LAKE, Names
from orphan_pipeline.assets.orphan_figures import orphan_figures
from orphan_pipeline.assets.shell import bucket_lake, one_line_failures, sweep_id_of, table_metadata
from orphan_pipeline.errors import Refused
from orphan_pipeline.inventory.snapshot import InventoryFigures
from orphan_pipeline.lake.layout import BucketLake
from orphan_pipeline.orphans.acceptance import closed_gates, gates_of
from orphan_pipeline.orphans.approving import approvable, record_approval
from orphan_pipeline.orphans.publish import publish_sweep
from orphan_pipeline.orphans.retention import keep_what_is_needed
from orphan_pipeline.orphans.snapshot import PLAN
from orphan_pipeline.orphans.summary import closing_line
from orphan_pipeline.settings.model import BucketSettings, RetentionSettings, Settings


class SweepConfig(dg.Config):
    approve: str = ""
    """Digest of an earlier sweep whose tripped gates shall pass, so that this one has it as its baseline and its confirmation."""

    approved_by: str = ""
    """Who says so; empty: the run."""


def orphan_set(name: str, whole: Settings) -> dg.AssetsDefinition:
    names = Names(name)
    settings = whole.buckets[name]
    key = names.asset("orphan_set")

    @dg.asset(
        key=key,
        deps=[names.asset("inventory_snapshot"), names.asset("referenced_keys"), names.asset("dangling_references")],
        required_resource_keys={LAKE},
        description="Objects that no reference points at, by prefix: held, with the reason, or in the prefix's plan. "
        "The last stage of a sweep; its manifest makes the sweep exist. Its checks are the gates.",
        group_name=names.identifier,
        owners=settings.owners,
        kinds={"duckdb", "parquet"},
        check_specs=check_specs(key),
    )
    def orphan_set(context: dg.AssetExecutionContext, config: SweepConfig) -> dg.MaterializeResult:  # type: ignore[type-arg]
        # With check specs Dagster 1.13 takes the bare class only: `MaterializeResult[None]` asks for a tuple.
        lake = bucket_lake(context, name)
        sweep = lake.sweep(sweep_id_of(context.run))
        with one_line_failures():
            if config.approve:
                by = config.approved_by or f"run {context.run.run_id}"
                record_approval(lake, approvable(lake, settings, config.approve), by=by, at=datetime.now(UTC))
            # Before the manifest: a run lost in between would leave a sweep that is finished, and whose prefixes no run can name.
            prefixes = sweep.figures("inventory", InventoryFigures).prefixes
            context.instance.add_dynamic_partitions(names.prefixes, list(prefixes))
            manifest = publish_sweep(
                sweep,
                name=name,
                lake=lake,
                settings=settings,
                databases=whole.databases,
                reports=whole.reports(),
                quarantines=whole.quarantines(),
                report=context.log.info,
                memory_bytes=whole.memory_limit,
            )
            gates = gates_of(lake, manifest, settings)
        freed = _retained(context, lake, settings, whole.retention)
        outcome = closing_line(manifest, closed_gates(lake, manifest, gates))
        context.log.info(outcome)
        plans = [str(sweep.root / plan.file) for plan in manifest.plans.values()]
        return dg.MaterializeResult(
            metadata={
                "outcome": outcome,
                **orphan_figures(manifest, whole.prices),
                **freed,
                **table_metadata(plans, PLAN, folder=str(sweep.stage("orphans")), rows=manifest.orphans.objects),
            },
            check_results=check_results(manifest, gates),
        )

    return orphan_set


def _retained(
    context: dg.AssetExecutionContext, lake: BucketLake, settings: BucketSettings, retention: RetentionSettings
) -> dict[str, int]:
    """The sweep is published: that an old one could not be removed is told, and no reason to fail it."""
    try:
        freed = keep_what_is_needed(lake, settings, sweeps=retention.sweeps, now=datetime.now(UTC))
    except (OSError, Refused) as error:
        context.log.warning("retention: old sweeps were not removed: %s", error)
        return {}
    if freed.sweeps or freed.emptied:
        kept_figures = f"; of {len(freed.emptied):,} only the figures were kept" if freed.emptied else ""
        context.log.info("retention: %s old sweeps removed%s, %s bytes", f"{len(freed.sweeps):,}", kept_figures, f"{freed.bytes:,}")
    return {"retention_sweeps_removed": len(freed.sweeps) + len(freed.emptied), "retention_bytes_freed": freed.bytes}
