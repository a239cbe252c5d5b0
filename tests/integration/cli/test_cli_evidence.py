"""`why --evidence KEY` after a real deletion and a real restore: what it says is what the store shows."""

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cli.conftest import Say, World
from orphan_pipeline.lake.layout import BucketLake
from orphan_pipeline.orphans.manifest import read_manifests

KEY = "files/orphan-1.bin"


def test_the_evidence_of_a_deletion_and_of_its_undo(world: World, say: Say) -> None:
    began = datetime.now(UTC) - timedelta(seconds=1)
    [before] = world.client.list_object_versions(Bucket=world.bucket, Prefix=KEY)["Versions"]
    swept = say(world, "sweep", "--json").json["media"]
    plan = read_manifests(BucketLake(world.lake))[-1].plans["files/"]
    deleted = say(world, "delete", "--prefix", "files/", "--yes")
    assert deleted.status == 0, deleted.err
    [marker] = world.client.list_object_versions(Bucket=world.bucket, Prefix=KEY)["DeleteMarkers"]

    told = say(world, "why", "--evidence", KEY)
    assert told.status == 0, told.err
    evidence = told.json
    assert (evidence["bucket"], evidence["name"], evidence["key"]) == (world.bucket, "media", KEY)
    [row] = evidence["rows"]
    assert (row["what"], row["outcome"]) == ("ledger", "deleted")
    assert (row["of"], row["sweep_id"]) == (plan.digest, swept["sweep"])
    assert row["version_id"] == marker["VersionId"]
    assert (row["etag"], row["size"]) == (before["ETag"].strip('"'), before["Size"])
    assert datetime.fromisoformat(row["last_modified"]) == before["LastModified"]
    assert began < datetime.fromisoformat(row["at"]) < datetime.fromisoformat(evidence["exported_at"])
    assert row["file"] == f"ledger/{plan.digest}/00000000.parquet", "the chunk"
    assert row["sha256"] == sha256(world.lake / row["file"])

    assert say(world, "restore", "--key", KEY, "--yes").status == 0
    rows = say(world, "why", "--evidence", KEY).json["rows"]
    assert [(one["what"], one["outcome"]) for one in rows] == [("ledger", "deleted"), ("restore", "restored")]
    assert all(one["sha256"] == sha256(world.lake / one["file"]) for one in rows)
    assert world.client.head_object(Bucket=world.bucket, Key=KEY)["ETag"].strip('"') == rows[1]["etag"]


def sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
