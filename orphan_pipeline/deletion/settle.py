"""Looking at the store when nobody knows what a request did: the run was killed between request and record, or the answer said
nothing of a key. What is certain is recorded; what may be the application's own doing is `unknown`."""

from typing import TYPE_CHECKING

from orphan_pipeline.deletion.ledger import Answer, Planned
from orphan_pipeline.deletion.looking import look

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

BY_LOOKING = "SettledByLooking"


def settle(client: "S3Client", bucket: str, one: Planned) -> Answer | None:
    """What became of one object whose delete may or may not have been carried out; None when the planned object still stands, so
    that its delete can be sent (again). A gone object is never asked to go, so no second delete marker can come of this."""
    current = look(client, bucket, one.key)
    if current.marker is not None:
        return Answer("unknown", version_id=current.marker, code=BY_LOOKING)
    if current.etag is None:
        return Answer("missing", code=BY_LOOKING)
    if current.etag != one.etag:
        return Answer("changed", code=BY_LOOKING)
    return None
