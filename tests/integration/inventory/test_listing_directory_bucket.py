"""S3's directory buckets: listed whole by folders alone, by a client that opens a session."""

from functools import partial
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from directory_bucket import directory_bucket

from orphan_pipeline.inventory.listing.asking import Asker
from orphan_pipeline.inventory.prefixes import OwnedPrefix
from orphan_pipeline.inventory.snapshot import PART
from orphan_pipeline.inventory.take import take_inventory
from orphan_pipeline.resources.bucket import BucketResource
from orphan_pipeline.settings.model import InventorySettings

BUCKET = "media--use1-az4--x-s3"
KEYS = {f"uploads/{day:02d}/{n % 3}/é {n:03d}+" for day in range(6) for n in range(20)} | {"top", "uploads/x", "a/b/c/d/e/f", "a/b"}


@pytest.mark.parametrize("folders_a_worker", [1, 64])
def test_every_object_is_listed_once_and_nothing_asked_that_such_a_bucket_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folders_a_worker: int
) -> None:
    monkeypatch.setattr("orphan_pipeline.inventory.take.Asker", partial(Asker, page_keys=7, attempts=2))
    monkeypatch.setattr("orphan_pipeline.inventory.listing.lister.FOLDERS_A_WORKER", folders_a_worker)
    monkeypatch.setenv("A_KEY", "key")
    lines: list[str] = []
    with directory_bucket(KEYS, uploading=["uploading/now/", "uploads/03/now/"]) as server:
        resource = BucketResource(
            bucket=BUCKET, endpoint_url=server.endpoint, region_name="us-east-1", access_key_id_env="A_KEY", secret_access_key_env="A_KEY"
        )
        figures = None
        for _ in range(2):  # the second learns from the first
            figures = take_inventory(
                resource.get_client(),
                BUCKET,
                InventorySettings(concurrency=3),
                prefixes=[OwnedPrefix(path="uploads/", split=1)],
                last=figures,
                folder=tmp_path,
                report=lines.append,
            )
            assert sorted(map(str, pq.read_table(tmp_path / PART)["key"].to_pylist())) == sorted(KEYS)
    assert server.refused == []
    assert figures is not None
    assert figures.listing is not None
    assert not figures.listing.in_order
    assert not any("listing again" in line for line in lines)
    assert figures.storage_classes.keys() == {"EXPRESS_ONEZONE"}
