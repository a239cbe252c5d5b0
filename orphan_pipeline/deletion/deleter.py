"""Deletes one chunk on a versioned bucket and knows for each key what became of it: every object stays behind a delete marker. How a
request is sent until it is answered is in sending.py, what is said to the store in requests.py."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from functools import partial
from typing import TYPE_CHECKING

from orphan_pipeline.deletion.abilities import USUAL, Way
from orphan_pipeline.deletion.canary import refuse_unless_hidden
from orphan_pipeline.deletion.guards import Hold, alone_unless_held, hold_nothing, unless_held
from orphan_pipeline.deletion.ledger import Answer, Planned
from orphan_pipeline.deletion.pace.pace import Pace
from orphan_pipeline.deletion.requests import delete_one, delete_one_looked_at, delete_together, leave_alone, send_chunk
from orphan_pipeline.deletion.sending import Sending
from orphan_pipeline.deletion.settle import settle
from orphan_pipeline.deletion.wire.quickened import quickened

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

AT_ONCE = 16
"""Looks, or single deletes, of all chunks together."""

SINGLY = {"conditional": delete_one, "looked at": delete_one_looked_at, "never": leave_alone}


class VersionedDeleter:
    """The marker's version id is the answer. Thread-safe."""

    leaves_markers = True

    def __init__(self, *, client: "S3Client", once: "S3Client", bucket: str, pace: Pace, way: Way = USUAL) -> None:
        """`client` retries by itself and only looks; `once` sends every request exactly once, and only deletes."""
        self._client, self._once, self._bucket, self.pace, self._way = client, quickened(once), bucket, pace, way
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="key")

    def __call__(
        self, planned: Sequence[Planned], *, unsettled: bool, known: dict[str, Answer] | None = None, hold: Hold = hold_nothing
    ) -> list[Answer]:
        sending = Sending(pace=self.pace, ask=partial(self._asked, hold=hold), settle=self.settled)
        return sending.answers(planned, again=unsettled, known={} if known is None else known)

    def settled(self, planned: Sequence[Planned]) -> dict[str, Answer]:
        """Of these, the ones whose planned object does not stand any more; about the others nothing new is known."""
        found = self._pool.map(lambda one: settle(self._client, self._bucket, one), planned)
        return {one.key: answer for one, answer in zip(planned, found, strict=True) if answer is not None}

    def as_left(self, planned: Sequence[Planned], held: Mapping[str, Answer]) -> Mapping[str, Answer]:
        return {**held, **self.settled(planned)}

    def verify(self, planned: Sequence[Planned], answers: Sequence[Answer]) -> None:
        refuse_unless_hidden(self._client, self._bucket, planned, answers)

    def close(self) -> None:
        """No look is under way any more."""
        self._pool.shutdown()

    def _asked(self, planned: Sequence[Planned], *, hold: Hold) -> Iterator[tuple[str, Answer | None]]:
        alone = alone_unless_held(hold, partial(SINGLY[self._way.singly], self._once, self._bucket))
        if self._way.together:
            yield from send_chunk(planned, together=unless_held(hold, partial(delete_together, self._once, self._bucket)), alone=alone)
            return
        asked = {self._pool.submit(alone, one): one for one in planned}
        broken: BaseException | None = None
        try:
            for done in as_completed(asked):
                if done.cancelled():
                    continue
                if done.exception() is None:
                    yield asked[done].key, done.result()
                else:  # what was under way beside it comes to its answer first: an object whose marker's id is lost is only `unknown`
                    broken = broken or done.exception()
                    _cancel(asked)
        finally:
            _cancel(asked)
        if broken is not None:
            raise broken


def _cancel(asked: Iterable[Future[Answer | None]]) -> None:
    for one in asked:
        one.cancel()
