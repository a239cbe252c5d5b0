"""Deletes one chunk on a versioned bucket and knows for each key what became of it. A request that fails is never simply sent again:
the store may have acted on it, so what it did is looked up first, and only what still stands is asked to go once more."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError
from pyrate_limiter import Duration, Limiter, Rate
from tenacity import RetryCallState, Retrying, retry_if_result, stop_after_attempt, wait_random_exponential

from orphan_pipeline.deletion.ledger import Answer, Planned
from orphan_pipeline.deletion.requests import delete_chunk
from orphan_pipeline.deletion.settle import settle

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

NOT_DONE_TRY_AGAIN = frozenset({"SlowDown", "ServiceUnavailable"})
"""Per-key errors that say the store did not act (S3 API reference, list of error codes)."""

MAYBE_DONE_TRY_AGAIN = frozenset({"InternalError", "RequestTimeout"})
"""Per-key errors after which the object may be gone all the same: looked up before anything is sent again."""

SERVER_FAILED = 500
ATTEMPTS = 6
LOOKS_AT_ONCE = 16


class VersionedDeleter:
    """Every object stays behind a delete marker, whose version id is the answer. Each key counts as one request against the rate, as
    the store counts it (HADOOP-17935)."""

    def __init__(self, *, client: "S3Client", once: "S3Client", bucket: str, keys_per_second: int) -> None:
        """`client` retries by itself and only looks; `once` sends every request exactly once, and only deletes."""
        self._client, self._once, self._bucket = client, once, bucket
        self._limiter = Limiter(Rate(keys_per_second, Duration.SECOND))

    def __call__(self, planned: Sequence[Planned], *, unsettled: bool) -> list[Answer]:
        answers: dict[str, Answer | None] = dict.fromkeys(one.key for one in planned)
        if unsettled:
            answers |= self._look_up(planned)

        def send_what_is_open() -> bool:
            answers.update(self._send([one for one in planned if _try_again(answers[one.key])]))
            return any(_try_again(answer) for answer in answers.values())

        Retrying(
            retry=retry_if_result(bool),
            stop=stop_after_attempt(ATTEMPTS),
            wait=wait_random_exponential(multiplier=0.5, max=20),
            retry_error_callback=_give_up,
        )(send_what_is_open)
        return [answers[one.key] or Answer("failed", code="NoAnswer") for one in planned]

    def _send(self, planned: Sequence[Planned]) -> dict[str, Answer | None]:
        if not planned:
            return {}
        for _ in planned:
            self._limiter.try_acquire(self._bucket)
        try:
            answers = dict(zip((one.key for one in planned), delete_chunk(self._once, self._bucket, planned), strict=True))
        except BotoCoreError:
            return self._look_up(planned)
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] < SERVER_FAILED:
                raise
            return self._look_up(planned)
        return answers | self._look_up([one for one in planned if _maybe_done(answers[one.key])])

    def _look_up(self, planned: Sequence[Planned]) -> dict[str, Answer | None]:
        with ThreadPoolExecutor(LOOKS_AT_ONCE) as pool:
            found = pool.map(lambda one: settle(self._client, self._bucket, one), planned)
            return dict(zip((one.key for one in planned), found, strict=True))


def _try_again(answer: Answer | None) -> bool:
    return answer is None or answer.code in NOT_DONE_TRY_AGAIN


def _maybe_done(answer: Answer | None) -> bool:
    return answer is None or answer.code in MAYBE_DONE_TRY_AGAIN


def _give_up(_: RetryCallState) -> bool:
    return True
