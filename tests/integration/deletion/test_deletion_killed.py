"""A run killed by SIGKILL anywhere goes on where it was (rule 13): with everything that a run in production has around it (lease, databases
asked again, hooks, both looks for newer objects), while an application overwrites, references, uploads again and deletes."""

import multiprocessing
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from multiprocessing.context import ForkServerContext
from pathlib import Path
from random import Random, SystemRandom
from typing import Any

import pyarrow.parquet as pq
import pytest
import real_run
from deletion_helpers import Standing, client_of, delete_now, put, recorded, standing
from live_application import DEEDS, HELD, WITHOUT_WRITES, Application, Deed, Live, answers_of, judge, let_go_by_requests, make_table
from real_run import Swept

from orphan_pipeline.deletion.lease.lease import leased
from orphan_pipeline.deletion.lease.registers import LEASE_KEY, StoreRegister
from orphan_pipeline.deletion.ledger import LEFT_STANDING, Planned
from orphan_pipeline.deletion.quarantine.place import Quarantine
from orphan_pipeline.deletion.sending import is_unanswered
from orphan_pipeline.deletion.undo.markers import OVERLOOKED
from orphan_pipeline.deletion.undo.unfinished import settle_unfinished
from orphan_pipeline.demo.servers import ObjectStore

KILLS = int(os.environ.get("ORPHAN_PIPELINE_KILLS", "8"))
"""For a long proof: ORPHAN_PIPELINE_KILLS=200; a failure is repeated with the ORPHAN_PIPELINE_SEED that it prints."""

SEED = int(os.environ.get("ORPHAN_PIPELINE_SEED") or SystemRandom().randrange(10**9))
OBJECTS = 240
COPIED = 120
"""Objects of a round in mode quarantine, where each takes half a dozen requests."""

IN_A_CHUNK = 0.8
"""The share of kills that wait for the first chunk. The others come while the run takes the lease and looks at the store."""

MakeBucket = Callable[..., str]


@dataclass
class Tally:
    """What the kills of one part met. `in_chunks`: between a chunk's intent and its outcome (of a restore: part was back).
    `acted`: the store had deleted some of it, and nobody had written that down. `hidden`: what the application wrote in the moment of
    a delete whose run was killed stays behind the marker of it, since nobody knows whose that is (docs/deletion.md), or what it did in the
    moment in which a restore removed a marker is not current in this store (docs/undo.md). `late`: what went by
    a killed run's request after all runs were over."""

    kills: int = 0
    rounds: int = 0
    in_chunks: int = 0
    acted: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    by_hand: int = 0
    hidden: int = 0
    late: int = 0

    def __str__(self) -> str:
        return (
            f"{self.kills} kills in {self.rounds} rounds, {self.in_chunks} between intent and outcome, "
            f"{self.acted} after the store had acted; {dict(self.outcomes)}, "
            f"{self.by_hand} unknown ones brought back by hand, {self.hidden} hidden, {self.late} went late"
        )


@pytest.fixture(scope="module")
def processes() -> Iterator[ForkServerContext]:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["warmed"])  # so that a life is spent on work, not on imports
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))  # the server of Python 3.11 does not take the path over, and says nothing
        yield context


def killed(processes: ForkServerContext, work: Callable[..., None], *args: Any, random: Random, kills: int) -> bool:
    """Runs the work in a process of its own; whether it had to be killed before it was done. Lives are longer after each kill, so that a
    slow machine gets through a chunk at last."""
    ours, theirs = processes.Pipe(duplex=False)
    process = processes.Process(target=work, args=(theirs, *args))
    process.start()
    theirs.close()
    ours.recv()
    if random.random() < IN_A_CHUNK:
        ours.poll(60)
        process.join(random.uniform(0, 0.3) * (1 + kills / 2))
    else:
        process.join(random.uniform(0.02, 0.5))
    if process.is_alive():
        process.kill()
    process.join()
    ours.close()
    assert process.exitcode in (0, -9), "the work failed by itself"
    return process.exitcode == -9


@contextmanager
def at_work(live: Live, random: Random) -> Iterator[None]:
    live.start(random)
    try:
        yield
    finally:
        live.end()


