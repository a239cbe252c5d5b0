"""What must be true of a bucket before anything in it is deleted (rules 11 and 12)."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError
from deletion_helpers import client_of

from orphan_pipeline.deletion.preflight import (
    refuse_unless_undoable,
    shortest_noncurrent_days,
    versioning_of,
    warning_of_overwrites,
)
from orphan_pipeline.demo.servers import ObjectStore
from orphan_pipeline.errors import Refused

MakeBucket = Callable[..., str]
WINDOW = timedelta(days=14)


def rule(status: str = "Enabled", prefix: str = "", **what: Any) -> dict[str, Any]:
    return {"ID": f"rule-{prefix or 'all'}-{status}", "Status": status, "Filter": {"Prefix": prefix}, **what}


@pytest.mark.parametrize(("status", "expected"), [(None, "never enabled"), ("Suspended", "suspended"), ("Enabled", "enabled")])
def test_versioning_must_be_enabled(seaweedfs: ObjectStore, make_bucket: MakeBucket, status: Any, expected: str) -> None:
    client, bucket = client_of(seaweedfs), make_bucket(seaweedfs)
    if status:
        client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": status})
    assert versioning_of(client, bucket) == expected
    if expected == "enabled":
        refuse_unless_undoable(client, bucket, WINDOW)
        return
    with pytest.raises(Refused, match=f"versioning is {expected}, expected enabled"):
        refuse_unless_undoable(client, bucket, WINDOW)


@pytest.mark.parametrize(
    ("rules", "days"),
    [
        ([rule(NoncurrentVersionExpiration={"NoncurrentDays": 13})], 13),
        ([rule(NoncurrentVersionExpiration={"NoncurrentDays": 14})], 14),
        (
            [
                rule(NoncurrentVersionExpiration={"NoncurrentDays": 90}),
                rule(prefix="a/", NoncurrentVersionExpiration={"NoncurrentDays": 1}),
            ],
            1,
        ),
        ([rule("Disabled", NoncurrentVersionExpiration={"NoncurrentDays": 1})], None),
        ([rule(Expiration={"ExpiredObjectDeleteMarker": True})], None),
        ([rule(NoncurrentVersionTransitions=[{"NoncurrentDays": 1, "StorageClass": "GLACIER"}])], None),
    ],
    ids=["shorter", "as long", "strictest of two", "disabled", "markers only", "transition only"],
)
def test_the_strictest_enabled_rule_counts(moto: ObjectStore, make_bucket: MakeBucket, rules: list[Any], days: int | None) -> None:
    client, bucket = client_of(moto), make_bucket(moto, versioned=True)
    client.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": rules})
    assert shortest_noncurrent_days(client, bucket) == days
    if days is None or days >= WINDOW.days:
        refuse_unless_undoable(client, bucket, WINDOW)
        return
    with pytest.raises(Refused, match=f"keeps noncurrent versions {days} days, expected at least the undo window of 14 days"):
        refuse_unless_undoable(client, bucket, WINDOW)


def test_mfa_delete_is_refused(seaweedfs: ObjectStore, make_bucket: MakeBucket) -> None:
    """No marker could be removed: no server at hand has it, so its answer is made to say so."""
    client, bucket = client_of(seaweedfs), make_bucket(seaweedfs, versioned=True)
    events: Any = client.meta.events
    events.register("after-call.s3.GetBucketVersioning", lambda parsed, **_: parsed.update(MFADelete="Enabled"))
    with pytest.raises(Refused, match="MFA delete is enabled, expected disabled"):
        refuse_unless_undoable(client, bucket, WINDOW)


def test_a_bucket_without_lifecycle_keeps_everything(seaweedfs: ObjectStore, make_bucket: MakeBucket) -> None:
    assert shortest_noncurrent_days(client_of(seaweedfs), make_bucket(seaweedfs, versioned=True)) is None


def test_a_lifecycle_that_may_not_be_read_is_an_error(seaweedfs: ObjectStore) -> None:
    with pytest.raises(ClientError):
        shortest_noncurrent_days(client_of(seaweedfs), "no-such-bucket")


@pytest.mark.parametrize("versioning", ["never enabled", "suspended", "enabled"])
@pytest.mark.parametrize("mode", ["dry_run", "versioned", "quarantine", "permanent"])
def test_a_store_that_may_lose_what_is_written_meanwhile_is_warned_of(
    seaweedfs: ObjectStore, make_bucket: MakeBucket, mode: Any, versioning: Any
) -> None:
    client, bucket = client_of(seaweedfs), make_bucket(seaweedfs)
    said = warning_of_overwrites(client, bucket, mode, versioning)
    if versioning == "enabled" or mode in ("dry_run", "versioned"):
        assert said is None
    else:
        assert said is not None
        assert said.startswith(
            f"bucket {bucket} keeps no versions (versioning {versioning}), and the store {seaweedfs.endpoint} (SeaweedFS "
        )
        assert f"mode {mode} deletes its key may be lost" in said
    on_aws = client_of(seaweedfs, endpoint="https://s3.eu-west-1.amazonaws.com")
    assert warning_of_overwrites(on_aws, bucket, mode, versioning) is None, "S3 decides in one step; nothing is asked"
