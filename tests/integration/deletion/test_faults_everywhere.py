"""The same faults in every other kind of request of a run that is wired as in production: looks, copies, versions, the lease. A run that
they make fail is run again, as an operator would; in the end bucket, markers, copies and ledger are exact all the same."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from multiprocessing.context import ForkServerContext
from pathlib import Path
from random import Random, SystemRandom
from urllib.parse import urlsplit

import psycopg
import pytest
import real_run
from deletion_helpers import Standing, client_of, recorded, standing
from faulty_store import NOTHING, Exchange, Fault, Kind, faulty_store, is_delete
from live_application import Application, Deed, answers_of, judge, make_table
from real_run import Swept
from test_deletion_faults import bad_gateway, broken, empty, half, half_that_looks_whole, reset, slow_down, time_out
from test_deletion_killed import assert_the_lease_is_free, processes

from orphan_pipeline.deletion.quarantine.place import Quarantine
from orphan_pipeline.demo.servers import ObjectStore

__all__ = ["processes"]

SEED = int(os.environ.get("ORPHAN_PIPELINE_SEED") or SystemRandom().randrange(10**9))
OBJECTS = {"versioned": 60, "quarantine": 30}
RUNS = 25
"""So often it is run again at most."""

SHARE = 0.12
"""Of the requests that are spoilt."""


BEFORE: tuple[Fault, ...] = (slow_down, broken, bad_gateway, reset)
AFTER: tuple[Fault, ...] = (slow_down, broken, bad_gateway, reset, half, half_that_looks_whole, empty)
SAID = ("the store does not answer as expected", "the lease of bucket", "the store is still too busy", "could not be copied there and back")
"""What a run may say when it fails of this."""


def is_look(exchange: Exchange) -> bool:
    """HeadObject, ListObjects, ListObjectVersions; of the application's objects."""
    url = urlsplit(exchange.target)
    return ".orphan_pipeline" not in url.path and (exchange.method == "HEAD" or (exchange.method == "GET" and "prefix=" in url.query))


def is_copy(exchange: Exchange) -> bool:
    """With what proves it."""
    return "x-amz-copy-source" in {name.lower() for name in exchange.headers} or "tagging" in urlsplit(exchange.target).query


def is_lease(exchange: Exchange) -> bool:
    return "/.orphan_pipeline/lease" in urlsplit(exchange.target).path


def is_any(exchange: Exchange) -> bool:
    return True


KINDS: dict[str, Kind] = {"deletes": is_delete, "looks": is_look, "copies": is_copy, "lease": is_lease, "all": is_any}


