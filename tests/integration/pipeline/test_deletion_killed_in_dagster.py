"""The same proof through a real Dagster run: the command, its run and all their processes are killed, and the command is given again."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random, SystemRandom
from time import monotonic

import psutil
import pytest
from small_world import KEPT, REFERENCED, World

from orphan_pipeline.deletion.ledger import Ledger
from orphan_pipeline.lake.layout import BucketLake
from orphan_pipeline.orphans.manifest import read_manifests

KILLS = int(os.environ.get("ORPHAN_PIPELINE_KILLS", "0")) // 20
"""10 of the 200 of a proof."""

pytestmark = pytest.mark.skipif(KILLS == 0, reason="each kill takes three commands, so half a minute: part of `make proof`")

SEED = int(os.environ.get("ORPHAN_PIPELINE_SEED") or SystemRandom().randrange(10**9))
ORPHANS = 400
COMMAND = Path(sys.executable).with_name("orphan-pipeline")
SECONDS = 240
"""How long a command may take to come to its first chunk."""


def command(world: World, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [COMMAND, *arguments],
        env=world.environment,
        cwd=world.folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def kill_family(process: subprocess.Popen[bytes]) -> None:
    """The run's own process is a grandchild."""
    members = psutil.Process(process.pid).children(recursive=True)
    for member in [psutil.Process(process.pid), *members]:
        if member.is_running():
            member.kill()
    process.communicate()
    psutil.wait_procs(members, timeout=SECONDS)


def killed_in_a_chunk(world: World, ledger: Ledger, after: float) -> bool:
    """Kills the deletion `after` seconds from when a chunk of it is begun; False when it was done before that."""
    before = len(list(ledger.folder.glob("*.intent.json")))
    process = command(world, "delete", "--prefix", "files/", "--yes")
    until = monotonic() + SECONDS
    while process.poll() is None and len(list(ledger.folder.glob("*.intent.json"))) == before and not ledger.unfinished():
        assert monotonic() < until, "the deletion does not begin"
    try:
        process.wait(after)
    except subprocess.TimeoutExpired:
        kill_family(process)
        return True
    process.communicate()
    return False


def test_a_dagster_run_killed_in_a_chunk_goes_on_where_it_was(world: World) -> None:
    print(f"ORPHAN_PIPELINE_SEED={SEED}")
    random, kills = Random(SEED), 0
    while kills < KILLS:
        kills += kill_and_resume(world, random, at_most=KILLS - kills)


def kill_and_resume(world: World, random: Random, *, at_most: int) -> int:
    """One sweep's plan, killed up to three times on the way."""
    round_ = random.randrange(10**6)
    orphans = [f"files/o{round_}/{i:04d}" for i in range(ORPHANS)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: world.client.put_object(Bucket=world.bucket, Key=key, Body=b"x"), orphans))
    world.put("kept/a.bin")
    world.change(safety={"max_orphan_fraction": 1.0, "max_growth": 1000.0}, deletion={"max_keys_per_second": 400, "concurrency": 4})
    swept = command(world, "sweep", "--json")
    out, err = swept.communicate()
    assert swept.returncode == 0, err
    assert json.loads(out)["media"]["plans"], "there is something to delete"
    lake = BucketLake(world.lake)
    plan = read_manifests(lake)[-1].plans["files/"]
    ledger = Ledger(lake.ledger(plan.digest, dry_run=False))
    kills = 0
    while kills < min(3, at_most) and killed_in_a_chunk(world, ledger, random.uniform(0, 1.5)):
        kills += 1
    last = command(world, "delete", "--prefix", "files/", "--yes")
    _, err = last.communicate()
    assert last.returncode == 0, err
    lines = {one.key: answer for file in ledger.parquet() for one, answer in ledger.recorded(int(Path(file).stem))}
    assert sum(amount.objects for amount in ledger.totals().values()) == plan.amount.objects == len(lines)
    pages = list(world.client.get_paginator("list_object_versions").paginate(Bucket=world.bucket))
    markers = [(marker["Key"], marker["VersionId"]) for page in pages for marker in page.get("DeleteMarkers", [])]
    for key in orphans:
        assert [version for name, version in markers if name == key] == [lines[key].version_id], key
    assert world.listed() == {*REFERENCED, *KEPT}
    assert ledger.endings()[-1].reason == "completed"
    return kills
