"""Deletes one chunk in mode permanent: nothing of it can be brought back, and the ledger's code says so.

On a bucket without versions it is a conditional delete like any other. On one that keeps versions exactly the planned version goes: it
is looked up by the planned ETag and time right before, and then named by its id, so that whatever is written meanwhile is another
version and stays. (The inventory's own version id would be as exact, and would need an inventory of all versions.) An older version
of the key becomes current by it, and is an orphan of the next sweeps.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from botocore.exceptions import ClientError

from orphan_pipeline.deletion.execute import Deleter
from orphan_pipeline.deletion.guards import Hold, hold_nothing
from orphan_pipeline.deletion.ledger import NO_MARKER, Answer, Planned
from orphan_pipeline.deletion.looking import NOT_FOUND, XML_CANNOT_CARRY
from orphan_pipeline.deletion.pace.pace import Pace
from orphan_pipeline.deletion.preflight import Versioning
from orphan_pipeline.deletion.requests import TRY_AGAIN, UNREADABLE, of_whole_request
from orphan_pipeline.deletion.sending import Sending
from orphan_pipeline.deletion.settle import BY_LOOKING
from orphan_pipeline.deletion.wire import quickened
from orphan_pipeline.errors import Refused

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import HeadObjectOutputTypeDef

PERMANENT = "Permanent"
DELETED = Answer("deleted", code=PERMANENT)
LOOKS_AT_ONCE = 32
ONE_SECOND = timedelta(seconds=1)
"""HeadObject tells times in whole seconds."""

Found = TypeVar("Found")


class UnversionedDeleter:
    """`inner` deletes conditionally and looks up what it got no answer for."""

    leaves_markers = False

    def __init__(self, *, inner: Deleter, client: "S3Client", bucket: str) -> None:
        self._inner, self._client, self._bucket = inner, client, bucket

    def __call__(
        self, planned: Sequence[Planned], *, unsettled: bool, known: dict[str, Answer] | None = None, hold: Hold = hold_nothing
    ) -> list[Answer]:
        known = {} if known is None else known
        answers = dict(known)
        try:
            given = self._inner(planned, unsettled=unsettled, known=answers, hold=hold)
            answers |= {one.key: answer for one, answer in zip(planned, given, strict=True)}
        finally:
            known |= {key: _for_good(answer) for key, answer in answers.items()}
        for answer in known.values():
            if answer.outcome == "deleted" and answer.version_id not in NO_MARKER:
                raise Refused(
                    f"bucket {self._bucket}: a delete was answered with a delete marker: versioning was turned on while this ran. Nothing "
                    "was lost; run it again"
                )
        return [known[one.key] for one in planned]

    def settled(self, planned: Sequence[Planned]) -> dict[str, Answer]:
        found = ((one, settle_permanent(self._client, self._bucket, one, versions=False)) for one in planned)
        return {one.key: answer for one, answer in found if answer is not None}

    def verify(self, planned: Sequence[Planned], answers: Sequence[Answer]) -> None:
        """Raises Refused when an object still stands whose delete was confirmed."""
        _verify(self._client, self._bucket, planned, answers, versions=False)


class VersionDeleter:
    """For a bucket that keeps versions. Thread-safe."""

    leaves_markers = False

    def __init__(self, *, client: "S3Client", once: "S3Client", bucket: str, pace: Pace) -> None:
        """`client` retries by itself and only looks; `once` sends every request exactly once, and only deletes."""
        self._client, self._once, self._bucket, self._pace = client, quickened(once), bucket, pace
        self._pool = ThreadPoolExecutor(LOOKS_AT_ONCE, thread_name_prefix="permanent")

    def __call__(
        self, planned: Sequence[Planned], *, unsettled: bool, known: dict[str, Answer] | None = None, hold: Hold = hold_nothing
    ) -> list[Answer]:
        known = {} if known is None else known
        opened = [one for one in planned if one.key not in known]
        ids: dict[str, str] = {}
        for one, found in zip(opened, self._each(self._find, opened), strict=True):
            if isinstance(found, str):
                ids[one.key] = found
            else:
                known[one.key] = replace(found, outcome="unknown") if unsettled and found.outcome == "missing" else found
        exact = _ExactVersions(client=self._client, once=self._once, bucket=self._bucket, ids=ids)
        sending = Sending(pace=self._pace, ask=exact.asked, settle=lambda some: exact.settled(some, self._pool))
        sent = [one for one in opened if one.key in ids]
        known |= dict(zip((one.key for one in sent), sending.answers(sent, again=False, known=known, hold=hold), strict=True))
        return [known[one.key] for one in planned]

    def settled(self, planned: Sequence[Planned]) -> dict[str, Answer]:
        found = self._each(lambda one: settle_permanent(self._client, self._bucket, one, versions=True), planned)
        return {one.key: answer for one, answer in zip(planned, found, strict=True) if answer is not None}

    def verify(self, planned: Sequence[Planned], answers: Sequence[Answer]) -> None:
        """Raises Refused when an object still stands whose delete was confirmed."""
        _verify(self._client, self._bucket, planned, answers, versions=True)

    def close(self) -> None:
        """No look is under way any more."""
        self._pool.shutdown()

    def _find(self, one: Planned) -> str | Answer:
        """The version id of the planned object, which stands right now."""
        try:
            head = self._client.head_object(Bucket=self._bucket, Key=one.key)
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] != NOT_FOUND:
                raise
            return Answer("missing", code=BY_LOOKING)
        if not _is_planned(head, one, versions=True):
            return Answer("changed", code=BY_LOOKING)
        if "VersionId" not in head:
            raise Refused(f"bucket {self._bucket}: the store does not say which version of {one.key!r} is current: nothing more is deleted")
        return head["VersionId"]

    def _each(self, ask: Callable[[Planned], Found], planned: Iterable[Planned]) -> list[Found]:
        return list(self._pool.map(ask, planned))


@dataclass(frozen=True, slots=True, kw_only=True)
class _ExactVersions:
    """`ids`: the planned objects' version ids, by key."""

    client: "S3Client"
    once: "S3Client"
    bucket: str
    ids: Mapping[str, str]

    def asked(self, planned: Sequence[Planned], hold: Hold) -> Iterator[tuple[str, Answer | None]]:
        together = [one for one in planned if not XML_CANNOT_CARRY.search(one.key)]
        answers = self._together(together) if together else {}
        yield from ((one.key, answers.get(one.key)) for one in together)
        for one in planned:
            if XML_CANNOT_CARRY.search(one.key):
                yield one.key, hold([one]).get(one.key) or self._alone(one)

    def settled(self, planned: Sequence[Planned], pool: Executor) -> dict[str, Answer]:
        """A version's id is never used again: if it is gone, this run asked for it."""
        gone = pool.map(self._gone, planned)
        return {one.key: DELETED for one, is_gone in zip(planned, gone, strict=True) if is_gone}

    def _together(self, planned: Sequence[Planned]) -> dict[str, Answer | None]:
        objects: Any = [{"Key": one.key, "VersionId": self.ids[one.key]} for one in planned]
        try:
            response = self.once.delete_objects(Bucket=self.bucket, Delete={"Objects": objects, "Quiet": False})
        except UNREADABLE:
            return {}
        except ClientError as error:
            answer = of_whole_request(error)
            if answer is not None and answer.code not in TRY_AGAIN:
                raise
            return dict.fromkeys((one.key for one in planned), answer)
        answers: dict[str, Answer | None] = {found["Key"]: DELETED for found in response.get("Deleted", [])}
        return answers | {found["Key"]: Answer("failed", code=found.get("Code", "no code")) for found in response.get("Errors", [])}

    def _alone(self, one: Planned) -> Answer | None:
        try:
            self.once.delete_object(Bucket=self.bucket, Key=one.key, VersionId=self.ids[one.key])
        except UNREADABLE:
            return None
        except ClientError as error:
            return of_whole_request(error)
        return DELETED

    def _gone(self, one: Planned) -> bool:
        try:
            self.client.head_object(Bucket=self.bucket, Key=one.key, VersionId=self.ids[one.key])
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] == NOT_FOUND:
                return True
            raise
        return False


