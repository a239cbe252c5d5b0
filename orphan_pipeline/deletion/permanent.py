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
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from botocore.exceptions import ClientError

from orphan_pipeline.deletion.execute import Deleter
from orphan_pipeline.deletion.guards import Hold, alone_unless_held, hold_nothing, unless_held
from orphan_pipeline.deletion.ledger import NO_MARKER, Answer, Planned
from orphan_pipeline.deletion.looking import NOT_FOUND, versions_of
from orphan_pipeline.deletion.pace.pace import Pace
from orphan_pipeline.deletion.preflight import Versioning
from orphan_pipeline.deletion.requests import UNREADABLE, ask_together, of_whole_request, send_chunk
from orphan_pipeline.deletion.sending import Sending
from orphan_pipeline.deletion.settle import BY_LOOKING
from orphan_pipeline.deletion.wire.quickened import quickened
from orphan_pipeline.errors import Refused

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

PERMANENT = "Permanent"
DELETED = Answer("deleted", code=PERMANENT)
NULL_VERSION = Answer("failed", code="NullVersion")
"""Written before the bucket kept versions: its id, `null`, is what the next object would get if versioning were suspended right now."""

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

    def as_left(self, planned: Sequence[Planned], held: Mapping[str, Answer]) -> Mapping[str, Answer]:
        return {one.key: settle_permanent(self._client, self._bucket, one, versions=False) or held[one.key] for one in planned}

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
        for one, found in zip(opened, self._each(partial(self._find, unsettled=unsettled), opened), strict=True):
            if isinstance(found, str):
                ids[one.key] = found
            else:
                known[one.key] = found
        exact = _ExactVersions(client=self._client, once=self._once, bucket=self._bucket, ids=ids, pool=self._pool)
        standing = [one for one in opened if one.key in ids]
        sending = Sending(pace=self._pace, ask=partial(exact.asked, hold=hold), settle=exact.settled)
        known |= dict(zip((one.key for one in standing), sending.answers(standing, again=unsettled, known=known), strict=True))
        return [known[one.key] for one in planned]

    def as_left(self, planned: Sequence[Planned], held: Mapping[str, Answer]) -> Mapping[str, Answer]:
        found = self._each(lambda one: settle_permanent(self._client, self._bucket, one, versions=True) or held[one.key], planned)
        return dict(zip((one.key for one in planned), found, strict=True))

    def verify(self, planned: Sequence[Planned], answers: Sequence[Answer]) -> None:
        """Raises Refused when an object still stands whose delete was confirmed."""
        _verify(self._client, self._bucket, planned, answers, versions=True)

    def close(self) -> None:
        """No look is under way any more."""
        self._pool.shutdown()

    def _find(self, one: Planned, *, unsettled: bool) -> str | Answer:
        """The version id of the planned object, which stands right now; or what became of it."""
        head = _head(self._client, self._bucket, one.key)
        if head is None or not _is_planned(head, one, versions=True):
            became = Answer("missing" if head is None else "changed", code=BY_LOOKING)
            return (unsettled and settle_permanent(self._client, self._bucket, one, versions=True)) or became
        version: str | None = head.get("VersionId")
        return NULL_VERSION if version is None or version in NO_MARKER else version

    def _each(self, ask: Callable[[Planned], Found], planned: Iterable[Planned]) -> list[Found]:
        return list(self._pool.map(ask, planned))


@dataclass(frozen=True, slots=True, kw_only=True)
class _ExactVersions:
    """`ids`: the planned objects' version ids, by key."""

    client: "S3Client"
    once: "S3Client"
    bucket: str
    ids: Mapping[str, str]
    pool: Executor

    def asked(self, planned: Sequence[Planned], *, hold: Hold) -> Iterator[tuple[str, Answer | None]]:
        return send_chunk(planned, together=unless_held(hold, self._together), alone=alone_unless_held(hold, self._alone))

    def settled(self, planned: Sequence[Planned]) -> dict[str, Answer]:
        """The version was found by this run, and its id is never used again: if it is gone, this run asked for it, or a killed one had."""
        gone = self.pool.map(self._gone, planned)
        return {one.key: DELETED for one, is_gone in zip(planned, gone, strict=True) if is_gone}

    def _together(self, planned: Sequence[Planned]) -> Mapping[str, Answer | None]:
        objects = [{"Key": one.key, "VersionId": self.ids[one.key]} for one in planned]
        return ask_together(self.once, self.bucket, objects, lambda _: DELETED)

    def _alone(self, one: Planned) -> Answer | None:
        try:
            self.once.delete_object(Bucket=self.bucket, Key=one.key, VersionId=self.ids[one.key])
        except UNREADABLE:
            return None
        except ClientError as error:
            return of_whole_request(error)
        return DELETED

    def _gone(self, one: Planned) -> bool:
        return _head(self.client, self.bucket, one.key, VersionId=self.ids[one.key]) is None


def refuse_unless_permanent_is_exact(bucket: str, versioning: Versioning) -> None:
    """Raises Refused on a bucket whose versioning is suspended: a version called `null` is overwritten in place, so that its id does
    not say which object it is."""
    if versioning == "suspended":
        raise Refused(
            f"bucket {bucket}: versioning is suspended, expected enabled or never enabled: mode permanent could not name a version"
        )


def settle_permanent(client: "S3Client", bucket: str, one: Planned, *, versions: bool) -> Answer | None:
    """What became of one object that may have been deleted for good; None when it still stands. Nothing that is left says whether we
    or the application deleted it. `versions`: an older one, with the same content even, may be what stands there now; as long as the
    planned version is kept, under a newer one or a marker, nobody deleted it."""
    head = _head(client, bucket, one.key)
    if head is not None and _is_planned(head, one, versions=versions):
        return None
    if versions and not any(
        _is_planned(entry, one, versions=True) for entry, is_marker in versions_of(client, bucket, one.key) if not is_marker
    ):
        return Answer("unknown", code=BY_LOOKING)
    if head is None:
        return Answer("missing" if versions else "unknown", code=BY_LOOKING)
    return Answer("changed", code=BY_LOOKING)


def _head(client: "S3Client", bucket: str, key: str, **version: Any) -> Mapping[str, Any] | None:
    """None when nothing stands there."""
    try:
        return client.head_object(Bucket=bucket, Key=key, **version)
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] != NOT_FOUND:
            raise
        return None


def _is_planned(entry: Mapping[str, Any], one: Planned, *, versions: bool) -> bool:
    """`entry`: an answer to HeadObject, or a line of a listing of versions."""
    return entry["ETag"].strip('"') == one.etag and not (versions and abs(entry["LastModified"] - one.last_modified) >= ONE_SECOND)


def _for_good(answer: Answer) -> Answer:
    if answer.outcome == "missing" and answer.code == BY_LOOKING:
        return replace(answer, outcome="unknown")
    return replace(answer, code=PERMANENT) if answer.outcome == "deleted" and answer.version_id in NO_MARKER else answer


def _verify(client: "S3Client", bucket: str, planned: Sequence[Planned], answers: Sequence[Answer], *, versions: bool) -> None:
    for one, answer in zip(planned, answers, strict=True):
        if answer.outcome == "deleted" and settle_permanent(client, bucket, one, versions=versions) is None:
            raise Refused(f"bucket {bucket}: {one.key!r} still stands though its delete was confirmed. Stopped after the first chunk")
