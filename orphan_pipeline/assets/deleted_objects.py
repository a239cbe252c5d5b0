"""The asset `deleted_objects`, one partition a prefix: carries out that prefix's plan. Whether it may is decided in
orphan_pipeline.deletion.authorise, how it is done in orphan_pipeline.deletion.execute."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, datetime, time
from functools import partial
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import dagster as dg

from orphan_pipeline.assets.guards import guarded
from orphan_pipeline.assets.names import LAKE, Names, database_resource_name
from orphan_pipeline.assets.shell import amounts_metadata, bucket_lake, one_line_failures, table_metadata
from orphan_pipeline.deletion.abilities import chosen_way, prepared, probe_store
from orphan_pipeline.deletion.authorise import Authorised, authorise
from orphan_pipeline.deletion.deleter import VersionedDeleter
from orphan_pipeline.deletion.ending import Ended
from orphan_pipeline.deletion.execute import Deleter, execute_plan, pretend
from orphan_pipeline.deletion.ledger import LEDGER
from orphan_pipeline.deletion.newer.late import LateLook
from orphan_pipeline.deletion.newer.objects import NewerObjects, decides_in_one_step
from orphan_pipeline.deletion.pace.pace import Pace, ceiling_of_host
from orphan_pipeline.deletion.pace.shared import file_of
from orphan_pipeline.deletion.permanent import UnversionedDeleter, VersionDeleter, refuse_unless_permanent_is_exact
from orphan_pipeline.deletion.preflight import refuse_unless_undoable, versioning_of, warning_of_overwrites
from orphan_pipeline.deletion.quarantine.deleter import QuarantineDeleter
from orphan_pipeline.deletion.quarantine.place import Quarantine, remember
from orphan_pipeline.deletion.quarantine.preflight import tried_quarantine
from orphan_pipeline.deletion.stopping import Limits, Window
from orphan_pipeline.deletion.undo.at_once import WRITTEN_MEANWHILE, bringing_back
from orphan_pipeline.deletion.undo.renamed import refuse_if_renamed
from orphan_pipeline.deletion.undo.selection import beginning_of
from orphan_pipeline.errors import Refused
from orphan_pipeline.flat_memory import flat_memory
from orphan_pipeline.inventory.snapshot import Amount
from orphan_pipeline.lake.layout import BucketLake
from orphan_pipeline.orphans.approving import approvable, record_approval
from orphan_pipeline.orphans.pauses import PauseWatch
from orphan_pipeline.partitions import prefix_partitions
from orphan_pipeline.resources.bucket import BucketResource
from orphan_pipeline.settings.model import BucketSettings, DatabaseSettings, ScheduleSettings

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


class DeletionConfig(dg.Config):
    plan: str = ""
    """Digest of the plan to carry out; empty: the latest sweep's plan for the partition."""

    mode: str = ""
    """The mode that whoever asked for this run was told; empty: whatever the settings say."""

    approve: str = ""
    """Digest of the sweep, or of the plan, whose tripped gates shall pass."""

    approved_by: str = ""
    """Who says so; empty: the run."""


