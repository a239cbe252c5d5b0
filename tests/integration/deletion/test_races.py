"""A writer overwrites, re-references and re-uploads objects while deletion runs (rule 10): nothing that changed is deleted, nothing that
its re-check found in use is deleted, what came into use afterwards is back, content and all, by the end of the run, and what was written
last stands, although this store may hide it in the moment of its delete (test_newer.py).
"""

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from random import Random, SystemRandom
from threading import Semaphore, Thread
from typing import TYPE_CHECKING, Literal, get_args

import psycopg
import pytest
from deletion_helpers import Standing, client_of, deleter_of, execute, put, recorded, standing, write_plan

from orphan_pipeline.deletion.ledger import Answer, Ledger, Planned
from orphan_pipeline.deletion.newer.late import LateLook
from orphan_pipeline.deletion.newer.objects import UNCOVERED, NewerObjects
from orphan_pipeline.deletion.recheck.guard import Recheck
from orphan_pipeline.deletion.undo.at_once import REFERENCED_AGAIN, WRITTEN_MEANWHILE, bringing_back
from orphan_pipeline.demo.servers import ObjectStore
from orphan_pipeline.elapsed import elapsed
from orphan_pipeline.lake.layout import BucketLake
from orphan_pipeline.references.cut import DatabaseUnderCut
from orphan_pipeline.references.recheck.asking import Asked, Asker, By
from orphan_pipeline.references.recheck.ways import Keys, Way
from orphan_pipeline.settings.model import ReferenceSettings

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

RACES = int(os.environ.get("ORPHAN_PIPELINE_RACES", "400"))
"""For the long proof: ORPHAN_PIPELINE_RACES=10000; a failure is repeated with the ORPHAN_PIPELINE_SEED that it prints."""

SEED = int(os.environ.get("ORPHAN_PIPELINE_SEED") or SystemRandom().randrange(10**9))
WRITERS = 4
CHUNK = 8
FILLER = 20_000
"""Rows of others, so that PostgreSQL finds an index worth its while."""

Deed = Literal[
    "nothing", "overwritten", "referenced", "uploaded again and referenced", "referenced and let go", "overwritten and referenced"
]
SOURCE = ReferenceSettings.model_validate(
    {"name": "documents", "database": "app", "table": "documents", "column": "data", "json_paths": ["$.attachments[*].url"],
     "key": {"strip": ["https://cdn.example.com/"]}}
)  # fmt: skip


@dataclass
class Spy:
    """Writes down which keys were asked about when, and what was said of them before they went."""

    asker: Asker
    last_asked: dict[str, float] = field(default_factory=dict)

    def ways(self, keys: Keys) -> Sequence[Way]:
        return self.asker.ways(keys)

    def ask(self, keys: Keys) -> Asked:
        began = elapsed()
        asked = self.asker.ask(keys)
        self.last_asked.update((str(key), began) for key in keys.to_pylist())
        return asked


@dataclass
class Pacer:
    """A guard that lets the writers go on as fast as chunks go, and no longer than until the last one has gone."""

    writers: list[Thread] = field(default_factory=list)
    permits: Semaphore = field(default_factory=lambda: Semaphore(0))

    def before(self, chunk: int, planned: Sequence[Planned]) -> Mapping[str, Answer]:
        self.permits.release(len(planned) or 1)
        return {}

    def before_request(self, chunk: int, planned: Sequence[Planned]) -> Mapping[str, Answer]:
        return {}

    def after(self, chunk: int, planned: Sequence[Planned], answers: Sequence[Answer]) -> None:
        """Nothing to do."""

    def finish(self) -> None:
        self.permits.release(RACES)
        for writer in self.writers:
            writer.join()


@dataclass
class Application:
    """What uses the bucket while it is swept."""

    client: "S3Client"
    bucket: str
    url: str
    bodies: Mapping[str, bytes]
    etags: dict[str, str] = field(default_factory=dict)
    """Of what was overwritten."""
    in_use_since: dict[str, float] = field(default_factory=dict)

    def do(self, deed: Deed, key: str, connection: psycopg.Connection) -> None:
        if deed.startswith("overwritten"):
            self.etags[key] = self.client.put_object(Bucket=self.bucket, Key=key, Body=b"newer " + key.encode())["ETag"].strip('"')
        if deed.startswith("uploaded again"):
            self.client.put_object(Bucket=self.bucket, Key=key, Body=self.bodies[key])
        if "referenced" in deed:
            document = f'{{"attachments": [{{"url": "https://cdn.example.com/{key}"}}]}}'
            connection.execute("INSERT INTO documents (data) VALUES (%s)", [document])
            if deed == "referenced and let go":
                connection.execute("DELETE FROM documents WHERE data @> %s::jsonb", [document])
            else:
                self.in_use_since[key] = elapsed()


def race(application: Application, deeds: Sequence[tuple[str, Deed]], pacer: Pacer, failures: list[BaseException]) -> None:
    try:
        with psycopg.connect(application.url, autocommit=True) as connection:
            for key, deed in deeds:
                pacer.permits.acquire()
                application.do(deed, key, connection)
    except BaseException as error:
        failures.append(error)
        raise


