"""A run killed by SIGKILL anywhere goes on where it was: bucket, delete markers, copies and ledger are exact (rule 13)."""

import multiprocessing
import os
from collections.abc import Callable
from multiprocessing.context import ForkServerContext
from pathlib import Path
from random import Random, SystemRandom
from typing import Any, NamedTuple

import pytest
from deletion_helpers import Standing, announced, bring_back, carry_out, client_of, put, recorded, standing, write_plan
from quarantine_helpers import PLAN, carry_out_into_quarantine

from orphan_pipeline.deletion.ledger import Ledger, Planned
from orphan_pipeline.deletion.quarantine.place import Quarantine
from orphan_pipeline.demo.servers import ObjectStore

KILLS = int(os.environ.get("ORPHAN_PIPELINE_KILLS", "12"))
"""For a long proof: ORPHAN_PIPELINE_KILLS=500; a failure is repeated with the ORPHAN_PIPELINE_SEED that it prints."""

SEED = int(os.environ.get("ORPHAN_PIPELINE_SEED") or SystemRandom().randrange(10**9))
OBJECTS = 120
COPIED = 40
"""Objects of a round in mode quarantine, where each takes half a dozen requests."""


def life(random: Random, kills: int) -> float:
    """Seconds; longer after each kill, so that a slow machine gets through a chunk at last."""
    return random.uniform(0.02, 0.4) * (1 + kills / 3)


class Buckets(NamedTuple):
    own: str
    quarantine: str


@pytest.fixture(scope="module")
def processes() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    modules = ("deleter", "execute", "undo.restore", "quarantine.deleter")  # so that a life is spent on work, not on imports
    context.set_forkserver_preload(["boto3.session", *(f"orphan_pipeline.deletion.{module}" for module in modules)])
    return context


def killed(processes: ForkServerContext, work: Callable[..., None], *args: Any, after: float) -> bool:
    """Runs the work in a process of its own; whether it had to be killed, `after` so many seconds of work, before it was done."""
    ours, theirs = processes.Pipe(duplex=False)
    process = processes.Process(target=announced, args=(theirs, work, *args))
    process.start()
    ours.recv()
    process.join(after)
    if process.is_alive():
        process.kill()
        process.join()
    assert process.exitcode in (0, -9), "the work failed by itself"
    return process.exitcode == -9


def overwrite_and_delete(client: Any, bucket: str, keys: list[str]) -> tuple[set[str], set[str]]:
    """What the application does between plan and deletion."""
    overwritten, deleted = set(keys[::2]), set(keys[1::2])
    put(client, bucket, dict.fromkeys(overwritten, b"newer"))
    for key in deleted:
        client.delete_object(Bucket=bucket, Key=key)
    return overwritten, deleted


@pytest.mark.parametrize("part", ["deletion", "restore", "quarantine", "restore from quarantine"])
def test_killed_at_random_moments(
    part: str,
    seaweedfs: ObjectStore,
    make_bucket: Callable[..., str],
    processes: ForkServerContext,
    tmp_path: Path,
) -> None:
    print(f"ORPHAN_PIPELINE_SEED={SEED}")
    random = Random(SEED)
    kills, rounds = 0, 0
    while kills < KILLS // 2:
        folder = tmp_path / str(rounds)
        folder.mkdir()
        if "quarantine" in part:
            buckets = Buckets(make_bucket(seaweedfs, versioned=random.random() < 0.5), f"s3://{make_bucket(seaweedfs)}/q/")
            kills += (kill_quarantine if part == "quarantine" else kill_restore_from_quarantine)(
                seaweedfs, buckets, processes, folder, random
            )
        else:
            bucket = make_bucket(seaweedfs, versioned=True)
            kills += (kill_deletion if part == "deletion" else kill_restore)(seaweedfs, bucket, processes, folder, random)
        rounds += 1
    print(f"{part}: {kills} kills in {rounds} rounds")


def kill_deletion(store: ObjectStore, bucket: str, processes: ForkServerContext, folder: Path, random: Random) -> int:
    client = client_of(store)
    planned = put(client, bucket, {f"a/{i:04d}": b"%d" % i for i in range(OBJECTS)})
    bystanders = put(client, bucket, {f"b/{i}": b"kept" for i in range(5)})
    plan = write_plan(folder / "plan.parquet", planned, chunk=random.choice([10, 60, 1000]))
    overwritten, deleted = overwrite_and_delete(client, bucket, random.sample([one.key for one in planned], 8))
    ledger = Ledger(folder / "ledger")
    kills = 0
    while killed(processes, carry_out, store, bucket, plan, ledger.folder, after=life(random, kills)):
        kills += 1
    found = standing(client, bucket)
    assert_exact(planned, recorded(ledger), found, overwritten=overwritten, deleted=deleted)
    for one in bystanders:
        assert found[one.key] == Standing(current=one.etag, versions=1)
    totals = ledger.totals()
    assert sum(amount.objects for amount in totals.values()) == OBJECTS
    return kills


