"""The one step here that is no asset: taking back what a ledger says was deleted. The work is in orphan_pipeline.deletion.restore."""

import dagster as dg

from orphan_pipeline.assets.names import LAKE, Names
from orphan_pipeline.assets.shell import bucket_lake, one_line_failures
from orphan_pipeline.deletion.restore import ledgers_to_restore, restore
from orphan_pipeline.resources.bucket import BucketResource
from orphan_pipeline.settings.model import BucketSettings


class RestoreConfig(dg.Config):
    """Exactly one of the three says what is brought back."""

    plan: str = ""
    prefix: str = ""
    key: str = ""


def restore_job(name: str, settings: BucketSettings) -> dg.JobDefinition:
    names = Names(name)

    @dg.op(
        name=names.restore_step,
        description="Brings back the objects of one plan, one prefix or one key, never over a newer object.",
        required_resource_keys={names.bucket_resource, LAKE},
    )
    def restore_objects(context: dg.OpExecutionContext, config: RestoreConfig) -> None:
        lake = bucket_lake(context, name)
        resource: BucketResource = getattr(context.resources, names.bucket_resource)
        with one_line_failures():
            totals = restore(
                resource.get_client(),
                settings.bucket,
                ledgers=ledgers_to_restore(lake, plan=config.plan, prefix=config.prefix, key=config.key),
                key=config.key or None,
                folder=lake.restore(context.run.run_id),
                report=context.log.info,
            )
        context.log.info(
            "restore: %s restored, %s newer, %s deleted again, %s lost",
            totals.restored,
            totals.newer,
            totals.deleted_again,
            totals.lost,
        )
        if totals.lost:
            raise dg.Failure(f"{totals.lost:,} objects could not be brought back: their versions are gone", allow_retries=False)

    @dg.job(name=names.restore_job, description=f"Takes back what was deleted from bucket {settings.bucket}.")
    def job() -> None:
        restore_objects()

    return job