def deleted_objects(
    name: str, settings: BucketSettings, databases: dict[str, DatabaseSettings], schedule: ScheduleSettings
) -> dg.AssetsDefinition:
    names = Names(name)
    asked = sorted({reference.database for reference in settings.references if reference.database})

    @dg.asset(
        key=names.asset("deleted_objects"),
        deps=[names.asset("orphan_set")],
        partitions_def=prefix_partitions(name),
        required_resource_keys={names.bucket_resource, LAKE, *map(database_resource_name, asked)},
        pool=names.deletion_pool,
        description="What the store answered when the plan of one prefix was carried out, a ledger file a chunk. Every gate is "
        "evaluated again first; in mode dry_run nothing is sent to the store and the ledger is kept apart.",
        group_name=names.identifier,
        owners=settings.owners,
        kinds={"s3", "parquet"},
    )
    def deleted_objects(context: dg.AssetExecutionContext, config: DeletionConfig) -> dg.MaterializeResult[None]:
        lake = bucket_lake(context, name)
        with one_line_failures():
            refuse_another_mode(settings, config.mode)
            refuse_if_renamed(lake, settings)
            if config.approve:
                by = config.approved_by or f"run {context.run.run_id}"
                record_approval(lake, approvable(lake, settings, config.approve), by=by, at=datetime.now(UTC))
            ask = partial(authorise, lake, context.partition_key, settings=settings, databases=databases)
            authorised = ask(digest=config.plan or None, now=datetime.now(UTC))
            if authorised is None:
                context.log.info("%s: nothing to delete, the latest sweep has no plan for it", context.partition_key)
                return dg.MaterializeResult(metadata={"dagster/partition_row_count": 0, "mode": settings.deletion.mode})
            plan = lake.sweep(authorised.manifest.sweep_id).root / authorised.plan.file
            resource: BucketResource = getattr(context.resources, names.bucket_resource)
            with (
                flat_memory("mapped"),
                authorised.ledger.exclusively(),
                guarded(
                    name,
                    settings,
                    databases={database: getattr(context.resources, database_resource_name(database)) for database in asked},
                    client=resource.get_client(),
                    lake=lake,
                    authorised=authorised,
                    plan=plan,
                    run_id=context.run.run_id,
                    report=context.log.info,
                ) as guards,
                _way(resource, lake, settings, authorised, warn=context.log.warning) as (deleter, newer, pace),
            ):
                # While the lease was waited for, a newer sweep may have been published, or a restore may have had the ledger.
                ask(digest=authorised.plan.digest, now=datetime.now(UTC))
                again = _looked_at_again(newer, resource.get_client(), lake, authorised, context)
                ended = execute_plan(
                    plan,
                    ledger=authorised.ledger,
                    of=authorised.ledger_plan,
                    run_id=context.run.run_id,
                    deleter=deleter,
                    keys=authorised.plan.amount.objects,
                    limits=_limits(lake, settings, schedule, authorised),
                    report=context.log.info,
                    guards=[*guards.guards, *again],
                    newer=newer,
                    pace=pace,
                    concurrency=settings.deletion.concurrency,
                    rest=settings.deletion.rest,
                )
        return _result(authorised, ended, guards.metadata())

    return deleted_objects


def refuse_another_mode(settings: BucketSettings, asked: str) -> None:
    """A run may be executed by a daemon that has another settings file: who agreed to pretend must not find objects deleted."""
    if asked and asked != settings.deletion.mode:
        raise Refused(
            f"this run was asked for in mode {asked}, and the settings of the process that executes it say {settings.deletion.mode}: "
            "let both have the same settings file"
        )


@contextmanager
def _way(
    resource: BucketResource, lake: BucketLake, settings: BucketSettings, authorised: Authorised, *, warn: Callable[[str], None]
) -> Iterator[tuple[Deleter, NewerObjects | None, Pace | None]]:
    """How objects go in this mode, and how fast. Whatever the store must be able to do is found out before."""
    if authorised.dry_run:
        yield pretend, None, None
        return
    deletion = settings.deletion
    client = resource.get_client()
    versioning = versioning_of(client, settings.bucket)
    if deletion.mode == "versioned":
        refuse_unless_undoable(client, settings.bucket, deletion.undo_window, prefix=beginning_of(authorised.plan.prefix))
    if deletion.mode == "permanent":
        refuse_unless_permanent_is_exact(settings.bucket, versioning)
    danger = warning_of_overwrites(client, settings.bucket, deletion.mode, versioning)
    if danger:
        warn(danger)
    abilities = probe_store(client, settings.bucket)
    once = prepared(resource.get_client_that_asks_once(), abilities)
    way = chosen_way(abilities, settings.bucket, allow_unconditional=deletion.allow_unconditional_delete)
    ceiling = ceiling_of_host(deletion.max_keys_per_second, hosts=deletion.hosts)
    with (
        closing(Pace(file_of(client.meta.endpoint_url, settings.bucket), ceiling=ceiling)) as pace,
        closing(VersionedDeleter(client=client, once=once, bucket=settings.bucket, pace=pace, way=way)) as conditional,
        closing(NewerObjects(client=client, bucket=settings.bucket)) as newer,
    ):
        markers = newer if versioning == "enabled" and not decides_in_one_step(client.meta.endpoint_url) else None
        if deletion.mode == "quarantine":
            with closing(_into_quarantine(client, conditional, lake, settings, plan=authorised.plan.digest)) as copying:
                yield copying, markers, pace
        elif deletion.mode == "permanent" and versioning == "enabled":
            with closing(VersionDeleter(client=client, once=once, bucket=settings.bucket, pace=pace)) as exact:
                yield exact, None, pace
        elif deletion.mode == "permanent":
            yield UnversionedDeleter(inner=conditional, client=client, bucket=settings.bucket), None, pace
        else:
            yield conditional, markers, pace


