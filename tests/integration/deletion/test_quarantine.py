"""Mode quarantine: nothing goes before its copy is proven, wherever a run is broken off, and all of it comes back (rule 12)."""

import os
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from deletion_helpers import NothingHeld, Restorable, client_of, plan_named, put, recorded, standing, write_plan
from quarantine_helpers import MIB, PLAN, Whole, execute_into, put_parts, put_rich, quarantine_deleter, stands, whole

from orphan_pipeline.deletion.ledger import Answer, Ledger, Planned
from orphan_pipeline.deletion.quarantine.place import Place, Quarantine
from orphan_pipeline.deletion.quarantine.preflight import refuse_unless_kept, tried_quarantine
from orphan_pipeline.deletion.quarantine.purge import purge
from orphan_pipeline.deletion.undo.outcomes import RestoreTotals
from orphan_pipeline.deletion.undo.releases import release_restored
from orphan_pipeline.deletion.undo.selection import Selection
from orphan_pipeline.demo.servers import ObjectStore
from orphan_pipeline.errors import Refused
from orphan_pipeline.lake.layout import BucketLake

MakeBucket = Callable[..., str]
WINDOW = timedelta(days=14)
EVERY = 1 if int(os.environ.get("ORPHAN_PIPELINE_KILLS", "0")) >= 100 else 7
"""In the long proof every request is lost once, in the tests every seventh."""


class Quarantined(Restorable):
    """A bucket with three kinds of objects, a plan for them, and a quarantine in a bucket of its own."""

    def __init__(self, store: ObjectStore, bucket: str, quarantine: str, folder: Path) -> None:
        self.store, self.client, self.bucket, self.lake = store, client_of(store), bucket, BucketLake(folder / "lake")
        self.quarantine = Quarantine.of(quarantine)
        parts = put_parts(self.client, bucket, "a/parts", [5 * MIB, 10])
        plain = [put_rich(self.client, bucket, key, key.encode()) for key in ("a/1", "a/tab\tkey")]
        self.planned = sorted([*plain, parts], key=lambda one: one.key)
        self.before = {one.key: whole(self.client, bucket, one.key) for one in self.planned}
        self.plan = write_plan(folder / "plan.parquet", self.planned)
        self.ledger = Ledger(self.lake.ledger(PLAN, dry_run=False))

    def run(self, *, deleter: Any = None) -> None:
        execute_into(self.plan, self.ledger, deleter or quarantine_deleter(self.store, self.bucket, self.quarantine), self.quarantine.uri)

    def now(self) -> dict[str, Whole | None]:
        return {one.key: stands(self.client, self.bucket, one.key) for one in self.planned}

    def copies(self) -> dict[str, Whole | None]:
        places = {one.key: self.quarantine.copy_of(one.key, plan=PLAN) for one in self.planned}
        return {key: stands(self.client, place.bucket, place.key) for key, place in places.items()}

    def purge(self, name: str = "p1", *, days: float = 15, go_on: Callable[[], None] = lambda: None) -> Any:
        now = datetime.now(UTC) + timedelta(days=days)
        return purge(
            self.client, self.bucket, lake=self.lake, undo_window=WINDOW, now=now, purge_id=name, go_on=go_on, report=lambda _: None
        )


@pytest.fixture
def world(seaweedfs: ObjectStore, make_bucket: MakeBucket, tmp_path: Path) -> Quarantined:
    return Quarantined(seaweedfs, make_bucket(seaweedfs), f"s3://{make_bucket(seaweedfs)}/q/", tmp_path)


def totals(**counts: int) -> RestoreTotals:
    return RestoreTotals(**{**dict.fromkeys(("restored", "newer", "deleted_again", "lost", "refused", "unknown"), 0), **counts})


@pytest.mark.parametrize("versioned", [False, True])
@pytest.mark.parametrize("inside", [False, True], ids=["other bucket", "same bucket"])
def test_everything_goes_and_comes_back_whole(
    seaweedfs: ObjectStore, make_bucket: MakeBucket, tmp_path: Path, versioned: bool, inside: bool
) -> None:
    bucket = make_bucket(seaweedfs, versioned=versioned)
    world = Quarantined(seaweedfs, bucket, f"s3://{bucket if inside else make_bucket(seaweedfs, versioned=versioned)}/q/", tmp_path)
    deleter = quarantine_deleter(seaweedfs, bucket, world.quarantine)
    world.run(deleter=deleter)
    assert world.now() == dict.fromkeys(world.before)
    assert world.copies() == world.before
    lines = recorded(world.ledger)
    assert {line["key"]: (line["outcome"], line["copy"]) for line in lines} == {
        key: ("deleted", world.quarantine.copy_of(key, plan=PLAN).uri) for key in world.before
    }
    assert all((line["version_id"] is not None) == versioned for line in lines)
    if versioned:  # the markers go first, and are enough; without them and their versions the copies are
        for version in world.client.list_object_versions(Bucket=bucket, Prefix="a/1")["Versions"]:
            world.client.delete_object(Bucket=bucket, Key="a/1", VersionId=version["VersionId"])
    assert world.restore(plan=PLAN) == totals(restored=3)
    assert world.now() == world.before
    assert world.restore("r2", plan=PLAN) == totals(restored=3)
    assert world.copies() == world.before, "a copy stays until it is purged"


