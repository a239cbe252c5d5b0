"""A copy keeps all that belongs to an object, is proven, and never goes over another object."""

from collections.abc import Callable
from typing import Any

import pytest
from deletion_helpers import client_of
from quarantine_helpers import MIB, put_parts, put_rich, whole

from orphan_pipeline.deletion.quarantine.copying import Copier, NotCopied, SourceChanged, TargetTaken
from orphan_pipeline.deletion.quarantine.place import Place
from orphan_pipeline.deletion.undo.copies import copied_back
from orphan_pipeline.deletion.undo.outcomes import Result
from orphan_pipeline.demo.servers import ObjectStore

MakeBucket = Callable[..., str]


@pytest.fixture(params=["seaweedfs", "moto"])
def store(request: pytest.FixtureRequest) -> ObjectStore:
    found: ObjectStore = request.getfixturevalue(request.param)
    return found


@pytest.mark.parametrize("versioned", [False, True])
def test_everything_that_belongs_to_an_object_goes_there_and_back(store: ObjectStore, make_bucket: MakeBucket, versioned: bool) -> None:
    client, bucket, other = client_of(store), make_bucket(store, versioned=versioned), make_bucket(store)
    copier = Copier(client=client)
    objects = [put_rich(client, bucket, key, key.encode()) for key in ("a/1", "a/ü 😀+%&<'\"", "a/tab\tkey")]
    objects += [put_rich(client, bucket, "a/empty", b""), put_parts(client, bucket, "a/parts", [5 * MIB, 5 * MIB, 1000])]
    objects.append(put_parts(client, bucket, "a/uneven", [5 * MIB, 6 * MIB, 10]))
    for one in objects:
        before = whole(client, bucket, one.key)
        copy = Place(other, f"q/{one.key}")
        made = copier.copy(Place(bucket, one.key), copy, etag=one.etag, only_if_free=False)
        assert whole(client, other, copy.key) == before, one.key
        assert (made.etag, whole(client, other, copy.key).etag) == (one.etag, one.etag)
        client.delete_object(Bucket=bucket, Key=one.key)
        copier.copy(Place(other, copy.key, made.version), Place(bucket, one.key), etag=made.etag, only_if_free=True)
        assert whole(client, bucket, one.key) == before, one.key
        assert whole(client, bucket, one.key).etag == one.etag
        assert copier.same(copy, Place(bucket, one.key)) is not None


def test_what_is_too_large_for_one_request_goes_in_parts_and_is_proven_by_its_content(store: ObjectStore, make_bucket: MakeBucket) -> None:
    """Its ETag cannot stay: it was uploaded in one part, as no copy of this size can be."""
    client, bucket = client_of(store), make_bucket(store)
    one = put_rich(client, bucket, "a/large", bytes(range(256)) * (5 * 4096) + b"the rest")
    made = Copier(client=client, largest=5 * MIB).copy(Place(bucket, one.key), Place(bucket, "q/large"), etag=one.etag, only_if_free=False)
    assert made.etag.endswith("-2")
    before, after = whole(client, bucket, one.key), whole(client, bucket, "q/large")
    assert (after.body, after.head, after.tags) == (before.body, before.head, before.tags)


def test_a_changed_or_missing_source_is_not_copied(store: ObjectStore, make_bucket: MakeBucket) -> None:
    client, bucket = client_of(store), make_bucket(store)
    put_rich(client, bucket, "a/1", b"newer")
    for key, gone in (("a/1", False), ("a/none", True)):
        with pytest.raises(SourceChanged) as raised:
            Copier(client=client).copy(Place(bucket, key), Place(bucket, "q/1"), etag="0" * 32, only_if_free=False)
        assert raised.value.gone is gone
    assert "Contents" not in client.list_objects_v2(Bucket=bucket, Prefix="q/")


def test_an_object_that_changes_while_it_is_copied_is_no_copy_of_the_planned_one(store: ObjectStore, make_bucket: MakeBucket) -> None:
    """SeaweedFS honours the condition on the source, moto ignores it: then the proof finds it."""
    client, bucket = client_of(store), make_bucket(store)
    one = put_rich(client, bucket, "a/1", b"planned")
    racing: Any = client_of(store)

    def overwrite(**_: Any) -> None:
        put_rich(client, bucket, "a/1", b"newer!!")

    racing.meta.events.register("before-send.s3.CopyObject", overwrite)
    with pytest.raises(NotCopied):
        Copier(client=racing).copy(Place(bucket, "a/1"), Place(bucket, "q/1"), etag=one.etag, only_if_free=False)


def test_nothing_is_copied_over_another_object(seaweedfs: ObjectStore, make_bucket: MakeBucket) -> None:
    client, bucket = client_of(seaweedfs), make_bucket(seaweedfs)
    taken = [put_rich(client, bucket, key, b"newer") for key in ("q/1", "q/parts")]
    copied = [put_rich(client, bucket, "a/1", b"older"), put_parts(client, bucket, "a/parts", [5 * MIB, 10])]
    for one, there in zip(copied, taken, strict=True):
        with pytest.raises(TargetTaken):
            Copier(client=client).copy(Place(bucket, one.key), Place(bucket, there.key), etag=one.etag, only_if_free=True)
        assert whole(client, bucket, there.key).body == b"newer"
    assert "Uploads" not in client.list_multipart_uploads(Bucket=bucket)


@pytest.mark.parametrize("versioned", [False, True])
@pytest.mark.parametrize("moment", ["after-call.s3.CompleteMultipartUpload", "before-send.s3.CopyObject"])
def test_what_is_written_between_two_ways_of_copying_stays(
    seaweedfs: ObjectStore, make_bucket: MakeBucket, versioned: bool, moment: str
) -> None:
    """Regression: what a look showed after the parts was taken for the copy, gone over by the whole, and its version deleted for good."""
    client, bucket, other = client_of(seaweedfs), make_bucket(seaweedfs, versioned=versioned), make_bucket(seaweedfs)
    copied = put_parts(client, other, "q/a/1", [5 * MIB, 10])  # by its parts this store gives it another ETag
    racing: Any = client_of(seaweedfs)
    written: list[str] = []

    def write(**_: Any) -> None:
        if not written:
            written.append(client.put_object(Bucket=bucket, Key="a/1", Body=b"newer")["ETag"])

    racing.meta.events.register(moment, write)
    line = {"key": "a/1", "etag": copied.etag, "size": copied.size, "copy": f"s3://{other}/q/a/1", "copy_version": None}
    assert copied_back(Copier(client=racing), bucket, line) == Result("newer")
    assert written
    assert whole(client, bucket, "a/1").body == b"newer"


@pytest.mark.parametrize("what", ["Metadata", "TagCount", "StorageClass", "ContentLength"])
def test_a_copy_that_lost_something_is_refused(seaweedfs: ObjectStore, make_bucket: MakeBucket, what: str) -> None:
    bucket = make_bucket(seaweedfs)
    client: Any = client_of(seaweedfs)
    one = put_rich(client, bucket, "a/1", b"1")
    heads: list[Any] = []

    def lose(parsed: Any, **_: Any) -> None:
        heads.append(parsed)
        if len(heads) == 2:
            parsed[what] = {"Metadata": {}, "TagCount": 0, "StorageClass": "GLACIER", "ContentLength": 2}[what]

    client.meta.events.register("after-call.s3.HeadObject", lose)
    with pytest.raises(NotCopied, match=f"CopyDiffers:{'Tagging' if what == 'TagCount' else what}"):
        Copier(client=client).copy(Place(bucket, "a/1"), Place(bucket, "q/1"), etag=one.etag, only_if_free=False)
