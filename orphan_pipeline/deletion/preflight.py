"""What must be true of the bucket before anything in it is deleted: versioning that keeps what goes (rule 12), and a store that
honours the ETag on a delete instead of accepting and ignoring it (rule 11; some do)."""

import uuid
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

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


def rules_that_touch(client: "S3Client", bucket: str, prefix: str = "") -> list[Mapping[str, Any]]:
    """The bucket's enabled lifecycle rules that can touch a key under `prefix`; what else their filters ask for (tags, sizes) an object
    may meet or not, so that it is taken as met."""
    try:
        rules = client.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
    except ClientError as error:
        if error.response["Error"]["Code"] == "NoSuchLifecycleConfiguration":
            return []
        raise
    return [rule for rule in rules if rule["Status"] == "Enabled" and _meet(_prefix_of(rule), prefix)]


def shortest_noncurrent_days(client: "S3Client", bucket: str, prefix: str = "") -> int | None:
    """After how many days the bucket's lifecycle first throws a noncurrent version under `prefix` away; None when it never does.

    The strictest rule that can touch the prefix counts: it would end the undo of what it touches. That a rule keeps some newest
    versions longer is not relied on: how many an object has is the application's doing.
    """
    rules = rules_that_touch(client, bucket, prefix)
    days = [rule["NoncurrentVersionExpiration"].get("NoncurrentDays", 0) for rule in rules if "NoncurrentVersionExpiration" in rule]
    return min(days, default=None)


def refuse_unless_undoable(client: "S3Client", bucket: str, undo_window: timedelta, *, prefix: str = "") -> None:
    """Raises Refused unless an object deleted under `prefix` can be brought back for the whole undo window."""
    versioning = versioning_of(client, bucket)
    if versioning != "enabled":
        raise Refused(f"bucket {bucket}: versioning is {versioning}, expected enabled: mode versioned could not undo")
    if client.get_bucket_versioning(Bucket=bucket).get("MFADelete") == "Enabled":
        raise Refused(
            f"bucket {bucket}: MFA delete is enabled, expected disabled: no delete marker could be removed, so nothing brought back"
        )
    days = shortest_noncurrent_days(client, bucket, prefix)
    if days is not None and timedelta(days=days) < undo_window:
        raise Refused(
            f"bucket {bucket}: its lifecycle keeps noncurrent versions {days} days, expected at least the undo window of "
            f"{undo_window.total_seconds() / 86400:g} days"
        )


def _prefix_of(rule: Mapping[str, Any]) -> str:
    """A rule says it in one of three places, two of them old."""
    where = rule.get("Filter", {})
    found: str = rule.get("Prefix") or where.get("Prefix") or where.get("And", {}).get("Prefix") or ""
    return found


def _meet(one: str, other: str) -> bool:
    return one.startswith(other) or other.startswith(one)


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
