"""A swept bucket, and deletion and restore of it as a run in production wires them: by the very functions of the assets, with settings from
a file, hooks and all, in this process or in one of its own. Only what Dagster gives a step is made here."""

import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import dagster as dg
import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from deletion_helpers import client_of, put
from live_application import HELD, spy
from sweep_files import publish, take_inventory

from orphan_pipeline.assets.deleted_objects import DeletionConfig, deleted_objects
from orphan_pipeline.assets.names import LAKE, Names, database_resource_name
from orphan_pipeline.assets.restore import RestoreConfig, restore_job
from orphan_pipeline.deletion.ledger import Ledger, Planned
from orphan_pipeline.demo.servers import ObjectStore
from orphan_pipeline.errors import Refused
from orphan_pipeline.hooks import ChunkAfter, ChunkBefore
from orphan_pipeline.inventory.columns import LISTED
from orphan_pipeline.lake.layout import BucketLake, Lake
from orphan_pipeline.orphans.manifest import PlanEntry
from orphan_pipeline.resources.bucket import bucket_resource
from orphan_pipeline.resources.databases import database_resource
from orphan_pipeline.resources.lake import LakeResource
from orphan_pipeline.settings.load import load_settings

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

NAME = "media"
PREFIX = "a/"
VARIABLES = ("SWEPT_DATABASE_URL", "SWEPT_ACCESS_KEY_ID", "SWEPT_SECRET_ACCESS_KEY")


@dataclass(frozen=True, kw_only=True)
class Swept:
    """A bucket whose objects under `a/` are all in the plan, and the lake that has it. Goes to another process as it is."""

    folder: Path
    store: ObjectStore
    bucket: str
    database_url: str
    planned: list[Planned]
    entry: PlanEntry
    sweep_digest: str
    chunk_of: dict[str, int]

    @property
    def client(self) -> "S3Client":
        return client_of(self.store)

    @property
    def lake(self) -> BucketLake:
        return Lake(self.folder / "lake").bucket(NAME)

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.lake.ledger(self.entry.digest, dry_run=False))

    @property
    def journal(self) -> Path:
        """What the databases answered in all runs."""
        return self.folder / "journal"

    @property
    def told(self) -> Path:
        """Chunks of which the hook was told, a line each."""
        return self.folder / "told"

    @property
    def failure(self) -> Path:
        """The words with which the last run failed, if it did."""
        return self.folder / "failure"

    @property
    def environment(self) -> dict[str, str]:
        return dict(zip(VARIABLES, (self.database_url, self.store.access_key_id, self.store.secret_access_key), strict=True))

    def step(self, run_id: str, **of_the_step: Any) -> SimpleNamespace:
        """What Dagster gives a step of this code location."""
        os.environ.update(self.environment)
        settings, names = load_settings(self.folder / "orphan_pipeline.yaml"), Names(NAME)
        resources = {
            LAKE: LakeResource(root=str(settings.lake)),
            names.bucket_resource: bucket_resource(settings.buckets[NAME]),
            **{database_resource_name(name): database_resource(database) for name, database in settings.databases.items()},
        }
        log = SimpleNamespace(info=_silent, warning=_silent)
        run = SimpleNamespace(run_id=run_id)
        return SimpleNamespace(run=run, log=log, resources=SimpleNamespace(**resources), **of_the_step)

    def delete(self, run_id: str) -> None:
        """Raises dagster.Failure as the asset does."""
        context = self.step(run_id, partition_key=PREFIX)
        settings = load_settings(self.folder / "orphan_pipeline.yaml")
        asset = deleted_objects(NAME, settings.buckets[NAME], settings.databases, settings.schedule)
        _function(asset.op)(context, DeletionConfig(approve=self.sweep_digest, approved_by="operator"))

    def restore(self, run_id: str, **config: Any) -> None:
        """Raises dagster.Failure as the step does."""
        settings = load_settings(self.folder / "orphan_pipeline.yaml")
        [step] = restore_job(NAME, settings.buckets[NAME]).graph.node_defs
        _function(step)(self.step(run_id), RestoreConfig(**config))

    def unfinished_keys(self) -> set[str]:
        """Of the chunks that were begun and have no outcome: those about which nothing final is known."""
        found: set[str] = set()
        for chunk in self.ledger.unfinished():
            found |= {key for key, own in self.chunk_of.items() if own == chunk} - self.ledger.kept(chunk).keys()
        return found


def _function(step: Any) -> Callable[..., object]:
    function: Callable[..., object] = step.compute_fn.decorated_fn
    return function


