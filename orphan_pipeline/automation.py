"""What runs, when, and what follows: the sweep job and its nightly schedule, the deletion job, and the sensor that requests deletion
after a sweep that succeeded. Schedule and sensor are off until someone turns them on."""

from collections.abc import Iterator, Sequence

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from orphan_pipeline.assets.names import Names
from orphan_pipeline.assets.shell import sweep_id_of
from orphan_pipeline.lake.files import read_document
from orphan_pipeline.lake.layout import BucketLake
from orphan_pipeline.orphans.manifest import Manifest
from orphan_pipeline.settings.model import ScheduleSettings

SWEEP_TAG = "orphan_pipeline/sweep"
SENSOR_SECONDS = 10
"""A run-status sensor starts five runs a tick."""


def sweep_job(bucket: str) -> UnresolvedAssetJobDefinition:
    """Everything but deletion in one run, so that one sweep is one consistent cut in time."""
    stages = ("inventory_snapshot", "referenced_keys", "dangling_references", "orphan_set")
    return _job(
        bucket, Names(bucket).sweep_job, stages, f"One sweep of {bucket}: inventory, references, orphan set, gates. Deletes nothing."
    )


def deletion_job(bucket: str) -> UnresolvedAssetJobDefinition:
    return _job(bucket, Names(bucket).deletion_job, ["deleted_objects"], f"Carries out the plan of one prefix of {bucket}.")


def purge_job(bucket: str) -> UnresolvedAssetJobDefinition:
    words = f"Removes from quarantine what {bucket} lost longer ago than the undo window."
    return _job(bucket, Names(bucket).purge_job, ["purged_quarantine"], words)


def nightly_schedule(bucket: str, job: UnresolvedAssetJobDefinition, settings: ScheduleSettings) -> dg.ScheduleDefinition:
    return _nightly(Names(bucket).schedule, job, settings, f"Sweeps {bucket}.")


def purge_schedule(bucket: str, job: UnresolvedAssetJobDefinition, settings: ScheduleSettings) -> dg.ScheduleDefinition:
    """Of its own: whoever turns sweeps on has not yet agreed to end any undo."""
    return _nightly(Names(bucket).purge_schedule, job, settings, f"Purges the quarantine of {bucket} after the undo window.")


def _job(bucket: str, name: str, assets: Sequence[str], description: str) -> UnresolvedAssetJobDefinition:
    selection = dg.AssetSelection.assets(*map(Names(bucket).asset, assets))
    return dg.define_asset_job(name, selection=selection, description=description)


def _nightly(name: str, job: UnresolvedAssetJobDefinition, settings: ScheduleSettings, description: str) -> dg.ScheduleDefinition:
    return dg.ScheduleDefinition(
        name=name,
        job=job,
        cron_schedule=settings.cron,
        execution_timezone=settings.timezone,
        default_status=dg.DefaultScheduleStatus.STOPPED,
        description=description,
    )


def deletion_request(bucket: str, manifest: Manifest, prefix: str) -> dg.RunRequest:
    """One prefix of one sweep. The run key is made of both, so that no tick asks twice."""
    plan = manifest.plans[prefix]
    return dg.RunRequest(
        run_key=f"{manifest.sweep_id}:{prefix}",
        partition_key=prefix,
        run_config=deletion_config(bucket, plan.digest),
        tags={SWEEP_TAG: manifest.sweep_id},
    )


def deletion_config(bucket: str, plan_digest: str, *, mode: str = "") -> dict[str, object]:
    config = {"plan": plan_digest, **({"mode": mode} if mode else {})}
    return {"ops": {Names(bucket).deletion_step: {"config": config}}}


def deletion_sensor(
    bucket: str,
    lake: BucketLake,
    *,
    after: UnresolvedAssetJobDefinition,
    request: UnresolvedAssetJobDefinition,
) -> dg.SensorDefinition:
    """Reads the manifest of the very run that succeeded: a run of part of the job, or of nothing, has none and requests nothing."""

    @dg.run_status_sensor(
        name=Names(bucket).sensor,
        run_status=dg.DagsterRunStatus.SUCCESS,
        monitored_jobs=[after],
        request_job=request,
        minimum_interval_seconds=SENSOR_SECONDS,
        default_status=dg.DefaultSensorStatus.STOPPED,
        description=f"After a sweep of {bucket} that passed its gates, requests one deletion run for each prefix with a plan.",
    )
    def sensor(context: dg.RunStatusSensorContext) -> Iterator[dg.RunRequest | dg.SkipReason]:
        sweep = lake.sweep(sweep_id_of(context.dagster_run))
        if not sweep.published:
            yield dg.SkipReason(f"run {context.dagster_run.run_id} left no manifest: it was no whole sweep")
            return
        manifest = read_document(sweep.manifest, Manifest)
        if not manifest.plans:
            yield dg.SkipReason(f"sweep {manifest.sweep_id} has nothing to delete")
        for prefix in manifest.plans:
            yield deletion_request(bucket, manifest, prefix)

    return sensor
