"""The asset `deleted_objects`, one partition a prefix: carries out that prefix's plan. Whether it may is decided in
orphan_pipeline.deletion.authorise, how it is done in orphan_pipeline.deletion.execute."""

from datetime import UTC, datetime

import dagster as dg

from orphan_pipeline.assets.names import LAKE, Names
from orphan_pipeline.assets.shell import amounts_metadata, bucket_lake, one_line_failures, table_metadata
from orphan_pipeline.deletion.authorise import Authorised, authorise
from orphan_pipeline.deletion.deleter import VersionedDeleter
from orphan_pipeline.deletion.execute import Deleter, execute_plan, pretend
from orphan_pipeline.deletion.ledger import LEDGER
from orphan_pipeline.deletion.permanent import UnversionedDeleter, VersionDeleter, refuse_unless_permanent_is_exact
from orphan_pipeline.deletion.preflight import refuse_unless_conditional, refuse_unless_undoable, versioning_of
from orphan_pipeline.deletion.quarantine.deleter import QuarantineDeleter
from orphan_pipeline.deletion.quarantine.place import Quarantine, remember
from orphan_pipeline.deletion.quarantine.preflight import tried_quarantine
from orphan_pipeline.deletion.undo.notes import refuse_if_restored
from orphan_pipeline.deletion.undo.selection import beginning_of
from orphan_pipeline.errors import Refused
from orphan_pipeline.inventory.snapshot import Amount
from orphan_pipeline.lake.layout import BucketLake
from orphan_pipeline.partitions import prefix_partitions
from orphan_pipeline.resources.bucket import BucketResource
from orphan_pipeline.settings.model import BucketSettings, DatabaseSettings


class DeletionConfig(dg.Config):
    plan: str = ""
    """Digest of the plan to carry out; empty: the latest sweep's plan for the partition."""

    mode: str = ""
    """The mode that whoever asked for this run was told; empty: whatever the settings say."""


def deleted_objects(name: str, settings: BucketSettings, databases: dict[str, DatabaseSettings]) -> dg.AssetsDefinition:
    names = Names(name)

    @dg.asset(
        key=names.asset("deleted_objects"),
        deps=[names.asset("orphan_set")],
        partitions_def=prefix_partitions(name),
        required_resource_keys={names.bucket_resource, LAKE},
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
            authorised = authorise(
                lake,
                context.partition_key,
                digest=config.plan or None,
                settings=settings,
                databases=databases,
                now=datetime.now(UTC),
            )
            if authorised is None:
                context.log.info("%s: nothing to delete, the latest sweep has no plan for it", context.partition_key)
                return dg.MaterializeResult(metadata={"dagster/partition_row_count": 0, "mode": settings.deletion.mode})
            with authorised.ledger.exclusively():
                refuse_if_restored(lake, authorised.manifest, authorised.plan)  # a restore may have had the ledger until now
                execute_plan(
                    lake.sweep(authorised.manifest.sweep_id).root / authorised.plan.file,
                    ledger=authorised.ledger,
                    of=authorised.ledger_plan,
                    run_id=context.run.run_id,
                    deleter=_deleter(getattr(context.resources, names.bucket_resource), lake, settings, authorised),
                    keys=authorised.plan.amount.objects,
                    expires_at=authorised.manifest.expires_at,
                    report=context.log.info,
                )
        return _result(authorised)

    return deleted_objects


def refuse_another_mode(settings: BucketSettings, asked: str) -> None:
    """A run may be executed by a daemon that has another settings file: who agreed to pretend must not find objects deleted."""
    if asked and asked != settings.deletion.mode:
        raise Refused(
            f"this run was asked for in mode {asked}, and the settings of the process that executes it say {settings.deletion.mode}: "
            "let both have the same settings file"
        )


def _deleter(resource: BucketResource, lake: BucketLake, settings: BucketSettings, authorised: Authorised) -> Deleter:
    """Of the mode, after what must be true for it was looked at."""
    if authorised.dry_run:
        return pretend
    client, bucket, deletion = resource.get_client(), settings.bucket, settings.deletion
    refuse_unless_conditional(client, bucket)
    conditional = VersionedDeleter(
        client=client, once=resource.get_client_that_asks_once(), bucket=bucket, keys_per_second=deletion.max_keys_per_second
    )
    if deletion.mode == "quarantine" and deletion.quarantine is not None:
        quarantine = Quarantine.of(deletion.quarantine)
        copier = tried_quarantine(client, bucket, quarantine, deletion.undo_window)
        remember(lake, quarantine, at=datetime.now(UTC))
        return QuarantineDeleter(inner=conditional, copier=copier, bucket=bucket, quarantine=quarantine, plan=authorised.plan.digest)
    if deletion.mode == "permanent":
        versioning = versioning_of(client, bucket)
        refuse_unless_permanent_is_exact(bucket, versioning)
        if versioning == "enabled":
            return VersionDeleter(client=client, bucket=bucket)
        return UnversionedDeleter(inner=conditional, client=client, bucket=bucket)
    refuse_unless_undoable(client, bucket, deletion.undo_window, prefix=beginning_of(authorised.plan.prefix))
    return conditional


def _result(authorised: Authorised) -> dg.MaterializeResult[None]:
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
        "outcomes": amounts_metadata(totals, first="outcome"),
    }
    if failed:
        raise dg.Failure(
            f"the store refused {failed:,} of {authorised.plan.amount.objects:,} keys: see the ledger's column `code`",
            metadata=metadata,
            allow_retries=False,
        )
    return dg.MaterializeResult(metadata=metadata)
