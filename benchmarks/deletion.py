"""Deletion beside its peers: ours with everything that a run in production has (ETag on every key, every answer read, the canary looked
at, intent and outcome of every chunk synced to disk, the shared rate, every key asked of a real PostgreSQL before and after, by index, and
where the product does so, that is not on AWS, both looks for newer objects), a plain script (ThreadPoolExecutor and delete_objects, no
ETag, Quiet) and `s5cmd rm` (which lists and deletes). On a synthetic endpoint, without the looks, as on AWS, and with them; on one that
answers SlowDown; and on SeaweedFS. What was on stands in the JSON. Every contender is a process of its own, so that its CPU time and peak
memory are its own."""

import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.contenders import endpoint, program, python, run
from benchmarks.delete_endpoint import ETAG
from benchmarks.endpoint import key
from benchmarks.listing import ENVIRONMENT, Measured, measured_of, medians_of
from orphan_pipeline.demo.servers import ObjectStore, running_postgres, running_seaweedfs
from orphan_pipeline.orphans.files import PLAN, ROW_GROUP

KEYS = int(os.environ.get("BENCH_KEYS", "1000000"))
LOOKED_AT_KEYS = min(KEYS, int(os.environ.get("BENCH_LOOKED_AT_KEYS", "50000")))
"""On the synthetic endpoint, with looks for newer objects: those cost four times what the rest costs."""

STORE_KEYS = int(os.environ.get("BENCH_STORE_KEYS", "50000"))
LIMITED_KEYS = int(os.environ.get("BENCH_LIMITED_KEYS", "600000"))
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "3"))
LIMIT = 3000
CHUNK, CANARY = 1000, 10
ROWS = 200_000
"""Of the table that is asked."""

SEEN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ALWAYS = ("etag on every key", "every answer read", "canary looked at", "ledger synced", "rate")
ASKED = "databases asked by index, before and after"
LOOKS = "looked at for newer objects, twice a chunk"

OURS = """
import sys, tempfile, time
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from orphan_pipeline.deletion.deleter import VersionedDeleter
from orphan_pipeline.deletion.execute import execute_plan
from orphan_pipeline.deletion.ledger import Ledger, LedgerPlan
from orphan_pipeline.deletion.newer.late import LateLook
from orphan_pipeline.deletion.newer.objects import NewerObjects
from orphan_pipeline.deletion.pace.pace import Pace
from orphan_pipeline.deletion.recheck.guard import Recheck
from orphan_pipeline.deletion.stopping import Limits
from orphan_pipeline.deletion.undo.at_once import REFERENCED_AGAIN, WRITTEN_MEANWHILE, bringing_back
from orphan_pipeline.flat_memory import flat_memory
from orphan_pipeline.lake.layout import BucketLake
from orphan_pipeline.references.cut import DatabaseUnderCut
from orphan_pipeline.references.recheck.asking import Asker
from orphan_pipeline.settings.model import ReferenceSettings
import boto3
from botocore.config import Config
endpoint, bucket, plan, concurrency, database, looks = sys.argv[1:]
SILENT = lambda line: None
def client(attempts):
    return boto3.client("s3", endpoint_url=endpoint, config=Config(
        signature_version="s3v4", s3={"addressing_style": "path"}, max_pool_connections=32, retries={"total_max_attempts": attempts}))
with flat_memory("mapped"), tempfile.TemporaryDirectory(dir=Path(plan).parent) as folder, ExitStack() as opened:
    lake, ledger, guards, newer = BucketLake(Path(folder) / "lake"), Ledger(Path(folder) / "ledger"), [], None
    pace = Pace(Path(folder) / "pace", ceiling=100_000)
    deleter = VersionedDeleter(client=client(5), once=client(1), bucket=bucket, pace=pace)
    again = dict(lake=lake, ledger=ledger, run_id="bench")
    began = time.perf_counter()
    if database:
        source = ReferenceSettings.model_validate(
            {"name": "documents", "database": "app", "table": "documents", "column": "data", "json_paths": ["$.attachments[*]"]})
        asker = opened.enter_context(Asker(databases={"app": DatabaseUnderCut(url=database)}, sources=[source], spill_under=Path(folder)))
        guards.append(Recheck(asker=asker, plan=Path(plan), ledger=ledger, max_age=timedelta(minutes=15), keys_per_second=100_000,
                              bring_back=bringing_back(client(5), bucket, REFERENCED_AGAIN, **again), report=SILENT))
        assert "by index" in guards[0].words[0], guards[0].words
    if looks:
        newer = opened.enter_context(closing(NewerObjects(client=client(5), bucket=bucket)))
        bring_back = bringing_back(client(5), bucket, WRITTEN_MEANWHILE, **again)
        guards.append(LateLook(newer=newer, ledger=ledger, bring_back=bring_back, report=SILENT))
    ended = execute_plan(Path(plan), ledger=ledger, run_id="bench", deleter=deleter, keys=1, guards=guards, newer=newer,
                         of=LedgerPlan(bucket="bench", prefix="uploads/", sweep_id="s", digest="d", dry_run=False),
                         limits=Limits(expires_at=datetime(9999, 1, 1, tzinfo=UTC)), report=SILENT, pace=pace,
                         concurrency=int(concurrency))
    seconds = time.perf_counter() - began
    print(ledger.totals()["deleted"].objects, seconds, ended.requests, ended.slowed)
"""
PLAIN = """
import sys, time
from concurrent.futures import ThreadPoolExecutor
import boto3, pyarrow.parquet as pq
from botocore.config import Config
endpoint, bucket, plan, concurrency = sys.argv[1:]
client = boto3.client("s3", endpoint_url=endpoint, config=Config(s3={"addressing_style": "path"}, max_pool_connections=32))
began = time.perf_counter()
keys = pq.read_table(plan, columns=["key"])["key"].to_pylist()
def delete(first):
    answer = client.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key} for key in keys[first:first + 1000]], "Quiet": True})
    assert not answer.get("Errors")
with ThreadPoolExecutor(int(concurrency)) as pool:
    list(pool.map(delete, range(0, len(keys), 1000)))
print(len(keys), time.perf_counter() - began)
"""


