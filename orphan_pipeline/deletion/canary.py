"""Looks whether the first few keys of a plan went as the store said: hidden, each by the very marker that the ledger names, with the
planned object behind it. A store whose answers are not to be believed is found out before the other chunks go."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from orphan_pipeline.deletion.ledger import Answer, Planned
from orphan_pipeline.deletion.looking import Current, look_behind
from orphan_pipeline.errors import Refused

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


def refuse_unless_hidden(client: "S3Client", bucket: str, planned: Sequence[Planned], answers: Sequence[Answer]) -> None:
    """Raises Refused for the first key that the store says it deleted and whose marker or object is not where it must be."""
    for one, answer in zip(planned, answers, strict=True):
        if answer.outcome == "deleted":
            wrong = _wrong(one, answer, look_behind(client, bucket, one.key))
            if wrong is not None:
                raise Refused(f"canary: the store said that {one.key!r} was deleted, but {wrong}. Nothing more is deleted")


def _wrong(one: Planned, answer: Answer, current: Current) -> str | None:
    if current.etag is not None:
        # Another object may have come since; the same bytes may have been uploaded again, and then our marker lies below.
        return "it still stands" if current.etag == one.etag and answer.version_id not in current.markers else None
    if current.marker is None:
        return "no delete marker hides it, so it cannot be brought back"
    if answer.version_id not in current.markers:
        return f"its delete marker {answer.version_id} is not there"
    if current.behind is None:
        return "nothing is behind its delete marker, so it cannot be brought back"
    return None
