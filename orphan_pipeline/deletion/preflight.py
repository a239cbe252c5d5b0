"""What must be true of the bucket before anything in it is deleted: versioning that keeps what goes (rule 12). Whether the store honours
the ETag on a delete (rule 11) is found out in abilities.py."""

from datetime import timedelta
from typing import TYPE_CHECKING, Literal

from botocore.exceptions import ClientError

from orphan_pipeline.errors import Refused

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

Versioning = Literal["enabled", "suspended", "never enabled"]


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