def measure() -> str:
    """JSON: medians of each contender on each store, and our ratios."""
    with tempfile.TemporaryDirectory(prefix="orphan_pipeline-bench-") as name:
        folder = Path(name)
        with _database(folder) as database:
            found = {
                "synthetic": _synthetic(folder, database),
                f"slow_down_above_{LIMIT}": _limited(folder, database),
                "seaweedfs": _seaweedfs(folder, database),
            }
    return json.dumps({"benchmark": "deletion", "keys": KEYS, "rounds": ROUNDS, "at": found}, indent=2)


def _synthetic(folder: Path, database: str) -> dict[str, Any]:
    plan = _plan(folder / "synthetic.parquet", ((key(number), ETAG) for number in range(KEYS)))
    looked_at = _plan(folder / "looked_at.parquet", ((key(number), ETAG) for number in range(LOOKED_AT_KEYS)))
    runs: dict[str, list[Measured]] = {"ours": [], "ours_with_looks": [], "plain": [], "s5cmd": []}
    with _endpoint(KEYS, 0) as url:
        for _ in range(ROUNDS):
            runs["ours"].append(_ours(url, "bench", plan, database=database)[0])
            runs["ours_with_looks"].append(_ours(url, "bench", looked_at, database=database, looks=True)[0])
            runs["plain"].append(_python(PLAIN, url, "bench", str(plan), "8")[0])
            if (s5cmd := program("s5cmd")) is not None:
                runs["s5cmd"].append(_s5cmd(s5cmd, url, "bench", KEYS))
    return {"on": {"ours": [*ALWAYS, ASKED], "ours_with_looks": [*ALWAYS, ASKED, LOOKS]}, **_compared(runs)}


def _limited(folder: Path, database: str) -> dict[str, Any]:
    plan = _plan(folder / "limited.parquet", ((key(number), ETAG) for number in range(LIMITED_KEYS)))
    with _endpoint(LIMITED_KEYS, LIMIT) as url:
        measured, requests, slowed = _ours(url, "bench", plan, database=database)
    return {
        "on": {"ours": [*ALWAYS, ASKED]},
        "keys": LIMITED_KEYS,
        "share_of_limit": round(measured.keys_per_second / LIMIT, 3),
        "requests": requests,
        "requests_refused": slowed,
        "share_refused": round(slowed / requests, 4),
    }


