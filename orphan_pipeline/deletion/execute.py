"""Carries out one plan, several chunks at once, each of them: rate, guards, intent, requests with the guards before each, answers,
outcome, guards. It can be killed anywhere and run again: finished chunks are skipped, unfinished ones are settled first. Chunk 0, the
canary, goes alone and is looked at.
Whether the plan may be carried out at all is decided before (authorise.py), what is said to the store is in deleter.py."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from threading import Event, Lock
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from orphan_pipeline.deletion.ending import Ended, Reason
from orphan_pipeline.deletion.guards import Guard, Hold, held_by
from orphan_pipeline.deletion.ledger import GONE, NO_MARKER, Answer, Ledger, LedgerPlan, Planned
from orphan_pipeline.deletion.newer.objects import NewerObjects
from orphan_pipeline.deletion.noted import NotedChunks, read_noted, write_noted
from orphan_pipeline.deletion.pace.pace import Interrupted, Pace
from orphan_pipeline.deletion.sending import may_still_go
from orphan_pipeline.deletion.stopping import Limits, Stop
from orphan_pipeline.errors import Refused
from orphan_pipeline.inventory.columns import TIME
from orphan_pipeline.progress import Progress

PLAN_COLUMNS = ["chunk", "key", "etag", "size", "last_modified"]
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
ROWS_A_READ = 10_000
CANARY = 0
CANARY_SEEN = "canary_seen.json"
"""In a ledger: chunk 0 was looked at in the store."""

READ_AHEAD = 2
"""Chunks that wait for a worker."""

LONGEST_SLEEP = 1.0
"""Without looking at the kill switch and the hour."""

Chunk = tuple[int, list[Planned]]


class Deleter(Protocol):
    """How objects go in one mode, or seem to. Thread-safe: several chunks go at once.

    `leaves_markers`: an object that is gone without a delete marker's id is lost, and stops the run."""

    leaves_markers: bool

    def __call__(self, planned: Sequence[Planned], *, unsettled: bool, known: dict[str, Answer], hold: Hold) -> list[Answer]:
        """One answer a key, in order. `unsettled`: an earlier run may have sent this chunk already. `known`: the answers that are final,
        which it takes over and adds to as they come, so that they are not lost with an exception. `hold` is asked right before each
        request, and what it holds is not sent."""
        ...

    def as_left(self, planned: Sequence[Planned], held: Mapping[str, Answer]) -> Mapping[str, Answer]:
        """By looking only: the answers of these keys, which are held now, after a run that was killed: what became of those whose planned
        object does not stand any more, and for the others the one given, with the copy that was made of them."""
        ...

    def verify(self, planned: Sequence[Planned], answers: Sequence[Answer]) -> None:
        """Of the canary: raises Refused unless the store shows what its answers said."""
        ...


class Pretending:
    """Dry run: nothing is sent."""

    leaves_markers = False

    def __call__(self, planned: Sequence[Planned], *, unsettled: bool, known: dict[str, Answer], hold: Hold) -> list[Answer]:
        return [Answer("would_delete")] * len(planned)

    def as_left(self, planned: Sequence[Planned], held: Mapping[str, Answer]) -> Mapping[str, Answer]:
        return {}

    def verify(self, planned: Sequence[Planned], answers: Sequence[Answer]) -> None:
        """There is nothing to see."""


pretend = Pretending()


def chunks_of(plan: Path) -> Iterator[Chunk]:
    """The plan's chunks in order, read in a stream: one chunk and one read-ahead are in memory.

    Raises ValueError when a chunk's rows do not stand together: the rest of it would be taken for finished, and never be deleted.
    """
    last = -1
    members: list[Planned] = []
    for batch in pq.ParquetFile(plan).iter_batches(batch_size=ROWS_A_READ, columns=PLAN_COLUMNS):
        *columns, times = (batch.column(name) for name in PLAN_COLUMNS)
        for chunk, *row in zip(*(column.to_pylist() for column in columns), _moments(times), strict=True):
            if chunk != last:
                if members:
                    yield last, members
                if chunk < last:
                    raise ValueError(f"{plan}: chunk {chunk} comes after chunk {last}")
                last, members = chunk, []
            members.append(Planned(*row))
    if members:
        yield last, members


def _moments(times: "pa.Array[Any]") -> Iterator[datetime]:
    """By themselves: pyarrow takes five times as long, a tenth of all that a chunk takes."""
    return (EPOCH + timedelta(microseconds=since) for since in times.cast(TIME).cast(pa.int64()).to_numpy().tolist())


