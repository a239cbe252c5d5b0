"""What must be true of a quarantine before anything is deleted into it: a throw-away object goes there and comes back the same, and
nothing throws copies away before the undo window is over."""

import uuid
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from orphan_pipeline.deletion.abilities import remove_every_version
from orphan_pipeline.deletion.preflight import rules_that_touch
from orphan_pipeline.deletion.quarantine.copying import Copier, NotCopied
from orphan_pipeline.deletion.quarantine.place import Place, Quarantine
from orphan_pipeline.errors import Refused
from orphan_pipeline.inventory.prefixes import OWN_PREFIX

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

BODY = b"orphan_pipeline looks whether a copy keeps everything"
TAGS = {"orphan_pipeline": "probe"}


def tried_quarantine(client: "S3Client", bucket: str, quarantine: Quarantine, undo_window: timedelta) -> Copier:
    """A copier for this quarantine, after a throw-away object with metadata and a tag was copied there, proven, and copied back. Nothing
    of the probe stays behind. Raises Refused, with what the store said, unless all of that worked."""
    refuse_unless_kept(client, quarantine, undo_window)
    name = f"probe-{uuid.uuid4().hex}"
    first, back = (Place(bucket, f"{OWN_PREFIX}{name}-{end}") for end in ("there", "back"))
    copy = quarantine.copy_of(name, plan="probe")
    try:
        etag = client.put_object(
            Bucket=first.bucket, Key=first.key, Body=BODY, Metadata=TAGS, ContentType="text/plain", Tagging="orphan_pipeline=probe"
        )["ETag"].strip('"')
        copier = Copier(client=client, asks_tags="TagCount" not in client.head_object(Bucket=first.bucket, Key=first.key))
        made = copier.copy(first, copy, etag=etag, only_if_free=False)
        copier.copy(Place(copy.bucket, copy.key, made.version), back, etag=made.etag, only_if_free=True)
    except NotCopied as wrong:
        raise Refused(_refusal(quarantine, wrong.code)) from wrong
    except ClientError as error:
        raise Refused(_refusal(quarantine, error.response["Error"].get("Code", "no code"))) from error
    finally:
        for place in (first, copy, back):
            remove_every_version(client, place.bucket, place.key)
    return copier


def refuse_unless_kept(client: "S3Client", quarantine: Quarantine, undo_window: timedelta) -> None:
    """Raises Refused when the lifecycle of the quarantine's bucket would throw copies away inside the undo window."""
    try:
        rules = rules_that_touch(client, quarantine.bucket, quarantine.prefix)
    except ClientError as error:
        code = error.response["Error"].get("Code", "no code")
        raise Refused(f"quarantine {quarantine.uri}: the lifecycle of its bucket cannot be read ({code}), so nothing is deleted") from error
    soonest = min(_expirations(rules), default=None)
    if soonest is not None and soonest < undo_window:
        raise Refused(
            f"quarantine {quarantine.uri}: the bucket's lifecycle expires objects there after {soonest.days} days, expected at least the "
            f"undo window of {undo_window.total_seconds() / 86400:g} days"
        )


def _expirations(rules: list[Mapping[str, Any]]) -> Iterator[timedelta]:
    for rule in rules:
        expiration = rule.get("Expiration", {})
        if "Days" in expiration:
            yield timedelta(days=expiration["Days"])
        if "Date" in expiration:
            yield max(expiration["Date"].astimezone(UTC) - datetime.now(UTC), timedelta())


def _refusal(quarantine: Quarantine, code: str) -> str:
    return f"quarantine {quarantine.uri}: a throw-away object could not be copied there and back unchanged ({code}), so nothing is deleted"