def _seaweedfs(folder: Path, database: str) -> dict[str, Any]:
    runs: dict[str, list[Measured]] = {"ours": [], "plain": [], "s5cmd": []}
    with running_seaweedfs(folder / "seaweedfs") as store:
        ENVIRONMENT.update(AWS_ACCESS_KEY_ID=store.access_key_id, AWS_SECRET_ACCESS_KEY=store.secret_access_key)
        for _ in range(ROUNDS):
            for name in runs:
                bucket, plan = _filled(store, folder, f"{name}-{len(runs[name])}")
                if name == "ours":
                    runs[name].append(_ours(store.endpoint, bucket, plan, database=database, looks=True)[0])
                elif name == "plain":
                    runs[name].append(_python(PLAIN, store.endpoint, bucket, str(plan), "8")[0])
                elif (s5cmd := program("s5cmd")) is not None:
                    runs[name].append(_s5cmd(s5cmd, store.endpoint, bucket, STORE_KEYS))
    return {"keys": STORE_KEYS, "on": {"ours": [*ALWAYS, ASKED, LOOKS]}, **_compared(runs)}


def _filled(store: ObjectStore, folder: Path, name: str) -> tuple[str, Path]:
    client, bucket = store.client(), f"bench-{name}"
    client.create_bucket(Bucket=bucket)
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})

    def put(number: int) -> tuple[str, str]:
        return key(number), client.put_object(Bucket=bucket, Key=key(number), Body=b"x")["ETag"].strip('"')

    with ThreadPoolExecutor(16) as pool:
        return bucket, _plan(folder / f"{name}.parquet", list(pool.map(put, range(STORE_KEYS))), seen=datetime.now(UTC))


def _plan(path: Path, objects: Iterable[tuple[str, str]], *, seen: datetime = SEEN) -> Path:
    """In row groups as the orphan stage writes them, one at a time: what this process holds would count as its children's peak."""
    numbered = enumerate(objects)
    with pq.ParquetWriter(path, PLAN, compression="zstd") as writer:
        while some := list(islice(numbered, ROW_GROUP)):
            columns: dict[str, Any] = {
                "chunk": [0 if place < CANARY else 1 + (place - CANARY) // CHUNK for place, _ in some],
                "key": [name for _, (name, _) in some],
                "etag": [etag for _, (_, etag) in some],
                "size": [1] * len(some),
                "storage_class": ["STANDARD"] * len(some),
                "is_multipart": [False] * len(some),
                "sightings": [2] * len(some),
                **{name: [seen] * len(some) for name in ("last_modified", "first_seen", "sighted_at")},
            }
            writer.write_table(pa.Table.from_pydict({field.name: columns[field.name] for field in PLAN}, schema=PLAN))
    return path


def _ours(url: str, bucket: str, plan: Path, *, database: str, looks: bool = False) -> tuple[Measured, int, int]:
    """`database`: where every key is asked again; `looks`: for newer objects, twice a chunk."""
    measured, (requests, slowed) = _python(OURS, url, bucket, str(plan), "8", database, "looks" if looks else "")
    return measured, int(requests), int(slowed)


def _python(text: str, *arguments: str) -> tuple[Measured, list[str]]:
    ran = python(text, *arguments, environment=ENVIRONMENT)
    keys, seconds, *more = ran.text.split()
    return measured_of(ran, int(keys), float(seconds)), more


def _s5cmd(command: str, url: str, bucket: str, keys: int) -> Measured:
    ran = run([command, "--endpoint-url", url, "rm", f"s3://{bucket}/*"], environment=ENVIRONMENT, count_lines=True)
    assert int(ran.text) == keys, f"s5cmd removed {ran.text} of {keys}"
    return measured_of(ran, keys, ran.seconds)


def _compared(runs: dict[str, list[Measured]]) -> dict[str, Any]:
    medians = {name: medians_of(measured) for name, measured in runs.items() if measured}
    rate = medians["ours"]["keys_per_second"]
    return {**medians, **{f"ours_over_{name}": round(rate / medians[name]["keys_per_second"], 2) for name in medians if name != "ours"}}


@contextmanager
def _database(folder: Path) -> Iterator[str]:
    """A table of references to none of the keys, with the index that `check` would name."""
    with running_postgres(folder / "postgres") as server:
        url = server.create_database("bench")
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("CREATE TABLE documents (id bigserial PRIMARY KEY, data jsonb)")
            connection.execute(
                "INSERT INTO documents (data) SELECT jsonb_build_object('attachments', jsonb_build_array('other/' || n)) "
                "FROM generate_series(1, %s) AS n", [ROWS],
            )  # fmt: skip
            connection.execute("CREATE INDEX ON documents USING gin ((data -> 'attachments') jsonb_path_ops)")
            connection.execute("VACUUM ANALYZE documents")
        yield url


def _endpoint(keys: int, limit: float) -> AbstractContextManager[str]:
    return endpoint("benchmarks.delete_endpoint", "--keys", str(keys), "--limit", str(limit))
