"""What was deleted comes back byte for byte, and nothing else is touched (rule 12)."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from deletion_helpers import (
    SEEN,
    Restorable,
    Standing,
    client_of,
    delete_now,
    deleter_of,
    execute,
    put,
    record_deletion,
    standing,
    write_plan,
)

from orphan_pipeline.deletion.ledger import Answer, Ledger, Planned
from orphan_pipeline.deletion.undo.outcomes import RestoreTotals
from orphan_pipeline.deletion.undo.restore import restore_totals
from orphan_pipeline.demo.servers import ObjectStore
from orphan_pipeline.errors import Refused
from orphan_pipeline.lake.layout import BucketLake

MakeBucket = Callable[..., str]
BODIES = {"a/1": b"one", "a/2": b"two", "a/3 ü+%&<": b"three", "a/4": b"four"}
PLAN = "a" * 64
OUTCOMES = ("restored", "newer", "deleted_again", "lost", "refused", "unknown")


class Deleted(Restorable):
    """A bucket with some objects deleted, and the lake that says so."""

    def __init__(self, store: ObjectStore, bucket: str, folder: Path) -> None:
        self.store, self.client, self.bucket, self.lake = store, client_of(store), bucket, BucketLake(folder / "lake")
        self._once = client_of(store, attempts=1)
        self.planned = put(self.client, bucket, BODIES)

    def delete(self, planned: list[Planned], *, plan: str = PLAN, prefix: str = "a/", hours: int = 0, outcome: Any = None) -> list[Answer]:
        given = delete_now(self._once, self.bucket, planned)
        answers = [answer for one in planned if (answer := given[one.key]) is not None]
        assert {answer.outcome for answer in answers} == {"deleted"}
        if outcome:
            answers = [replace(answer, outcome=outcome) for answer in answers]
        ledger = Ledger(self.lake.ledger(plan, dry_run=False))
        record_deletion(ledger, planned, answers, prefix=prefix, at=SEEN + timedelta(hours=hours))
        return answers

    def body(self, key: str) -> bytes:
        return self.client.get_object(Bucket=self.bucket, Key=key)["Body"].read()

    def held(self) -> set[tuple[str, str, str]]:
        return {
            (line["key"], line["etag"], line["outcome"])
            for file in self.lake.restored_parquet()
            for line in pq.read_table(file).to_pylist()
        }


@pytest.fixture(params=["seaweedfs", "moto"])
def deleted(request: pytest.FixtureRequest, make_bucket: MakeBucket, tmp_path: Path) -> Deleted:
    store: ObjectStore = request.getfixturevalue(request.param)
    return Deleted(store, make_bucket(store, versioned=True), tmp_path)


def totals(**counts: int) -> RestoreTotals:
    return RestoreTotals(**{**dict.fromkeys(OUTCOMES, 0), **counts})


def test_a_plan_comes_back_byte_for_byte_and_again_changes_nothing(deleted: Deleted) -> None:
    deleted.delete(deleted.planned)
    assert deleted.restore(plan=PLAN[:12]) == totals(restored=4)
    assert {key: deleted.body(key) for key in BODIES} == BODIES
    before = standing(deleted.client, deleted.bucket)
    assert before == {one.key: Standing(current=one.etag, versions=1) for one in deleted.planned}
    assert deleted.restore("r2", plan=PLAN) == totals(restored=4)
    assert standing(deleted.client, deleted.bucket) == before
    assert restore_totals(deleted.lake, "r2") == {"restored": 4}
    assert deleted.held() == {(one.key, one.etag, "restored") for one in deleted.planned}


def test_newer_and_deleted_again_and_lost_are_left_alone(deleted: Deleted) -> None:
    newer, again, lost, back = deleted.planned
    deleted.delete(deleted.planned)
    put(deleted.client, deleted.bucket, {newer.key: b"newer", again.key: b"newer"})
    deleted.client.delete_object(Bucket=deleted.bucket, Key=again.key)
    for version in deleted.client.list_object_versions(Bucket=deleted.bucket, Prefix=lost.key)["Versions"]:
        deleted.client.delete_object(Bucket=deleted.bucket, Key=lost.key, VersionId=version["VersionId"])
    before = standing(deleted.client, deleted.bucket)
    assert deleted.restore(plan=PLAN) == totals(restored=1, newer=1, deleted_again=1, lost=1)
    assert standing(deleted.client, deleted.bucket) == before | {back.key: Standing(current=back.etag, versions=1)}
    assert deleted.body(newer.key) == b"newer"


def test_an_older_version_is_not_brought_back_in_place_of_a_lost_one(deleted: Deleted) -> None:
    [latest] = put(deleted.client, deleted.bucket, {"a/1": b"second"})
    deleted.delete([replace(latest, last_modified=latest.last_modified + timedelta(seconds=5))])  # SeaweedFS tells whole seconds
    newest = deleted.client.list_object_versions(Bucket=deleted.bucket, Prefix="a/1")["Versions"][0]
    deleted.client.delete_object(Bucket=deleted.bucket, Key="a/1", VersionId=newest["VersionId"])
    assert deleted.restore(plan=PLAN) == totals(lost=1)
    assert standing(deleted.client, deleted.bucket)["a/1"].current is None


def test_unknown_is_counted_and_comes_back_only_when_that_is_asked_for(deleted: Deleted) -> None:
    unknown, sure = deleted.planned[:2]
    deleted.delete([unknown], outcome="unknown")
    deleted.delete([sure], plan="b" * 64)
    assert deleted.restore(plan=PLAN) == totals(unknown=1)
    assert deleted.restore("r0", prefix="a/") == totals(restored=1, unknown=1)
    assert restore_totals(deleted.lake, "r0") == {"restored": 1, "unknown": 1}
    assert standing(deleted.client, deleted.bucket)[unknown.key].current is None
    assert deleted.restore("r2", key=unknown.key) == totals(restored=1)
    assert deleted.body(unknown.key) == BODIES[unknown.key]
    deleted.delete([unknown], plan="c" * 64, hours=1, outcome="unknown")
    assert deleted.restore("r3", prefix="a/", include_unknown=True) == totals(restored=2)
    assert (deleted.body(unknown.key), deleted.body(sure.key)) == (BODIES[unknown.key], BODIES[sure.key])


def test_of_a_key_deleted_twice_the_last_delete_is_undone(deleted: Deleted) -> None:
    first = deleted.planned[0]
    deleted.delete([first])
    [second] = put(deleted.client, deleted.bucket, {first.key: b"second"})
    deleted.delete([second], plan="b" * 64, hours=1)
    assert deleted.restore("old", plan=PLAN) == totals(deleted_again=1)
    assert deleted.restore("new", key=first.key) == totals(restored=1)
    assert deleted.body(first.key) == b"second"


def test_a_marker_without_an_id_of_its_own_is_never_removed(deleted: Deleted) -> None:
    """An object can have the version id `null` too, and would be gone for good."""
    one = deleted.planned[0]
    [answer] = deleted.delete([one])
    record_deletion(Ledger(deleted.lake.ledger(PLAN, dry_run=False)), [one], [replace(answer, version_id="null")])
    before = standing(deleted.client, deleted.bucket)
    assert deleted.restore(plan=PLAN).restored == 0
    assert standing(deleted.client, deleted.bucket) == before


def test_what_somebody_asked_for_is_held_even_if_the_restore_dies(deleted: Deleted, monkeypatch: pytest.MonkeyPatch) -> None:
    deleted.delete(deleted.planned)

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("orphan_pipeline.deletion.undo.markers._settled", die)
        with pytest.raises(KeyboardInterrupt):
            deleted.restore(plan=PLAN)
    assert {one.current for one in standing(deleted.client, deleted.bucket).values()} == {one.etag for one in deleted.planned}
    assert deleted.held() == {(one.key, one.etag, "asked") for one in deleted.planned}
    assert deleted.restore("r2", plan=PLAN) == totals(restored=4)


@pytest.mark.parametrize("key", ["a/1", "a/2"])
def test_a_marker_that_the_store_will_not_remove_does_not_stop_the_others(deleted: Deleted, key: str) -> None:
    deleted.delete(deleted.planned)

    def deny(parsed: Any, **_: Any) -> None:
        parsed["Errors"] = [{"Key": key, "Code": "AccessDenied"}]

    deleted.client.meta.events.register("after-call.s3.DeleteObjects", deny)
    assert deleted.restore(plan=PLAN) == totals(restored=3, refused=1)
    lines = [line for file in deleted.lake.restored_parquet() for line in pq.read_table(file).to_pylist()]
    assert {line["key"]: line["code"] for line in lines} == dict.fromkeys(BODIES) | {key: "AccessDenied"}


def test_what_is_asked_must_be_one_thing_that_was_deleted(deleted: Deleted) -> None:
    with pytest.raises(Refused, match="no ledger says that anything of plan"):
        deleted.restore(plan=PLAN)
    deleted.delete(deleted.planned[:1])
    deleted.delete(deleted.planned[1:2], plan="a" * 32 + "b" * 32)
    with pytest.raises(Refused, match="2 plans have a digest that begins with 'aaaaaaaa', expected one"):
        deleted.restore(plan="a" * 8)
    with pytest.raises(Refused, match="plan 'aaaaaaa': found 7 characters, expected at least 8 of its digest"):
        deleted.restore(plan="a" * 7)
    with pytest.raises(Refused, match="no object with the key 'a/none'"):
        deleted.restore(key="a/none")


def test_one_of_two_prefixes_comes_back_though_no_sweep_is_left_in_the_lake(
    seaweedfs: ObjectStore, make_bucket: MakeBucket, tmp_path: Path
) -> None:
    world = Deleted(seaweedfs, make_bucket(seaweedfs, versioned=True), tmp_path)
    other = put(world.client, world.bucket, {f"b/{i}": b"%d" % i for i in range(30)})
    for prefix, planned in (("a/", world.planned), ("b/", other)):
        ledger = Ledger(world.lake.ledger(prefix[0] * 64, dry_run=False))
        execute(write_plan(tmp_path / "plan", planned, chunk=7), ledger, deleter_of(seaweedfs, world.bucket), prefix=prefix)
    assert not list(world.lake.published_sweeps())
    gone = standing(world.client, world.bucket)
    assert {one.current for one in gone.values()} == {None}
    assert world.restore("r1", prefix="b/") == totals(restored=30)
    back = {one.key: Standing(current=one.etag, versions=1) for one in other}
    assert standing(world.client, world.bucket) == gone | back, "a/ stays deleted, its markers untouched"
    assert world.restore("r2", prefix="a/") == totals(restored=4)
    assert {key: world.body(key) for key in BODIES} == BODIES


def test_of_a_prefix_every_plan_comes_back_and_of_a_key_its_last_delete(deleted: Deleted) -> None:
    first, second, *_ = deleted.planned
    deleted.delete([first])
    [newer] = put(deleted.client, deleted.bucket, {first.key: b"newer"})
    deleted.delete([newer, second], plan="b" * 64, hours=1)
    assert deleted.restore(prefix="a/") == totals(restored=2)
    assert (deleted.body(first.key), deleted.body(second.key)) == (b"newer", BODIES[second.key])


def test_a_prefix_is_meant_exactly(deleted: Deleted) -> None:
    deleted.delete(deleted.planned[:2])
    deleted.delete(deleted.planned[2:], plan="b" * 64, prefix="a/1/")
    for prefix in ("a", "a/1", "A/", "b/"):
        with pytest.raises(Refused, match=f"restore: no ledger says that anything of prefix '{prefix}' was deleted"):
            deleted.restore(prefix=prefix)


def test_a_dry_run_is_nothing_to_restore(deleted: Deleted) -> None:
    record_deletion(Ledger(deleted.lake.ledger(PLAN, dry_run=True)), deleted.planned[:1], [Answer("would_delete")])
    for kind, asked in (("plan", PLAN), ("prefix", "a/"), ("key", "a/1")):
        with pytest.raises(Refused, match="no ledger says that anything"):
            deleted.restore(
                plan=asked if kind == "plan" else "", prefix=asked if kind == "prefix" else "", key=asked if kind == "key" else ""
            )


def test_a_ledger_that_does_not_say_its_prefix_is_never_passed_over_in_silence(deleted: Deleted) -> None:
    """One that holds nothing may: its run was refused before it began."""
    deleted.delete(deleted.planned[:2])
    deleted.delete(deleted.planned[2:], plan="b" * 64)
    with Ledger(deleted.lake.ledger("c" * 64, dry_run=False)).exclusively():
        assert deleted.restore("r1", prefix="a/") == totals(restored=4)
    (deleted.lake.ledger("b" * 64, dry_run=False) / "plan.json").unlink()
    with pytest.raises(Refused, match=r"found no plan\.json, so its prefix is not known: restore it by --plan bbbbbbbbbbbb"):
        deleted.restore("r2", prefix="a/")
    assert deleted.restore("r3", plan="bbbbbbbbbbbb") == totals(restored=2)


@pytest.mark.parametrize("by", ["key", "include unknown"])
@pytest.mark.parametrize("objects", [1, 30], ids=["asked one by one", "listed"])
def test_a_marker_between_ours_and_the_object_goes_when_that_is_asked_for(deleted: Deleted, by: str, objects: int) -> None:
    """Regression: of two requests the store carried out both, the first unheard of; its marker was called the application's later delete,
    and nothing brought the object back. It may be the application's."""
    put(deleted.client, deleted.bucket, {"a/older": b"1"})
    deleted.client.delete_object(Bucket=deleted.bucket, Key="a/older")
    planned = put(deleted.client, deleted.bucket, {f"a/older{n or ''}": b"2" for n in range(objects)})
    tick(deleted)
    one = planned[0]
    between = deleted.client.delete_object(Bucket=deleted.bucket, Key=one.key)["VersionId"]
    ours = deleted.client.delete_object(Bucket=deleted.bucket, Key=one.key)["VersionId"]
    others = deleted.delete(planned[1:]) if objects > 1 else []
    record_deletion(Ledger(deleted.lake.ledger("b" * 64, dry_run=False)), [one], [Answer("deleted", version_id=ours)])
    before = standing(deleted.client, deleted.bucket)[one.key].markers
    assert deleted.restore("r1", prefix="a/") == totals(restored=len(others), unknown=1)
    assert standing(deleted.client, deleted.bucket)[one.key].markers == before
    asked: dict[str, Any] = {"key": one.key} if by == "key" else {"plan": "b" * 64, "include_unknown": True}
    assert deleted.restore("r2", **asked) == totals(restored=1)
    found = standing(deleted.client, deleted.bucket)[one.key]
    assert (found.current, set(found.markers)) == (one.etag, {*before} - {between, ours}), "what is older stays"


