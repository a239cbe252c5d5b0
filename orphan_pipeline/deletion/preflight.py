"""What must be true of the bucket before anything in it is deleted: versioning that keeps what goes (rule 12). Whether the store honours
the ETag on a delete (rule 11) is found out in abilities.py."""

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

from botocore.exceptions import ClientError

from orphan_pipeline.deletion.ledger import Mode
from orphan_pipeline.deletion.newer.objects import decides_in_one_step
from orphan_pipeline.errors import Refused

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

Versioning = Literal["enabled", "suspended", "never enabled"]


def versioning_of(client: "S3Client", bucket: str) -> Versioning:
    return _versioning(client.get_bucket_versioning(Bucket=bucket))


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
    said = client.get_bucket_versioning(Bucket=bucket)
    if _versioning(said) != "enabled":
        raise Refused(f"bucket {bucket}: versioning is {_versioning(said)}, expected enabled: mode versioned could not undo")
    if said.get("MFADelete") == "Enabled":
        raise Refused(
            f"bucket {bucket}: MFA delete is enabled, expected disabled: no delete marker could be removed, so nothing brought back"
        )
    days = shortest_noncurrent_days(client, bucket, prefix)
    if days is not None and timedelta(days=days) < undo_window:
        raise Refused(
            f"bucket {bucket}: its lifecycle keeps noncurrent versions {days} days, expected at least the undo window of "
            f"{undo_window.total_seconds() / 86400:g} days"
        )


def warning_of_overwrites(client: "S3Client", bucket: str, mode: Mode, versioning: Versioning) -> str | None:
    """One line where an object that is written in the very moment of its delete may be lost: nothing keeps its versions, and the store is
    not known to decide the ETag's condition and carry out the delete in one step. No probe can tell: it would have to lose that race."""
    if mode not in ("quarantine", "permanent") or versioning == "enabled" or decides_in_one_step(client.meta.endpoint_url):
        return None
    server = client.head_bucket(Bucket=bucket)["ResponseMetadata"]["HTTPHeaders"].get("server")
    store = client.meta.endpoint_url + (f" ({server})" if server else "")
    return (
        f"bucket {bucket} keeps no versions (versioning {versioning}), and the store {store} is not known to decide a delete's condition "
        f"and carry it out in one step: what an application writes in the very moment that mode {mode} deletes its key may be lost. "
        "Let nobody overwrite keys of a prefix while it is deleted, or turn versioning on"
    )


def _versioning(said: Mapping[str, Any]) -> Versioning:
    if said.get("Status") == "Enabled":
        return "enabled"
    return "suspended" if said.get("Status") == "Suspended" else "never enabled"


def _prefix_of(rule: Mapping[str, Any]) -> str:
    """A rule says it in one of three places, two of them old."""
    where = rule.get("Filter", {})
    found: str = rule.get("Prefix") or where.get("Prefix") or where.get("And", {}).get("Prefix") or ""
    return found


def _meet(one: str, other: str) -> bool:
    return one.startswith(other) or other.startswith(one)
