"""The last line of `check`: everything that keeps from deleting although the mode would; and a role that may only read."""

import json
from collections import Counter
from collections.abc import Callable
from typing import Any
from unittest.mock import Mock

import pytest
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from click.testing import CliRunner
from small_world import World

from orphan_pipeline.cli.main import main
from orphan_pipeline.deletion.quarantine import preflight
from orphan_pipeline.resources.bucket import BucketResource

STATES = "; schedule is stopped; sensor is stopped."
ON = "Deletion is ON: media.deletion.mode is versioned; schedule is stopped; sensor is stopped (so only when someone starts it)."
FOR_WRITERS = ("PutObject", "DeleteObject", "DeleteObjects", "ListObjectVersions", "GetBucketVersioning", "GetBucketLifecycleConfiguration")

Check = Callable[[], dict[str, Any]]


@pytest.fixture
def check(world: World, monkeypatch: pytest.MonkeyPatch) -> Check:
    """In this process, so that a test can stand between the client and the store."""
    for name, value in world.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(world.folder)

    def run() -> dict[str, Any]:
        done = CliRunner(catch_exceptions=False).invoke(main, ["check", "--json"])
        assert (done.exit_code, done.stderr) == (0, "")
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    return run


def between(monkeypatch: pytest.MonkeyPatch, event: str, handler: Callable[..., Any]) -> None:
    made = BucketResource._client

    def client(self: BucketResource, *, attempts: int) -> Any:
        found: Any = made(self, attempts=attempts)
        found.meta.events.register(event, handler)
        return found

    monkeypatch.setattr(BucketResource, "_client", client)


def deny(monkeypatch: pytest.MonkeyPatch, *operations: str) -> None:
    """As S3 answers a role without the permission; the store is not asked."""

    def refused(params: dict[str, Any], **_: Any) -> tuple[AWSResponse, dict[str, Any]]:
        answer = {"Error": {"Code": "AccessDenied", "Message": "no"}, "ResponseMetadata": {"HTTPStatusCode": 403, "HTTPHeaders": {}}}
        return AWSResponse(params["url"], 403, HTTPHeaders(), None), answer

    for operation in operations:
        between(monkeypatch, f"before-call.s3.{operation}", refused)


def test_where_nothing_is_in_the_way_it_is_on_and_each_probe_is_made_once(
    world: World, check: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: Counter[str] = Counter()
    between(monkeypatch, "before-call.s3", lambda model, **_: asked.update([model.name]))
    found = check()
    assert found["deletion"] == [ON]
    assert found["buckets"]["media"]["in_the_way"] == []
    assert asked["DeleteObjects"] == 3, "one probe: whether MD5 is wanted, a wrong ETag, the right one"
    assert not world.client.list_objects_v2(Bucket=world.bucket, Prefix=".orphan_pipeline/").get("Contents")


def test_undo_that_would_be_refused(world: World, check: Check) -> None:
    world.client.put_bucket_versioning(Bucket=world.bucket, VersioningConfiguration={"Status": "Suspended"})
    assert check()["deletion"] == [
        f"Deletion is OFF: media.deletion.mode is versioned; undo: bucket {world.bucket}: versioning is suspended, expected enabled: "
        f"mode versioned could not undo{STATES}"
    ]
    world.change(deletion={"mode": "permanent"})
    [line] = check()["deletion"]
    assert f"mode is permanent; undo: bucket {world.bucket}: versioning is suspended, expected enabled or never enabled" in line


def test_a_store_that_ignores_conditions(check: Check, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def unconditional(params: dict[str, Any], **_: Any) -> None:
        params.pop("IfMatch", None)
        for one in params.get("Delete", {}).get("Objects", []):
            one.pop("ETag", None)

    for operation in ("DeleteObject", "DeleteObjects"):
        between(monkeypatch, f"before-parameter-build.s3.{operation}", unconditional)
    [line] = check()["deletion"]
    assert line.startswith("Deletion is OFF: media.deletion.mode is versioned; bucket ")
    assert "the store does not honour the ETag on a delete" in line


def test_a_quarantine_that_cannot_be_used(world: World, check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Mock(side_effect=preflight.refuse_unless_kept)
    monkeypatch.setattr(preflight, "refuse_unless_kept", kept)
    place = f"{world.bucket}-no-such-place"
    world.change(deletion={"mode": "quarantine", "quarantine": f"s3://{place}/q/"})
    [line] = check()["deletion"]
    assert line.startswith(f"Deletion is OFF: media.deletion.mode is quarantine; undo: quarantine s3://{place}/q/: ")
    assert kept.call_count == 1
    world.client.create_bucket(Bucket=place)
    assert check()["deletion"] == [ON.replace("versioned", "quarantine")]
    assert not world.client.list_objects_v2(Bucket=place).get("Contents")


def test_the_kill_switch_and_a_latest_sweep_that_nobody_approved(world: World, check: Check) -> None:
    (world.lake / "STOP").write_text("until Monday")
    for approval in (world.lake / "approvals").iterdir():
        approval.unlink()
    [line] = check()["deletion"]
    assert f"mode is versioned; {world.lake}/STOP stands there: until Monday. Remove it to let deletion go on; " in line
    assert "; gates baseline, inventory_not_empty, " in line
    assert " are tripped in the latest sweep and not approved (orphan-pipeline approve " in line


def test_a_role_that_may_only_read_is_told_what_could_not_be_tried(world: World, check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    deny(monkeypatch, *FOR_WRITERS)
    world.change(deletion={"mode": "dry_run"})
    found = check()
    media = found["buckets"]["media"]
    assert {name: media[name] for name in ("versioning", "noncurrent_versions_kept", "conditional_deletes", "lease")} == {
        "versioning": "not known: GetBucketVersioning was answered AccessDenied",
        "noncurrent_versions_kept": "not known: GetBucketLifecycleConfiguration was answered AccessDenied",
        "conditional_deletes": "not known: PutObject was answered AccessDenied",
        "lease": "not known: PutObject was answered AccessDenied",
    }
    assert [source["sampled"] for source in media["sources"]] == [10]
    assert found["deletion"] == [f"Deletion is OFF: media.deletion.mode is dry_run{STATES}"]
    world.change(deletion={"mode": "versioned"})
    [line] = check()["deletion"]
    assert line.startswith("Deletion is OFF: media.deletion.mode is versioned; undo: not known: ")
    assert "; conditional deletes: not known: PutObject was answered AccessDenied; " in line