def execute_plan(
    plan: Path,
    *,
    ledger: Ledger,
    of: LedgerPlan,
    run_id: str,
    deleter: Deleter,
    keys: int,
    limits: Limits,
    report: Callable[[str], None],
    guards: Sequence[Guard] = (),
    newer: NewerObjects | None = None,
    pace: Pace | None = None,
    concurrency: int = 1,
    rest: timedelta = timedelta(0),
) -> Ended:
    """Carries out what of the plan has no outcome yet and says how far it came and why no further; that stands in the ledger too. Every
    chunk that was begun has its outcome there, unless an error rises: then what was known until then. `newer`: who looks for objects that
    the store hid in the moment of their delete; None where the store does not do that.

    Raises Refused when the ledger is not `of` this plan, when a former run of it lost an object for good, when the canary is not what
    the store said, or when a guard says so."""
    ledger.begin(of)
    execution = _Execution(
        ledger=ledger,
        run_id=run_id,
        deleter=deleter,
        limits=limits,
        guards=guards,
        newer=newer,
        pace=pace,
        rest=rest,
        report=report,
        progress=Progress("deletion", "keys", report, total=keys, detail=None if pace is None else pace.words),
    )
    try:
        if deleter.leaves_markers:
            _refuse_after_a_loss(ledger, of)
        each_done([partial(execution.carry_out, chunks_of(plan), concurrency=concurrency), *(guard.finish for guard in guards)], report)
    except BaseException as error:  # a cancelled run too says how it ended
        reason: Reason = "refused" if isinstance(error, Refused) else "failed" if isinstance(error, Exception) else "cancelled"
        ledger.ended(execution.ended(reason, _line(error)))
        raise
    ended = execution.ended(*(execution.stop or ("completed", "every chunk of the plan has an outcome")))
    ledger.ended(ended)
    report(f"deletion {ended}")
    return ended


