"""A run killed by SIGKILL anywhere goes on where it was: bucket, delete markers and ledger are exact (rule 13)."""

import multiprocessing
import os
from collections.abc import Callable
from multiprocessing.context import ForkServerContext
from pathlib import Path
from random import Random, SystemRandom
from typing import Any

import pytest
from deletion_helpers import Standing, announced, bring_back, carry_out, client_of, put, recorded, standing, write_plan

from orphan_pipeline.deletion.ledger import Ledger, Planned
from orphan_pipeline.demo.servers import ObjectStore

KILLS = int(os.environ.get("ORPHAN_PIPELINE_KILLS", "12"))
"""For a long proof: ORPHAN_PIPELINE_KILLS=500; a failure is repeated with the ORPHAN_PIPELINE_SEED that it prints."""

SEED = int(os.environ.get("ORPHAN_PIPELINE_SEED") or SystemRandom().randrange(10**9))
OBJECTS = 120


def life(random: Random, kills: int) -> float:
    """Seconds; longer after each kill, so that a slow machine gets through a chunk at last."""
    return random.uniform(0.02, 0.4) * (1 + kills / 3)


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


@pytest.mark.parametrize("part", ["deletion", "restore"])
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
        bucket = make_bucket(seaweedfs, versioned=True)
        kills += (kill_deletion if part == "deletion" else kill_restore)(seaweedfs, bucket, processes, folder, random)
        rounds += 1
    print(f"{kills} kills in {rounds} rounds of {OBJECTS} objects")


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