def sweep(
    store: ObjectStore,
    bucket: str,
    bodies: Mapping[str, bytes],
    *,
    database_url: str,
    folder: Path,
    chunk: int,
    deletion: Mapping[str, Any],
) -> Swept:
    """Puts the objects, and makes the lake of a sweep that found all of them to be orphans. `deletion`: its settings, beside the hooks."""
    planned = put(client_of(store), bucket, bodies)
    told = {"file": str(folder / "told")}
    document = {
        "lake": "./lake",
        "databases": {"app": {"url": {"env": VARIABLES[0]}}},
        "buckets": {
            NAME: {
                "bucket": bucket,
                "endpoint": store.endpoint,
                "region": store.region,
                "credentials": {"access_key_id": {"env": VARIABLES[1]}, "secret_access_key": {"env": VARIABLES[2]}},
                "path_style": True,
                "prefixes": [PREFIX, "b/"],
                "references": [
                    {"name": "documents", "database": "app", "table": "documents", "column": "data",
                     "json_paths": ["$.attachments[*].url"], "key": {"strip": ["https://cdn.example.com/"]}}
                ],
                "safety": {"min_age": "0s", "allow_short_min_age": True, "multipart_grace": "0s", "confirmations": 1,
                           "confirmation_gap": "0s"},
                "deletion": {
                    "before_chunk": ["real_run:hold"],
                    "after_chunk": [{"call": "real_run:tell", "options": told}],
                    "undo_window": "1d",
                    **deletion,
                },
            }
        },
    }  # fmt: skip
    file = folder / "orphan_pipeline.yaml"
    file.write_text(yaml.safe_dump(document))
    settings = load_settings(file)
    lake, now = Lake(folder / "lake").bucket(NAME), datetime.now(UTC)
    with psycopg.connect(database_url) as connection:
        [identifier] = connection.execute("SELECT system_identifier::text FROM pg_control_system()").fetchone() or [""]
    rows = [
        {"key": one.key, "size": one.size, "last_modified": one.last_modified, "etag": one.etag, "storage_class": "STANDARD"}
        for one in planned
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("orphan_pipeline.orphans.files.CHUNK_KEYS", chunk)
        take_inventory(lake.sweep("s1"), [pa.RecordBatch.from_pylist(rows, schema=LISTED)], at=now, settings=settings.buckets[NAME])
        made = publish(
            lake,
            "s1",
            referenced=["b/kept"],
            started_at=now,
            settings=settings.buckets[NAME],
            databases=settings.databases,
            inventory=False,
            system_identifier=identifier,
        )
    entry = made.plans[PREFIX]
    found = {}
    for line in pq.read_table(lake.sweep("s1").root / entry.file, columns=["chunk", "key"]).to_pylist():
        found[line["key"]] = line["chunk"]
    assert len(found) == len(planned), made.holds
    return Swept(
        folder=folder,
        store=store,
        bucket=bucket,
        database_url=database_url,
        planned=planned,
        entry=entry,
        sweep_digest=made.digest,
        chunk_of=found,
    )


def delete(told: Connection, swept: Swept, run_id: str) -> None:
    """In a process of its own: says when the run begins, and when its first chunk does."""
    chunks: list[bool] = []

    def first_chunk(line: str) -> None:
        with swept.journal.open("ab", buffering=0) as file:
            file.write(line.encode() + b"\n")
        if '"at"' in line and not chunks:
            chunks.append(True)
            told.send(True)

    spy(setattr, first_chunk)
    told.send(True)
    _saying_why(swept, lambda: swept.delete(run_id))


def restore(told: Connection, swept: Swept, run_id: str, *, include_unknown: bool = False) -> None:
    """In a process of its own: says when the run begins, and when the first chunk comes back."""
    from orphan_pipeline.deletion.undo import restore as module

    real = module.restore_lines

    def restore_lines(*arguments: Any, **named: Any) -> Any:
        with suppress(OSError):
            told.send(True)
        return real(*arguments, **named)

    module.restore_lines, module.KEYS_A_FILE = restore_lines, 20
    told.send(True)
    _saying_why(swept, lambda: swept.restore(run_id, prefix=PREFIX, include_unknown=include_unknown))


def delete_impatiently(told: Connection, swept: Swept, run_id: str) -> None:
    """As `delete`, without the waits between attempts, and two seconds for an answer."""
    _impatient()
    delete(told, swept, run_id)


def restore_impatiently(told: Connection, swept: Swept, run_id: str) -> None:
    """As `restore`, also of what went by a delete whose answer was lost."""
    _impatient()
    restore(told, swept, run_id, include_unknown=True)


def _impatient() -> None:
    endpoint: Any = import_module("botocore.endpoint")
    bucket: Any = import_module("orphan_pipeline.resources.bucket")
    pace: Any = import_module("orphan_pipeline.deletion.pace.pace")
    endpoint.time = SimpleNamespace(sleep=_silent, time=time.time)
    bucket.Config = partial(bucket.Config, read_timeout=2)
    pace.Pace.wait = lambda pace, seconds: pace.stopping.wait(min(seconds, 0.01))


def _saying_why(swept: Swept, work: Callable[[], None]) -> None:
    swept.failure.unlink(missing_ok=True)
    try:
        work()
    except (dg.Failure, Refused) as failed:
        swept.failure.write_text(getattr(failed, "description", None) or str(failed))


def hold(chunk: ChunkBefore) -> dict[str, str]:
    """A hook."""
    return {row.key: "legal hold" for row in chunk.rows if row.key.endswith(HELD)}


def tell(chunk: ChunkAfter, *, file: str) -> None:
    """A hook."""
    with Path(file).open("ab", buffering=0) as told:
        told.write(b"%d\n" % chunk.chunk)


def _silent(*_: object) -> None:
    pass
