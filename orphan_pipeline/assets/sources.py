"""Where lineage begins: the live bucket and every table or query that references come from, as external assets."""

import dagster as dg

from orphan_pipeline.assets.names import live_bucket_key, source_key
from orphan_pipeline.settings.model import BucketSettings, ReferenceSettings, Settings

GROUP = "sources"


def source_specs(settings: Settings) -> list[dg.AssetSpec]:
    """One spec a bucket and a table, each once, however many sources name it."""
    specs: dict[dg.AssetKey, dg.AssetSpec] = {}
    for bucket in settings.buckets.values():
        specs.setdefault(live_bucket_key(bucket), _live_bucket(bucket))
        for reference in bucket.references:
            specs.setdefault(source_key(reference), _source(reference, bucket))
    return list(specs.values())


def _live_bucket(bucket: BucketSettings) -> dg.AssetSpec:
    return dg.AssetSpec(
        live_bucket_key(bucket),
        description=f"The live bucket {bucket.bucket}, as applications write to it.",
        group_name=GROUP,
        owners=bucket.owners,
        kinds={"s3"},
        metadata={"dagster/uri": f"s3://{bucket.bucket}"},
    )


def _source(reference: ReferenceSettings, bucket: BucketSettings) -> dg.AssetSpec:
    key = source_key(reference)
    kinds = {"postgres"} if reference.of_postgres else {"file"}
    if not reference.of_postgres:
        described = f"What {reference.file or reference.lake} says that points at objects, for a system that is not asked itself."
        metadata: dict[str, str] = {}
    elif reference.table is None:
        described = f"The answer of the query of source {reference.name} in database {reference.database}."
        metadata = {}
    else:
        described = f"Table {reference.table} of database {reference.database}, whose rows point at objects."
        metadata = {"dagster/table_name": ".".join(key.path)}
    return dg.AssetSpec(key, description=described, group_name=GROUP, owners=bucket.owners, kinds=kinds, metadata=metadata)