Kill = Callable[..., None]
"""Deletes, or restores, one swept bucket and is killed on the way: `kill_deletion`, `kill_restore`."""


@pytest.fixture
def rounds(
    seaweedfs: ObjectStore, make_bucket: MakeBucket, database_url: str, processes: ForkServerContext, tmp_path: Path
) -> Callable[[str, Kill], Tally]:
    """So many buckets of a mode that there are enough kills."""

    def until_enough(mode: str, kill: Kill) -> Tally:
        print(f"ORPHAN_PIPELINE_SEED={SEED}")
        random, tally = Random(SEED), Tally()
        make_table(database_url, index=True)
        while tally.kills < KILLS // 2:
            versioned = mode == "versioned" or random.random() < 0.5
            swept = swept_bucket(seaweedfs, make_bucket, database_url, tmp_path / str(tally.rounds), random, mode=mode, versioned=versioned)
            kill(swept, processes, random, tally, versioned=versioned)
            tally.rounds += 1
        return tally

    return until_enough


@pytest.mark.parametrize("mode", ["versioned", "quarantine"])
def test_deletion_killed_at_random_moments(mode: str, rounds: Callable[[str, Kill], Tally], capsys: pytest.CaptureFixture[str]) -> None:
    tally = rounds(mode, kill_deletion)
    with capsys.disabled():
        print(f"\ndeletion, {mode}: {tally}, seed {SEED}")
    assert tally.in_chunks > 0
    assert KILLS < 100 or tally.acted > 0


def swept_bucket(
    store: ObjectStore, make_bucket: MakeBucket, database_url: str, folder: Path, random: Random, *, mode: str, versioned: bool
) -> Swept:
    folder.mkdir()
    bucket = make_bucket(store, versioned=versioned)
    deletion: dict[str, Any] = {"mode": mode, "concurrency": 4, "recheck_by": random.choice(["auto", "auto", "pass"])}
    if mode == "quarantine":
        deletion["quarantine"] = f"s3://{make_bucket(store)}/q/"
    keys = [f"a/{folder.name}-{n:04d}{HELD if n % 40 == 7 else ''}" for n in range(OBJECTS if mode == "versioned" else COPIED)]
    return real_run.sweep(
        store,
        bucket,
        {key: b"planned " + key.encode() for key in keys},
        database_url=database_url,
        folder=folder,
        chunk=random.choice([10, 20, 60]),
        deletion=deletion,
    )


def kill_deletion(swept: Swept, processes: ForkServerContext, random: Random, tally: Tally, *, versioned: bool) -> None:
    client, planned = client_of(swept.store), swept.planned
    [bystander] = put(client, swept.bucket, {"b/kept": b"kept"})
    application = Application(client, swept.bucket, swept.database_url, {one.key: b"planned " + one.key.encode() for one in planned})
    choice = DEEDS if versioned else WITHOUT_WRITES
    deeds: dict[str, Deed] = {one.key: random.choice([*choice, "nothing"]) for one in planned}
    deeds |= {key: "nothing" for key in deeds if key.endswith(HELD)}
    live = Live(application, swept.chunk_of, deeds, lambda: len(list(swept.ledger.folder.glob("*.intent.json"))))
    may_be_unknown: set[str] = set()
    on_the_way: set[str] = set()
    kills = read = 0
    with at_work(live, random):
        while killed(processes, real_run.delete, swept, f"run-{kills}", random=random, kills=kills):
            kills += 1
            unfinished = swept.unfinished_keys()
            may_be_unknown |= unfinished
            journal = swept.journal.read_text().splitlines() if swept.journal.is_file() else []
            on_the_way |= unfinished & let_go_by_requests(journal[read:])
            read = len(journal)
            tally.in_chunks += bool(unfinished)
            tally.acted += any(own.current is None and key not in application.deleted for key, own in those(swept, unfinished).items())
    tally.kills += kills
    finished = {swept.ledger.chunk_of(file) for file in swept.ledger.parquet()}
    tally.by_hand += bring_back_by_hand(swept, application, finished)
    lines = {line["key"]: line for line in recorded(swept.ledger)}
    tally.late += carried_out_late(swept, [one for one in planned if one.key in on_the_way and one.key in lines], lines)
    tally.outcomes.update(line["outcome"] for line in lines.values())
    assert len(lines) == sum(amount.objects for amount in swept.ledger.totals().values()) == len(recorded(swept.ledger))
    assert {key for key, line in lines.items() if line["outcome"] == "unknown"} <= may_be_unknown
    found = standing(client, swept.bucket)
    tally.hidden += sum(found.get(key, Standing()).current is None for key in application.etags)
    answers = answers_of(swept.journal.read_text().splitlines())
    left = {key for key, chunk in swept.chunk_of.items() if chunk not in finished}
    judge(application, planned, deeds, lines, found, answers, versioned=versioned, left=left)
    assert found["b/kept"] == Standing(current=bystander.etag, versions=1)
    assert_the_lease_is_free(swept, found)
    told = {int(chunk) for chunk in swept.told.read_text().split()}
    assert told == finished or (swept.failure.exists() and told < finished), "the hook was told of every chunk, unless a run was refused"
    quarantine = swept.ledger.plan()
    if quarantine is not None and quarantine.quarantine is not None:
        place = Quarantine.of(quarantine.quarantine)
        copies = {f"s3://{place.bucket}/{key}" for key in standing(client, place.bucket)}
        named = {line["copy"] for line in lines.values()} - {None}
        assert named <= copies, "every copy that a line names is there"
        assert {copy for copy in copies - named if "/probe/" not in copy} == set(), "no copy lies there that no line names"
        for key, line in lines.items():
            if line["outcome"] == "deleted":
                assert line["copy"] is not None, key


