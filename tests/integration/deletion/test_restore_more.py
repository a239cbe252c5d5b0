"""Restores by time, of keys that a store does not list, at once beside their own run, with their content read; and releases."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from deletion_helpers import Restorable, Standing, client_of, delete_now, plan_named, put, record_deletion, standing
from quarantine_helpers import MIB, put_parts

from orphan_pipeline.deletion.ledger import Answer, Ledger, Planned
from orphan_pipeline.deletion.quarantine.place import Place
from orphan_pipeline.deletion.undo import restore as undo_restore
from orphan_pipeline.deletion.undo.at_once import restore_keys
from orphan_pipeline.deletion.undo.held import view_restored
from orphan_pipeline.deletion.undo.outcomes import RestoreTotals
from orphan_pipeline.deletion.undo.releases import release_restored
from orphan_pipeline.deletion.undo.restore import restore_selected
from orphan_pipeline.deletion.undo.sample import content_of
from orphan_pipeline.deletion.undo.selection import Selection, selected
from orphan_pipeline.demo.servers import ObjectStore
from orphan_pipeline.duck import duck, rows
from orphan_pipeline.errors import Refused
from orphan_pipeline.lake.layout import BucketLake

MakeBucket = Callable[..., str]
NOW = datetime.now(UTC)
PLAN = "a" * 64


class Deleted(Restorable):
    def __init__(self, store: ObjectStore, bucket: str, folder: Path) -> None:
        self.store, self.client, self.bucket, self.lake = store, client_of(store), bucket, BucketLake(folder / "lake")

    def delete(self, planned: list[Planned], *, plan: str = PLAN, chunk: int = 0, days_ago: float = 0) -> None:
        given = delete_now(self.client, self.bucket, planned)
        answers = [answer for one in planned if (answer := given[one.key]) is not None]
        ledger = Ledger(self.lake.ledger(plan, dry_run=False))
        record_deletion(ledger, planned, answers, chunk=chunk, at=NOW - timedelta(days=days_ago))

    def select(self, *, sample: int = 0, go_on: Callable[[], None] = lambda: None, **asked: Any) -> RestoreTotals:
        window = timedelta(days=14)
        said = {"plan": "", "prefix": "", "key": "", "since": "", "until": "", **asked}
        return restore_selected(
            self.client,
            self.bucket,
            lake=self.lake,
            selection=selected(**said, now=NOW, undo_window=window),
            include_unknown=False,
            restore_id="r",
            go_on=go_on,
            report=lambda _: None,
            sample=sample,
        )

    def current(self) -> set[str]:
        return {key for key, one in standing(self.client, self.bucket).items() if one.current}


@pytest.fixture
def world(seaweedfs: ObjectStore, make_bucket: MakeBucket, tmp_path: Path) -> Deleted:
    return Deleted(seaweedfs, make_bucket(seaweedfs, versioned=True), tmp_path)


@pytest.mark.parametrize(
    ("asked", "back"),
    [
        ({"since": "2d"}, {"a/1"}),
        ({"since": "5d", "until": "2d"}, {"a/3"}),
        ({"prefix": "a/"}, {"a/1", "a/3"}),
        ({"prefix": "a/", "since": "40d"}, {"a/1", "a/3", "a/30"}),
        ({"plan": "c" * 64}, {"a/30"}),
        ({"until": "20d", "since": "100d"}, {"a/30"}),
        ({"since": (NOW - timedelta(days=2)).isoformat()}, {"a/1"}),
    ],
)
def test_what_went_in_a_stretch_of_time_comes_back(world: Deleted, asked: dict[str, Any], back: set[str]) -> None:
    for days, plan in ((1, "a"), (3, "b"), (30, "c")):
        world.delete(put(world.client, world.bucket, {f"a/{days}": b"x"}), plan=plan * 64, days_ago=days)
    assert world.select(**asked).restored == len(back)
    assert world.current() == back


@pytest.mark.parametrize(
    ("asked", "line"),
    [
        ({}, "expected exactly one of --plan, --prefix and --key, or --since or --until alone; found none of them"),
        ({"plan": PLAN, "key": "a/1"}, "found --plan and --key"),
        ({"since": "yesterday"}, "since: found 'yesterday', expected 2026-11-20, 2026-11-20T14:30 or a duration ago such as 36h"),
        ({"since": "1d", "until": "2d"}, "is not before --until"),
        ({"since": "1d"}, "no ledger says that anything of this time was deleted"),
    ],
)
def test_what_is_asked_must_be_clear(world: Deleted, asked: dict[str, Any], line: str) -> None:
    with pytest.raises(Refused, match=line):
        world.select(**asked)


def crowd(key: str) -> list[str]:
    """More keys than a page holds, that begin with this one and that SeaweedFS puts before its versions."""
    return [f"{key}-{number:04d}" for number in range(1100)]


def test_a_key_that_the_store_does_not_list_comes_back_and_is_not_called_lost(world: Deleted) -> None:
    put(world.client, world.bucket, dict.fromkeys(crowd("a/x"), b"1"))
    planned = put(world.client, world.bucket, {"a/x": b"hidden"})
    world.delete(planned)
    assert world.restore(plan=PLAN).restored == 1
    assert world.client.get_object(Bucket=world.bucket, Key="a/x")["Body"].read() == b"hidden"


def test_a_key_that_the_store_does_not_list_and_whose_version_is_gone_stays_gone(world: Deleted) -> None:
    """What lies behind it then is an older object, which nobody asked for."""
    put(world.client, world.bucket, {"a/x": b"older"})
    [planned] = put(world.client, world.bucket, {"a/x": b"planned"})
    version = world.client.head_object(Bucket=world.bucket, Key="a/x")["VersionId"]
    world.delete([replace(planned, last_modified=planned.last_modified + timedelta(seconds=5))])  # SeaweedFS tells whole seconds
    world.client.delete_object(Bucket=world.bucket, Key="a/x", VersionId=version)
    put(world.client, world.bucket, dict.fromkeys(crowd("a/x"), b"1"))
    assert world.restore(plan=PLAN).lost == 1
    with pytest.raises(world.client.exceptions.ClientError, match="404"):
        world.client.head_object(Bucket=world.bucket, Key="a/x")


@pytest.mark.parametrize("store", ["seaweedfs", "moto"])
@pytest.mark.parametrize("crowded", [False, True])
def test_a_dense_chunk_takes_a_few_requests_and_a_sparse_one_is_asked_key_by_key(
    store: str, request: pytest.FixtureRequest, make_bucket: MakeBucket, tmp_path: Path, crowded: bool
) -> None:
    server: ObjectStore = request.getfixturevalue(store)
    world = Deleted(server, make_bucket(server, versioned=True), tmp_path)
    keys = [f"a/{number:04d}" for number in range(0, 600, 20 if crowded else 4)]
    planned = put(world.client, world.bucket, {key: key.encode() for key in keys})
    others = put(world.client, world.bucket, {f"a/{number:04d}": b"kept" for number in range(600) if f"a/{number:04d}" not in keys})
    world.delete(planned)
    requests: list[str] = []
    client: Any = world.client
    client.meta.events.register("before-call.s3", lambda model, **_: requests.append(model.name))
    assert world.restore(plan=PLAN).restored == len(keys)
    if not crowded:
        assert len(requests) <= 5
    assert standing(client_of(server), world.bucket) == {one.key: Standing(current=one.etag, versions=1) for one in [*planned, *others]}


def test_keys_come_back_at_once_while_their_run_holds_the_ledger(world: Deleted) -> None:
    planned = put(world.client, world.bucket, {f"a/{number}": b"%d" % number for number in range(8)})
    world.delete(planned[:4])
    world.delete(planned[4:], chunk=1)
    ledger = Ledger(world.lake.ledger(PLAN, dry_run=False))

    def back(keys: list[str]) -> Any:
        return restore_keys(world.client, world.bucket, keys, [0, 1], lake=world.lake, ledger=ledger, why="needed again", restore_id="run")

    put(world.client, world.bucket, {"a/6": b"newer"})
    with ledger.exclusively(), ThreadPoolExecutor(2) as threads:
        first, second = threads.map(back, [["a/1", "a/5"], ["a/6", "a/none"]])
    assert first == {"a/1": "restored", "a/5": "restored"}
    assert second == {"a/6": "newer", "a/none": "lost"}
    assert world.current() == {"a/1", "a/5", "a/6"}
    held = {line["key"] for file in world.lake.restored_parquet() for line in pq.read_table(file).to_pylist()}
    assert held == {"a/1", "a/5", "a/6"}


def test_what_may_be_the_applications_own_delete_does_not_come_back_at_once(world: Deleted) -> None:
    """Rule 13: `unknown` is never restored unasked, not even where its key is in use again; whoever called says so and ends."""
    sure, unknown = put(world.client, world.bucket, {"a/1": b"1", "a/2": b"2"})
    world.delete([sure])
    world.delete([unknown], chunk=1)
    ledger = Ledger(world.lake.ledger(PLAN, dry_run=False))
    [(_, answer)] = ledger.recorded(1)
    record_deletion(ledger, [unknown], [replace(answer, outcome="unknown")], chunk=1)
    before = standing(world.client, world.bucket)
    back = restore_keys(world.client, world.bucket, ["a/1", "a/2"], [0, 1], lake=world.lake, ledger=ledger, why="in use", restore_id="run")
    assert back == {"a/1": "restored", "a/2": "unknown"}
    assert standing(world.client, world.bucket) == before | {"a/1": Standing(current=sure.etag, versions=1)}
    assert world.restore("r2", key="a/2").restored == 1


def held_now(lake: BucketLake, folder: Path) -> set[str]:
    """As the orphan stage sees it."""
    with duck(folder) as connection:
        view_restored(connection, lake.restored_parquet(), lake.released_parquet())
        return {key for (key,) in rows(connection, "SELECT key FROM restored")}


@pytest.mark.parametrize(
    ("asked", "left"),
    [
        (Selection(key="a/1"), {"a/2", "a/b/3"}),
        (Selection(prefix="a/b/"), {"a/1", "a/2"}),
        (Selection(prefix="(all)"), set()),
        (Selection(plan="b" * 10), {"a/1", "a/2"}),
        (Selection(), set()),
    ],
)
def test_what_is_released_is_not_held_any_more_until_it_is_restored_again(
    world: Deleted, tmp_path: Path, asked: Selection, left: set[str]
) -> None:
    first = put(world.client, world.bucket, {"a/1": b"1", "a/2": b"2"})
    third = put(world.client, world.bucket, {"a/b/3": b"3"})
    world.delete(first)
    world.delete(third, plan="b" * 64)
    world.restore(prefix="a/")
    everything = {"a/1", "a/2", "a/b/3"}
    assert held_now(world.lake, tmp_path) == everything
    release = {"by": "me", "at": datetime.now(UTC)}
    assert release_restored(world.lake, asked, release_id="rel", **release) == len(everything - left)  # type: ignore[arg-type]
    assert held_now(world.lake, tmp_path) == left
    with pytest.raises(Refused, match="release: nothing is held as restored"):
        release_restored(world.lake, asked, release_id="again", **release)  # type: ignore[arg-type]
    assert len(world.lake.released_parquet()) == 1
    world.restore("r2", prefix="a/")
    assert held_now(world.lake, tmp_path) == everything


def test_no_chunk_begins_after_the_lease_was_lost(world: Deleted, monkeypatch: pytest.MonkeyPatch) -> None:
    """Regression: it was looked at when all was done, and said that the run had stopped."""
    monkeypatch.setattr(undo_restore, "KEYS_A_FILE", 2)
    monkeypatch.setattr(undo_restore, "CHUNKS_AT_ONCE", 1)
    planned = put(world.client, world.bucket, {f"b/{number}": b"1" for number in range(8)})
    world.delete(planned)
    begun = count(1)

    def go_on() -> None:
        if next(begun) > 1:
            raise Refused("the lease is lost")

    with pytest.raises(Refused, match="the lease is lost"):
        world.select(plan=PLAN, go_on=go_on)
    assert {key for key in world.current() if key.startswith("b/")} == {"b/0", "b/1"}
    assert world.select(plan=PLAN).restored >= len(planned)
    assert world.current() >= {one.key for one in planned}


def test_the_content_of_a_sample_is_read(world: Deleted) -> None:
    planned = put(world.client, world.bucket, {"a/1": b"1", "a/empty": b""})
    planned.append(put_parts(world.client, world.bucket, "a/parts", [5 * MIB, 7]))
    for one in planned:
        assert content_of(world.client, Place(world.bucket, one.key), etag=one.etag, size=one.size) == "same"
        assert content_of(world.client, Place(world.bucket, one.key), etag=one.etag, size=one.size + 1) == "differs"
    world.delete(planned)
    assert world.select(plan=PLAN, sample=10).restored == 3


def test_content_that_differs_is_named(world: Deleted) -> None:
    planned = put(world.client, world.bucket, {"a/1": b"1"})
    world.delete(planned)
    client: Any = world.client

    class Rotten:
        def iter_chunks(self, _: int) -> Iterator[bytes]:
            yield b"2"

    client.meta.events.register("after-call.s3.GetObject", lambda parsed, **_: parsed.update(Body=Rotten()))
    with pytest.raises(Refused, match="'a/1' is back, and its content is not what its ETag"):
        world.select(plan=PLAN, sample=1)


def test_answers_are_of_the_named_mode(world: Deleted) -> None:
    ledger = Ledger(world.lake.ledger(PLAN, dry_run=False))
    ledger.begin(plan_named(PLAN, prefix="a/"))
    assert ledger.plan() == plan_named(PLAN, prefix="a/")
    assert Answer("deleted").copy is None
