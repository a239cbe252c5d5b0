"""What is said to the store when objects are deleted, and how its answer is read: every delete carries the planned ETag, every key
gets its own answer (rule 11). Nothing here decides whether a key may go."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from orphan_pipeline.deletion.ledger import Answer, Planned

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

XML_CANNOT_CARRY = re.compile("[\x00-\x1f\x7f\ufffe\uffff]")
"""One such key fails a whole DeleteObjects request as MalformedXML (boto3 issue 2005), so they go one by one, in the URL."""

NOT_THE_PLANNED_OBJECT = frozenset({"PreconditionFailed", "ConditionalRequestConflict", "412", "409"})
GONE = frozenset({"NoSuchKey", "404"})


def delete_chunk(client: "S3Client", bucket: str, planned: Sequence[Planned]) -> list[Answer | None]:
    """One answer a key, in the order given; None where the store's answer does not mention the key.

    boto3's errors rise when a whole request fails: then nothing is known, and the chunk is settled by looking at the store.
    """
    together = [one for one in planned if not XML_CANNOT_CARRY.search(one.key)]
    answers = _delete_together(client, bucket, together) if together else {}
    for one in planned:
        if XML_CANNOT_CARRY.search(one.key):
            answers[one.key] = _delete_one(client, bucket, one)
    return [answers.get(one.key) for one in planned]


def _delete_together(client: "S3Client", bucket: str, planned: Sequence[Planned]) -> dict[str, Answer]:
    response = client.delete_objects(
        Bucket=bucket,
        Delete={"Objects": [{"Key": one.key, "ETag": f'"{one.etag}"'} for one in planned], "Quiet": False},
    )
    answers = {
        deleted["Key"]: Answer("deleted", version_id=deleted.get("DeleteMarkerVersionId")) for deleted in response.get("Deleted", [])
    }
    for error in response.get("Errors", []):
        answers[error["Key"]] = _refusal(error.get("Code", "no code"))
    return answers


def _delete_one(client: "S3Client", bucket: str, one: Planned) -> Answer:
    try:
        response = client.delete_object(Bucket=bucket, Key=one.key, IfMatch=f'"{one.etag}"')
    except ClientError as error:
        return _refusal(error.response["Error"]["Code"])
    return Answer("deleted", version_id=response.get("VersionId"))


def _refusal(code: str) -> Answer:
    if code in NOT_THE_PLANNED_OBJECT:
        return Answer("changed", code=code)
    if code in GONE:
        return Answer("missing", code=code)
    return Answer("failed", code=code)