def assert_exact(
    planned: list[Planned],
    lines: list[dict[str, Any]],
    found: dict[str, Standing],
    *,
    overwritten: set[str],
    deleted: set[str],
) -> None:
    outcomes = {line["key"]: line["outcome"] for line in lines}
    markers = {line["key"]: line["version_id"] for line in lines}
    assert sorted(line["key"] for line in lines) == [one.key for one in planned], "every key has one line"
    for one in planned:
        own = found[one.key]
        if one.key in overwritten:
            assert own.current is not None
            assert own.current != one.etag
            assert not own.markers
            assert outcomes[one.key] == "changed"
        elif one.key in deleted:
            assert (own.current, len(own.markers)) == (None, 1)
            assert outcomes[one.key] in ("missing", "unknown")
        else:
            assert (own.current, len(own.markers), own.versions) == (None, 1, 1)
            assert outcomes[one.key] in ("deleted", "unknown"), one.key
            assert markers[one.key] == own.markers[0]


def kill_restore(store: ObjectStore, bucket: str, processes: ForkServerContext, folder: Path, random: Random) -> int:
    client = client_of(store)
    planned = put(client, bucket, {f"a/{i:04d}": b"%d" % i for i in range(OBJECTS)})
    plan = write_plan(folder / "plan.parquet", planned, chunk=1000)
    ledger = Ledger(folder / "ledger")
    carry_out(store, bucket, plan, ledger.folder)
    overwritten, deleted_again = overwrite_and_delete(client, bucket, [one.key for one in planned[:2]])
    kills = 0
    while killed(processes, bring_back, store, bucket, ledger.parquet(), folder / "restores" / str(kills), after=life(random, kills)):
        kills += 1
    found = standing(client, bucket)
    for one in planned:
        own = found[one.key]
        if one.key in overwritten:
            assert own.current not in (None, one.etag)
        elif one.key in deleted_again:
            assert own.current is None
        else:
            assert (own.current, own.markers, own.versions) == (one.etag, [], 1), one.key
    return kills


def kill_quarantine(store: ObjectStore, buckets: Buckets, processes: ForkServerContext, folder: Path, random: Random) -> int:
    """Whatever the moment: no object is gone without its copy, no copy lies there that no line names."""
    client = client_of(store)
    planned = put(client, buckets.own, {f"a/{i:04d}": b"%d" % i for i in range(COPIED)})
    plan = write_plan(folder / "plan.parquet", planned, chunk=random.choice([10, 1000]))
    changed = random.sample([one.key for one in planned], 4)
    overwritten, deleted = overwrite_and_delete(client, buckets.own, changed)
    ledger = Ledger(folder / "ledger")
    kills = 0
    arguments = (store, buckets.own, buckets.quarantine, plan, ledger.folder)
    while killed(processes, carry_out_into_quarantine, *arguments, after=life(random, kills)):
        kills += 1
        assert_nothing_is_lost(client, buckets, [one for one in planned if one.key not in changed])
    lines = {line["key"]: line for line in recorded(ledger)}
    assert sorted(line["key"] for line in recorded(ledger)) == [one.key for one in planned], "every key has one line"
    found = standing(client, buckets.own)
    for one in planned:
        line, own = lines[one.key], found.get(one.key, Standing())
        if one.key in overwritten:
            assert own.current not in (None, one.etag)
            assert (line["outcome"], line["copy"]) == ("changed", None)
        elif one.key in deleted:
            assert own.current is None
            assert (line["outcome"], line["copy"]) == ("missing", None)
        else:
            assert (own.current, own.markers) == (None, [line["version_id"]] if own.versions else [])
            assert line["outcome"] in ("deleted", "unknown")
    named = {line["copy"] for line in lines.values()} - {None}
    place = Quarantine.of(buckets.quarantine)
    assert {f"s3://{place.bucket}/{key}" for key in standing(client, place.bucket)} == named
    assert len(named) == COPIED - len(changed)
    return kills


def assert_nothing_is_lost(client: Any, buckets: Buckets, planned: list[Planned]) -> None:
    """Between two kills: each planned object stands, or a copy with its ETag does."""
    quarantine = Quarantine.of(buckets.quarantine)
    originals, copies = standing(client, buckets.own), standing(client, quarantine.bucket)
    for one in planned:
        places = (originals.get(one.key), copies.get(quarantine.copy_of(one.key, plan=PLAN).key))
        assert one.etag in {place.current for place in places if place is not None}, one.key


def kill_restore_from_quarantine(store: ObjectStore, buckets: Buckets, processes: ForkServerContext, folder: Path, random: Random) -> int:
    client = client_of(store)
    planned = put(client, buckets.own, {f"a/{i:04d}": b"%d" % i for i in range(COPIED)})
    plan = write_plan(folder / "plan.parquet", planned)
    ledger = Ledger(folder / "ledger")
    carry_out_into_quarantine(store, buckets.own, buckets.quarantine, plan, ledger.folder)
    newer = planned[0]
    put(client, buckets.own, {newer.key: b"newer"})
    kills = 0
    while killed(processes, bring_back, store, buckets.own, ledger.parquet(), folder / "restores" / str(kills), after=life(random, kills)):
        kills += 1
    found = standing(client, buckets.own)
    for one in planned[1:]:
        assert (found[one.key].current, found[one.key].markers) == (one.etag, []), one.key
    assert found[newer.key].current not in (None, newer.etag)
    return kills
