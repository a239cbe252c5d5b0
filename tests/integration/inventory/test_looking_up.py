"""Whether single keys exist: asked of a real bucket and of an inventory's files, with the same answers."""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from botocore.exceptions import ClientError
from botocore.stub import Stubber

from orphan_pipeline.demo.servers import ObjectStore
from orphan_pipeline.inventory.looking_up import of_bucket, of_inventory

KEYS = ["a/b c+d.jpg", "a/%41é.jpg", "a/b/'1'?x=2#y", "top.jpg", "ab/🙂", "a/b/2"]
ASKED = [*KEYS, KEYS[0], "a/b", "a/", "a/A\u00e9.jpg", "top", "a/b c d.jpg", "x" * 1025]


def test_the_bucket_and_the_inventory_agree(moto: ObjectStore, make_bucket: Callable[..., str], tmp_path: Path) -> None:
    bucket, client = make_bucket(moto), moto.client()
    for key in KEYS:
        client.put_object(Bucket=bucket, Key=key, Body=b"")
    file = tmp_path / "part-00000.parquet"
    there = [True] * len(KEYS) + [True, False]
    marker = [False] * len(KEYS) + [True, False]
    pq.write_table(pa.table({"key": [*KEYS, "a/b", "top"], "is_latest": there, "is_delete_marker": marker}), file)
    live, listed = of_bucket(client, bucket, ["a/"]), of_inventory([str(file)], "the inventory")
    assert live.existing(ASKED) == listed.existing(ASKED) == set(KEYS)
    assert live.existing([]) == listed.existing([]) == set()
    assert (live.source, live.is_costly, listed.source, listed.is_costly) == ("the bucket", True, "the inventory", False)
    assert live.folders() == ("a/", "ab/", "a/b/")
    assert sorted(listed.folders()) == ["a/", "a/b/", "ab/"]


def test_whoever_may_list_but_not_look(moto: ObjectStore) -> None:
    client = moto.client()
    with Stubber(client) as stub:
        for contents in ([{"Key": "a"}], [{"Key": "ab"}], []):
            stub.add_client_error("head_object", "403", http_status_code=403)
            stub.add_response("list_objects_v2", {"Contents": contents}, {"Bucket": "media", "Prefix": "a", "MaxKeys": 1})
            assert of_bucket(client, "media", []).existing(["a"]) == ({"a"} if contents == [{"Key": "a"}] else set())
        stub.add_client_error("head_object", "503", http_status_code=503)
        with pytest.raises(ClientError):
            of_bucket(client, "media", []).existing(["a"])


def test_a_store_that_takes_two_slashes_for_one_is_not_believed(seaweedfs: ObjectStore, make_bucket: Callable[..., str]) -> None:
    bucket, client = make_bucket(seaweedfs), seaweedfs.client()
    for key in ("uploads/f 43.txt", "uploads/a"):
        client.put_object(Bucket=bucket, Key=key, Body=b"")
    client.head_object(Bucket=bucket, Key="/uploads/f 43.txt")  # answers, although no listing shows such a key
    asked = ["/uploads/f 43.txt", "uploads//a", "//uploads/a", "uploads/a", "uploads/f 43.txt"]
    assert of_bucket(client, bucket, []).existing(asked) == {"uploads/a", "uploads/f 43.txt"}


def test_two_slashes_are_part_of_a_key_where_the_store_keeps_them(moto: ObjectStore, make_bucket: Callable[..., str]) -> None:
    bucket, client = make_bucket(moto), moto.client()
    there = ["//x", "/y", "a//b", "a/z"]
    for key in there:
        client.put_object(Bucket=bucket, Key=key, Body=b"")
    assert of_bucket(client, bucket, []).existing([*there, "/x", "x", "a/b", "/a//b", "a//z"]) == set(there)