def carried_out_late(swept: Swept, planned: Sequence[Planned], lines: Mapping[str, Mapping[str, Any]]) -> int:
    """Requests of killed runs, on the way all the time: of no object that stands is it said for certain that it was left alone, and what
    goes by them now comes back by its key, as the after-check would say. How many went."""
    left = [one for one in planned if lines[one.key]["outcome"] in LEFT_STANDING]
    assert all(is_unanswered(lines[one.key]["code"]) for one in left)
    answers = delete_now(client_of(swept.store), swept.bucket, left)
    gone = [key for key, answer in answers.items() if answer is not None and answer.outcome == "deleted"]
    for number, key in enumerate(gone):
        swept.restore(f"late-{number}", key=key)
        assert swept.client.head_object(Bucket=swept.bucket, Key=key)["ETag"].strip('"') == lines[key]["etag"]
    return len(gone)


def those(swept: Swept, keys: set[str]) -> dict[str, Standing]:
    if not keys:
        return {}
    found = standing(client_of(swept.store), swept.bucket)
    return {key: found.get(key, Standing()) for key in keys}


def bring_back_by_hand(swept: Swept, application: Application, finished: set[int]) -> int:
    """Of an `unknown` marker nobody knows whether it is the application's: if the key is in use, the run is refused and says how it is
    brought back. That is done here, as an operator would; a chunk that the refused run left is settled before, and may hold more of them,
    which the after-check would name. How many there were."""
    if swept.failure.exists():
        said = swept.failure.read_text()
        assert "could not be brought back (unknown): orphan-pipeline restore --key" in said, said
        unknown = [line["key"] for line in recorded(swept.ledger) if line["outcome"] == "unknown"]
        assert any(repr(key) in said for key in unknown), said
        with swept.ledger.exclusively():  # not left to the next restore: the application may have let go of the only key to bring back
            settle_unfinished(swept.client, swept.bucket, lake=swept.lake, ledger=swept.ledger, report=print)
    else:
        assert len(recorded(swept.ledger)) == len(swept.planned), "every key of the plan has a line"
    done: set[str] = set()
    while wanted := left_and_wanted(swept, application, finished) - done:
        for key in sorted(wanted):
            swept.restore(f"by-hand-{len(done)}", key=key)
            done.add(key)
    return len(done)


def left_and_wanted(swept: Swept, application: Application, finished: set[int]) -> set[str]:
    """What is `unknown`, and what was deleted in a chunk that no run finished, so that none asked after it: the after-check names it."""
    lines = [line for line in recorded(swept.ledger) if application.wants(line["key"])]
    unasked = {line["key"] for line in lines if line["outcome"] == "deleted" and swept.chunk_of[line["key"]] not in finished}
    return {line["key"] for line in lines if line["outcome"] == "unknown"} | unasked