def tick(deleted: Deleted) -> None:
    """Returns when what is written has a later time than what stands."""

    def latest(key: str) -> Any:
        return deleted.client.head_object(Bucket=deleted.bucket, Key=key)["LastModified"]

    deleted.client.put_object(Bucket=deleted.bucket, Key="tick", Body=b"")
    first = latest("tick")
    while latest("tick") == first:
        deleted.client.put_object(Bucket=deleted.bucket, Key="tick", Body=b"")


def test_a_marker_of_ours_that_was_left_behind_the_object_goes_too(deleted: Deleted) -> None:
    """SeaweedFS leaves it when the connection breaks while it removes markers: the object is current, its marker beside it."""
    back, newer = deleted.planned[:2]
    deleted.delete([back, newer])
    put(deleted.client, deleted.bucket, {back.key: BODIES[back.key], newer.key: b"newer"})
    before = standing(deleted.client, deleted.bucket)
    assert deleted.restore(plan=PLAN) == totals(restored=1, newer=1)
    assert standing(deleted.client, deleted.bucket) == before | {back.key: Standing(current=back.etag, versions=2)}


@pytest.mark.parametrize("objects", [1, 30], ids=["asked one by one", "listed"])
def test_a_delete_that_the_store_does_not_call_current_yet_is_the_applications(deleted: Deleted, objects: int) -> None:
    """Regression: SeaweedFS lists a marker for a moment before it is the current one; it was taken for one below ours, and the restore
    failed by it."""
    planned = put(deleted.client, deleted.bucket, {f"a/x{n:02d}": b"x" for n in range(objects)})
    key = planned[-1].key
    tick(deleted)
    deleted.delete(planned)
    again = deleted.client.delete_object(Bucket=deleted.bucket, Key=key)["VersionId"]
    with latest_is(deleted, key, lambda entries: next(entry for entry in entries if entry["VersionId"] != again), looks=1):
        assert deleted.restore(plan=PLAN) == totals(restored=objects - 1, deleted_again=1)
    assert standing(deleted.client, deleted.bucket)[key].markers == [again]


