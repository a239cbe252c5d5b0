"""Carries out one plan, chunk by chunk: intent, request, answers, outcome, next. It can be killed anywhere and run again: finished
chunks are skipped, an unfinished one is settled first. Whether the plan may be carried out at all is decided before (authorise.py),
what is said to the store is in deleter.py."""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Protocol

import pyarrow.parquet as pq

from orphan_pipeline.deletion.ledger import GONE, NO_MARKER, Answer, Ledger, LedgerPlan, Planned
from orphan_pipeline.errors import Refused
from orphan_pipeline.progress import Progress

PLAN_COLUMNS = ["chunk", "key", "etag", "size", "last_modified"]
ROWS_A_READ = 10_000


class Deleter(Protocol):
    """Makes the planned objects of one chunk go, or pretends to; one answer a key, in order. `unsettled`: an earlier run may have
    sent this chunk already. `known`: the answers that are final, which it takes over and adds to as they come, so that they are not
    lost with an exception."""

    def __call__(self, planned: Sequence[Planned], *, unsettled: bool, known: dict[str, Answer]) -> list[Answer]: ...


def chunks_of(plan: Path) -> Iterator[tuple[int, list[Planned]]]:
    """The plan's chunks in order, read in a stream: one chunk and one read-ahead are in memory.

    Raises ValueError when a chunk's rows do not stand together: the rest of it would be taken for finished, and never be deleted.
    """
    last = -1
    batches = pq.ParquetFile(plan).iter_batches(batch_size=ROWS_A_READ, columns=PLAN_COLUMNS)
    lines = (line for batch in batches for line in batch.to_pylist())
    for chunk, members in groupby(lines, key=lambda line: line["chunk"]):
        if chunk <= last:
            raise ValueError(f"{plan}: chunk {chunk} comes after chunk {last}")
        last = chunk
        yield (
            chunk,
            [Planned(line["key"], line["etag"], line["size"], line["last_modified"]) for line in members],
        )


def execute_plan(
    plan: Path,
    *,
    ledger: Ledger,
    of: LedgerPlan,
    run_id: str,
    deleter: Deleter,
    keys: int,
    expires_at: datetime,
    report: Callable[[str], None],
) -> None:
    """Every chunk of the plan ends with an outcome in the ledger. Errors rise; what was done until then is recorded. Raises Refused
    when the ledger is not `of` this plan, and when the plan expires on the way: one that has begun may finish until then, and no
    longer (rule 9), and when a former run of it lost an object for good."""
    ledger.begin(of)
    if of.mode == "versioned":
        _refuse_after_a_loss(ledger, of)
    progress = Progress("deletion", "keys", report, total=keys)
    for chunk, planned in chunks_of(plan):
        if not ledger.finished(chunk):
            if datetime.now(UTC) >= expires_at:
                raise Refused(f"the plan expired at {expires_at:%Y-%m-%d %H:%M} UTC before chunk {chunk}: run a new sweep for the rest")
            unsettled = ledger.intent(chunk) is not None
            ledger.intend(chunk, run_id=run_id, at=datetime.now(UTC))
            answers = _answered(chunk, planned, ledger=ledger, deleter=deleter, unsettled=unsettled)
            ledger.record(chunk, planned, answers, at=datetime.now(UTC))
            if of.mode == "versioned":
                _stop_without_markers(chunk, planned, answers)
        progress.add(len(planned))
    progress.finish()


def _answered(chunk: int, planned: Sequence[Planned], *, ledger: Ledger, deleter: Deleter, unsettled: bool) -> list[Answer]:
    known = ledger.kept(chunk)
    try:
        return deleter(planned, unsettled=unsettled, known=known)
    except BaseException:  # also of a cancelled run: without the id of its marker an object of ours could only be called `unknown`
        ledger.keep(chunk, planned, known, at=datetime.now(UTC))
        raise


def pretend(planned: Sequence[Planned], *, unsettled: bool, known: dict[str, Answer]) -> list[Answer]:
    """Dry run: nothing is sent."""
    return [Answer("would_delete")] * len(planned)


def _refuse_after_a_loss(ledger: Ledger, of: LedgerPlan) -> None:
    """The chunk that it happened in is finished, so that a later run would pass over it and go on losing objects."""
    lost = ledger.first_without_marker()
    if lost is not None:
        raise Refused(
            f"plan {of.digest[:12]} of {of.prefix} goes no further: {lost!r}, and maybe others, went without a delete marker and are lost "
            "for good. Check that the bucket's versioning is enabled, not suspended, then run a new sweep"
        )


def _stop_without_markers(chunk: int, planned: Sequence[Planned], answers: Sequence[Answer]) -> None:
    """Rule 12: no marker id means that versioning was suspended and the object is gone for good. Stop before the next chunk."""
    for one, answer in zip(planned, answers, strict=True):
        if answer.outcome in GONE and answer.version_id in NO_MARKER:
            raise Refused(f"chunk {chunk}: {one.key!r} is gone without a delete marker: was versioning suspended? Stopped at once")
