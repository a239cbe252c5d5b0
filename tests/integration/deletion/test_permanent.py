"""Mode permanent: exactly the planned object goes, for good, and everybody is told so (rule 12)."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from deletion_helpers import Restorable, client_of, deleter_of, pace_of, put, recorded, standing, write_plan
from faulty_store import NOTHING, Exchange, Fault, faulty_store
from quarantine_helpers import PLAN, execute_into
from test_deletion_faults import AFTER, BEFORE

from orphan_pipeline.deletion.ledger import Answer, Ledger, Planned
from orphan_pipeline.deletion.permanent import PERMANENT, UnversionedDeleter, VersionDeleter, refuse_unless_permanent_is_exact
from orphan_pipeline.demo.servers import ObjectStore
from orphan_pipeline.errors import Refused
from orphan_pipeline.lake.layout import BucketLake

MakeBucket = Callable[..., str]
KEYS = ("a/1", "a/2", "a/tab\tkey")


class Bucket(Restorable):
    def __init__(self, store: ObjectStore, bucket: str, folder: Path) -> None:
        self.store, self.client, self.bucket, self.lake = store, client_of(store), bucket, BucketLake(folder / "lake")
        self.folder = folder
        put(self.client, bucket, dict.fromkeys(KEYS, b"older"))
        self.planned = sorted(
            (self.seen(one) for one in put(self.client, bucket, {key: key.encode() for key in KEYS})), key=lambda one: one.key
        )
        self.ledger = Ledger(self.lake.ledger(PLAN, dry_run=False))

    def seen(self, one: Planned) -> Planned:
        """With the time that an inventory would have."""
        return replace(one, last_modified=self.client.head_object(Bucket=self.bucket, Key=one.key)["LastModified"])

    def deleter(self, once: Any = None) -> VersionDeleter:
        once = once or client_of(self.store, attempts=1)
        return VersionDeleter(client=self.client, once=once, bucket=self.bucket, pace=pace_of(self.bucket))

    def run(self, deleter: Any) -> dict[str, tuple[str, str | None]]:
        execute_into(write_plan(self.folder / "plan.parquet", self.planned), self.ledger, deleter, "", mode="permanent")
        return {line["key"]: (line["outcome"], line["code"]) for line in recorded(self.ledger)}


@pytest.fixture
def versions(seaweedfs: ObjectStore, make_bucket: MakeBucket, tmp_path: Path) -> Bucket:
    return Bucket(seaweedfs, make_bucket(seaweedfs, versioned=True), tmp_path)


@pytest.fixture
def plain(seaweedfs: ObjectStore, make_bucket: MakeBucket, tmp_path: Path) -> Bucket:
    return Bucket(seaweedfs, make_bucket(seaweedfs), tmp_path)


def test_exactly_the_planned_version_goes(versions: Bucket) -> None:
    assert versions.run(versions.deleter()) == dict.fromkeys(KEYS, ("deleted", PERMANENT))
    found = standing(versions.client, versions.bucket)
    assert {key: (one.versions, one.markers) for key, one in found.items()} == dict.fromkeys(KEYS, (1, []))
    assert {versions.client.get_object(Bucket=versions.bucket, Key=key)["Body"].read() for key in KEYS} == {b"older"}
    with pytest.raises(Refused, match="deleted in mode permanent: it is gone for good"):
        versions.restore(plan=PLAN)


def test_what_is_written_between_look_and_delete_stays(versions: Bucket) -> None:
    racing: Any = client_of(versions.store, attempts=1)

    def write(**_: Any) -> None:
        put(versions.client, versions.bucket, {"a/1": b"a/1"})  # the same bytes, so the same ETag

    racing.meta.events.register("before-send.s3.DeleteObjects", write)
    answers = versions.deleter(racing)(versions.planned, unsettled=False)
    assert {answer.outcome for answer in answers} == {"deleted"}
    found = standing(versions.client, versions.bucket)["a/1"]
    assert (found.current, found.versions) == (versions.planned[0].etag, 2)


@pytest.mark.parametrize("what", ["overwritten", "written again", "gone"])
def test_another_object_is_left_alone(versions: Bucket, what: str) -> None:
    """Written again: the same content, later; its ETag says nothing."""
    if what == "gone":
        versions.client.delete_object(Bucket=versions.bucket, Key="a/1")
    elif what == "overwritten":
        put(versions.client, versions.bucket, {"a/1": b"newer"})
    else:
        versions.planned[0] = replace(versions.planned[0], last_modified=versions.planned[0].last_modified.replace(year=2020))
    outcomes = versions.run(versions.deleter())
    assert outcomes["a/1"][0] == ("missing" if what == "gone" else "changed")
    assert standing(versions.client, versions.bucket)["a/1"].versions == (3 if what == "overwritten" else 2)


def test_a_lost_answer_is_looked_up_by_the_versions_id(versions: Bucket) -> None:
    losing: Any = client_of(versions.store, attempts=1)

    def lose(**_: Any) -> None:
        from botocore.exceptions import ConnectionClosedError

        raise ConnectionClosedError(endpoint_url="lost")

    losing.meta.events.register("after-call.s3.DeleteObjects", lose)
    assert versions.run(versions.deleter(losing)) == dict.fromkeys(KEYS, ("deleted", PERMANENT))
    assert {one.versions for one in standing(versions.client, versions.bucket).values()} == {1}


def test_on_a_bucket_without_versions_the_delete_is_conditional(plain: Bucket) -> None:
    [newer] = put(plain.client, plain.bucket, {"a/2": b"newer"})
    deleter = UnversionedDeleter(inner=deleter_of(plain.store, plain.bucket), client=plain.client, bucket=plain.bucket)
    outcomes = plain.run(deleter)
    assert outcomes == {"a/1": ("deleted", PERMANENT), "a/2": ("changed", "PreconditionFailed"), "a/tab\tkey": ("deleted", PERMANENT)}
    assert {key: one.current for key, one in standing(plain.client, plain.bucket).items()} == {"a/2": newer.etag}
    deleter.verify(plain.planned[:1], [Answer("deleted", code=PERMANENT)])
    with pytest.raises(Refused, match="'a/2' still stands"):
        deleter.verify([newer], [Answer("deleted", code=PERMANENT)])


def test_a_broken_off_chunk_whose_objects_are_gone_is_unknown(plain: Bucket) -> None:
    for key in KEYS[:2]:
        plain.client.delete_object(Bucket=plain.bucket, Key=key)
    deleter = UnversionedDeleter(inner=deleter_of(plain.store, plain.bucket), client=plain.client, bucket=plain.bucket)
    assert [answer.outcome for answer in deleter(plain.planned, unsettled=True)] == ["unknown", "unknown", "deleted"]
    assert {key: answer.outcome for key, answer in deleter.as_left(plain.planned, {}).items()} == dict.fromkeys(KEYS, "unknown")


def test_versioning_turned_on_while_it_runs_stops_it(plain: Bucket) -> None:
    plain.client.put_bucket_versioning(Bucket=plain.bucket, VersioningConfiguration={"Status": "Enabled"})
    deleter = UnversionedDeleter(inner=deleter_of(plain.store, plain.bucket), client=plain.client, bucket=plain.bucket)
    with pytest.raises(Refused, match="versioning was turned on while this ran"):
        plain.run(deleter)


def test_a_suspended_bucket_is_refused() -> None:
    with pytest.raises(Refused, match="versioning is suspended, expected enabled or never enabled"):
        refuse_unless_permanent_is_exact("b", "suspended")
    refuse_unless_permanent_is_exact("b", "enabled")
    refuse_unless_permanent_is_exact("b", "never enabled")


def test_a_broken_off_chunk_tells_what_went_from_what_others_wrote(versions: Bucket) -> None:
    """Regression: an older version stood there after the killed run's delete, and the key was called changed, left alone."""
    gone, covered, marked = versions.planned
    version = versions.client.head_object(Bucket=versions.bucket, Key=gone.key)["VersionId"]
    versions.client.delete_object(Bucket=versions.bucket, Key=gone.key, VersionId=version)
    put(versions.client, versions.bucket, {covered.key: b"newer"})
    versions.client.delete_object(Bucket=versions.bucket, Key=marked.key)
    deleter = versions.deleter()
    assert [answer.outcome for answer in deleter(versions.planned, unsettled=True)] == ["unknown", "changed", "missing"]
    needed = Answer("referenced_again", code="documents")
    left = deleter.as_left(versions.planned, dict.fromkeys(KEYS, needed))
    assert [left[one.key].outcome for one in versions.planned] == ["unknown", "changed", "missing"]
    assert [answer.outcome for answer in deleter(versions.planned, unsettled=False)] == ["changed", "changed", "missing"]


