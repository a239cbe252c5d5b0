"""What a plan that is gone on with must get right, beside what the kills show: each of these was found by them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pyarrow.parquet as pq
import pytest
import real_run
from deletion_helpers import (
    SEEN,
    NothingHeld,
    Restorable,
    client_of,
    delete_now,
    deleter_of,
    execute,
    plan_named,
    put,
    record_deletion,
    recorded,
    standing,
    write_plan,
)
from faulty_store import NOTHING, Exchange, Fault, faulty_store
from live_application import make_table
from test_deletion_faults import empty
from test_faults_everywhere import is_look
from test_newer import hidden_by_delete

from orphan_pipeline.deletion.deleter import VersionedDeleter
from orphan_pipeline.deletion.ledger import Answer, Ledger, Planned
from orphan_pipeline.deletion.looking import look_behind
from orphan_pipeline.deletion.newer.objects import HIDDEN
from orphan_pipeline.deletion.quarantine.place import Quarantine
from orphan_pipeline.deletion.requests import delete_one, remove_every_marker
from orphan_pipeline.deletion.sending import MAY_STILL_GO, UNANSWERED
from orphan_pipeline.deletion.undo import restore as restoring
from orphan_pipeline.deletion.undo.outcomes import RestoreTotals
from orphan_pipeline.deletion.undo.selection import Selection
from orphan_pipeline.demo.servers import ObjectStore
from orphan_pipeline.errors import Refused
from orphan_pipeline.lake.layout import BucketLake

MakeBucket = Callable[..., str]
NEEDED = Answer("referenced_again", code="documents")
NOTHING_RESTORED = RestoreTotals(restored=0, newer=0, deleted_again=0, lost=0, refused=0, unknown=0)


def reference(url: str, key: str) -> None:
    with psycopg.connect(url) as connection:
        document = f'{{"attachments": [{{"url": "{key}"}}]}}'
        connection.execute("INSERT INTO documents (data) VALUES (%s)", [document])


def test_a_plan_goes_on_whose_canary_was_brought_back(
    seaweedfs: ObjectStore, make_bucket: MakeBucket, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_table(database_url, index=True)
    swept = real_run.sweep(
        seaweedfs,
        make_bucket(seaweedfs, versioned=True),
        {f"a/{n:02d}": b"%d" % n for n in range(40)},
        database_url=database_url,
        folder=tmp_path,
        chunk=10,
        deletion={"mode": "versioned", "concurrency": 1},
    )
    used = next(key for key, chunk in swept.chunk_of.items() if chunk == 0)

    def use_and_stop(chunk: object, *, file: str) -> None:
        reference(database_url, used)
        swept.lake.kill_switch.write_text("after the canary")

    with monkeypatch.context() as patch:
        patch.setattr(real_run, "tell", use_and_stop)
        swept.delete("r1")
    swept.lake.kill_switch.unlink()
    assert swept.client.head_object(Bucket=swept.bucket, Key=used)["ETag"], "it was brought back"
    swept.delete("r2")
    assert sum(amount.objects for amount in swept.ledger.totals().values()) == 40


@pytest.mark.parametrize("versioned", [False, True])
def test_a_copy_that_a_killed_run_made_is_named_though_its_key_is_held_by_now(
    versioned: bool, seaweedfs: ObjectStore, make_bucket: MakeBucket, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What no line names, no purge ever removes."""
    make_table(database_url, index=True)
    swept = real_run.sweep(
        seaweedfs,
        make_bucket(seaweedfs, versioned=versioned),
        {f"a/{n:02d}": b"%d" % n for n in range(10)},
        database_url=database_url,
        folder=tmp_path,
        chunk=10,
        deletion={"mode": "quarantine", "quarantine": f"s3://{make_bucket(seaweedfs)}/q/"},
    )

    def killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(VersionedDeleter, "__call__", killed)
        with pytest.raises(KeyboardInterrupt):
            swept.delete("r1")
    reference(database_url, "a/03")
    swept.delete("r2")
    lines = {line["key"]: line for line in recorded(swept.ledger)}
    assert (lines["a/03"]["outcome"], lines["a/03"]["code"]) == ("referenced_again", f"{MAY_STILL_GO}:documents")
    plan = swept.ledger.plan()
    assert plan is not None
    place = Quarantine.of(plan.quarantine or "")
    copies = {f"s3://{place.bucket}/{key}" for key in standing(client_of(seaweedfs), place.bucket)}
    assert copies == {line["copy"] for line in lines.values()} - {None}