@pytest.mark.parametrize("objects", [1, 30], ids=["asked one by one", "listed"])
@pytest.mark.parametrize("looks", [1, 100], ids=["for a moment", "for good"])
def test_a_newer_object_that_the_store_leaves_behind_the_planned_one_is_told(deleted: Deleted, objects: int, looks: int) -> None:
    """Regression: SeaweedFS makes the older one current where another is written in the very moment in which our marker goes. `lost` was
    said of it, or `restored`."""
    planned = put(deleted.client, deleted.bucket, {f"a/x{n:02d}": b"x" for n in range(objects)})
    key = planned[-1].key
    tick(deleted)
    deleted.delete(planned)
    client: Any = deleted.client

    def write(params: dict[str, Any], **_: object) -> None:
        client.meta.events.unregister("before-call.s3.DeleteObjects", write)
        put(client_of(deleted.store), deleted.bucket, {key: b"newer"})

    client.meta.events.register("before-call.s3.DeleteObjects", write)
    with latest_is(deleted, key, lambda entries: entries[-1], looks=1 + looks):
        told = deleted.restore(plan=PLAN)
        if looks > 1:
            assert deleted.restore("r2", plan=PLAN) == told, "and each time again"
    if looks == 1:
        assert told == totals(restored=objects - 1, newer=1)
    else:
        assert told == totals(restored=objects - 1, refused=1)
        [code] = {line["code"] for file in deleted.lake.restored_parquet() for line in pq.read_table(file).to_pylist() if line["code"]}
        assert code == "NewerNotCurrent"
    assert deleted.body(key) == b"newer"


@contextmanager
def latest_is(deleted: Deleted, key: str, which: Callable[[list[Any]], Any], *, looks: int) -> Iterator[None]:
    """Of this key's markers and versions, newest first, the one that the first `looks` lists of them call the current one."""
    left = [looks]

    def pretend(parsed: dict[str, Any], **_: object) -> None:
        entries = [entry for kind in ("DeleteMarkers", "Versions") for entry in parsed.get(kind, []) if entry["Key"] == key]
        if entries and left[0]:
            left[0] -= 1
            chosen = which(entries)
            for entry in entries:
                entry["IsLatest"] = entry is chosen

    client: Any = deleted.client
    client.meta.events.register("after-call.s3.ListObjectVersions", pretend)
    try:
        yield
    finally:
        client.meta.events.unregister("after-call.s3.ListObjectVersions", pretend)