def refuse_unless_permanent_is_exact(bucket: str, versioning: Versioning) -> None:
    """Raises Refused on a bucket whose versioning is suspended: a version called `null` is overwritten in place, so that its id does
    not say which object it is."""
    if versioning == "suspended":
        raise Refused(
            f"bucket {bucket}: versioning is suspended, expected enabled or never enabled: mode permanent could not name a version"
        )


def settle_permanent(client: "S3Client", bucket: str, one: Planned, *, versions: bool) -> Answer | None:
    """What became of one object that may have been deleted for good; None when it still stands. Nothing that is left says whether we
    or the application deleted it. `versions`: an older one, with the same content even, may be what stands there now."""
    try:
        head = client.head_object(Bucket=bucket, Key=one.key)
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] != NOT_FOUND:
            raise
        return Answer("unknown", code=BY_LOOKING)
    return None if _is_planned(head, one, versions=versions) else Answer("changed", code=BY_LOOKING)


def _is_planned(head: "HeadObjectOutputTypeDef", one: Planned, *, versions: bool) -> bool:
    return head["ETag"].strip('"') == one.etag and not (versions and abs(head["LastModified"] - one.last_modified) >= ONE_SECOND)


def _for_good(answer: Answer) -> Answer:
    if answer.outcome == "missing" and answer.code == BY_LOOKING:
        return replace(answer, outcome="unknown")
    return replace(answer, code=PERMANENT) if answer.outcome == "deleted" and answer.version_id in NO_MARKER else answer


def _verify(client: "S3Client", bucket: str, planned: Sequence[Planned], answers: Sequence[Answer], *, versions: bool) -> None:
    for one, answer in zip(planned, answers, strict=True):
        if answer.outcome == "deleted" and settle_permanent(client, bucket, one, versions=versions) is None:
            raise Refused(f"bucket {bucket}: {one.key!r} still stands though its delete was confirmed. Stopped after the first chunk")