def test_what_a_killed_run_hid_comes_back_by_its_key(seaweedfs: ObjectStore, make_bucket: MakeBucket, tmp_path: Path) -> None:
    """A delete that met a write, of a run that was killed before it noted its marker: `unknown`, `NewerObjectHidden`. A run that finds the
    key in use says `restore --key`."""
    bucket = make_bucket(seaweedfs, versioned=True)
    planned, answers = hidden_by_delete(seaweedfs, bucket, ["a/1"])
    world = Restorable()
    world.client, world.bucket, world.lake = client_of(seaweedfs), bucket, BucketLake(tmp_path / "lake")
    ledger = Ledger(world.lake.ledger("a" * 64, dry_run=False))
    record_deletion(ledger, planned, [replace(answers["a/1"], outcome="unknown", code=HIDDEN)])
    assert world.restore("r0", plan="a" * 64, include_unknown=True).newer == 0
    assert standing(world.client, bucket)["a/1"].current is None, "the marker may be the application's, which deleted what it wrote"
    assert world.restore(key="a/1").newer == 1
    assert world.client.get_object(Bucket=bucket, Key="a/1")["Body"].read() == b"newer a/1"


def test_no_answer_is_not_a_list_of_nothing(seaweedfs: ObjectStore, make_bucket: MakeBucket) -> None:
    bucket = make_bucket(seaweedfs, versioned=True)
    hidden_by_delete(seaweedfs, bucket, ["a/1"])
    with faulty_store(seaweedfs.endpoint, kind=is_look, after=lambda _: empty) as store:
        client = client_of(seaweedfs, endpoint=store.endpoint, attempts=2)
        with pytest.raises(Refused, match="answered a listing with nothing at all, 3 times"):
            look_behind(client, bucket, "a/1")


def test_a_look_without_an_answer_takes_no_other_answer_along(seaweedfs: ObjectStore, make_bucket: MakeBucket) -> None:
    """A single delete was refused by its condition; to call it by its name, it is looked at what stands."""
    bucket = make_bucket(seaweedfs, versioned=True)
    planned, _ = hidden_by_delete(seaweedfs, bucket, ["a/1"])
    refuse: Fault = lambda exchange: exchange.refuse(412, "PreconditionFailed") if exchange.method == "DELETE" else None  # noqa: E731
    with faulty_store(seaweedfs.endpoint, kind=lambda _: True, before=lambda _: refuse, after=lambda _: empty) as store:
        [answer] = [delete_one(client_of(seaweedfs, endpoint=store.endpoint, attempts=1), bucket, one) for one in planned]
    assert answer == Answer("changed", code="PreconditionFailed")


class Holds(NothingHeld):
    """From the beginning of its chunk, or right before its request."""

    def __init__(self, key: str, when: str) -> None:
        self.key, self.when = key, when

    def before(self, chunk: int, planned: Sequence[Planned]) -> Mapping[str, Answer]:
        return {one.key: NEEDED for one in planned if one.key == self.key and self.when == "before"}

    def before_request(self, chunk: int, planned: Sequence[Planned]) -> Mapping[str, Answer]:
        return {one.key: NEEDED for one in planned if one.key == self.key}


@pytest.mark.parametrize("when", ["before", "before_request"])
def test_a_killed_runs_request_that_is_carried_out_after_the_next_run_comes_back(
    seaweedfs: ObjectStore, make_bucket: MakeBucket, tmp_path: Path, when: str
) -> None:
    """Regression: the next run held the key, it stood, and the ledger called it left alone, for good."""
    world = Restorable()
    world.client, world.bucket, world.lake = client_of(seaweedfs), make_bucket(seaweedfs, versioned=True), BucketLake(tmp_path / "lake")
    planned = put(world.client, world.bucket, {"a/1": b"1", "a/2": b"2"})
    ledger = Ledger(world.lake.ledger("a" * 64, dry_run=False))
    ledger.begin(plan_named("a" * 64, prefix="a/"))
    ledger.intend(0, run_id="killed", at=SEEN)
    plan = write_plan(tmp_path / "plan.parquet", planned)
    execute(plan, ledger, deleter_of(seaweedfs, world.bucket), guards=[Holds("a/1", when)])
    assert {line["key"]: (line["outcome"], line["code"]) for line in recorded(ledger)} == {
        "a/1": ("referenced_again", f"{MAY_STILL_GO}:documents"),
        "a/2": ("deleted", None),
    }
    delete_now(world.client, world.bucket, planned[:1])
    assert (world.restore(plan="a" * 64).unknown, standing(world.client, world.bucket)["a/1"].current) == (1, None)
    assert world.restore("r2", key="a/1").restored == 1
    assert standing(world.client, world.bucket)["a/1"].current == planned[0].etag


