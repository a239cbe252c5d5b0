"""Deletes one chunk on a versioned bucket and knows for each key what became of it. A request that fails is never simply sent again:
the store may have acted on it, so what it did is looked up first, and only what still stands is asked to go once more."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from time import monotonic
from typing import TYPE_CHECKING

from orphan_pipeline.deletion.abilities import USUAL, Way
from orphan_pipeline.deletion.canary import refuse_unless_hidden
from orphan_pipeline.deletion.ledger import Answer, Planned
from orphan_pipeline.deletion.pace.pace import Pace
from orphan_pipeline.deletion.requests import (
    MAYBE_DONE,
    TOO_BUSY,
    TRY_AGAIN,
    DeleteOne,
    delete_chunk,
    delete_one,
    delete_one_looked_at,
    leave_alone,
    tried_until_done,
)
from orphan_pipeline.deletion.settle import settle
from orphan_pipeline.deletion.wire import quickened, seconds_on_the_wire

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

NO_ANSWER = Answer("failed", code="NoAnswer")
OPEN, DOUBTFUL = TRY_AGAIN | {NO_ANSWER.code}, MAYBE_DONE | {NO_ANSWER.code}
AT_ONCE = 16
"""Looks, or single deletes, of all chunks together."""

SINGLY: dict[str, DeleteOne] = {"conditional": delete_one, "looked at": delete_one_looked_at, "never": leave_alone}


class VersionedDeleter:
    """Every object stays behind a delete marker, whose version id is the answer. Thread-safe."""

    leaves_markers = True

    def __init__(self, *, client: "S3Client", once: "S3Client", bucket: str, pace: Pace, way: Way = USUAL) -> None:
        """`client` retries by itself and only looks; `once` sends every request exactly once, and only deletes."""
        self._client, self._once, self._bucket, self.pace, self._way = client, quickened(once), bucket, pace, way
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="key")

    def __call__(self, planned: Sequence[Planned], *, unsettled: bool, known: dict[str, Answer] | None = None) -> list[Answer]:
        """The rate for the keys of the first attempt was waited for already. Raises Interrupted when the run is being stopped while
        something is still open; `known` then has all that is certain."""
        known = {} if known is None else known
        answers = {one.key: NO_ANSWER for one in planned} | known
        if unsettled:
            answers |= self.settled([one for one in planned if one.key not in known])
        again = unsettled

        def send_what_is_open() -> bool:
            nonlocal again
            answers.update(self._send([one for one in planned if _open(answers[one.key])], again=again, known=known))
            again = True
            return any(map(_open, answers.values()))

        def wait_and_take(seconds: float) -> None:
            self.pace.wait(seconds)
            self.pace.take(sum(map(_open, answers.values())))

        if not tried_until_done(send_what_is_open, sleep=wait_and_take):
            # Whatever the last refusal said, nobody asks after it any more: one that went all the same must not be called failed.
            answers |= self.settled([one for one in planned if _open(answers[one.key])])
        return [answers[one.key] for one in planned]

    def settled(self, planned: Sequence[Planned]) -> dict[str, Answer]:
        """Of these, the ones whose planned object does not stand any more; about the others nothing new is known."""
        found = self._pool.map(lambda one: settle(self._client, self._bucket, one), planned)
        return {one.key: answer for one, answer in zip(planned, found, strict=True) if answer is not None}

    def verify(self, planned: Sequence[Planned], answers: Sequence[Answer]) -> None:
        refuse_unless_hidden(self._client, self._bucket, planned, answers)

    def close(self) -> None:
        """No look is under way any more."""
        self._pool.shutdown()

    def _send(self, planned: Sequence[Planned], *, again: bool, known: dict[str, Answer]) -> dict[str, Answer]:
        """`again`: an earlier request for these keys may still be on its way, so that `missing` and `changed` may be its doing (some
        stores answer 412, not 404, when there is nothing to match)."""
        answers: dict[str, Answer] = {}
        began = monotonic()
        for key, answer in self._asked(planned):
            answers[key] = answer or NO_ANSWER
            if not _open(answers[key]) and not _doubtful(answers[key], again=again):
                known[key] = answers[key]  # at once: whatever breaks from here on, this marker's id is not lost
        if planned:
            slowed = sum(answer.code in TOO_BUSY for answer in answers.values())
            self.pace.answered(keys=len(planned), refused=slowed, seconds=monotonic() - began, by_store=seconds_on_the_wire())
        return answers | self.settled([one for one in planned if _doubtful(answers[one.key], again=again)])

    def _asked(self, planned: Sequence[Planned]) -> Iterator[tuple[str, Answer | None]]:
        singly = SINGLY[self._way.singly]
        if self._way.together:
            yield from delete_chunk(self._once, self._bucket, planned, alone=singly)
            return
        asked = {self._pool.submit(singly, self._once, self._bucket, one): one for one in planned}
        try:
            for done in as_completed(asked):
                yield asked[done].key, done.result()
        finally:
            for left in asked:
                left.cancel()


def _open(answer: Answer) -> bool:
    return answer.outcome == "failed" and answer.code in OPEN


def _doubtful(answer: Answer, *, again: bool) -> bool:
    if answer.outcome == "failed":
        return answer.code in DOUBTFUL
    return again and answer.outcome in ("missing", "changed")
