"""Objects put, planned, deleted and looked at on a real store, for the tests of deletion and restore."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cache, partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
from boto3.session import Session
from botocore.config import Config

from orphan_pipeline.deletion.abilities import USUAL, Way
from orphan_pipeline.deletion.deleter import VersionedDeleter
from orphan_pipeline.deletion.ending import Ended
from orphan_pipeline.deletion.execute import execute_plan
from orphan_pipeline.deletion.guards import Guard
from orphan_pipeline.deletion.ledger import Answer, Ledger, LedgerPlan, Planned
from orphan_pipeline.deletion.newer.objects import NewerObjects
from orphan_pipeline.deletion.pace.pace import Pace
from orphan_pipeline.deletion.pace.shared import file_of
from orphan_pipeline.deletion.quarantine.place import Quarantine
from orphan_pipeline.deletion.requests import delete_one, delete_together, send_chunk
from orphan_pipeline.deletion.stopping import Limits
from orphan_pipeline.deletion.undo.outcomes import RestoreTotals
from orphan_pipeline.deletion.undo.restore import Which, restore, restore_selected
from orphan_pipeline.deletion.undo.selection import Selection
from orphan_pipeline.demo.servers import ObjectStore
from orphan_pipeline.lake.layout import BucketLake
from orphan_pipeline.orphans.snapshot import PLAN

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

SEEN = datetime(2026, 11, 1, tzinfo=UTC)
NEVER = datetime(9999, 1, 1, tzinfo=UTC)
session = cache(Session)  # each new one reads the description of S3 again, 0.1 s of a core


@dataclass
class Standing:
    """All that the store holds under one key. `current` is an ETag."""

    current: str | None = None
    markers: list[str] = field(default_factory=list)
    versions: int = 0


class Restorable:
    """A bucket and the lake whose ledgers say what was deleted from it."""

    client: "S3Client"
    bucket: str
    lake: BucketLake

    def restore(self, name: str = "r1", *, plan: str = "", prefix: str = "", key: str = "", include_unknown: bool = False) -> RestoreTotals:
        return restore_selected(
            self.client,
            self.bucket,
            lake=self.lake,
            selection=Selection(plan=plan, prefix=prefix, key=key),
            include_unknown=include_unknown,
            restore_id=name,
            go_on=lambda: None,
            report=lambda _: None,
        )


class NothingHeld:
    """A guard that lets everything go."""

    def before(self, chunk: int, planned: Sequence[Planned]) -> Mapping[str, Answer]:
        return {}

    def before_request(self, chunk: int, planned: Sequence[Planned]) -> Mapping[str, Answer]:
        return {}

    def after(self, chunk: int, planned: Sequence[Planned], answers: Sequence[Answer]) -> None:
        """Nothing to do."""

    def finish(self) -> None:
        """Nothing to do."""


def client_of(store: ObjectStore, *, attempts: int = 5, endpoint: str | None = None) -> "S3Client":
    return session().client(
        "s3",
        endpoint_url=endpoint or store.endpoint,
        aws_access_key_id=store.access_key_id,
        aws_secret_access_key=store.secret_access_key,
        region_name=store.region,
        config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": attempts}, max_pool_connections=32, proxies={}),
    )


def pace_of(bucket: str, *, rate: float = 1_000_000) -> Pace:
    """One file a bucket, as in a run; every test has buckets of its own."""
    return Pace(file_of("tests", bucket), ceiling=rate)


def deleter_of(
    store: ObjectStore, bucket: str, *, pace: Pace | None = None, endpoint: str | None = None, way: Way = USUAL
) -> VersionedDeleter:
    return VersionedDeleter(
        client=client_of(store),
        once=client_of(store, attempts=1, endpoint=endpoint),
        bucket=bucket,
        pace=pace or pace_of(bucket),
        way=way,
    )


def delete_now(client: "S3Client", bucket: str, planned: Sequence[Planned]) -> dict[str, Answer | None]:
    """One conditional request for all that XML can carry, one for each other key."""
    send = partial(delete_together, client, bucket)
    return dict(send_chunk(planned, together=send, alone=partial(delete_one, client, bucket)))


def put(client: "S3Client", bucket: str, bodies: Mapping[str, bytes]) -> list[Planned]:
    """Writes the objects; gives them as a plan would, in the order of their keys."""

    def put_one(key: str) -> Planned:
        etag = client.put_object(Bucket=bucket, Key=key, Body=bodies[key])["ETag"].strip('"')
        return Planned(key, etag, len(bodies[key]), datetime.now(UTC).replace(microsecond=0))  # as SeaweedFS tells times

    first, *others = bodies  # SeaweedFS takes a second to begin a bucket with many at once, a fifth of one with one
    with ThreadPoolExecutor(16) as pool:
        return sorted([put_one(first), *pool.map(put_one, others)], key=lambda one: one.key)


def standing(client: "S3Client", bucket: str) -> dict[str, Standing]:
    found: dict[str, Standing] = {}
    for page in client.get_paginator("list_object_versions").paginate(Bucket=bucket):
        for version in page.get("Versions", []):
            own = found.setdefault(version["Key"], Standing())
            own.versions += 1
            if version["IsLatest"]:
                own.current = version["ETag"].strip('"')
        for marker in page.get("DeleteMarkers", []):
            found.setdefault(marker["Key"], Standing()).markers.append(marker["VersionId"])
    return found


def write_plan(path: Path, planned: Iterable[Planned], *, canary: int = 10, chunk: int = 1000) -> Path:
    """A plan as the orphan stage writes it, with chunks as small as a test wants them."""
    lines = [
        {
            "chunk": 0 if place < canary else 1 + (place - canary) // chunk,
            "key": one.key,
            "size": one.size,
            "last_modified": one.last_modified,
            "etag": one.etag,
            "storage_class": "STANDARD",
            "is_multipart": False,
            "first_seen": SEEN,
            "sightings": 2,
            "sighted_at": SEEN,
        }
        for place, one in enumerate(planned)
    ]
    pq.write_table(pa.Table.from_pylist(lines, schema=PLAN), path)
    return path


def recorded(ledger: Ledger) -> list[dict[str, Any]]:
    return [line for file in ledger.parquet() for line in pq.read_table(file).to_pylist()]


def plan_named(digest: str, *, prefix: str, quarantine: Quarantine | None = None) -> LedgerPlan:
    plan = LedgerPlan(bucket="media", prefix=prefix, sweep_id="s1", digest=digest, dry_run=False)
    return plan if quarantine is None else replace(plan, mode="quarantine", quarantine=quarantine.uri)


def record_deletion(
    ledger: Ledger, planned: list[Planned], answers: list[Answer], *, prefix: str = "a/", chunk: int = 0, at: datetime = SEEN
) -> None:
    ledger.begin(plan_named(ledger.folder.name, prefix=prefix))
    ledger.intend(chunk, run_id="run", at=at)
    ledger.record(chunk, planned, answers, at=at)


def announced(started: Connection, work: Callable[..., None], *arguments: Any) -> None:
    """In the child: says that the imports are done and the work begins."""
    started.send(True)
    work(*arguments)


def carry_out(store: ObjectStore, bucket: str, plan: Path, folder: Path) -> None:
    """Runs in a process of its own, which is killed."""
    execute(plan, Ledger(folder), deleter_of(store, bucket), concurrency=4)


def execute(
    plan: Path,
    ledger: Ledger,
    deleter: VersionedDeleter,
    *,
    prefix: str = "a/",
    concurrency: int = 1,
    guards: Sequence[Guard] = (),
    newer: NewerObjects | None = None,
) -> Ended:
    return execute_plan(
        plan,
        ledger=ledger,
        of=plan_named(ledger.folder.name, prefix=prefix),
        run_id="run",
        deleter=deleter,
        keys=1,
        limits=Limits(expires_at=NEVER),
        report=_silent,
        pace=deleter.pace,
        concurrency=concurrency,
        guards=guards,
        newer=newer,
    )


def bring_back(store: ObjectStore, bucket: str, ledgers: list[str], folder: Path) -> None:
    """Runs in a process of its own, which is killed."""
    how: dict[str, Any] = {"which": Which(), "include_unknown": False, "folder": folder, "go_on": lambda: None, "report": _silent}
    restore(client_of(store), bucket, ledgers=ledgers, **how)


def _silent(_: str) -> None:
    pass