@pytest.mark.parametrize("mode", ["versioned", "quarantine"])
def test_restore_killed_at_random_moments(mode: str, rounds: Callable[[str, Kill], Tally], capsys: pytest.CaptureFixture[str]) -> None:
    tally = rounds(mode, kill_restore)
    with capsys.disabled():
        kills = f"{tally.kills} kills in {tally.rounds} rounds, {tally.in_chunks} when part was back"
        print(f"\nrestore, {mode}: {kills}, {tally.hidden} hidden, seed {SEED}")
    assert KILLS < 40 or tally.in_chunks > 0, "four in five are: of a few, all may come before the first is back, or after the last"


def kill_restore(swept: Swept, processes: ForkServerContext, random: Random, tally: Tally, *, versioned: bool) -> None:
    """On a bucket without versions the application writes before the restore, not while it runs: what it deletes then leaves no trace, and
    this store does not copy on a condition in one step."""
    swept.delete("run")
    client = client_of(swept.store)
    application = Application(client, swept.bucket, swept.database_url, {one.key: b"planned " + one.key.encode() for one in swept.planned})
    choice: tuple[Deed, ...] = ("overwritten", "deleted") if versioned else ("overwritten",)
    deeds: dict[str, Deed] = {one.key: random.choice([*choice, "nothing", "nothing"]) for one in swept.planned}
    restores = swept.lake.root / "restores"
    live = Live(application, swept.chunk_of, deeds, lambda: len(list(restores.glob("*/*.parquet"))))
    if not versioned:
        live.over.set()
    kills, stood = 0, those_standing(swept)
    with at_work(live, random):
        if not versioned:
            live.end()
        while killed(processes, real_run.restore, swept, f"restore-{kills}", random=random, kills=kills):
            kills += 1
            tally.in_chunks += 0 < len(those_standing(swept) - stood) < len(swept.planned) - len(stood)
    tally.kills += kills
    found = standing(client, swept.bucket)
    told = {line["key"] for file in swept.lake.restored_parquet() for line in pq.read_table(file).to_pylist() if line["code"] == OVERLOOKED}
    assert swept.failure.exists() == bool(told), swept.failure.read_text() if swept.failure.exists() else told
    back = []
    for one in swept.planned:
        own = found.get(one.key, Standing())
        # What this store makes of a write, or a delete, in the very moment in which our marker goes (docs/undo.md): nothing is lost.
        overlooked = own.current == one.etag and (one.key in told or application.markers.get(one.key) in own.markers)
        tally.hidden += overlooked
        if one.key in application.etags:
            assert own.current == application.etags[one.key] or (overlooked and own.versions == 2), one.key
        elif one.key in application.deleted:
            assert own.current is None or overlooked, one.key
        else:
            assert (own.current, own.markers, own.versions) == (one.etag, [], 1), one.key
            back.append(one.key)
    with ThreadPoolExecutor(16) as pool:
        for key, body in zip(back, pool.map(lambda key: client.get_object(Bucket=swept.bucket, Key=key)["Body"].read(), back), strict=True):
            assert body == application.bodies[key]
    assert_the_lease_is_free(swept, found)


def assert_the_lease_is_free(swept: Swept, found: dict[str, Standing]) -> None:
    """And no delete marker of it is left. A run that was killed between two versions of it leaves the older one, of a dead holder."""
    assert not found.get(LEASE_KEY, Standing()).markers
    register = StoreRegister(client_of(swept.store), swept.bucket)
    now: dict[str, Any] = {"expiry": timedelta(minutes=2), "wait": timedelta(0), "report": print}
    with leased(register, purpose="judge", part="everything", run_id="judge", **now) as lease:
        lease.check()


def those_standing(swept: Swept) -> set[str]:
    """Of the planned objects; what was held back has never gone."""
    found = standing(client_of(swept.store), swept.bucket)
    return {one.key for one in swept.planned if found.get(one.key, Standing()).current == one.etag}
