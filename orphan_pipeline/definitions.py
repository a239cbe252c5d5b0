"""The one place where everything meets: the settings file becomes a Dagster code location."""

from collections.abc import Mapping
from pathlib import Path

import dagster as dg

from orphan_pipeline.assets.dangling_references import dangling_references
from orphan_pipeline.assets.deleted_objects import deleted_objects
from orphan_pipeline.assets.inventory_snapshot import inventory_snapshot
from orphan_pipeline.assets.names import LAKE, Names, database_resource_name
from orphan_pipeline.assets.orphan_set import orphan_set
from orphan_pipeline.assets.purged_quarantine import purged_quarantine
from orphan_pipeline.assets.referenced_keys import referenced_keys
from orphan_pipeline.assets.restore import restore_job
from orphan_pipeline.assets.sources import source_specs
from orphan_pipeline.automation import deletion_job, deletion_sensor, nightly_schedule, purge_job, purge_schedule, sweep_job
from orphan_pipeline.lake.layout import Lake
from orphan_pipeline.resources.bucket import bucket_resource
from orphan_pipeline.resources.databases import database_resource
from orphan_pipeline.resources.lake import LakeResource
from orphan_pipeline.settings.load import find_settings, load_settings
from orphan_pipeline.settings.model import BucketSettings, Settings


def build_definitions(settings: Settings, *, resource_overrides: Mapping[str, object] | None = None) -> dg.Definitions:
    """The whole graph of these settings. Connects to nothing and reads no secret."""
    own = [_bucket_definitions(name, bucket, settings) for name, bucket in settings.buckets.items()]
    resources: dict[str, object] = {
        LAKE: LakeResource(root=str(settings.lake)),
        **{Names(name).bucket_resource: bucket_resource(bucket) for name, bucket in settings.buckets.items()},
        **{database_resource_name(name): database_resource(database) for name, database in settings.databases.items()},
        **(resource_overrides or {}),
    }
    shared = dg.Definitions(
        assets=source_specs(settings),
        resources=resources,
        # A step costs 0.1 s in the run's process and 2.5 s in one of its own, and the stages of a sweep follow one another anyway.
        executor=dg.in_process_executor,
    )
    return dg.Definitions.merge(shared, *own)


def _bucket_definitions(name: str, bucket: BucketSettings, settings: Settings) -> dg.Definitions:
    sweep, deletion, lake = sweep_job(name), deletion_job(name), Lake(Path(settings.lake)).bucket(name)
    stages = dg.Definitions(
        assets=[
            inventory_snapshot(name, bucket),
            referenced_keys(name, settings),
            dangling_references(name, bucket, memory_bytes=settings.memory_limit),
            orphan_set(name, settings),
            deleted_objects(name, bucket, settings.databases, settings.schedule),
        ],
        jobs=[sweep, deletion, restore_job(name, bucket)],
        schedules=[nightly_schedule(name, sweep, settings.schedule)],
        sensors=[deletion_sensor(name, lake, after=sweep, request=deletion)],
    )
    if bucket.deletion.quarantine is None and not lake.ever_quarantined:
        return stages
    purge = purge_job(name)
    purging = dg.Definitions(
        assets=[purged_quarantine(name, bucket)], jobs=[purge], schedules=[purge_schedule(name, purge, settings.schedule)]
    )
    return dg.Definitions.merge(stages, purging)


@dg.definitions
def definitions() -> dg.Definitions:
    """An empty graph, with one clear line, where there is no settings file yet. Raises BadSettings for one that cannot be used."""
    path = find_settings(None)
    if path is None:
        dg.get_dagster_logger("orphan_pipeline").warning(
            "No settings file: the graph is empty. Write orphan_pipeline.yaml (`orphan-pipeline init`) or set ORPHAN_PIPELINE_SETTINGS."
        )
        return dg.Definitions()
    return build_definitions(load_settings(path))
