"""What the commands say of a sweep that failed, and of plans that were carried out or taken back since."""

from pathlib import Path

import pytest
from sweep_files import bucket_settings, publish

from orphan_pipeline.cli.sweep import tripped_words
from orphan_pipeline.lake.layout import BucketLake
from orphan_pipeline.orphans.acceptance import gates_of


@pytest.fixture
def lake(tmp_path: Path) -> BucketLake:
    return BucketLake(tmp_path)


def test_tripped_gates_of_prefixes_are_named_beside_those_of_the_bucket(lake: BucketLake) -> None:
    made = publish(lake, "s1", orphans=["a/1", "a/2", "b/3"], referenced=["a/kept", "b/1"], baseline=False)
    assert tripped_words(made, gates_of(lake, made, bucket_settings())) == (
        "gates baseline, orphan_fraction are tripped, and prefix_orphan_fraction in 1 prefix"
    )