@pytest.mark.parametrize("code", sorted(map(str, UNANSWERED)))
def test_what_went_by_a_request_that_got_no_answer_comes_back_when_it_is_asked_for(
    seaweedfs: ObjectStore, make_bucket: MakeBucket, tmp_path: Path, code: str
) -> None:
    """By its key, as the after-check says that finds it in use, or with `--include-unknown`, as a restore of the plan says. What stands is
    only held as restored where its key was named."""
    world = Restorable()
    world.client, world.bucket, world.lake = client_of(seaweedfs), make_bucket(seaweedfs, versioned=True), BucketLake(tmp_path / "lake")
    planned = put(world.client, world.bucket, {"a/gone": b"gone", "a/stands": b"stands"})
    assert delete_now(client_of(seaweedfs, attempts=1), world.bucket, planned[:1])["a/gone"] is not None
    ledger = Ledger(world.lake.ledger("a" * 64, dry_run=False))
    record_deletion(ledger, planned, [Answer("failed", code=code)] * 2)
    assert world.restore("r0", plan="a" * 64) == replace(NOTHING_RESTORED, unknown=1, standing=1)
    assert world.restore("r1", plan="a" * 64, include_unknown=True) == replace(NOTHING_RESTORED, restored=1, standing=1)
    assert [line["key"] for file in world.lake.restored_parquet() for line in pq.read_table(file).to_pylist()] == ["a/gone"] * 2
    [marker] = [answer.version_id for answer in delete_now(world.client, world.bucket, planned[:1]).values() if answer]
    assert marker
    assert [world.restore(f"r-{one.key[2:]}", key=one.key).restored for one in planned] == [1, 1]
    assert {key: (own.current is None, own.markers) for key, own in standing(world.client, world.bucket).items()} == {
        "a/gone": (False, []),
        "a/stands": (False, []),
    }


def test_a_removal_without_an_answer_is_asked_for_again(seaweedfs: ObjectStore, make_bucket: MakeBucket) -> None:
    """Regression: taken for done, and the marker's id was forgotten."""
    bucket = make_bucket(seaweedfs, versioned=True)
    planned = put(client_of(seaweedfs), bucket, {"a/1": b"1"})
    markers = {key: answer.version_id or "" for key, answer in delete_now(client_of(seaweedfs), bucket, planned).items() if answer}

    def nothing(exchange: Exchange) -> None:
        exchange.status, exchange.body = 200, b""

    with faulty_store(seaweedfs.endpoint, before=lambda number: nothing if number == 0 else NOTHING) as store:
        assert remove_every_marker(client_of(seaweedfs, endpoint=store.endpoint), bucket, markers) == {}
    assert standing(client_of(seaweedfs), bucket)["a/1"].markers == []


def test_a_restore_that_finds_everything_standing_says_so_once_and_is_no_failure(
    seaweedfs: ObjectStore, make_bucket: MakeBucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Regression: the ledger said of no object that it was deleted, right after each chunk had said to run it again later."""
    monkeypatch.setattr(restoring, "KEYS_A_FILE", 1)
    client, bucket, lake = client_of(seaweedfs), make_bucket(seaweedfs, versioned=True), BucketLake(tmp_path / "lake")
    planned = put(client, bucket, {"a/1": b"1", "a/2": b"2"})
    record_deletion(Ledger(lake.ledger("a" * 64, dry_run=False)), planned, [Answer("failed", code="MayStillGo:AccessDenied")] * 2)
    lines: list[str] = []
    found = restoring.restore_selected(
        client,
        bucket,
        lake=lake,
        selection=Selection(plan="a" * 64),
        include_unknown=False,
        restore_id="r",
        go_on=lambda: None,
        report=lines.append,
    )
    assert found == replace(NOTHING_RESTORED, standing=2)
    told = "restore: 2 objects stand, but the store may yet carry out a request for them: run this again later"
    assert [line for line in lines if "stand" in line] == [told]
    assert lake.restored_parquet() == []
