"""The one step here that is no asset: taking back what a ledger says was deleted. The work is in orphan_pipeline.deletion.restore."""

from shlex import quote

import dagster as dg

from orphan_pipeline.assets.guards import leased_for_restore
from orphan_pipeline.assets.names import LAKE, Names
from orphan_pipeline.assets.shell import bucket_lake, one_line_failures
from orphan_pipeline.deletion.restore import RestoreTotals, restore_selected
from orphan_pipeline.resources.bucket import BucketResource
from orphan_pipeline.settings.model import BucketSettings


class RestoreConfig(dg.Config):
    """Exactly one of the three says what is brought back."""

    plan: str = ""
    prefix: str = ""
    key: str = ""
    include_unknown: bool = False
    """Also what went with a marker that may be the application's own."""


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
        client = resource.get_client()
        with one_line_failures(), leased_for_restore(client, settings, lake=lake, run_id=context.run.run_id, report=context.log.info):
            totals = restore_selected(
                client,
                settings.bucket,
                lake=lake,
                plan=config.plan,
                prefix=config.prefix,
                key=config.key,
                include_unknown=config.include_unknown,
                restore_id=context.run.run_id,
                report=context.log.info,
            )
        context.log.info(
            "restore: %s restored, %s newer, %s deleted again, %s lost, %s refused, %s unknown",
            totals.restored,
            totals.newer,
            totals.deleted_again,
            totals.lost,
            totals.refused,
            totals.unknown,
        )
        failure = what_is_missing(totals, config)
        if failure:
            raise dg.Failure(failure, allow_retries=False)

    @dg.job(name=names.restore_job, description=f"Takes back what was deleted from bucket {settings.bucket}.")
    def job() -> None:
        restore_objects()

    return job


def what_is_missing(totals: RestoreTotals, config: RestoreConfig) -> str:
    """One line on what was not brought back though it was asked for, and how it can be; empty when nothing is missing."""
    asked = f"--plan {config.plan}" if config.plan else f"--prefix {quote(config.prefix)}"
    lines = {
        f"{totals.lost:,} objects could not be brought back: their versions are gone": totals.lost,
        f"the store would not remove the delete markers of {totals.refused:,} objects: see column `code` of the restore": totals.refused,
        f"{totals.unknown:,} objects are hidden by delete markers that may be the application's own and were left alone; to bring them "
        f"back too: orphan-pipeline restore {asked} --include-unknown": totals.unknown,
    }
    return "; ".join(line for line, objects in lines.items() if objects)
