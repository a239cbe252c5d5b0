"""Prefixes as Dagster partitions. Dynamic: `orphan_set` registers them, since folders come and go."""

import dagster as dg

from orphan_pipeline.assets.names import Names


def prefix_partitions(bucket: str) -> dg.DynamicPartitionsDefinition:
    return dg.DynamicPartitionsDefinition(name=Names(bucket).prefixes)
