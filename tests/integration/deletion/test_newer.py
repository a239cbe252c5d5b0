"""SeaweedFS does not decide a delete's condition and carry it out in one step: whatever an application writes in the very moment of the
delete stands in the end, and nothing of ours hides it."""

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from threading import Event
from typing import TYPE_CHECKING, Any

import pytest
from deletion_helpers import (
    SEEN,
    NothingHeld,
    Restorable,
    Standing,
    client_of,
    delete_now,
    deleter_of,
    execute,
    put,
    record_deletion,
    recorded,
    standing,
    write_plan,
)

from orphan_pipeline.deletion.ledger import Answer, Ledger, Planned
from orphan_pipeline.deletion.looking import Current
from orphan_pipeline.deletion.newer.late import LateLook
from orphan_pipeline.deletion.newer.objects import HIDDEN, UNCOVERED, NewerObjects, decides_in_one_step, hides_newer
from orphan_pipeline.deletion.requests import remove_every_marker
from orphan_pipeline.deletion.undo.at_once import WRITTEN_MEANWHILE, bringing_back
from orphan_pipeline.deletion.undo.outcomes import RestoreTotals
from orphan_pipeline.demo.servers import ObjectStore
from orphan_pipeline.errors import Refused
from orphan_pipeline.lake.layout import BucketLake

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

PAIRS = int(os.environ.get("ORPHAN_PIPELINE_RACES", "400"))
LATEST_MS = 6
"""About as long as a small chunk takes: later writes than the delete, and earlier ones, are among them."""


@dataclass
class Writers(NothingHeld):
    """A guard that has every key of a chunk overwritten while the chunk's request is under way."""

    client: "S3Client"
    bucket: str
    pool: ThreadPoolExecutor
    random: Random = field(default_factory=lambda: Random(1))
    etags: dict[str, Future[str]] = field(default_factory=dict)

    def before(self, chunk: int, planned: Sequence[Planned]) -> Mapping[str, Answer]:
        for one in planned:
            self.etags[one.key] = self.pool.submit(self._write, one.key, self.random.random() * LATEST_MS / 1000)
        return {}

    def _write(self, key: str, seconds: float) -> str:
        Event().wait(seconds)
        return self.client.put_object(Bucket=self.bucket, Key=key, Body=b"newer " + key.encode())["ETag"].strip('"')


def hidden_by_delete(store: ObjectStore, bucket: str, keys: Sequence[str]) -> tuple[list[Planned], dict[str, Answer]]:
    """Newer objects under a marker of ours, made one after the other: as the store leaves them when the two come at once."""
    client = client_of(store)
    planned = put(client, bucket, {key: b"planned " + key.encode() for key in keys})
    newer = put(client, bucket, {key: b"newer " + key.encode() for key in keys})
    answers = delete_now(client_of(store, attempts=1), bucket, newer)
    assert {answer.outcome for answer in answers.values() if answer} == {"deleted"}
    return planned, {key: answer for key, answer in answers.items() if answer}


