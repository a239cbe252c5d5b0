"""The one step here that is no asset: taking back what a ledger says was deleted, or releasing what was taken back. The work is in
orphan_pipeline.deletion.undo."""

import getpass
from datetime import UTC, datetime

import dagster as dg

from orphan_pipeline.assets.guards import leased_alone
from orphan_pipeline.assets.names import LAKE, Names
from orphan_pipeline.assets.shell import bucket_lake, one_line_failures
from orphan_pipeline.deletion.undo.outcomes import RestoreTotals
from orphan_pipeline.deletion.undo.releases import release_restored
from orphan_pipeline.deletion.undo.restore import restore_selected
from orphan_pipeline.deletion.undo.selection import Selection, selected
from orphan_pipeline.errors import Refused
from orphan_pipeline.lake.layout import BucketLake
from orphan_pipeline.resources.bucket import BucketResource
from orphan_pipeline.settings.model import BucketSettings
from orphan_pipeline.wording import counted


class RestoreConfig(dg.Config):
    """One of plan, prefix and key says what is brought back, or since and until, which can also narrow one of them."""

    plan: str = ""
    prefix: str = ""
    key: str = ""
    since: str = ""
    """`2026-11-20`, `2026-11-20T14:30` (UTC), or so long ago: `36h`. A prefix without it: inside the undo window."""

    until: str = ""
    include_unknown: bool = False
    """Also what went with a marker that may be the application's own."""

    sample: int = 0
    """Of so many restored objects the content is read and compared with the ETag."""

    release: bool = False
    """Bring back nothing: let later sweeps plan again what was restored (of the plan, the prefix or the key)."""

    everything: bool = False
    """For `release`: all that was ever restored."""


def restore_job(name: str, settings: BucketSettings) -> dg.JobDefinition:
    names = Names(name)

    @dg.op(
        name=names.restore_step,
        description="Brings back the objects of one plan, one prefix, one key or a stretch of time, never over a newer object.",
        required_resource_keys={names.bucket_resource, LAKE},
    )
    def restore_objects(context: dg.OpExecutionContext, config: RestoreConfig) -> None:
        lake = bucket_lake(context, name)
        with one_line_failures():
            if config.release:
                objects = release(lake, config, release_id=context.run.run_id)
                context.log.info("release: %s objects are not held as restored any more", objects)
                return
        resource: BucketResource = getattr(context.resources, names.bucket_resource)
        client = resource.get_client()
        with (
            one_line_failures(),
            leased_alone(client, settings, lake=lake, purpose="restore", run_id=context.run.run_id, report=context.log.info) as lease,
        ):
            selection = selected(
                plan=config.plan,
                prefix=config.prefix,
                key=config.key,
                since=config.since,
                until=config.until,
                now=datetime.now(UTC),
                undo_window=settings.deletion.undo_window,
            )
            totals = restore_selected(
                client,
                settings.bucket,
                lake=lake,
                selection=selection,
                include_unknown=config.include_unknown,
                restore_id=context.run.run_id,
                go_on=lease.check,
                report=context.log.info,
                sample=config.sample,
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
        failure = what_is_missing(totals, selection)
        if failure:
            raise dg.Failure(failure, allow_retries=False)

    @dg.job(name=names.restore_job, description=f"Takes back what was deleted from bucket {settings.bucket}.")
    def job() -> None:
        restore_objects()

    return job


def release(lake: BucketLake, config: RestoreConfig, *, release_id: str) -> int:
    """How many objects are released. Raises Refused unless it is clear which."""
    named = [value for value in (config.plan, config.prefix, config.key) if value]
    if len(named) + config.everything != 1 or config.since or config.until:
        raise Refused("release: expected exactly one of plan, prefix, key and all, and no since or until")
    selection = Selection(plan=config.plan, prefix=config.prefix, key=config.key)
    return release_restored(lake, selection, release_id=release_id, by=getpass.getuser(), at=datetime.now(UTC))


def what_is_missing(totals: RestoreTotals, selection: Selection) -> str:
    """One line on what was not brought back though it was asked for, and how it can be; empty when nothing is missing."""
    lines = {
        f"{counted(totals.lost, 'object')} could not be brought back: their versions or copies are gone": totals.lost,
        f"the store refused to bring back {counted(totals.refused, 'object')}: see column `code` of the restore": totals.refused,
        f"{counted(totals.unknown, 'object')} went by a delete that may be the application's own; to bring back such too: "
        f"orphan-pipeline restore {selection.options} --include-unknown": totals.unknown,
    }
    return "; ".join(line for line, objects in lines.items() if objects)
