"""A small world on real servers: a versioned bucket, a table that refers to part of it, and a settings file that joins the two."""

import os
import shutil
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from secrets import token_hex
from time import sleep
from typing import TYPE_CHECKING, Any, Protocol

import psycopg
import pytest
import yaml
from sweep_files import publish

from orphan_pipeline.demo.servers import ObjectStore
from orphan_pipeline.errors import BadSettings
from orphan_pipeline.lake.layout import BucketLake
from orphan_pipeline.orphans.approving import approvable, record_approval
from orphan_pipeline.settings.load import load_settings

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

REFERENCED = tuple(f"files/in-use-{i}.bin" for i in range(8))
ORPHANS = tuple(f"files/orphan-{i}.bin" for i in range(3))
KEPT = ("kept/a.bin", "kept/b.bin")
BASELINE = "baseline"
VARIABLES = ("WORLD_DATABASE_URL", "WORLD_ACCESS_KEY_ID", "WORLD_SECRET_ACCESS_KEY")


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """`files/` holds orphans, `kept/` none; everything is of age at once, and one sweep confirms.

    Unless `baseline` is false, the lake knows an accepted sweep already, of a bucket that was empty then: the gate `baseline` is passed,
    and no trend trips. It is made again with the settings as long as no real sweep has followed it.
    """

    folder: Path
    store: ObjectStore
    client: "S3Client"
    bucket: str
    database_url: str
    settings: dict[str, Any] = field(default_factory=dict)
    baseline: bool = True

    @property
    def file(self) -> Path:
        return self.folder / "orphan_pipeline.yaml"

    @property
    def lake(self) -> Path:
        return self.folder / "lake" / "media"

    @property
    def secrets(self) -> dict[str, str]:
        return dict(zip(VARIABLES, (self.database_url, self.store.access_key_id, self.store.secret_access_key), strict=True))

    @property
    def environment(self) -> dict[str, str]:
        """For processes of their own."""
        plain = {name: value for name, value in os.environ.items() if not name.startswith(("DAGSTER", "ORPHAN_PIPELINE"))}
        home = {"DAGSTER_HOME": str(self.folder / "dagster"), "ORPHAN_PIPELINE_SETTINGS": str(self.file)}
        return {**plain, **self.secrets, **home}

    def change(self, **changed: Any) -> None:
        """Replaces names of the bucket's settings: `safety={"min_age": "1s"}` is merged, everything else is taken as it is."""
        for name, value in changed.items():
            bucket = self.settings["buckets"]["media"]
            bucket[name] = {**bucket[name], **value} if isinstance(value, dict) else value
        self.file.write_text(yaml.safe_dump(self.settings))
        if self.baseline and {path.parent.name for path in self.lake.glob("sweeps/*/manifest.json")} <= {BASELINE}:
            with suppress(BadSettings):  # a test of what is refused
                self._accept_baseline()

    def _accept_baseline(self) -> None:
        settings = load_settings(self.file)
        own, lake = settings.buckets["media"], BucketLake(self.lake)
        shutil.rmtree(lake.sweep(BASELINE).root, ignore_errors=True)
        made = publish(
            lake,
            BASELINE,
            referenced=(),
            started_at=datetime.now(UTC) - timedelta(hours=1),
            settings=own,
            databases=settings.databases,
            sources=[source.name for source in own.references],
            system_identifier=self._system_identifier(),
        )
        record_approval(lake, approvable(lake, own, made.digest), by="operator", at=datetime.now(UTC))

    def _system_identifier(self) -> str:
        with psycopg.connect(self.database_url) as connection:
            [identifier] = connection.execute("SELECT system_identifier::text FROM pg_control_system()").fetchone() or [""]
        return str(identifier)

    def put(self, *keys: str) -> None:
        """Uploads, and returns once the store's clock has left the second in which it did."""
        for key in keys:
            self.client.put_object(Bucket=self.bucket, Key=key, Body=key.encode())
        done = datetime.now(UTC)
        while self._store_time() <= done:
            sleep(0.05)

    def _store_time(self) -> datetime:
        date = self.client.head_bucket(Bucket=self.bucket)["ResponseMetadata"]["HTTPHeaders"]["date"]
        return parsedate_to_datetime(date)

    def listed(self) -> set[str]:
        return {item["Key"] for item in self.client.list_objects_v2(Bucket=self.bucket).get("Contents", [])}

    def run_sql(self, statement: str) -> None:
        with psycopg.connect(self.database_url, autocommit=True) as connection:
            connection.execute(statement.encode())


def _settings(bucket: str, store: ObjectStore) -> dict[str, Any]:
    return {
        "lake": "./lake",
        "databases": {"app": {"url": {"env": VARIABLES[0]}}},
        "buckets": {
            "media": {
                "bucket": bucket,
                "endpoint": store.endpoint,
                "region": store.region,
                "credentials": {"access_key_id": {"env": VARIABLES[1]}, "secret_access_key": {"env": VARIABLES[2]}},
                "path_style": True,
                "prefixes": ["files/", "kept/"],
                "references": [
                    {
                        "name": "documents",
                        "database": "app",
                        "table": "documents",
                        "column": "data",
                        "json_paths": ["$.attachments[*]"],
                    }
                ],
                "safety": {
                    "min_age": "0s",
                    "allow_short_min_age": True,
                    "multipart_grace": "0s",
                    "confirmations": 1,
                    "confirmation_gap": "0s",
                    "max_orphan_fraction": 0.5,
                },
                "deletion": {"mode": "versioned", "undo_window": "1d"},
            }
        },
    }


class MakeWorld(Protocol):
    def __call__(self, folder: Path, database_url: str, *, baseline: bool = True) -> World: ...


@pytest.fixture(scope="session")
def make_world(seaweedfs: ObjectStore) -> MakeWorld:
    """`make_world(folder, database_url)`."""

    def make(folder: Path, database_url: str, *, baseline: bool = True) -> World:
        bucket = f"world-{token_hex(6)}"
        client = seaweedfs.client()
        client.create_bucket(Bucket=bucket)
        client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        world = World(
            folder=folder,
            store=seaweedfs,
            client=client,
            bucket=bucket,
            database_url=database_url,
            settings=_settings(bucket, seaweedfs),
            baseline=baseline,
        )
        world.change()
        rows = ", ".join(f"""('{{"attachments": ["{key}"]}}')""" for key in (*REFERENCED, *KEPT))
        world.run_sql(f"CREATE TABLE documents (id bigserial PRIMARY KEY, data jsonb); INSERT INTO documents (data) VALUES {rows}")
        world.put(*REFERENCED, *ORPHANS, *KEPT)
        return world

    return make


@pytest.fixture
def world(make_world: MakeWorld, tmp_path: Path, database_url: str) -> World:
    return make_world(tmp_path, database_url)