@pytest.mark.parametrize("unsettled", [False, True])
def test_what_is_held_right_before_its_request_may_go_by_that_of_a_killed_run(versions: Bucket, unsettled: bool) -> None:
    needed = Answer("referenced_again", code="documents")
    answers = versions.deleter()(versions.planned, unsettled=unsettled, hold=lambda some: dict.fromkeys((one.key for one in some), needed))
    assert answers == [Answer("referenced_again", code="MayStillGo:documents" if unsettled else "documents")] * len(KEYS)


def test_what_was_written_before_versions_were_kept_stays(seaweedfs: ObjectStore, make_bucket: MakeBucket, tmp_path: Path) -> None:
    """Its version id is `null`, and would be the next object's as well if somebody suspended versioning right now."""
    bucket = Bucket(seaweedfs, make_bucket(seaweedfs), tmp_path)
    bucket.client.put_bucket_versioning(Bucket=bucket.bucket, VersioningConfiguration={"Status": "Enabled"})
    assert bucket.client.head_object(Bucket=bucket.bucket, Key="a/1")["VersionId"] == "null"
    assert bucket.run(bucket.deleter()) == dict.fromkeys(KEYS, ("failed", "NullVersion"))
    assert {one.current for one in standing(bucket.client, bucket.bucket).values()} == {one.etag for one in bucket.planned}


