"""Listing real stores: exactly the keys that they hold, whatever is in them, page after page."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from botocore.exceptions import ClientError

from orphan_pipeline.demo.servers import ObjectStore
from orphan_pipeline.duck import duck, rows
from orphan_pipeline.errors import Refused
from orphan_pipeline.inventory import snapshot
from orphan_pipeline.inventory.clock import store_time
from orphan_pipeline.inventory.columns import CURRENT
from orphan_pipeline.inventory.listing.asking import Asker
from orphan_pipeline.inventory.listing.lister import Lister
from orphan_pipeline.inventory.listing.page import Kind
from orphan_pipeline.inventory.prefixes import OwnedPrefix
from orphan_pipeline.inventory.snapshot import Amount, InventoryFigures
from orphan_pipeline.inventory.take import take_inventory
from orphan_pipeline.progress import Progress
from orphan_pipeline.settings.model import InventorySettings

# Legal everywhere, and each of them once the death of a script.
KEYS = [
    "a b",
    "a b ",
    " a",
    "a+b",
    "a%2Bb",
    "a%252Bb",
    "100%",
    "a&b;c",
    "<x>&amp;",
    "'quoted' \"twice\"",
    "\u00e9",
    "e\u0301",
    "日本語/ファイル",
    "😀",
    "\ufffe-\uffff",
    "\U0010ffff",
    "a\u2028b",
    "\u00a0",
    "a#b?c=d",
    "~$()[]{}|^`,!*=:@",
    "a/b/c/",
    ".hidden/.keep",
    "x" * 200,
]
# What SeaweedFS changes as it stores it (its PUT of `a//b` is `a/b`) only the other one can be asked for.
EXACT_ONLY = ["a//b", "/leading", "//", "back\\slash", "./dot", "a/../b", "\ttab", "\r", "\x01\x1f", "\x7f"]
NOT_ON_MOTO = ["line\nbreak", "\n", "\tx\x01\x7f"]
"""Its routes end at a line break."""


@pytest.fixture(params=["seaweedfs", "moto"])
def store(request: pytest.FixtureRequest) -> ObjectStore:
    found = request.getfixturevalue(request.param)
    assert isinstance(found, ObjectStore)
    return found


def put(store: ObjectStore, bucket: str, keys: list[str]) -> None:
    client = store.client()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: client.put_object(Bucket=bucket, Key=key, Body=_body(key)), keys))


def _body(key: str) -> bytes:
    # A folder's marker is empty: SeaweedFS keeps no content under such a key.
    return b"" if key.endswith("/") else key.encode()


def listed(store: ObjectStore, bucket: str) -> list[dict[str, Any]]:
    asker = Asker(store.client(), bucket, connections=4)
    with closing(asker):
        return [row for batch in Lister(asker, bucket, concurrency=4, in_order=False).batches() for row in batch.to_pylist()]


def test_keys_come_back_exactly_as_they_were_stored(store: ObjectStore, make_bucket: Any, request: pytest.FixtureRequest) -> None:
    bucket = make_bucket(store)
    keys = [f"odd/{key}" for key in KEYS]
    if "moto" in request.node.name:
        keys += [*EXACT_ONLY, *KEYS]
    else:
        keys += [f"odd/{key}" for key in NOT_ON_MOTO]
    put(store, bucket, keys)
    rows = listed(store, bucket)
    assert sorted(row["key"] for row in rows) == sorted(keys)
    assert all(row["size"] == len(_body(row["key"])) for row in rows)


def test_each_object_has_its_etag_and_time_as_the_store_gives_them_for_itself(store: ObjectStore, make_bucket: Any) -> None:
    bucket = make_bucket(store)
    put(store, bucket, ["a/1"])
    [row] = listed(store, bucket)
    head = store.client().head_object(Bucket=bucket, Key="a/1")
    assert row["etag"] == head["ETag"].strip('"')
    assert row["last_modified"] == head["LastModified"]
    assert row["storage_class"] == "STANDARD"


def test_every_page_of_a_bucket_is_listed_once(store: ObjectStore, make_bucket: Any) -> None:
    bucket = make_bucket(store)
    keys = [f"{n % 7}/é {n}+" for n in range(1001)]
    put(store, bucket, keys)
    assert sorted(row["key"] for row in listed(store, bucket)) == sorted(keys)


def test_a_store_that_lists_in_another_order_is_listed_again_by_folders(seaweedfs: ObjectStore, make_bucket: Any, tmp_path: Path) -> None:
    """SeaweedFS lists a tree, so that `a-b` comes after `a/…`; cuts by key from elsewhere must not lose a single object."""
    bucket = make_bucket(seaweedfs)
    keys = [f"a{mark}{n}" for mark in ("/", "-", "!", "0/") for n in range(30)]
    put(seaweedfs, bucket, keys)
    taught = replace(take(seaweedfs, bucket, tmp_path), cuts=("a-2", "a/15"))
    assert taught.listing is not None
    lines: list[str] = []
    again = take(seaweedfs, bucket, tmp_path, last=replace(taught, listing=replace(taught.listing, in_order=True)), lines=lines)
    assert sorted(map(str, pq.read_table(tmp_path / "part-00000.parquet")["key"].to_pylist())) == sorted(keys)
    assert again.listing is not None
    assert not again.listing.in_order
    assert "listing again, cut by folders only" in lines[0]


def test_a_multipart_object_is_known_by_its_etag(store: ObjectStore, make_bucket: Any, tmp_path: Path) -> None:
    bucket, client = make_bucket(store), store.client()
    upload = client.create_multipart_upload(Bucket=bucket, Key="a/big")["UploadId"]
    part = client.upload_part(Bucket=bucket, Key="a/big", UploadId=upload, PartNumber=1, Body=b"x" * 100)
    client.complete_multipart_upload(
        Bucket=bucket, Key="a/big", UploadId=upload, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    )
    put(store, bucket, ["a/small"])
    write(store, bucket, tmp_path)
    table = pq.read_table(tmp_path / "part-00000.parquet")
    assert dict(zip(table["key"].to_pylist(), table["is_multipart"].to_pylist(), strict=True)) == {"a/big": True, "a/small": False}


def test_an_empty_bucket_is_listed_as_empty(store: ObjectStore, make_bucket: Any, tmp_path: Path) -> None:
    bucket = make_bucket(store)
    assert listed(store, bucket) == []
    assert write(store, bucket, tmp_path) == (Amount(0, 0), Amount(0, 0))


def test_what_no_prefix_declares_is_counted_as_unowned(store: ObjectStore, make_bucket: Any, tmp_path: Path) -> None:
    bucket = make_bucket(store)
    put(store, bucket, ["a/1", "a/2", "ab/3", "A/4", "5"])
    assert write(store, bucket, tmp_path) == (Amount(5, 3 + 3 + 4 + 3 + 1), Amount(3, 4 + 3 + 1))


def test_a_split_that_is_too_deep_is_refused(store: ObjectStore, make_bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = make_bucket(store)
    put(store, bucket, ["a/1/x", "a/2/x", "a/3"])
    monkeypatch.setattr("orphan_pipeline.inventory.snapshot.MOST_PARTITIONS", 2)
    with pytest.raises(Refused) as refused:
        write(store, bucket, tmp_path, split=1)
    assert str(refused.value) == "the declared prefixes make 3 partitions, at most 2: `split` is too deep"


def test_a_bucket_that_does_not_exist_or_that_nobody_may_list_is_an_error(store: ObjectStore) -> None:
    with pytest.raises(ClientError, match=r"NoSuchBucket|404"):
        store_time(store.client(), "bucket-of-nobody")
    with pytest.raises(Refused, match="bucket bucket-of-nobody: listing prefix '' was answered with NoSuchBucket"):
        listed(store, "bucket-of-nobody")


def test_the_store_tells_its_time(store: ObjectStore, make_bucket: Any) -> None:
    client, bucket = store.client(), make_bucket(store)
    before = datetime.now(UTC)
    told = store_time(client, bucket)
    assert before <= told.host <= datetime.now(UTC)
    assert before.replace(microsecond=0) <= told.store <= told.host, "one machine, one clock, which the store tells in whole seconds"
    assert told.store.tzinfo is UTC


def write(store: ObjectStore, bucket: str, folder: Path, *, split: int = 0) -> tuple[Amount, Amount]:
    figures = take(store, bucket, folder, split=split)
    return figures.total, figures.unowned


def take(
    store: ObjectStore,
    bucket: str,
    folder: Path,
    *,
    split: int = 0,
    last: InventoryFigures | None = None,
    lines: list[str] | None = None,
    versions: bool = False,
) -> InventoryFigures:
    return take_inventory(
        store.client(),
        bucket,
        InventorySettings(concurrency=4, versions=versions),
        prefixes=[OwnedPrefix(path="a/", split=split)],
        last=last,
        folder=folder,
        report=([] if lines is None else lines).append,
    )


def test_every_version_and_delete_marker_is_there_where_asked(store: ObjectStore, make_bucket: Any, tmp_path: Path) -> None:
    bucket, client = make_bucket(store, versioned=True), store.client()
    keys = [f"a/{n:02d} é+%" for n in range(12)]
    for key in [*keys, *keys[:7]]:
        client.put_object(Bucket=bucket, Key=key, Body=_body(key))
    for key in keys[5:9]:
        client.delete_object(Bucket=bucket, Key=key)
    client.put_object(Bucket=bucket, Key=keys[5], Body=b"again")
    said = client.list_object_versions(Bucket=bucket)
    expected = {
        (one["Key"], one["VersionId"], one["IsLatest"], marker, one.get("Size", 0), str(one.get("ETag", "")).strip('"'))
        for records, marker in ((said["Versions"], False), (said["DeleteMarkers"], True))
        for one in records
    }
    asker = Asker(client, bucket, connections=4, page_keys=3, kind=Kind.VERSIONS)
    # Not cut by keys: moto passes over the first key after a marker that is no key of its own (and is found out, and listed again).
    lister = Lister(asker, bucket, concurrency=4, in_order=False, versions=True)
    with closing(asker):
        paged = [row for batch in lister.batches() for row in batch.to_pylist()]
    names = ("key", "version_id", "is_latest", "is_delete_marker", "size", "etag")
    assert sorted(tuple(row[name] for name in names) for row in paged) == sorted(expected)

    figures = take(store, bucket, tmp_path, versions=True)
    table = pq.read_table(tmp_path / "part-00000.parquet")
    assert {tuple(row[name] for name in names) for row in table.to_pylist()} == expected
    assert (figures.total.objects, figures.noncurrent.objects, figures.delete_markers) == (9, 11, 4)
    with duck(tmp_path) as connection:
        current = rows(connection, f"SELECT key FROM read_parquet($file) WHERE {CURRENT}", {"file": str(tmp_path / "part-00000.parquet")})
    assert sorted(key for (key,) in current) == sorted(one["Key"] for one in client.list_objects_v2(Bucket=bucket)["Contents"])


def test_where_versions_are_not_asked_for_every_object_is_the_current_one(store: ObjectStore, make_bucket: Any, tmp_path: Path) -> None:
    bucket, client = make_bucket(store, versioned=True), store.client()
    for key in ("a/1", "a/1", "a/2"):
        client.put_object(Bucket=bucket, Key=key, Body=b"x")
    client.delete_object(Bucket=bucket, Key="a/2")
    figures = take(store, bucket, tmp_path)
    [row] = pq.read_table(tmp_path / "part-00000.parquet").to_pylist()
    assert (row["key"], row["version_id"], row["is_latest"], row["is_delete_marker"]) == ("a/1", None, True, False)
    assert (figures.total.objects, figures.noncurrent.objects, figures.delete_markers) == (1, 0, 0)


def test_the_expected_end_counts_from_the_last_inventory(
    moto: ObjectStore, make_bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = make_bucket(moto)
    put(moto, bucket, ["a/1", "a/2", "b"])
    last = take(moto, bucket, tmp_path)
    totals: list[int | None] = []

    def spying(*arguments: Any, total: int | None, **others: Any) -> Any:
        totals.append(total)
        return Progress(*arguments, total=total, **others)

    monkeypatch.setattr(snapshot, "Progress", spying)
    take(moto, bucket, tmp_path, last=last)
    assert totals == [3]
