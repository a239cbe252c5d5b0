"""The lease in a real bucket: processes with different lakes exclude each other, and nothing piles up."""

import multiprocessing
from collections.abc import Callable
from datetime import timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING
from unittest.mock import patch

import pytest
from deletion_helpers import client_of

from orphan_pipeline.deletion.lease import document
from orphan_pipeline.deletion.lease import lease as module
from orphan_pipeline.deletion.lease.lease import leased, register_of
from orphan_pipeline.deletion.lease.process import this_process
from orphan_pipeline.deletion.lease.registers import LEASE_KEY, LakeRegister, StoreRegister, honours_conditional_writes
from orphan_pipeline.demo.servers import ObjectStore
from orphan_pipeline.errors import Refused
from orphan_pipeline.inventory.prefixes import OWN_PREFIX
from orphan_pipeline.lake.layout import BucketLake

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

SHORT = timedelta(seconds=2)
LONG = timedelta(seconds=60)
NOW = timedelta(0)
NOBODY: Callable[[str], None] = lambda _: None  # noqa: E731


@pytest.fixture(params=["seaweedfs", "moto"])
def store(request: pytest.FixtureRequest) -> ObjectStore:
    found: ObjectStore = request.getfixturevalue(request.param)
    return found


def kept(client: "S3Client", bucket: str) -> int:
    """Versions and delete markers of everything of ours."""
    answer = client.list_object_versions(Bucket=bucket, Prefix=OWN_PREFIX)
    return len(answer.get("Versions", [])) + len(answer.get("DeleteMarkers", []))


def hold(
    store: ObjectStore, bucket: str, lake: Path, purpose: str, part: str, expiry: timedelta, told: Connection, anonymous: bool
) -> None:
    """In a process of its own: takes the lease, says so, and holds it until it is told to stop."""
    with patch.object(module, "this_process", (lambda: None) if anonymous else this_process):
        register = register_of(client_of(store), bucket, BucketLake(lake))
        with leased(register, purpose=purpose, part=part, run_id=str(lake), expiry=expiry, wait=NOW, report=NOBODY):
            told.send(True)
            told.recv()


class Holding:
    """A process that holds the lease."""

    def __init__(self, *work: object, anonymous: bool = False) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=hold, args=(*work, theirs, anonymous))
        self.process.start()
        assert self.pipe.poll(60)
        assert self.pipe.recv()

    def kill(self) -> None:
        self.process.kill()
        self.process.join()

    def end(self) -> None:
        self.pipe.send(True)
        self.process.join()
        assert self.process.exitcode == 0


def test_two_lakes_exclude_each_other_and_two_prefixes_of_one_sweep_do_not(
    store: ObjectStore, make_bucket: Callable[..., str], tmp_path: Path
) -> None:
    client, bucket = client_of(store), make_bucket(store, versioned=True)
    other = Holding(store, bucket, tmp_path / "theirs", "deletion of sweep 1", "a/", LONG)
    register = register_of(client, bucket, BucketLake(tmp_path / "ours"))
    with (
        pytest.raises(
            Refused, match=rf"the lease of bucket {bucket} is held by deletion of sweep 1 \(a/\) on .*, process {other.process.pid}"
        ),
        leased(register, purpose="restore", part="(restore)", run_id="r", expiry=LONG, wait=NOW, report=NOBODY),
    ):
        pass
    with leased(register, purpose="deletion of sweep 1", part="b/", run_id="b", expiry=LONG, wait=NOW, report=NOBODY) as lease:
        lease.check()
        assert kept(client, bucket) == 1
        other.end()
        lease.check()
    assert kept(client, bucket) == 0
    with leased(register, purpose="restore", part="(restore)", run_id="r", expiry=LONG, wait=NOW, report=NOBODY) as lease:
        lease.check()


def test_a_killed_holder_is_free_after_expiry(seaweedfs: ObjectStore, make_bucket: Callable[..., str], tmp_path: Path) -> None:
    """As seen from another machine; on the same one it is known to be dead at once."""
    client, bucket = client_of(seaweedfs), make_bucket(seaweedfs, versioned=True)
    register = register_of(client, bucket, BucketLake(tmp_path / "ours"))
    told: list[str] = []
    waiting: list[str] = []
    for anonymous, wait in ((True, LONG), (False, NOW)):
        gone = Holding(seaweedfs, bucket, tmp_path / "theirs", "deletion of sweep 1", "a/", SHORT, anonymous=anonymous)
        gone.kill()
        if anonymous:
            with (
                patch.object(document, "MARGIN", LONG),  # it has not run out, however long the kill took
                pytest.raises(Refused),
                leased(register, purpose="x", part="y", run_id="r", expiry=LONG, wait=NOW, report=told.append),
            ):
                pass
        with leased(register, purpose="deletion of sweep 2", part="a/", run_id="r", expiry=LONG, wait=wait, report=waiting.append) as lease:
            lease.check()
    assert len(told) == 1
    assert "waiting for the lease" in told[0]
    assert len(waiting) <= 1, "once, or it has run out by then"
    assert kept(client, bucket) == 0


def test_renewals_leave_no_versions_behind(
    store: ObjectStore, make_bucket: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RENEWALS", 180)  # often enough to be waited for, and no pause of the machine comes near an expiry
    client, bucket = client_of(store), make_bucket(store, versioned=True)
    register = StoreRegister(client, bucket)
    with leased(register, purpose="p", part="a/", run_id="r", expiry=LONG, wait=NOW, report=NOBODY) as lease:
        first = register.read().version
        renewals = 0
        while renewals < 2:
            lease.check()
            version = register.read().version
            renewals, first = renewals + (version != first), version
        assert kept(client, bucket) <= 2  # the one that was just replaced may still be there
    assert kept(client, bucket) == 0


def test_an_unversioned_bucket_is_left_empty_too(store: ObjectStore, make_bucket: Callable[..., str]) -> None:
    client, bucket = client_of(store), make_bucket(store)
    assert honours_conditional_writes(client, bucket)
    with leased(StoreRegister(client, bucket), purpose="p", part="a/", run_id="r", expiry=LONG, wait=NOW, report=NOBODY):
        assert client.head_object(Bucket=bucket, Key=LEASE_KEY)
    assert "Contents" not in client.list_objects_v2(Bucket=bucket)


def test_a_lease_in_the_lake_keeps_runs_with_that_lake_apart(tmp_path: Path) -> None:
    """For stores that ignore conditions on writes."""
    one, other = LakeRegister(tmp_path), LakeRegister(tmp_path)
    with leased(one, purpose="deletion of sweep 1", part="a/", run_id="1", expiry=LONG, wait=NOW, report=NOBODY):
        with (
            pytest.raises(Refused, match=r"the lease of lake .* is held by deletion of sweep 1"),
            leased(other, purpose="deletion of sweep 2", part="a/", run_id="2", expiry=LONG, wait=NOW, report=NOBODY),
        ):
            pass
        with leased(other, purpose="deletion of sweep 1", part="b/", run_id="3", expiry=LONG, wait=NOW, report=NOBODY) as lease:
            lease.check()
    assert one.read().document is None


def test_a_document_that_is_not_understood_refuses(seaweedfs: ObjectStore, make_bucket: Callable[..., str]) -> None:
    client, bucket = client_of(seaweedfs), make_bucket(seaweedfs)
    client.put_object(Bucket=bucket, Key=LEASE_KEY, Body=b'{"holders": 7}')
    with pytest.raises(Refused, match="is not as this release writes it"):
        StoreRegister(client, bucket).read()
