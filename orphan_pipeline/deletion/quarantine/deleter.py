"""Deletes one chunk in mode quarantine: each object is copied, the copy proven, and only then is the original asked to go, on condition
of its ETag. Can be killed between any two of these and run again: what was copied is found at the place that its plan and key give.

On a bucket that keeps versions the delete also leaves a marker, whose id is recorded as in mode versioned; a restore then removes the
marker, and needs the copy only if the version is gone.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TypeVar

from orphan_pipeline.deletion.execute import Deleter
from orphan_pipeline.deletion.guards import Hold, hold_nothing
from orphan_pipeline.deletion.ledger import Answer, Planned
from orphan_pipeline.deletion.looking import look
from orphan_pipeline.deletion.quarantine.copying import Copied, Copier, NotCopied, SourceChanged, etag_of
from orphan_pipeline.deletion.quarantine.place import Place, Quarantine
from orphan_pipeline.deletion.sending import may_still_go
from orphan_pipeline.deletion.settle import BY_LOOKING
from orphan_pipeline.errors import Refused

Found = TypeVar("Found")
COPIES_AT_ONCE = 32
"""Of all chunks of a run together; as many as the client has connections."""


class QuarantineDeleter:
    """`inner` deletes what was copied, conditionally, and looks up what it got no answer for. Thread-safe if `inner` is."""

    leaves_markers = False

    def __init__(self, *, inner: Deleter, copier: Copier, bucket: str, quarantine: Quarantine, plan: str) -> None:
        self._inner, self._copier, self._bucket, self._quarantine, self._plan = inner, copier, bucket, quarantine, plan
        self._pool = ThreadPoolExecutor(COPIES_AT_ONCE, thread_name_prefix="quarantine")

    def __call__(
        self, planned: Sequence[Planned], *, unsettled: bool, known: dict[str, Answer] | None = None, hold: Hold = hold_nothing
    ) -> list[Answer]:
        known = {} if known is None else known
        opened = [one for one in planned if one.key not in known]
        copies: dict[str, Copied] = {}
        for one, made in zip(opened, self._each(lambda one: self._copied(one, unsettled=unsettled), opened), strict=True):
            if isinstance(made, Answer):
                known[one.key] = made
            else:
                copies[one.key] = made
        copied = [one for one in opened if one.key in copies]
        answers: dict[str, Answer] = {}
        try:
            if copied:
                given = self._inner(copied, unsettled=unsettled, known=answers, hold=hold)
                answers |= {one.key: answer for one, answer in zip(copied, given, strict=True)}
        finally:  # what was final when a run breaks off is kept, and without its copy it could not be brought back
            known |= {key: self._with_copy(key, answer, copies[key]) for key, answer in answers.items()}
        return [known[one.key] for one in planned]

    def as_left(self, planned: Sequence[Planned], held: Mapping[str, Answer]) -> Mapping[str, Answer]:
        left = self._each(lambda one: self._left(one, standing=held[one.key]), planned)
        return dict(zip((one.key for one in planned), left, strict=True))

    def verify(self, planned: Sequence[Planned], answers: Sequence[Answer]) -> None:
        """Raises Refused unless the store shows every copy, and no original, of what was deleted."""
        deleted = [
            (one, Place.of(answer.copy, answer.copy_version))
            for one, answer in zip(planned, answers, strict=True)
            if answer.outcome == "deleted" and answer.copy is not None
        ]

        def looked_at(pair: tuple[Planned, Place]) -> str | None:
            one, copy = pair
            if self._copier.head(copy) is None:
                return f"the copy of {one.key!r} is not in quarantine {self._quarantine.uri}"
            original = self._copier.head(Place(self._bucket, one.key))
            return f"{one.key!r} still stands though its delete was confirmed" if original and etag_of(original) == one.etag else None

        for wrong in self._pool.map(looked_at, deleted):
            if wrong:
                raise Refused(f"bucket {self._bucket}: {wrong}. Stopped after the first chunk")

    def close(self) -> None:
        """No copy is under way any more."""
        self._pool.shutdown()

    def _left(self, one: Planned, *, standing: Answer) -> Answer:
        copy = self._place(one.key)
        return settle_copied(self._copier, copy, self._bucket, one) or with_stray(standing, self._copier, copy)

    def _copied(self, one: Planned, *, unsettled: bool) -> Copied | Answer:
        original, copy = Place(self._bucket, one.key), self._place(one.key)
        if unsettled:
            gone = settle_copied(self._copier, copy, self._bucket, one)
            if gone is not None:
                return gone
            made = self._copier.same(original, copy)
            if made is not None:
                return made
        try:
            return self._copier.copy(original, copy, etag=one.etag, only_if_free=False)
        except NotCopied as failed:
            if unsettled:  # the killed run may have had its copy, and its request may be on its way
                return self._left(one, standing=may_still_go(Answer("failed", code=failed.code)))
            if isinstance(failed, SourceChanged):
                return with_stray(Answer("missing" if failed.gone else "changed", code=failed.code), self._copier, copy)
            return with_stray(Answer("failed", code=failed.code), self._copier, copy)

    def _with_copy(self, key: str, answer: Answer, made: Copied) -> Answer:
        """It stood when it was copied. If nobody knows who made it go since, it may have been the request that got no answer."""
        outcome = "unknown" if answer.outcome == "missing" and answer.code == BY_LOOKING else answer.outcome
        return replace(answer, outcome=outcome, copy=self._place(key).uri, copy_version=made.version)

    def _place(self, key: str) -> Place:
        return self._quarantine.copy_of(key, plan=self._plan)

    def _each(self, ask: Callable[[Planned], Found], planned: Iterable[Planned]) -> list[Found]:
        return list(self._pool.map(ask, planned))


def settle_copied(copier: Copier, copy: Place, bucket: str, one: Planned) -> Answer | None:
    """What became of one object that may have been copied and deleted; None when the planned object still stands. A copy that was made
    is named whatever became of the object, so that it can be brought back, or purged."""
    head = copier.head(Place(bucket, one.key))
    if head is not None and etag_of(head) == one.etag:
        return None
    made = copier.head(copy)
    if head is not None:
        return with_stray(Answer("changed", code=BY_LOOKING), copier, copy)
    if made is None or made["ContentLength"] != one.size:
        return Answer("missing", code=BY_LOOKING)
    marker = look(copier.client, bucket, one.key).marker  # where the bucket keeps versions
    return Answer("unknown", version_id=marker, code=BY_LOOKING, copy=copy.uri, copy_version=made.get("VersionId"))


def with_stray(answer: Answer, copier: Copier, copy: Place) -> Answer:
    """The answer, with the copy that was made though the object was not deleted, if there is one: the purge takes it."""
    made = copier.head(copy)
    return answer if made is None else replace(answer, copy=copy.uri, copy_version=made.get("VersionId"))