@dataclass(slots=True, kw_only=True)
class _Execution:
    """One run of one plan. What several workers change stands under `lock`."""

    ledger: Ledger
    run_id: str
    deleter: Deleter
    limits: Limits
    guards: Sequence[Guard]
    newer: NewerObjects | None
    pace: Pace | None
    rest: timedelta
    report: Callable[[str], None]
    progress: Progress
    stopping: Event = field(default_factory=Event)
    began_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    lock: Lock = field(default_factory=Lock)
    stop: Stop | None = None
    begun: int = 0
    keys: int = 0
    chunks: int = 0

    def carry_out(self, chunks: Iterator[Chunk], *, concurrency: int) -> None:
        with ThreadPoolExecutor(concurrency, thread_name_prefix="chunk") as pool:
            under_way: set[Future[None]] = set()
            try:
                for number, planned in chunks:
                    if number == CANARY:
                        pool.submit(self._canary, planned).result()
                    elif self.ledger.finished(number):
                        self._count(planned)
                    else:
                        under_way.add(pool.submit(self._chunk, number, planned))
                    if len(under_way) >= concurrency + READ_AHEAD:
                        under_way = self._waited_for(under_way)
                    if self.stopping.is_set():
                        break
                while under_way:
                    under_way = self._waited_for(under_way)
            except BaseException as error:
                self._abandon()
                for raised in (other.exception() for other in under_way):
                    if raised is not None and raised is not error:
                        self.report(f"besides: {_line(raised)}")
                raise
        if self.stop is None:
            self.progress.finish()

    def ended(self, reason: Reason, words: str) -> Ended:
        return Ended(
            run_id=self.run_id,
            reason=reason,
            words=words,
            began_at=self.began_at,
            ended_at=datetime.now(UTC),
            keys=self.keys,
            chunks=self.chunks,
            requests=self.pace.requests if self.pace is not None else 0,
            slowed=self.pace.slowed if self.pace is not None else 0,
        )

    def _waited_for(self, under_way: set[Future[None]]) -> set[Future[None]]:
        done, left = wait(under_way, return_when=FIRST_COMPLETED)
        for future in done:
            future.result()
        return left

    def _canary(self, planned: list[Planned]) -> None:
        if not self.ledger.finished(CANARY):
            self._chunk(CANARY, planned)
            return
        self._count(planned)
        self._verify_canary()

    def _verify_canary(self) -> None:
        """Once, right after its outcome, since its keys may be brought back later on; by the next run where this one was killed before."""
        seen = self.ledger.folder / CANARY_SEEN
        if CANARY not in read_noted(seen):
            lines = self.ledger.recorded(CANARY)
            self.deleter.verify([one for one, _ in lines], [answer for _, answer in lines])
            write_noted(seen, NotedChunks(below=CANARY + 1))

    def _abandon(self) -> None:
        """The other workers bring the chunk in hand to its outcome if they can do so without waiting, and begin no other."""
        self.stopping.set()
        if self.pace is not None:
            self.pace.stopping.set()

    def _chunk(self, number: int, planned: list[Planned]) -> None:
        try:
            self._carry_out(number, planned)
        except BaseException:
            self._abandon()  # here, not where the error is seen: the next chunk may have this very worker
            raise

    def _carry_out(self, number: int, planned: list[Planned]) -> None:
        if not self._may_begin(len(planned)):
            return
        known = self.ledger.kept(number)
        unsettled = self.ledger.intent(number) is not None
        held = held_by([partial(guard.before, number) for guard in self.guards], [one for one in planned if one.key not in known])
        if unsettled and held:
            # An earlier run may have made them go before anybody held them, and what stands the store may yet take by that run's request,
            # however old the intent: it is of the first run that began the chunk, and before hours of copying.
            standing = {key: may_still_go(answer) for key, answer in held.items()}
            held |= self.deleter.as_left([one for one in planned if one.key in held], standing)
        self.ledger.intend(number, run_id=self.run_id, at=datetime.now(UTC))
        try:
            sent = [one for one in planned if one.key not in held]
            hold = partial(held_by, [partial(guard.before_request, number) for guard in self.guards])
            given = self.deleter(sent, unsettled=unsettled, known=known, hold=hold) if sent else []
            answered = dict(zip((one.key for one in sent), given, strict=True))
        except BaseException as error:  # also of a cancelled run: without its marker's id, an object of ours could only be called `unknown`
            self.ledger.keep(number, planned, known, at=datetime.now(UTC))
            if isinstance(error, Interrupted):
                return
            raise
        if self.newer is not None:
            answered |= self._uncovered(number, sent, answered, self.newer)
        answers = [held.get(one.key) or answered[one.key] for one in planned]
        self.ledger.record(number, planned, answers, at=datetime.now(UTC))
        self._count(planned, done=True)
        told = [partial(guard.after, number, planned, answers) for guard in self.guards]
        each_done([partial(self._refuse_what_went_wrong, number, planned, answers), *told], self.report)
        self.stopping.wait(self.rest.total_seconds())

    def _refuse_what_went_wrong(self, number: int, planned: Sequence[Planned], answers: Sequence[Answer]) -> None:
        try:
            lost = _without_marker(planned, answers) if self.deleter.leaves_markers else None
            if lost is not None:
                raise Refused(f"chunk {number}: {lost!r} is gone without a delete marker: was versioning suspended? Stopped at once")
            if number == CANARY:
                self._verify_canary()
        except BaseException:
            self._abandon()  # no other chunk begins while the guards look after this one
            raise

    def _uncovered(self, number: int, sent: Sequence[Planned], answered: Mapping[str, Answer], newer: NewerObjects) -> Mapping[str, Answer]:
        """What was answered, and what is about to be uncovered, is on disk before: a run that is killed here leaves the ids of our markers,
        and the next one looks, or a restore uncovers."""
        self.ledger.keep(number, sent, answered, at=datetime.now(UTC))
        hidden = newer.hidden(sent, answered)
        if hidden:
            self.ledger.keep(number, sent, {**answered, **hidden}, at=datetime.now(UTC))
        return {**hidden, **newer.uncovered({**answered, **hidden})}

    def _may_begin(self, coming: int) -> bool:
        """Waits for the rate; the limits are looked at last, so that no chunk is begun after an hour that has come meanwhile."""
        while not self.stopping.is_set():
            with self.lock:
                stop = self.limits.reached(begun=self.begun, coming=coming)
                if stop is not None:
                    self.stop = self.stop or stop
                    self.stopping.set()
                    return False
                pause = 0.0 if self.pace is None else self.pace.try_take(coming)
                if not pause:
                    self.begun += coming
                    return True
            self.stopping.wait(min(pause, LONGEST_SLEEP))
        return False

    def _count(self, planned: Sequence[Planned], *, done: bool = False) -> None:
        with self.lock:
            self.progress.add(len(planned))
            self.keys += len(planned) * done
            self.chunks += done


def each_done(todo: Sequence[Callable[[], object]], report: Callable[[str], None]) -> None:
    """Does all of it, whatever happens, then raises the first error: the one that the run ends for. The others are reported."""
    first: BaseException | None = None
    for do in todo:
        try:
            do()
        except BaseException as error:
            if first is None:
                first = error
            else:
                report(f"besides: {_line(error)}")
    if first is not None:
        raise first


def _line(error: BaseException) -> str:
    return str(error).partition("\n")[0] or type(error).__name__


def _refuse_after_a_loss(ledger: Ledger, of: LedgerPlan) -> None:
    """The chunk that it happened in is finished, so that a later run would pass over it and go on losing objects."""
    lost = ledger.first_without_marker()
    if lost is not None:
        raise Refused(
            f"plan {of.digest[:12]} of {of.prefix} goes no further: {lost!r}, and maybe others, went without a delete marker and are lost "
            "for good. Check that the bucket's versioning is enabled, not suspended, then run a new sweep"
        )


def _without_marker(planned: Sequence[Planned], answers: Sequence[Answer]) -> str | None:
    """Rule 12: no marker id means that versioning was suspended and the object is gone for good. The first key of which that is so."""
    gone = (one.key for one, answer in zip(planned, answers, strict=True) if answer.outcome in GONE and answer.version_id in NO_MARKER)
    return next(gone, None)