class Breaks(BaseException):
    """What a cancelled run raises; no code of ours expects it."""


def breaking(client: Any, at: int, when: str, seen: list[str]) -> Any:
    """The client's request number `at` is lost before it is sent, or its answer after the store acted."""

    def count(model: Any = None, **_: Any) -> None:
        seen.append(model.name if model is not None else "request")
        if len(seen) - 1 == at:
            raise Breaks

    client.meta.events.register("before-call.s3" if when == "before" else "after-call.s3", count)
    return client


@pytest.mark.parametrize("when", ["before", "after"])
def test_broken_off_at_any_request_of_the_deletion_everything_is_still_there_and_the_next_run_ends_it(
    seaweedfs: ObjectStore, make_bucket: MakeBucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    monkeypatch.setattr("orphan_pipeline.deletion.quarantine.deleter.COPIES_AT_ONCE", 1)
    broken, at = True, 0
    while broken:
        folder = tmp_path / str(at)
        folder.mkdir()
        bucket = make_bucket(seaweedfs)
        world = Quarantined(seaweedfs, bucket, f"s3://{bucket}/q/", folder)
        seen: list[str] = []
        deleter = quarantine_deleter(seaweedfs, bucket, world.quarantine, client=breaking(client_of(seaweedfs), at, when, seen))
        inner: Any = deleter._inner
        breaking(inner._once, at, when, seen)
        try:
            world.run(deleter=deleter)
            broken = False
        except Breaks:
            now, copies = world.now(), world.copies()
            assert {key: now[key] or copies[key] for key in world.before} == world.before, f"after {seen}: nothing is lost"
        world.run()
        assert world.now() == dict.fromkeys(world.before)
        assert world.copies() == world.before
        assert sorted(line["key"] for line in recorded(world.ledger)) == sorted(world.before), "every key has one line"
        assert {line["outcome"] for line in recorded(world.ledger)} <= {"deleted", "unknown"}
        assert {line["copy"] for line in recorded(world.ledger)} == {world.quarantine.copy_of(key, plan=PLAN).uri for key in world.before}
        at += EVERY
    assert at > 15, "requests were lost until none was left"


@pytest.mark.parametrize("when", ["before", "after"])
def test_broken_off_at_any_request_of_the_restore_the_next_one_ends_it(
    world: Quarantined, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    monkeypatch.setattr("orphan_pipeline.deletion.undo.restore.REQUESTS_AT_ONCE", 1)
    broken, at = True, 0
    sound = world.client
    while broken:
        world.run()
        seen: list[str] = []
        world.client = breaking(client_of(world.store), at, when, seen)
        try:
            world.restore(f"broken-{at}", plan=PLAN)
            broken = False
        except Breaks:
            world.client = sound
            assert world.copies() == world.before, f"after {seen}: no copy is lost"
            assert world.restore(f"again-{at}", plan=PLAN) == totals(restored=3), seen
        world.client = sound
        assert world.now() == world.before, seen
        for key in world.before:
            sound.delete_object(Bucket=world.bucket, Key=key)
        at += EVERY
    assert at > 8, "requests were lost until none was left"


def test_what_changed_stays_and_a_newer_object_is_never_replaced(world: Quarantined) -> None:
    [newer] = put(world.client, world.bucket, {"a/1": b"newer"})
    world.run()
    assert {line["key"]: line["outcome"] for line in recorded(world.ledger)} == {
        "a/1": "changed",
        "a/parts": "deleted",
        "a/tab\tkey": "deleted",
    }
    put(world.client, world.bucket, {"a/parts": b"newer too"})
    assert world.restore(plan=PLAN) == totals(restored=1, newer=1)
    found = standing(world.client, world.bucket)
    assert (found["a/1"].current, whole(world.client, world.bucket, "a/parts").body) == (newer.etag, b"newer too")


def test_an_object_written_right_before_the_copy_comes_back_is_not_replaced(world: Quarantined) -> None:
    world.run()
    racing: Any = client_of(world.store)

    def write(**_: Any) -> None:
        put(world.client, world.bucket, {"a/1": b"newer"})

    racing.meta.events.register("before-send.s3.CopyObject", write)
    world.client, sound = racing, world.client
    assert world.restore(key="a/1") == totals(newer=1)
    assert whole(sound, world.bucket, "a/1").body == b"newer"


def test_a_copy_that_is_gone_is_lost_and_said_so(world: Quarantined) -> None:
    world.run()
    copy = world.quarantine.copy_of("a/1", plan=PLAN)
    world.client.delete_object(Bucket=copy.bucket, Key=copy.key)
    assert world.restore(plan=PLAN) == totals(restored=2, lost=1)


def test_what_the_store_will_not_copy_is_not_deleted(world: Quarantined) -> None:
    client: Any = client_of(world.store)

    def deny(http_response: Any, parsed: Any, **_: Any) -> None:
        http_response.status_code = 403
        parsed["Error"] = {"Code": "AccessDenied"}

    client.meta.events.register("after-call.s3.CopyObject", deny)
    world.run(deleter=quarantine_deleter(world.store, world.bucket, world.quarantine, client=client))
    assert world.now() == world.before
    assert {line["code"] for line in recorded(world.ledger)} == {"AccessDenied"}


def test_a_canary_whose_copy_is_missing_or_whose_original_stands_stops_the_run(world: Quarantined) -> None:
    deleter = quarantine_deleter(world.store, world.bucket, world.quarantine)
    answers = deleter(world.planned, unsettled=False)
    deleter.verify(world.planned, answers)
    put_rich(world.client, world.bucket, "a/1", b"a/1")
    with pytest.raises(Refused, match="'a/1' still stands"):
        deleter.verify(world.planned, answers)
    place = Place.of(answers[1].copy or "")
    world.client.delete_object(Bucket=place.bucket, Key=place.key)
    world.client.delete_object(Bucket=world.bucket, Key="a/1")
    with pytest.raises(Refused, match=f"the copy of {world.planned[1].key!r} is not in quarantine"):
        deleter.verify(world.planned, answers)


def test_the_purge_takes_what_is_older_than_the_window_and_not_restored(world: Quarantined) -> None:
    world.run()
    assert world.purge("young", days=13).purged.objects == 0
    assert world.restore(key="a/1") == totals(restored=1)
    with world.ledger.exclusively():
        assert (world.purge("busy").busy, world.copies()) == (1, world.before)

    def lost() -> None:
        raise Refused("the lease is lost")

    with pytest.raises(Refused, match="the lease is lost"):
        world.purge("without the lease", go_on=lost)
    assert world.copies() == world.before
    assert world.purge().purged.objects == 2
    assert world.copies() == dict.fromkeys(world.before) | {"a/1": world.before["a/1"]}
    assert world.purge("again").purged.objects == 0
    assert world.restore("r2", plan=PLAN) == totals(restored=1, lost=2)
    release_restored(world.lake, Selection(key="a/1"), release_id="rel", by="me", at=datetime.now(UTC))
    assert world.purge("released").purged.objects == 1
    assert world.copies() == dict.fromkeys(world.before)
    assert whole(world.client, world.bucket, "a/1") == world.before["a/1"]


def test_the_purge_of_a_quarantine_that_keeps_versions_removes_the_versions(
    seaweedfs: ObjectStore, make_bucket: MakeBucket, tmp_path: Path
) -> None:
    quarantine = make_bucket(seaweedfs, versioned=True)
    world = Quarantined(seaweedfs, make_bucket(seaweedfs), f"s3://{quarantine}/", tmp_path)
    world.run()
    assert world.purge().purged.objects == 3
    found = world.client.list_object_versions(Bucket=quarantine)
    assert (found.get("Versions", []), found.get("DeleteMarkers", [])) == ([], [])


def test_a_copy_that_the_store_will_not_remove_is_tried_again(world: Quarantined) -> None:
    world.run()
    sound, denying = world.client, client_of(world.store)
    key = world.quarantine.copy_of("a/1", plan=PLAN).key

    def deny(parsed: Any, **_: Any) -> None:
        parsed["Errors"] = [{"Key": key, "Code": "AccessDenied"}]

    events: Any = denying.meta.events
    events.register("after-call.s3.DeleteObjects", deny)
    world.client = denying
    found = world.purge()
    assert (found.purged.objects, found.failed.objects) == (2, 1)
    assert [line["code"] for file in world.lake.purged_parquet() for line in pq.read_table(file).to_pylist() if line["code"]] == [
        "AccessDenied"
    ]
    world.client = sound
    assert world.purge("p2").purged.objects == 1


@pytest.mark.parametrize("versioned", [False, True])
def test_the_probe_of_a_quarantine_passes_and_leaves_nothing(seaweedfs: ObjectStore, make_bucket: MakeBucket, versioned: bool) -> None:
    client, bucket, other = client_of(seaweedfs), make_bucket(seaweedfs, versioned=versioned), make_bucket(seaweedfs, versioned=versioned)
    tried_quarantine(client, bucket, Quarantine(other, "q/"), WINDOW)
    for name in (bucket, other):
        found = client.list_object_versions(Bucket=name)
        assert [*found.get("Versions", []), *found.get("DeleteMarkers", [])] == []


def test_a_quarantine_that_cannot_be_written_or_throws_away_is_refused_in_one_line(moto: ObjectStore, make_bucket: MakeBucket) -> None:
    client, bucket, other = client_of(moto), make_bucket(moto), make_bucket(moto)
    with pytest.raises(
        Refused, match=r"quarantine s3://no-such-bucket-at-all/q/: the lifecycle of its bucket cannot be read .NoSuchBucket."
    ):
        tried_quarantine(client, bucket, Quarantine("no-such-bucket-at-all", "q/"), WINDOW)
    rule: Any = {"ID": "1", "Status": "Enabled", "Filter": {"Prefix": "q/tmp/"}, "Expiration": {"Days": 3}}
    client.put_bucket_lifecycle_configuration(Bucket=other, LifecycleConfiguration={"Rules": [rule]})
    refuse_unless_kept(client, Quarantine(other, "r/"), WINDOW)
    with pytest.raises(Refused, match="expires objects there after 3 days, expected at least the undo window of 14 days"):
        tried_quarantine(client, bucket, Quarantine(other, "q/"), WINDOW)
    assert "Contents" not in client.list_objects_v2(Bucket=bucket)


def test_a_plan_begun_in_one_mode_is_not_ended_in_another(world: Quarantined) -> None:
    class Cancelled:
        leaves_markers = False

        def __call__(self, *_: Any, **__: Any) -> list[Answer]:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        world.run(deleter=Cancelled())
    with pytest.raises(Refused, match=r"was begun in mode quarantine s3://.*, found permanent"):
        execute_into(world.plan, world.ledger, Cancelled(), "", mode="permanent")


def test_a_chunk_that_was_broken_off_is_restored_from_its_copies_when_that_is_asked_for(world: Quarantined) -> None:
    """Its outcome is not known: the application may have deleted the objects itself. Settled by looking, the copies are found."""
    from orphan_pipeline.deletion.quarantine.deleter import settle_copied

    deleter = quarantine_deleter(world.store, world.bucket, world.quarantine)
    deleter(world.planned[:2], unsettled=False)
    left: Planned = world.planned[2]
    needed = Answer("referenced_again", code="documents")
    found = deleter.as_left(world.planned, dict.fromkeys((one.key for one in world.planned), needed))
    assert {key: (answer.outcome, answer.copy) for key, answer in found.items()} == {
        **{one.key: ("unknown", world.quarantine.copy_of(one.key, plan=PLAN).uri) for one in world.planned[:2]},
        left.key: ("referenced_again", None),
    }
    assert settle_copied(deleter._copier, world.quarantine.copy_of(left.key, plan=PLAN), world.bucket, left) is None


def test_a_copy_whose_original_came_into_use_before_it_went_is_purged(world: Quarantined) -> None:
    """Regression: a run was killed between copy and delete, the next one held the key, and no ledger named the copy."""
    key = world.planned[0].key
    needed = Answer("referenced_again", code="documents")

    class Holds(NothingHeld):
        def before(self, chunk: int, planned: Sequence[Planned]) -> Mapping[str, Answer]:
            return {key: needed}

    class Killed(NothingHeld):
        def before_request(self, chunk: int, planned: Sequence[Planned]) -> Mapping[str, Answer]:
            raise KeyboardInterrupt

    deleter = quarantine_deleter(world.store, world.bucket, world.quarantine)
    with pytest.raises(KeyboardInterrupt):
        execute_into(world.plan, world.ledger, deleter, world.quarantine.uri, guards=[Killed()])
    execute_into(world.plan, world.ledger, deleter, world.quarantine.uri, guards=[Holds()])
    [line] = [line for line in recorded(world.ledger) if line["key"] == key]
    assert (line["outcome"], line["code"]) == ("referenced_again", "MayStillGo:documents"), "the killed run's request may be on its way"
    assert world.now()[key] == world.before[key]
    assert world.copies()[key] is not None
    assert world.purge().purged.objects == len(world.planned)
    assert world.copies() == dict.fromkeys(world.before)


@pytest.mark.parametrize("outcome", ["failed", "referenced_again", "held"])
def test_a_copy_stays_for_another_window_whose_original_was_left_standing_and_is_gone(world: Quarantined, outcome: Any) -> None:
    """Regression: a request of a killed run was carried out after another had recorded that the key was left alone; the purge took the
    copy, all that was left, and no restore named it."""
    left_with_a_copy(world, outcome, code="MayStillGo:documents")
    gone = world.planned[0].key
    world.client.delete_object(Bucket=world.bucket, Key=gone)
    found = world.purge()
    assert (found.purged.objects, found.kept) == (2, 1)
    assert world.copies() == dict.fromkeys(world.before) | {gone: world.before[gone]}
    assert world.restore(plan=PLAN) == totals(unknown=1, standing=2)
    assert world.restore("r2", plan=PLAN, include_unknown=True) == totals(restored=1, standing=2)
    assert world.now() == world.before


def left_with_a_copy(world: Quarantined, outcome: Any, *, code: str, ago: timedelta = timedelta()) -> None:
    """Every object of the plan was copied, and its delete held or refused."""
    deleter = quarantine_deleter(world.store, world.bucket, world.quarantine)
    for one in world.planned:
        assert not isinstance(deleter._copied(one, unsettled=False), Answer)
    answers = [Answer(outcome, code=code, copy=world.quarantine.copy_of(one.key, plan=PLAN).uri) for one in world.planned]
    world.ledger.begin(plan_named(PLAN, prefix="a/", quarantine=world.quarantine))
    world.ledger.record(0, world.planned, answers, at=datetime.now(UTC) - ago)


@pytest.mark.parametrize(("code", "windows"), [("documents", 0), ("AccessDenied", 0), ("MayStillGo:documents", 1), ("NotSent", 1)])
def test_no_copy_stays_for_ever(world: Quarantined, code: str, windows: int) -> None:
    """Where nobody asked for its original it is nobody's undo, whoever deleted that since; otherwise it is kept for one window more."""
    left_with_a_copy(world, "referenced_again", code=code, ago=windows * WINDOW)
    for one in world.planned:
        world.client.delete_object(Bucket=world.bucket, Key=one.key)
    found = world.purge()
    assert (found.purged.objects, found.kept) == (len(world.planned), 0)
    assert world.copies() == dict.fromkeys(world.before)


def test_a_copy_that_fails_where_an_earlier_run_may_have_asked_is_not_called_left_alone(world: Quarantined) -> None:
    """Regression: a killed run had made its copy, its request was on its way; the next could not copy again, and that was its answer."""
    one = world.planned[0]
    quarantine_deleter(world.store, world.bucket, world.quarantine)._copied(one, unsettled=False)
    copy = world.quarantine.copy_of(one.key, plan=PLAN)
    other: Any = {"TagSet": [{"Key": "other", "Value": "than it was"}]}
    world.client.put_object_tagging(Bucket=copy.bucket, Key=copy.key, Tagging=other)
    client: Any = client_of(world.store)

    def deny(http_response: Any, parsed: Any, **_: Any) -> None:
        http_response.status_code = 403
        parsed["Error"] = {"Code": "AccessDenied"}

    client.meta.events.register("after-call.s3.CopyObject", deny)
    deleter = quarantine_deleter(world.store, world.bucket, world.quarantine, client=client)
    assert deleter([one], unsettled=True) == [Answer("failed", code="MayStillGo:AccessDenied", copy=copy.uri)]
    assert deleter([one], unsettled=False) == [Answer("failed", code="AccessDenied", copy=copy.uri)]


def test_the_purge_aborts_the_uploads_of_its_own_copies_and_nobody_elses(world: Quarantined) -> None:
    world.run()
    copy = world.quarantine.copy_of("a/broken off", plan=PLAN)
    long = world.quarantine.copy_of("a/" + "k" * 1022, plan=PLAN)
    strangers = ["q/upload of an application", f"q/{'0' * 16}/of another lake", f"{PLAN[:16]}/beside the quarantine"]
    keys = {key: world.client.create_multipart_upload(Bucket=copy.bucket, Key=key)["UploadId"] for key in [copy.key, long.key, *strangers]}
    assert world.purge("early", days=0.5).uploads == 0, "a copy may be under way"
    assert world.purge("late", days=2).uploads == 2
    left = {upload["Key"]: upload["UploadId"] for upload in world.client.list_multipart_uploads(Bucket=copy.bucket)["Uploads"]}
    assert left == {key: keys[key] for key in strangers}
