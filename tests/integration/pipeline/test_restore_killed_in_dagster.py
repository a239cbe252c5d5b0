"""A restore as a real Dagster run, whose process is killed, and resumed as the UI does it: by re-executing the run, from failure or as a
whole, or by launching the job again. In the end every object is back."""

import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from random import Random, SystemRandom
from threading import Event
from typing import Any

import psutil
import pytest
from small_world import KEPT, REFERENCED

from orphan_pipeline.deletion.lease.registers import StoreRegister
from orphan_pipeline.lake.layout import BucketLake
from orphan_pipeline.orphans.manifest import PlanEntry, read_manifests
from pipeline.dev import RETRY, Dev, dev

__all__ = ["dev"]

KILLS = int(os.environ.get("ORPHAN_PIPELINE_KILLS", "0")) // 20
"""10 of the 200 of a proof."""

pytestmark = pytest.mark.skipif(KILLS == 0, reason="each kill takes two runs, so a quarter of a minute: part of `make proof`")

SEED = int(os.environ.get("ORPHAN_PIPELINE_SEED") or SystemRandom().randrange(10**9))
ORPHANS = 1500
LONGEST_LIFE = 1.5
"""Seconds after it took the lease; a restore of so many takes about as long."""


def holder(dev: Dev, run_id: str) -> int | None:
    """The process of the run, by the lease that it holds."""
    document = StoreRegister(dev.world.client, dev.world.bucket).read().document
    return next((one.pid for one in document.holders if one.run_id == run_id), None) if document is not None else None


def killed_or_ended(dev: Dev, run_id: str, *, after: float) -> bool:
    """Whether it was killed, `after` so many seconds from when it took the lease, before it had ended."""

    def holds_or_ended() -> int | str | None:
        [run] = dev.runs(runIds=[run_id])
        return "ended" if run["status"] in ("SUCCESS", "FAILURE") else holder(dev, run_id)

    process = dev.until(holds_or_ended, "the restore")
    Event().wait(after)
    if process == "ended" or holder(dev, run_id) != process:
        assert dev.ended(run_id) == "SUCCESS"
        return False
    psutil.Process(int(str(process))).kill()
    assert dev.ended(run_id) == "FAILURE", "the code server notices that the run's process is gone"
    return True


def resumed(dev: Dev, run_id: str, config: dict[str, Any], how: str) -> str:
    if how == "launched again":
        return dev.launch("media_restore_job", config=config)
    retry = dev.ask(RETRY, given={"parentRunId": run_id, "strategy": how})
    assert retry["__typename"] == "LaunchRunSuccess", retry
    return str(retry["run"]["runId"])


def test_a_restore_whose_run_is_killed_is_resumed_from_the_ui(dev: Dev, capsys: pytest.CaptureFixture[str]) -> None:
    print(f"ORPHAN_PIPELINE_SEED={SEED}")
    random, kills, rounds, partly = Random(SEED), 0, 0, 0
    dev.world.change(safety={"max_orphan_fraction": 1.0, "max_growth": 1000.0})
    while kills < KILLS:
        bodies, plan = deleted_round(dev, rounds)
        config = {"ops": {"media__restore": {"config": {"plan": plan.digest}}}}
        run_id = dev.launch("media_restore_job", config=config)
        in_round = 0
        while in_round < 4 and killed_or_ended(dev, run_id, after=random.uniform(0, LONGEST_LIFE)):
            kills, in_round = kills + 1, in_round + 1
            partly += 0 < len(bodies.keys() & listed(dev)) < len(bodies)
            run_id = resumed(dev, run_id, config, random.choice(["FROM_FAILURE", "ALL_STEPS", "launched again"]))
        assert dev.ended(run_id) == "SUCCESS"
        assert listed(dev) >= bodies.keys() | {*REFERENCED, *KEPT}
        pages = dev.world.client.get_paginator("list_object_versions").paginate(Bucket=dev.world.bucket, Prefix=f"files/o{rounds}/")
        found = [(page.get("Versions", []), page.get("DeleteMarkers", [])) for page in pages]
        assert [marker["Key"] for _, markers in found for marker in markers] == []
        assert sorted(version["Key"] for versions, _ in found for version in versions) == sorted(bodies)
        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(partial(body, dev), bodies)) == list(bodies.values())
        rounds += 1
    with capsys.disabled():
        print(f"\nrestore in Dagster: {kills} kills in {rounds} rounds, {partly} when part was back, seed {SEED}")


def deleted_round(dev: Dev, number: int) -> tuple[dict[str, bytes], PlanEntry]:
    """Objects of its own, deleted by runs of the jobs."""
    bodies = {f"files/o{number}/{n:04d}": b"round %d object %d" % (number, n) for n in range(ORPHANS)}
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: dev.world.client.put_object(Bucket=dev.world.bucket, Key=key, Body=bodies[key]), bodies))
    dev.world.put("kept/a.bin")
    assert dev.ended(dev.launch("media_sweep_job")) == "SUCCESS"
    plan = read_manifests(BucketLake(dev.world.lake))[-1].plans["files/"]
    assert dev.ended(dev.launch("media_deletion_job", tags={"dagster/partition": "files/"})) == "SUCCESS"
    assert not bodies.keys() & listed(dev)
    return bodies, plan


def body(dev: Dev, key: str) -> bytes:
    return dev.world.client.get_object(Bucket=dev.world.bucket, Key=key)["Body"].read()


def listed(dev: Dev) -> set[str]:
    pages = dev.world.client.get_paginator("list_objects_v2").paginate(Bucket=dev.world.bucket)
    return {entry["Key"] for page in pages for entry in page.get("Contents", [])}