@pytest.mark.parametrize("chunk", [1, 8, 40])
def test_what_is_written_in_the_moment_of_its_delete_stands(
    chunk: int, seaweedfs: ObjectStore, make_bucket: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    client, bucket = client_of(seaweedfs), make_bucket(seaweedfs, versioned=True)
    planned = put(client, bucket, {f"a/{n:06d}": b"%d" % n for n in range(PAIRS)})
    ledger, plan = Ledger(tmp_path / "ledger"), write_plan(tmp_path / "plan.parquet", planned, canary=1, chunk=chunk)
    with ThreadPoolExecutor(24) as pool, closing(NewerObjects(client=client, bucket=bucket)) as newer:
        writers = Writers(client_of(seaweedfs), bucket, pool)
        bring_back = bringing_back(client, bucket, WRITTEN_MEANWHILE, lake=BucketLake(tmp_path / "lake"), ledger=ledger, run_id="run")
        late = LateLook(newer=newer, ledger=ledger, bring_back=bring_back, report=print)
        execute(plan, ledger, deleter_of(seaweedfs, bucket), guards=[writers, late], newer=newer, concurrency=2)
        written = {key: etag.result() for key, etag in writers.etags.items()}
    found = standing(client, bucket)
    assert {key: found[key].current for key in written} == written
    lines = {line["key"]: line for line in recorded(ledger)}
    uncovered = [line for line in lines.values() if line["code"] == UNCOVERED]
    assert {(line["outcome"], line["version_id"]) for line in uncovered} <= {("changed", None)}
    with capsys.disabled():
        print(f"{PAIRS} pairs, chunks of {chunk}: {len(uncovered)} uncovered at once, {late.uncovered} later")


def test_only_newer_objects_under_our_own_marker_are_uncovered(
    seaweedfs: ObjectStore, make_bucket: Callable[..., str], tmp_path: Path
) -> None:
    bucket = make_bucket(seaweedfs, versioned=True)
    client = client_of(seaweedfs)
    keys = ["a/control\x01", "a/newer", "a/planned", "a/same bytes", "a/theirs", "a/unknown", "a/written since"]
    planned, answers = hidden_by_delete(seaweedfs, bucket, keys)
    by_key = {one.key: one for one in planned}
    same = client.head_object(
        Bucket=bucket, Key="a/planned", VersionId=_versions(client, bucket, "a/planned")[0]
    )  # what is behind the marker is what was planned
    by_key["a/planned"] = replace(by_key["a/planned"], etag=same["ETag"].strip('"'), last_modified=same["LastModified"])
    by_key["a/same bytes"] = replace(
        by_key["a/same bytes"],
        etag=client.head_object(Bucket=bucket, Key="a/same bytes", VersionId=_versions(client, bucket, "a/same bytes")[0])["ETag"].strip(
            '"'
        ),
        last_modified=datetime.now(UTC) - timedelta(days=30),
    )
    answers["a/unknown"] = replace(answers["a/unknown"], outcome="unknown")
    put(client, bucket, {"a/theirs": b"theirs", "a/written since": b"since"})
    client.delete_object(Bucket=bucket, Key="a/theirs")
    before = standing(client, bucket)
    with closing(NewerObjects(client=client, bucket=bucket)) as newer:
        hidden = newer.hidden(list(by_key.values()), answers)
        assert set(hidden) == {"a/control\x01", "a/newer", "a/same bytes", "a/unknown"}
        assert {answer.code for answer in hidden.values()} == {HIDDEN}
        uncovered = newer.uncovered({**answers, **hidden})
        assert newer.uncovered({**answers, **hidden}) == uncovered, "again, as after a kill"
    assert uncovered == dict.fromkeys(["a/control\x01", "a/newer", "a/same bytes"], Answer("changed", code=UNCOVERED))
    after = standing(client, bucket)
    listed = {key.replace("\x01", "\ufffd") for key in uncovered}
    assert {key: one for key, one in after.items() if key not in listed} == {key: one for key, one in before.items() if key not in listed}
    for key in uncovered:
        body = client.get_object(Bucket=bucket, Key=key)["Body"].read()
        assert body == b"newer " + key.encode()


@pytest.mark.parametrize("broken_off", ["hidden", "uncovered", "remove_every_marker"])
def test_a_run_that_is_killed_between_delete_and_look_is_settled_by_the_next(
    broken_off: str, seaweedfs: ObjectStore, make_bucket: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(seaweedfs, make_bucket(seaweedfs, versioned=True), tmp_path)
    with monkeypatch.context() as patch:
        world.break_off(patch, broken_off)
        with pytest.raises(KeyboardInterrupt):
            world.run()
    assert world.ledger.unfinished() == [0]
    world.run()
    assert {(line["outcome"], line["code"]) for line in recorded(world.ledger)} == {("changed", UNCOVERED)}
    assert world.current() == world.newer_etags


@pytest.mark.parametrize("broken_off", ["hidden", "uncovered", "remove_every_marker"])
def test_or_by_a_restore(
    broken_off: str, seaweedfs: ObjectStore, make_bucket: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(seaweedfs, make_bucket(seaweedfs, versioned=True), tmp_path)
    with monkeypatch.context() as patch:
        world.break_off(patch, broken_off)
        with pytest.raises(KeyboardInterrupt):
            world.run()
    monkeypatch.setattr("orphan_pipeline.deletion.undo.unfinished.plan_file_of", lambda *_: world.plan)
    counts = world.restore(plan=world.ledger.folder.name)
    assert (counts.newer, counts.restored, counts.lost) == (len(world.newer_etags), 0, 0)
    assert world.current() == world.newer_etags


def test_a_marker_that_the_store_will_not_remove_ends_the_run_loudly(
    seaweedfs: ObjectStore, make_bucket: Callable[..., str], tmp_path: Path
) -> None:
    bucket = make_bucket(seaweedfs, versioned=True)
    planned, answers = hidden_by_delete(seaweedfs, bucket, ["a/1", "a/2"])
    client = client_of(seaweedfs)

    def deny(parsed: Any, **_: Any) -> None:
        parsed["Errors"] = [{"Key": "a/2", "Code": "AccessDenied"}]

    client.meta.events.register("after-call.s3.DeleteObjects", deny)
    with closing(NewerObjects(client=client, bucket=bucket)) as newer:
        hidden = newer.hidden(planned, answers)
        with pytest.raises(Refused, match=r"'a/2': the delete marker .* hides an object that was written .*\(AccessDenied\)"):
            newer.uncovered(hidden)


def test_a_restore_uncovers_what_the_application_wrote_last(
    seaweedfs: ObjectStore, make_bucket: Callable[..., str], tmp_path: Path
) -> None:
    bucket = make_bucket(seaweedfs, versioned=True)
    keys = [f"a/{n:03d}" for n in range(60)]
    planned, answers = hidden_by_delete(seaweedfs, bucket, keys)
    world = Restorable()
    world.client, world.bucket, world.lake = client_of(seaweedfs), bucket, BucketLake(tmp_path / "lake")
    ledger = Ledger(world.lake.ledger("a" * 64, dry_run=False))
    record_deletion(ledger, planned, [answers[one.key] for one in planned])
    assert world.restore(prefix="a/").newer == 60
    assert standing(world.client, bucket) == {
        key: Standing(current=own.current, versions=2) for key, own in standing(world.client, bucket).items() if own.current
    }
    assert world.restore("r2", prefix="a/") == RestoreTotals(restored=0, newer=60, deleted_again=0, lost=0, refused=0, unknown=0)


def test_what_a_dense_chunk_costs(seaweedfs: ObjectStore, make_bucket: Callable[..., str]) -> None:
    """Of 1,000 keys beside one another: two listing requests, or three where the last page ends with them."""
    client, bucket = client_of(seaweedfs), make_bucket(seaweedfs, versioned=True)
    planned = put(client, bucket, {f"a/{n:04d}": b"x" for n in range(1000)})
    answers = delete_now(client_of(seaweedfs, attempts=1), bucket, planned)
    sent: list[str] = []
    client.meta.events.register("before-send.s3.*", lambda request, **_: sent.append(request.url))
    with closing(NewerObjects(client=client, bucket=bucket)) as newer:
        assert newer.hidden(planned, {key: answer for key, answer in answers.items() if answer}) == {}
    assert 2 <= len(sent) <= 3


@pytest.mark.parametrize(
    ("behind", "etag", "later", "newer"),
    [
        (None, "planned", 0, False),
        ("planned", "planned", 0, False),
        ("planned", "planned", 0.9, False),
        ("planned", "planned", 1, True),
        ("other", "planned", 0, True),
        ("other", "planned", -1, False),
    ],
)
def test_newer_is_another_etag_or_a_later_time(behind: str | None, etag: str, later: float, newer: bool) -> None:
    current = Current(marker="m", behind=behind, behind_at=None if behind is None else SEEN + timedelta(seconds=later))
    assert hides_newer(current, etag=etag, last_modified=SEEN) is newer
    assert not hides_newer(replace(current, marker=None, etag=behind), etag=etag, last_modified=SEEN)


@pytest.mark.parametrize(
    ("endpoint", "one_step"),
    [
        ("https://s3.eu-west-1.amazonaws.com", True),
        ("https://s3.cn-north-1.amazonaws.com.cn", True),
        ("https://vpce-1.s3.us-east-1.vpce.amazonaws.com", True),
        ("https://amazonaws.com.example.com", False),
        ("https://notamazonaws.com", False),
        ("http://127.0.0.1:8333", False),
    ],
)
def test_only_aws_is_believed_to_decide_in_one_step(endpoint: str, one_step: bool) -> None:
    assert decides_in_one_step(endpoint) is one_step


class World(Restorable):
    """A plan whose every key is overwritten between the store's decision and its deed: what SeaweedFS does by chance, done for certain."""

    def __init__(self, store: ObjectStore, bucket: str, folder: Path) -> None:
        self.store, self.bucket, self.client = store, bucket, client_of(store)
        self.lake = BucketLake(folder / "lake")
        self.ledger = Ledger(self.lake.ledger("d" * 64, dry_run=False))
        self.planned = put(self.client, bucket, {f"a/{n}": b"%d" % n for n in range(5)})
        self.plan = write_plan(folder / "plan.parquet", self.planned)
        self.newer_etags: dict[str, str] = {}

    def run(self) -> None:
        deleter = deleter_of(self.store, self.bucket)
        inner = deleter._once.delete_objects

        def overwritten_first(**asked: Any) -> Any:
            newer = put(self.client, self.bucket, {one["Key"]: b"newer" + one["Key"].encode() for one in asked["Delete"]["Objects"]})
            self.newer_etags = {one.key: one.etag for one in newer}
            asked["Delete"]["Objects"] = [{"Key": one["Key"]} for one in asked["Delete"]["Objects"]]
            return inner(**asked)

        deleter._once.delete_objects = overwritten_first  # type: ignore[method-assign]
        with closing(NewerObjects(client=self.client, bucket=self.bucket)) as newer:
            execute(self.plan, self.ledger, deleter, newer=newer)

    def break_off(self, patch: pytest.MonkeyPatch, where: str) -> None:
        def die(*_: object, **__: object) -> None:
            raise KeyboardInterrupt

        if where == "remove_every_marker":

            def removed_and_dead(*arguments: Any) -> None:
                remove_every_marker(*arguments)
                raise KeyboardInterrupt

            patch.setattr("orphan_pipeline.deletion.newer.objects.remove_every_marker", removed_and_dead)
        else:
            patch.setattr(NewerObjects, where, die)

    def current(self) -> dict[str, str | None]:
        return {key: own.current for key, own in standing(self.client, self.bucket).items()}


def _versions(client: "S3Client", bucket: str, key: str) -> list[str]:
    """Ids, the newest first."""
    return [one["VersionId"] for one in client.list_object_versions(Bucket=bucket, Prefix=key)["Versions"] if one["Key"] == key]
