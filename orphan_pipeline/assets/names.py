"""What the things of one bucket are called in Dagster. Asset keys begin with the bucket's name in the settings; names of jobs,
resources and partitions with the identifier made of it."""

from dataclasses import dataclass

import dagster as dg

from orphan_pipeline.settings.model import BucketSettings, ReferenceSettings, identifier

LAKE = "lake"


@dataclass(frozen=True, slots=True)
class Names:
    """The names of one bucket of the settings."""

    bucket: str

    @property
    def identifier(self) -> str:
        return identifier(self.bucket)

    def asset(self, stage: str) -> dg.AssetKey:
        return dg.AssetKey([self.bucket, stage])

    @property
    def bucket_resource(self) -> str:
        return f"{self.identifier}_bucket"

    @property
    def prefixes(self) -> str:
        return f"{self.identifier}_prefixes"

    @property
    def sweep_job(self) -> str:
        return f"{self.identifier}_sweep_job"

    @property
    def deletion_job(self) -> str:
        return f"{self.identifier}_deletion_job"

    @property
    def restore_job(self) -> str:
        return f"{self.identifier}_restore_job"

    @property
    def purge_job(self) -> str:
        return f"{self.identifier}_purge_job"

    @property
    def purge_schedule(self) -> str:
        return f"{self.identifier}_purge_nightly"

    @property
    def schedule(self) -> str:
        return f"{self.identifier}_nightly"

    @property
    def sensor(self) -> str:
        return f"{self.identifier}_deletion_sensor"

    @property
    def deletion_pool(self) -> str:
        return f"{self.identifier}_deletion"

    @property
    def deletion_step(self) -> str:
        return f"{self.identifier}__deleted_objects"

    @property
    def restore_step(self) -> str:
        return f"{self.identifier}__restore"


def database_resource_name(database: str) -> str:
    return f"{identifier(database)}_database"


def live_bucket_key(settings: BucketSettings) -> dg.AssetKey:
    return dg.AssetKey(["s3", settings.bucket])


def source_key(reference: ReferenceSettings) -> dg.AssetKey:
    """A table, a file or a lake stands for itself, however many sources read it; a query for itself."""
    if reference.file is not None or reference.lake is not None:
        return dg.AssetKey([reference.kind, identifier((reference.file or reference.lake or "").strip("/"))])
    if reference.table is None:
        return dg.AssetKey([reference.database, "query", reference.name])
    schema, _, table = reference.table.rpartition(".")
    return dg.AssetKey([reference.database, schema or "public", table])
