"""What is said to the store when objects are deleted or their markers removed, and how its answer is read: every delete carries the
planned ETag, every key gets its own answer (rule 11). Nothing here decides whether a key may go."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from orphan_pipeline.deletion.ledger import Answer, Planned
from orphan_pipeline.deletion.looking import look

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

XML_CANNOT_CARRY = re.compile("[\x00-\x1f\x7f\ufffe\uffff]")
"""One such key fails a whole DeleteObjects request as MalformedXML (boto3 issue 2005), so they go one by one, in the URL."""

NOT_THE_PLANNED_OBJECT = frozenset({"PreconditionFailed", "412"})
GONE = frozenset({"NoSuchKey", "404"})
MAYBE_DONE = frozenset({"InternalError", "RequestTimeout", "ConditionalRequestConflict", "OperationAborted"})
"""Errors of one key after which it may be gone all the same: to be looked up before anything is sent again."""

TRY_AGAIN = MAYBE_DONE | {"SlowDown", "ServiceUnavailable"}
"""Errors of one key that pass; of the last two the S3 API reference says that the store did not act."""

SERVER_FAILED = 500


def delete_chunk(client: "S3Client", bucket: str, planned: Sequence[Planned]) -> Iterator[tuple[str, Answer | None]]:
    """One answer a key, each as soon as it is there; None where no answer came: the request was lost, the server failed, or its
    answer does not mention the key. Of such a key nothing is known, and what stands in the store has to be looked up.

    boto3's ClientError rises when the store refuses the whole request (no permission, no such bucket): then nothing was done by it.
    """
    together = [one for one in planned if not XML_CANNOT_CARRY.search(one.key)]
    answers = _delete_together(client, bucket, together) if together else {}
    yield from ((one.key, answers.get(one.key)) for one in together)
    for one in planned:
        if XML_CANNOT_CARRY.search(one.key):
            yield one.key, _delete_one(client, bucket, one)


def remove_markers(client: "S3Client", bucket: str, markers: Mapping[str, str]) -> dict[str, str]:
    """Removes these delete markers, version id by key, and gives the store's code for each that it would not remove.

    It may be asked again, and races with nobody: removing a marker that is not current any more has no effect, and no object ever
    has its version id (unless that is `null`: such a marker must not be given).
    """
    together = [key for key in markers if not XML_CANNOT_CARRY.search(key)]
    refused: dict[str, str] = {}
    if together:
        response = client.delete_objects(
            Bucket=bucket, Delete={"Objects": [{"Key": key, "VersionId": markers[key]} for key in together], "Quiet": True}
        )
        refused = {error["Key"]: error.get("Code", "no code") for error in response.get("Errors", [])}
    for key in markers.keys() - set(together):
        try:
            client.delete_object(Bucket=bucket, Key=key, VersionId=markers[key])
        except ClientError as error:
            refused[key] = error.response["Error"].get("Code", "no code")
    return refused


def _delete_together(client: "S3Client", bucket: str, planned: Sequence[Planned]) -> dict[str, Answer | None]:
    try:
        response = client.delete_objects(
            Bucket=bucket,
            Delete={"Objects": [{"Key": one.key, "ETag": f'"{one.etag}"'} for one in planned], "Quiet": False},
        )
    except BotoCoreError:
        return {}
    except ClientError as error:
        if not _server_failed(error):
            raise
        return {}
    answers: dict[str, Answer | None] = {
        deleted["Key"]: Answer("deleted", version_id=deleted.get("DeleteMarkerVersionId")) for deleted in response.get("Deleted", [])
    }
    for refused in response.get("Errors", []):
        answers[refused["Key"]] = _refusal(refused.get("Code", "no code"))
    return answers


def _delete_one(client: "S3Client", bucket: str, one: Planned) -> Answer | None:
    """A refusal is this key's answer, whatever it is: it must not take the answers of the keys before it along."""
    try:
        response = client.delete_object(Bucket=bucket, Key=one.key, IfMatch=f'"{one.etag}"')
    except BotoCoreError:
        return None
    except ClientError as error:
        if _server_failed(error):
            return None
        refused = _refusal(error.response["Error"]["Code"])
        if refused.outcome == "changed" and look(client, bucket, one.key).etag is None:
            return Answer("missing", code=refused.code)  # some stores answer 412, not 404, when there is nothing to match
        return refused
    return Answer("deleted", version_id=response.get("VersionId"))


def _server_failed(error: ClientError) -> bool:
    """Then it may have acted all the same."""
    return error.response["ResponseMetadata"]["HTTPStatusCode"] >= SERVER_FAILED


def _refusal(code: str) -> Answer:
    if code in NOT_THE_PLANNED_OBJECT:
        return Answer("changed", code=code)
    if code in GONE:
        return Answer("missing", code=code)
    return Answer("failed", code=code)
