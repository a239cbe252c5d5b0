"""What is said to the store when objects are deleted or their markers removed, and how its answer is read: every delete carries the
planned ETag, every key gets its own answer (rule 11). Nothing here decides whether a key may go."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError
from tenacity import RetryCallState, Retrying, retry_if_result, stop_after_attempt, wait_random_exponential
from tenacity.nap import sleep as plain_sleep
from urllib3.exceptions import HTTPError

from orphan_pipeline.deletion import content_md5
from orphan_pipeline.deletion.ledger import Answer, Planned
from orphan_pipeline.deletion.looking import XML_CANNOT_CARRY, NoList, look

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

NOT_THE_PLANNED_OBJECT = frozenset({"PreconditionFailed", "412"})
GONE = frozenset({"NoSuchKey", "NoSuchVersion", "404"})
MAYBE_DONE = frozenset({"InternalError", "RequestTimeout", "ConditionalRequestConflict", "OperationAborted"})
"""Errors of one key after which it may be gone all the same: to be looked up before anything is sent again."""

TOO_BUSY = frozenset(
    {"SlowDown", "SlowDownWrite", "ServiceUnavailable", "TooManyRequests", "Throttling", "ThrottlingException", "503", "429"}
)
"""The S3 API reference says of the first ones that the store did not act; the others are what gateways and other stores say. Should one
have acted all the same, the next request, which has the ETag too, is told that nothing matches, and the key is looked up."""

TRY_AGAIN = MAYBE_DONE | TOO_BUSY
"""Errors of one key that pass. All others are final: AccessDenied (object lock and MFA delete answer so too), InvalidRequest, …"""

UNREADABLE = (BotoCoreError, ResponseParserError, HTTPError)
"""No answer, or none that can be read: cut off, or no XML."""

SERVER_FAILED = 500
TOO_MANY = 429
UNCONDITIONAL = "Unconditional"
NOT_MENTIONED = "NotMentioned"
ATTEMPTS = 10
ATTEMPTS_TO_REMOVE = 6
LONGEST_WAIT = 20.0


Together = Callable[[Sequence[Planned]], Mapping[str, Answer | None]]
"""One request for all of these keys. Raises NotReadable when the store could not read it, and did nothing."""

Alone = Callable[[Planned], Answer | None]
"""One request for this key."""


class NotReadable(Exception):
    """MalformedXML: for one key that it cannot read, the store refuses all of a request."""


def tried_until_done(attempt: Callable[[], bool], *, attempts: int = ATTEMPTS, sleep: Callable[[float], None] = plain_sleep) -> bool:
    """Calls `attempt`, which says whether anything is still open, until nothing is, with longer and longer waits; gives up after
    `attempts`. Whether all was done."""
    retrying = Retrying(
        retry=retry_if_result(bool),
        stop=stop_after_attempt(attempts),
        wait=wait_random_exponential(multiplier=0.5, max=LONGEST_WAIT),
        retry_error_callback=_still_open,
        sleep=sleep,
    )
    return not retrying(attempt)


def _still_open(_: RetryCallState) -> bool:
    return True


def send_chunk(planned: Sequence[Planned], *, together: Together, alone: Alone) -> Iterator[tuple[str, Answer | None]]:
    """One answer a key, each as soon as it is there; None where no answer came: the request was lost, the server failed, or its
    answer does not mention the key. Of such a key nothing is known, and what stands in the store has to be looked up.

    One key that XML cannot carry fails a whole DeleteObjects request (MalformedXML; boto3 issue 2005): such keys go one by one, in the
    URL, by `alone`; so does one that the store cannot read though it should, which is found by halving.
    """
    yield from _halved([one for one in planned if not XML_CANNOT_CARRY.search(one.key)], together, alone)
    yield from ((one.key, alone(one)) for one in planned if XML_CANNOT_CARRY.search(one.key))


def _halved(planned: Sequence[Planned], together: Together, alone: Alone) -> Iterator[tuple[str, Answer | None]]:
    if not planned:
        return
    try:
        answers = together(planned)
    except NotReadable:
        if len(planned) == 1:
            yield planned[0].key, alone(planned[0])
        else:
            middle = len(planned) // 2
            yield from _halved(planned[:middle], together, alone)
            yield from _halved(planned[middle:], together, alone)
    else:
        yield from ((one.key, answers.get(one.key)) for one in planned)


def delete_together(client: "S3Client", bucket: str, planned: Sequence[Planned]) -> Mapping[str, Answer | None]:
    """A `Together`, on condition of each planned ETag. boto3's ClientError rises when the store refuses the whole request (no permission,
    no such bucket): then nothing was done by it."""
    objects = [{"Key": one.key, "ETag": f'"{one.etag}"'} for one in planned]
    return ask_together(client, bucket, objects, lambda line: Answer("deleted", version_id=line.get("DeleteMarkerVersionId")))


def ask_together(
    client: "S3Client", bucket: str, objects: Sequence[Mapping[str, str]], deleted: Callable[[Mapping[str, Any]], Answer]
) -> Mapping[str, Answer | None]:
    """`objects` as DeleteObjects takes them; `deleted` makes the answer of a line of `Deleted`."""
    asked: Any = {"Objects": list(objects), "Quiet": False}
    try:
        response = client.delete_objects(Bucket=bucket, Delete=asked)
    except UNREADABLE:
        return {}
    except ClientError as error:
        if error.response["Error"].get("Code") == "MalformedXML":
            raise NotReadable from error
        answer = of_whole_request(error)
        if answer is not None and answer.code not in TRY_AGAIN:
            raise
        return dict.fromkeys((one["Key"] for one in objects), answer)
    answers: dict[str, Answer | None] = {line.get("Key", ""): deleted(line) for line in response.get("Deleted", [])}
    return answers | {line.get("Key", ""): _refusal(line.get("Code", "no code")) for line in response.get("Errors", [])}


def delete_one(client: "S3Client", bucket: str, one: Planned) -> Answer | None:
    """A single conditional delete. A refusal is this key's answer, whatever it is: it must not take the answers of other keys along."""
    try:
        response = client.delete_object(Bucket=bucket, Key=one.key, IfMatch=f'"{one.etag}"')
    except UNREADABLE:
        return None
    except ClientError as error:
        refused = of_whole_request(error)
        if refused is not None and refused.outcome == "changed" and _nothing_stands(client, bucket, one.key):
            return Answer("missing", code=refused.code)  # some stores answer 412, not 404, when there is nothing to match
        return refused
    return Answer("deleted", version_id=response.get("VersionId"))