@pytest.mark.parametrize("by", get_args(By))
def test_races(
    by: By, seaweedfs: ObjectStore, make_bucket: Callable[..., str], database_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    print(f"ORPHAN_PIPELINE_SEED={SEED}")
    random = Random(SEED)
    races = RACES // 2
    client, bucket = client_of(seaweedfs), make_bucket(seaweedfs, versioned=True)
    bodies = {f"a/{n:06d}": b"%d" % n for n in range(races)}
    planned = put(client, bucket, bodies)
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE documents (id bigserial PRIMARY KEY, data jsonb)")
        if by == "auto":
            connection.execute(
                "INSERT INTO documents (data) SELECT jsonb_build_object('attachments', jsonb_build_array(jsonb_build_object('url', "
                "'https://cdn.example.com/b/' || n))) FROM generate_series(1, %s) AS n", [FILLER],
            )  # fmt: skip
            connection.execute("CREATE INDEX ON documents USING gin ((data -> 'attachments') jsonb_path_ops)")
        connection.execute("ANALYZE documents")
    application = Application(client, bucket, database_url, bodies)
    deeds: dict[str, Deed] = {one.key: random.choice(get_args(Deed)) for one in planned}
    order = sorted(range(races), key=lambda place: place + random.gauss(0, 3 * CHUNK))
    pacer, failures = Pacer(), list[BaseException]()
    for number in range(WRITERS):
        mine = [(planned[place].key, deeds[planned[place].key]) for place in order[number::WRITERS]]
        pacer.writers.append(Thread(target=race, args=(application, mine, pacer, failures)))
    ledger = Ledger(tmp_path / "ledger")
    plan = write_plan(tmp_path / "plan.parquet", planned, chunk=CHUNK)
    lake = BucketLake(tmp_path / "lake")
    with (
        Asker(databases={"app": DatabaseUnderCut(url=database_url)}, sources=[SOURCE], spill_under=tmp_path, by=by) as asker,
        closing(NewerObjects(client=client, bucket=bucket)) as newer,
    ):
        spy = Spy(asker)
        recheck = Recheck(
            asker=spy,
            plan=plan,
            ledger=ledger,
            max_age=timedelta(minutes=15),
            keys_per_second=16,  # seven chunks: a block, where it is asked by passes
            bring_back=bringing_back(client, bucket, REFERENCED_AGAIN, lake=lake, ledger=ledger, run_id="run"),
            report=print,
        )
        assert recheck.words == [f"documents {'by index' if by == 'auto' else 'by one pass: recheck_by is pass'}"]
        for writer in pacer.writers:
            writer.start()
        bring_back = bringing_back(client, bucket, WRITTEN_MEANWHILE, lake=lake, ledger=ledger, run_id="run")
        late = LateLook(newer=newer, ledger=ledger, bring_back=bring_back, report=print)
        execute(plan, ledger, deleter_of(seaweedfs, bucket), guards=[pacer, recheck, late], newer=newer, concurrency=3)
    assert not failures
    lines = {line["key"]: line for line in recorded(ledger)}
    assert len(lines) == races
    judge(application, planned, deeds, lines, standing(client, bucket), spy)
    held = sum(line["outcome"] == "referenced_again" for line in lines.values())
    hidden = sum(line["code"] == UNCOVERED for line in lines.values())
    back = recheck.figures.brought_back
    assert held == sum(recheck.figures.held.values())
    assert held > 0
    assert back
    assert set(back.values()) <= {"restored", "newer", "deleted_again"}
    with capsys.disabled():
        print(
            f"{races} races, {by}: {held} held, {len(back)} brought back, {hidden} uncovered at once, {late.uncovered} later, "
            f"{recheck.figures.questions} questions, seed {SEED}"
        )


def judge(
    application: Application,
    planned: Sequence[Planned],
    deeds: Mapping[str, Deed],
    lines: Mapping[str, Mapping[str, object]],
    found: Mapping[str, Standing],
    spy: Spy,
) -> None:
    must_stand = []
    for one in planned:
        own, deed, outcome = found[one.key], deeds[one.key], lines[one.key]["outcome"]
        what = (one.key, deed, outcome, own)
        since = application.in_use_since.get(one.key)
        if one.key in application.etags:
            assert own.current == application.etags[one.key], what
        elif since is not None and spy.last_asked[one.key] > since:
            assert own.current == one.etag, what
            must_stand.append(one.key)
        elif deed == "nothing":
            assert (outcome, own.current, len(own.markers)) == ("deleted", None, 1), what
        if outcome in ("referenced_again", "changed"):
            assert not own.markers, what
    assert must_stand
    with ThreadPoolExecutor(16) as pool:
        bodies = pool.map(lambda key: application.client.get_object(Bucket=application.bucket, Key=key)["Body"].read(), must_stand)
    for key, body in zip(must_stand, bodies, strict=True):
        assert body == application.bodies[key]