@pytest.mark.parametrize(
    ("mode", "kind"),
    [("versioned", "looks"), ("versioned", "lease"), ("versioned", "all"), ("quarantine", "copies"), ("quarantine", "all")],
)
def test_faults(
    mode: str,
    kind: str,
    seaweedfs: ObjectStore,
    make_bucket: Callable[..., str],
    database_url: str,
    processes: ForkServerContext,
    tmp_path: Path,
) -> None:
    print(f"ORPHAN_PIPELINE_SEED={SEED}")
    random = Random(f"{SEED} {mode} {kind}")
    share = 0.3 if kind in ("lease", "copies") else SHARE
    before = [random.choice(BEFORE) if random.random() < share / 2 else NOTHING for _ in range(100_000)]
    after = [random.choice(AFTER) if random.random() < share / 2 else NOTHING for _ in range(100_000)]
    after[7] = time_out
    make_table(database_url, index=True)
    with faulty_store(seaweedfs.endpoint, before=before.__getitem__, after=after.__getitem__, kind=KINDS[kind]) as proxy:
        proxy.armed = False
        versioned = kind != "copies"  # where there are versions, nothing is copied back
        bucket = make_bucket(seaweedfs, versioned=versioned)
        deletion = {"mode": mode, "concurrency": 3}
        if mode == "quarantine":
            deletion["quarantine"] = f"s3://{make_bucket(seaweedfs)}/q/"
        swept = real_run.sweep(
            replace(seaweedfs, endpoint=proxy.endpoint),
            bucket,
            {f"a/{n:03d}": b"object %d" % n for n in range(OBJECTS[mode])},
            database_url=database_url,
            folder=tmp_path,
            chunk=10,
            deletion=deletion,
        )
        application, deeds = at_work(seaweedfs, swept, random)
        proxy.armed = True
        run_until_done(processes, real_run.delete_impatiently, swept)
        spoilt = proxy.spoilt
        proxy.armed = False
        lines = {line["key"]: line for line in recorded(swept.ledger)}
        found = standing(client_of(seaweedfs), bucket)
        assert len(lines) == sum(amount.objects for amount in swept.ledger.totals().values()) == OBJECTS[mode]
        assert {line["outcome"] for line in lines.values()} <= {"deleted", "unknown", "changed", "missing", "referenced_again"}
        judge(application, swept.planned, deeds, lines, found, answers_of(swept.journal.read_text().splitlines()), versioned=versioned)
        assert_the_lease_is_free(swept, found)
        if mode == "quarantine":
            assert_every_copy_is_there(seaweedfs, swept)
        proxy.armed = True
        run_until_done(processes, real_run.restore_impatiently, swept)
        assert proxy.spoilt > spoilt > 0
    found = standing(client_of(seaweedfs), bucket)
    gone = [one for one in swept.planned if one.key not in application.etags and one.key not in application.deleted]
    for one in gone:
        assert (found[one.key].current, found[one.key].markers) == (one.etag, []), (one.key, lines[one.key])
    with ThreadPoolExecutor(8) as pool:
        bodies = pool.map(lambda one: client_of(seaweedfs).get_object(Bucket=bucket, Key=one.key)["Body"].read(), gone)
        assert list(bodies) == [application.bodies[one.key] for one in gone]
    for key, etag in application.etags.items():
        assert found[key].current == etag
    for key in application.deleted:
        assert found.get(key, Standing()).current is None or lines[key]["outcome"] == "unknown", "whose delete it was, nobody knew"


def at_work(store: ObjectStore, swept: Swept, random: Random) -> tuple[Application, dict[str, Deed]]:
    """All before the run."""
    bodies = {one.key: b"object %d" % int(one.key[2:]) for one in swept.planned}
    application = Application(client_of(store), swept.bucket, swept.database_url, bodies)
    choice: tuple[Deed, ...] = ("nothing", "nothing", "nothing", "overwritten", "referenced", "deleted")
    deeds: dict[str, Deed] = {one.key: random.choice(choice) for one in swept.planned}
    with psycopg.connect(swept.database_url, autocommit=True) as connection:
        for key, deed in deeds.items():
            application.do(deed, key, connection)
    return application, deeds


def run_until_done(processes: ForkServerContext, work: Callable[..., None], swept: Swept) -> None:
    """A process a run: the lease of one that failed to give it back is free when the process is gone."""
    for number in range(RUNS):
        ours, theirs = processes.Pipe(duplex=False)
        process = processes.Process(target=work, args=(theirs, swept, f"{work.__name__}-{number}"))
        process.start()
        process.join()
        ours.close()
        assert process.exitcode == 0, "it failed by itself"
        if not swept.failure.exists():
            return
        said = swept.failure.read_text()
        said += " ".join(str(line["code"]) for line in recorded(swept.ledger) if line["outcome"] == "failed")
        assert any(words in said for words in SAID), said
    pytest.fail(f"not done after {RUNS} runs: {said}")


def assert_every_copy_is_there(store: ObjectStore, swept: Swept) -> None:
    plan = swept.ledger.plan()
    assert plan is not None
    place = Quarantine.of(plan.quarantine or "")
    copies = {f"s3://{place.bucket}/{key}": own for key, own in standing(client_of(store), place.bucket).items()}
    for line in recorded(swept.ledger):
        if line["outcome"] in ("deleted", "unknown") and line["copy"] is not None:
            assert copies[line["copy"]] == Standing(current=line["etag"], versions=1)
        assert line["outcome"] != "deleted" or line["copy"] is not None
