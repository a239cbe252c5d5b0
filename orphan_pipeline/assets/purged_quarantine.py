"""The asset `purged_quarantine`: what was removed from quarantine after the undo window. The work is in
orphan_pipeline.deletion.quarantine.purge."""

from typing import Any

import dagster as dg

from orphan_pipeline.assets.guards import leased_alone
from orphan_pipeline.assets.names import LAKE, Names
from orphan_pipeline.assets.shell import amounts_metadata, bucket_lake, one_line_failures, table_metadata
from orphan_pipeline.deletion.quarantine.purge import PURGED, purge
from orphan_pipeline.inventory.clock import store_time
from orphan_pipeline.orphans.cutoff import ClockReading, time_at_least
from orphan_pipeline.orphans.pauses import refuse_if_paused
from orphan_pipeline.resources.bucket import BucketResource
from orphan_pipeline.settings.model import BucketSettings


def purged_quarantine(name: str, settings: BucketSettings) -> dg.AssetsDefinition:
    names = Names(name)

    @dg.asset(
        key=names.asset("purged_quarantine"),
        deps=[names.asset("deleted_objects")],
        required_resource_keys={names.bucket_resource, LAKE},
        description="Copies that were removed from quarantine because the undo window is over. Never one that is younger by the ledger, "
        "nor one of an object that was restored and not released.",
        group_name=names.identifier,
        owners=settings.owners,
        kinds={"s3", "parquet"},
    )
    def purged_quarantine(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        lake = bucket_lake(context, name)
        resource: BucketResource = getattr(context.resources, names.bucket_resource)
        client = resource.get_client()
        with (
            one_line_failures(),
            leased_alone(client, settings, lake=lake, purpose="purge", run_id=context.run.run_id, report=context.log.info) as lease,
        ):
            refuse_if_paused(lake)  # what is missed may have to come back from here, however long that takes
            clock = store_time(client, settings.bucket)
            totals = purge(
                client,
                settings.bucket,
                lake=lake,
                undo_window=settings.deletion.undo_window,
                now=time_at_least(ClockReading("the store", clock.store, clock.host)),
                purge_id=context.run.run_id,
                go_on=lease.check,
                report=context.log.info,
            )
        folder = lake.purge(context.run.run_id)
        files = sorted(str(path) for path in folder.glob("*.parquet"))
        metadata: dict[str, dg.MetadataValue[Any] | int] = {
            **table_metadata(files, PURGED, folder=str(folder), rows=totals.purged.objects + totals.failed.objects),
            "outcomes": amounts_metadata({"purged": totals.purged, "failed": totals.failed}, first="outcome"),
            "copies_kept": totals.kept,
            "uploads_aborted": totals.uploads,
            "plans_left_for_next_time": totals.busy,
        }
        if totals.failed.objects:
            raise dg.Failure(
                f"the store would not remove {totals.failed.objects:,} copies from quarantine: see column `code` of {folder}",
                metadata=metadata,
                allow_retries=False,
            )
        return dg.MaterializeResult(metadata=metadata)

    return purged_quarantine
