"""The lake as a Dagster resource. Its paths are in orphan_pipeline.lake.layout."""

from pathlib import Path

import dagster as dg

from orphan_pipeline.lake.layout import BucketLake, Lake


class LakeResource(dg.ConfigurableResource[None]):
    root: str

    def bucket(self, name: str) -> BucketLake:
        return Lake(Path(self.root)).bucket(name)
