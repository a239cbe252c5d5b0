"""Deletes one chunk on a versioned bucket and knows for each key what became of it. A request that fails is never simply sent again:
the store may have acted on it, so what it did is looked up first, and only what still stands is asked to go once more."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from pyrate_limiter import Duration, Limiter, Rate
from tenacity import RetryCallState, Retrying, retry_if_result, stop_after_attempt, wait_random_exponential

from orphan_pipeline.deletion.ledger import Answer, Planned
from orphan_pipeline.deletion.requests import MAYBE_DONE, TRY_AGAIN, delete_chunk
from orphan_pipeline.deletion.settle import settle

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

NO_ANSWER = Answer("failed", code="NoAnswer")
ATTEMPTS = 6
LOOKS_AT_ONCE = 16
SLICES_A_SECOND = 100
"""The rate is asked for in slices, not key by key (10 us each: a core at 100,000 keys/s) and not by the chunk (1,000 never fit into
what is left of a second at 1,500 keys/s)."""


class VersionedDeleter:
    """Every object stays behind a delete marker, whose version id is the answer. Each key counts as one request against the rate, as
    the store counts it (HADOOP-17935)."""

    def __init__(self, *, client: "S3Client", once: "S3Client", bucket: str, keys_per_second: int) -> None:
        """`client` retries by itself and only looks; `once` sends every request exactly once, and only deletes."""
        self._client, self._once, self._bucket = client, once, bucket
        self._limiter = Limiter(Rate(keys_per_second, Duration.SECOND))
        self._slice = max(1, keys_per_second // SLICES_A_SECOND)

    def __call__(self, planned: Sequence[Planned], *, unsettled: bool, known: dict[str, Answer] | None = None) -> list[Answer]:
        known = {} if known is None else known
        answers = {one.key: NO_ANSWER for one in planned} | known
        if unsettled:
            answers |= self._looked_up([one for one in planned if one.key not in known])

        def send_what_is_open() -> bool:
            nonlocal unsettled
            answers.update(self._send([one for one in planned if _open(answers[one.key])], again=unsettled, known=known))
            unsettled = True
            return any(map(_open, answers.values()))

        Retrying(
            retry=retry_if_result(bool),
            stop=stop_after_attempt(ATTEMPTS),
            wait=wait_random_exponential(multiplier=0.5, max=20),
            retry_error_callback=_give_up,
        )(send_what_is_open)
        return [answers[one.key] for one in planned]

    def _send(self, planned: Sequence[Planned], *, again: bool, known: dict[str, Answer]) -> dict[str, Answer]:
        """`again`: an earlier request for these keys may still be on its way, so that `missing` and `changed` may be its doing (some
        stores answer 412, not 404, when there is nothing to match)."""
        self._wait_for(len(planned))
        answers: dict[str, Answer] = {}
        for key, answer in delete_chunk(self._once, self._bucket, planned):
            answers[key] = answer or NO_ANSWER
            if not _open(answers[key]) and not _doubtful(answers[key], again=again):
                known[key] = answers[key]  # at once: whatever breaks from here on, this marker's id is not lost
        return answers | self._looked_up([one for one in planned if _doubtful(answers[one.key], again=again)])

    def _wait_for(self, keys: int) -> None:
        for first in range(0, keys, self._slice):
            self._limiter.try_acquire(self._bucket, weight=min(self._slice, keys - first))

    def _looked_up(self, planned: Sequence[Planned]) -> dict[str, Answer]:
        """Of these, the ones whose planned object does not stand any more; about the others nothing new is known."""
        with ThreadPoolExecutor(LOOKS_AT_ONCE) as pool:
            found = pool.map(lambda one: settle(self._client, self._bucket, one), planned)
            return {one.key: answer for one, answer in zip(planned, found, strict=True) if answer is not None}


def _open(answer: Answer) -> bool:
    return answer == NO_ANSWER or answer.code in TRY_AGAIN


def _doubtful(answer: Answer, *, again: bool) -> bool:
    return answer == NO_ANSWER or answer.code in MAYBE_DONE or (again and answer.outcome in ("missing", "changed"))


def _give_up(_: RetryCallState) -> bool:
    return True