def _looked_at_again(
    newer: NewerObjects | None, client: "S3Client", lake: BucketLake, authorised: Authorised, context: dg.AssetExecutionContext
) -> list[LateLook]:
    if newer is None:
        return []
    bucket, ledger = authorised.ledger_plan.bucket, authorised.ledger
    bring_back = bringing_back(client, bucket, WRITTEN_MEANWHILE, lake=lake, ledger=ledger, run_id=context.run.run_id)
    return [LateLook(newer=newer, ledger=ledger, bring_back=bring_back, report=context.log.info)]


def _into_quarantine(client: "S3Client", inner: Deleter, lake: BucketLake, settings: BucketSettings, *, plan: str) -> QuarantineDeleter:
    quarantine = Quarantine.of(settings.deletion.quarantine or "")  # the settings see to it that there is one
    copier = tried_quarantine(client, settings.bucket, quarantine, settings.deletion.undo_window)
    remember(lake, quarantine, at=datetime.now(UTC))
    return QuarantineDeleter(inner=inner, copier=copier, bucket=settings.bucket, quarantine=quarantine, plan=plan)


def _limits(lake: BucketLake, settings: BucketSettings, schedule: ScheduleSettings, authorised: Authorised) -> Limits:
    hour = None if authorised.dry_run else settings.deletion.not_after
    return Limits(
        expires_at=authorised.manifest.expires_at,
        window=Window(not_after=time.fromisoformat(hour), timezone=ZoneInfo(schedule.timezone)) if hour else None,
        kill_switch=lake.kill_switch,
        paused=PauseWatch(lake).words,
        max_deletions=settings.deletion.max_deletions,
    )


def _result(authorised: Authorised, ended: Ended, guarded_by: Mapping[str, dg.MetadataValue]) -> dg.MaterializeResult[None]:
    totals = authorised.ledger.totals()
    failed = totals.get("failed", Amount(0, 0)).objects
    metadata = {
        **table_metadata(
            authorised.ledger.parquet(),
            LEDGER,
            folder=str(authorised.ledger.folder),
            rows=authorised.plan.amount.objects,
        ),
        "dagster/partition_row_count": sum(amount.objects for amount in totals.values()),
        "mode": authorised.ledger_plan.mode,
        "sweep": authorised.manifest.sweep_id,
        "plan": authorised.plan.digest,
        "ended": str(ended),
        "keys_per_second": round(ended.keys_per_second),
        "requests": ended.requests,
        "requests_slowed_down": ended.slowed,
        "outcomes": amounts_metadata(totals, first="outcome"),
        **guarded_by,
    }
    if failed:
        raise dg.Failure(
            f"{failed:,} of {authorised.plan.amount.objects:,} keys could not be deleted: see the ledger's column `code`",
            metadata=metadata,
            allow_retries=False,
        )
    return dg.MaterializeResult(metadata=metadata)
