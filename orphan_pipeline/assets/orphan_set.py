"""The asset `orphan_set` with its gates as asset checks, and the registration of the prefixes as partitions, so that backfills work
with every sensor off."""

from typing import Any

import dagster as dg

from orphan_pipeline.assets.names import LAKE, Names
from orphan_pipeline.assets.shell import amounts_metadata, bucket_lake, one_line_failures, sweep_id_of, table_metadata
from orphan_pipeline.gates import GATES, PREFIX_GATES, Gate, evaluate
from orphan_pipeline.inventory.snapshot import InventoryFigures
from orphan_pipeline.orphans.manifest import Manifest
from orphan_pipeline.orphans.publish import gate_limits, publish_sweep
from orphan_pipeline.orphans.snapshot import PLAN
from orphan_pipeline.orphans.summary import closing_line
from orphan_pipeline.settings.model import Settings


def orphan_set(name: str, whole: Settings) -> dg.AssetsDefinition:
    names = Names(name)
    settings = whole.buckets[name]
    reports = [bucket.inventory.manifest for bucket in whole.buckets.values() if bucket.inventory.manifest is not None]
    quarantines = [bucket.deletion.quarantine for bucket in whole.buckets.values() if bucket.deletion.quarantine is not None]
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
        check_specs=[
            dg.AssetCheckSpec(gate, asset=key, description=meaning, blocking=gate not in PREFIX_GATES) for gate, meaning in GATES.items()
        ],
    )
    def orphan_set(context: dg.AssetExecutionContext) -> dg.MaterializeResult:  # type: ignore[type-arg]
        # With check specs Dagster 1.13 takes the bare class only: `MaterializeResult[None]` asks for a tuple.
        lake = bucket_lake(context, name)
        sweep = lake.sweep(sweep_id_of(context.run))
        with one_line_failures():
            # Before the manifest: a run lost in between would leave a sweep that is finished, and whose prefixes no run can name.
            prefixes = sweep.figures("inventory", InventoryFigures).prefixes
            context.instance.add_dynamic_partitions(names.prefixes, list(prefixes))
            manifest = publish_sweep(
                sweep,
                name=name,
                lake=lake,
                settings=settings,
                databases=whole.databases,
                reports=reports,
                quarantines=quarantines,
                report=context.log.info,
            )
        context.log.info(closing_line(manifest))
        plans = [str(sweep.root / plan.file) for plan in manifest.plans.values()]
        return dg.MaterializeResult(
            metadata={
                **table_metadata(plans, PLAN, folder=str(sweep.stage("orphans")), rows=manifest.orphans.objects),
                **_figures(manifest),
            },
            check_results=_check_results(evaluate(manifest, gate_limits(settings))),
        )

    return orphan_set


def _figures(manifest: Manifest) -> dict[str, dg.MetadataValue[Any] | str | int]:
    return {
        "sweep": manifest.sweep_id,
        "digest": manifest.digest,
        "cutoff": dg.MetadataValue.timestamp(manifest.cutoff),
        "expires_at": dg.MetadataValue.timestamp(manifest.expires_at),
        "confirms": manifest.confirms or "(no earlier sweep)",
        "outcome": closing_line(manifest),
        "orphans": manifest.orphans.objects,
        "orphan_bytes": manifest.orphans.bytes,
        "deletable": manifest.deletable.objects,
        "deletable_bytes": manifest.deletable.bytes,
        "unowned": manifest.unowned.objects,
        "deletable_by_prefix": amounts_metadata(
            {prefix: figures.deletable for prefix, figures in manifest.prefixes.items()}, first="prefix"
        ),
        "holds": amounts_metadata(manifest.holds, first="hold"),
    }


def _check_results(gates: list[Gate]) -> list[dg.AssetCheckResult]:
    return [_check_result(name, [gate for gate in gates if gate.name == name]) for name in GATES]


def _check_result(name: str, gates: list[Gate]) -> dg.AssetCheckResult:
    """One check a gate; where it is asked of several sources or prefixes, all must pass and the worst ones are told."""
    tripped = [gate for gate in gates if not gate.passed]
    told = tripped or gates
    # As numbers of their own, since the UI draws those over the sweeps; of several gates the first that tripped, else the first.
    plotted = {"found": round(told[0].found, 6), "limit": told[0].limit} if told else {}
    return dg.AssetCheckResult(
        check_name=name,
        passed=not tripped,
        severity=dg.AssetCheckSeverity.WARN if name in PREFIX_GATES else dg.AssetCheckSeverity.ERROR,
        description="; ".join(gate.message for gate in told[:5]) or "nothing to compare",
        metadata={
            **plotted,
            "gates": dg.MetadataValue.table(
                [
                    dg.TableRecord(
                        {
                            "prefix": gate.prefix or "",
                            "passed": gate.passed,
                            "found": round(gate.found, 6),
                            "limit": gate.limit,
                            "message": gate.message,
                        }
                    )
                    for gate in gates
                ],
                schema=dg.TableSchema(
                    [
                        dg.TableColumn("prefix", "string"),
                        dg.TableColumn("passed", "bool"),
                        dg.TableColumn("found", "float"),
                        dg.TableColumn("limit", "float"),
                        dg.TableColumn("message", "string"),
                    ]
                ),
            ),
        },
    )