def _nothing_stands(client: "S3Client", bucket: str, key: str) -> bool:
    """Only to call it by its name: a store that does not answer now has refused the delete all the same."""
    try:
        return look(client, bucket, key).etag is None
    except (ClientError, NoList, *UNREADABLE):
        return False


def delete_one_looked_at(client: "S3Client", bucket: str, one: Planned) -> Answer | None:
    """For stores that ignore every condition: whether the planned object stands is looked at right before, which leaves a moment in
    which another may take its place. The ledger's code says so."""
    try:
        current = look(client, bucket, one.key)
        if current.etag != one.etag:
            return Answer("missing" if current.etag is None else "changed", code="LookedBefore")
        response = client.delete_object(Bucket=bucket, Key=one.key)
    except (NoList, *UNREADABLE):
        return None
    except ClientError as error:
        return of_whole_request(error)
    return Answer("deleted", version_id=response.get("VersionId"), code=UNCONDITIONAL)


def leave_alone(client: "S3Client", bucket: str, one: Planned) -> Answer | None:
    """For keys that would have to go alone, to a store that ignores the ETag there."""
    return Answer("failed", code="NoConditionalDelete")


def remove(client: "S3Client", bucket: str, versions: Mapping[str, str | None]) -> dict[str, str]:
    """Removes these versions, or what has the key where there is none, and gives the store's code for each that it would not remove.
    At most 1,000 of them."""
    named: dict[str, Any] = {key: {"Key": key, **({"VersionId": version} if version else {})} for key, version in versions.items()}
    together = [key for key in named if not XML_CANNOT_CARRY.search(key)]
    refused: dict[str, str] = {}
    if together:
        response = _removed(client, bucket, [named[key] for key in together])
        gone = {line["Key"] for line in response.get("Deleted", [])}
        refused = {key: NOT_MENTIONED for key in together if key not in gone}  # also by an answer without a body, if that is all there is
        refused |= {error["Key"]: error.get("Code", "no code") for error in response.get("Errors", [])}
    for key in named.keys() - set(together):
        try:
            client.delete_object(Bucket=bucket, **named[key])
        except ClientError as error:
            refused[key] = error.response["Error"].get("Code", "no code")
    return refused


def _removed(client: "S3Client", bucket: str, objects: Any) -> Any:
    """No probe says what a restore or a purge needs, as it does before a deletion: the store does."""
    ask = partial(client.delete_objects, Bucket=bucket, Delete={"Objects": objects, "Quiet": False})
    try:
        return ask()
    except ClientError as error:
        if not content_md5.is_wanted(error):
            raise
        content_md5.send_content_md5(client)
        return ask()


def remove_every_marker(client: "S3Client", bucket: str, markers: Mapping[str, str]) -> dict[str, str]:
    """Removes these delete markers, version id by key, tried again while the store's codes are of those that pass (TRY_AGAIN), and gives
    the code for each that stays.

    It may be asked again, and races with nobody: removing a marker that is not current any more has no effect, and no object ever
    has its version id (unless that is `null`: such a marker must not be given).
    """
    left = dict(markers)
    refused: dict[str, str] = {}

    def remove_the_rest() -> bool:
        answered = remove(client, bucket, left)
        for key in list(left):
            refused.pop(key, None)
            if key in answered:
                refused[key] = answered[key]
            if answered.get(key) not in TRY_AGAIN | {NOT_MENTIONED}:
                del left[key]
        return bool(left)

    tried_until_done(remove_the_rest, attempts=ATTEMPTS_TO_REMOVE)
    return refused


def of_whole_request(error: ClientError) -> Answer | None:
    """None when the store may have acted all the same."""
    code, status = error.response["Error"].get("Code", "no code"), error.response["ResponseMetadata"]["HTTPStatusCode"]
    if code in TOO_BUSY or status == TOO_MANY:
        return Answer("failed", code=code if code in TOO_BUSY else str(TOO_MANY))
    if status >= SERVER_FAILED or code in MAYBE_DONE:
        return None
    return _refusal(code)


def _refusal(code: str) -> Answer:
    if code in NOT_THE_PLANNED_OBJECT:
        return Answer("changed", code=code)
    if code in GONE:
        return Answer("missing", code=code)
    return Answer("failed", code=code)