def test_a_chunk_that_the_store_cannot_read_is_halved(versions: Bucket) -> None:
    """Regression: the run failed, and so did each later run of the plan."""

    def malformed(exchange: Exchange) -> None:
        if b"<Key>a/2</Key>" in exchange.request:
            exchange.refuse(400, "MalformedXML")

    with faulty_store(versions.store.endpoint, before=lambda _: malformed) as store:
        outcomes = versions.run(versions.deleter(client_of(versions.store, attempts=1, endpoint=store.endpoint)))
    assert outcomes == dict.fromkeys(KEYS, ("deleted", PERMANENT))


@pytest.mark.parametrize("when", ["before", "after"])
def test_each_fault_leaves_exactly_what_was_there_before(versions: Bucket, when: str) -> None:
    """One fault after the other, a chunk each; `after`: the store acted, and nobody was told."""
    faults = [fault for name, fault in (BEFORE if when == "before" else AFTER).items() if name != "time_out"]
    more = put(versions.client, versions.bucket, {f"b/{number:02d}": b"1" for number in range(2 * len(faults))})
    versions.planned = [versions.seen(one) for one in more]
    plan = write_plan(versions.folder / "plan.parquet", versions.planned, canary=2, chunk=2)

    def every_second(number: int) -> Fault:
        return NOTHING if number % 2 else faults[number // 2 % len(faults)]

    def unspoilt(number: int) -> Fault:
        return NOTHING

    before, after = (every_second, unspoilt) if when == "before" else (unspoilt, every_second)
    with faulty_store(versions.store.endpoint, before=before, after=after) as store:
        deleter = versions.deleter(client_of(versions.store, attempts=1, endpoint=store.endpoint))
        execute_into(plan, versions.ledger, deleter, "", mode="permanent")
    assert {(line["outcome"], line["code"]) for line in recorded(versions.ledger)} == {("deleted", PERMANENT)}
    assert set(standing(versions.client, versions.bucket)) == set(KEYS)
