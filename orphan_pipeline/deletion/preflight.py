"""What must be true of the bucket before anything in it is deleted: versioning that keeps what goes (rule 12), and a store that
honours the ETag on a delete instead of accepting and ignoring it (rule 11; some do)."""

import uuid
from datetime import timedelta
from typing import TYPE_CHECKING, Literal

from botocore.exceptions import ClientError

from orphan_pipeline.deletion.looking import look
from orphan_pipeline.deletion.requests import NOT_THE_PLANNED_OBJECT
from orphan_pipeline.errors import Refused
from orphan_pipeline.inventory.prefixes import OWN_PREFIX

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

Versioning = Literal["enabled", "suspended", "never enabled"]
STALE_ETAG = "0" * 32


def versioning_of(client: "S3Client", bucket: str) -> Versioning:
    status = client.get_bucket_versioning(Bucket=bucket).get("Status")
    if status == "Enabled":
        return "enabled"
    return "suspended" if status == "Suspended" else "never enabled"


def shortest_noncurrent_days(client: "S3Client", bucket: str) -> int | None:
    """After how many days the bucket's lifecycle first throws a noncurrent version away; None when it never does.

    The strictest enabled rule counts, whatever its filter: a rule for one prefix would end the undo of that prefix.
    """
    try:
        rules = client.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
    except ClientError as error:
        if error.response["Error"]["Code"] == "NoSuchLifecycleConfiguration":
            return None
        raise
    days = [
        rule["NoncurrentVersionExpiration"].get("NoncurrentDays", 0)
        for rule in rules
        if rule["Status"] == "Enabled" and "NoncurrentVersionExpiration" in rule
    ]
    return min(days, default=None)


def refuse_unless_undoable(client: "S3Client", bucket: str, undo_window: timedelta) -> None:
    """Raises Refused unless a deleted object can be brought back for the whole undo window."""
    versioning = versioning_of(client, bucket)
    if versioning != "enabled":
        raise Refused(f"bucket {bucket}: versioning is {versioning}, expected enabled: mode versioned could not undo")
    days = shortest_noncurrent_days(client, bucket)
    if days is not None and timedelta(days=days) < undo_window:
        raise Refused(
            f"bucket {bucket}: its lifecycle keeps noncurrent versions {days} days, expected at least the undo window of "
            f"{undo_window.total_seconds() / 86400:g} days"
        )


def refuse_unless_conditional(client: "S3Client", bucket: str) -> None:
    """Tries both kinds of delete with a wrong ETag on a throw-away object; raises Refused unless the store says no to each and the
    object still stands. Nothing of the probe stays behind, neither version nor delete marker."""
    key = f"{OWN_PREFIX}probe-{uuid.uuid4().hex}"
    try:
        for attempt in (_delete_together, _delete_alone):
            client.put_object(Bucket=bucket, Key=key, Body=b"probe")
            code = attempt(client, bucket, key)
            if code not in NOT_THE_PLANNED_OBJECT or look(client, bucket, key).etag is None:
                raise Refused(
                    f"bucket {bucket}: the store answered {code or 'Deleted'} to a delete with a wrong ETag, expected "
                    "PreconditionFailed: an object that changed meanwhile could be lost, so nothing is deleted here"
                )
    finally:
        _remove_every_version(client, bucket, key)


def _delete_together(client: "S3Client", bucket: str, key: str) -> str | None:
    response = client.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key, "ETag": f'"{STALE_ETAG}"'}]})
    return next((error.get("Code") for error in response.get("Errors", [])), None)


def _delete_alone(client: "S3Client", bucket: str, key: str) -> str | None:
    try:
        client.delete_object(Bucket=bucket, Key=key, IfMatch=f'"{STALE_ETAG}"')
    except ClientError as error:
        return error.response["Error"].get("Code")
    return None


def _remove_every_version(client: "S3Client", bucket: str, key: str) -> None:
    """What stands in the store, not what was answered: an answer may be lost. Nobody else has a key with this prefix."""
    for page in client.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=key):
        for version in [*page.get("Versions", []), *page.get("DeleteMarkers", [])]:
            client.delete_object(Bucket=bucket, Key=key, VersionId=version["VersionId"])
