"""Carries out one plan, chunk by chunk: intent, request, answers, outcome, next. It can be killed anywhere and run again: finished
chunks are skipped, an unfinished one is settled first. Whether the plan may be carried out at all is decided before (authorise.py),
what is said to the store is in deleter.py."""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Protocol

import pyarrow.parquet as pq

from orphan_pipeline.deletion.ledger import Answer, Ledger, LedgerPlan, Planned
from orphan_pipeline.errors import Refused
from orphan_pipeline.progress import Progress

PLAN_COLUMNS = ["chunk", "key", "etag", "size", "last_modified"]
ROWS_A_READ = 10_000
GONE = ("deleted", "unknown")
NO_MARKER = (None, "null")
"""What a store answers when versioning is off or suspended (SeaweedFS and S3 give the marker the id `null`: the object is lost)."""


class Deleter(Protocol):
    """Makes the planned objects of one chunk go, or pretends to; one answer a key, in order. `unsettled`: an earlier run may have
    sent this chunk already."""

    def __call__(self, planned: Sequence[Planned], *, unsettled: bool) -> list[Answer]: ...


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
    longer (rule 9)."""
    ledger.begin(of)
    progress = Progress("deletion", "keys", report, total=keys)
    for chunk, planned in chunks_of(plan):
        if not ledger.finished(chunk):
            if datetime.now(UTC) >= expires_at:
                raise Refused(f"the plan expired at {expires_at:%Y-%m-%d %H:%M} UTC before chunk {chunk}: run a new sweep for the rest")
            unsettled = ledger.intent(chunk) is not None
            ledger.intend(chunk, run_id=run_id, at=datetime.now(UTC))
            answers = deleter(planned, unsettled=unsettled)
            ledger.record(chunk, planned, answers, at=datetime.now(UTC))
            _stop_without_markers(chunk, planned, answers)
        progress.add(len(planned))
    progress.finish()


def pretend(planned: Sequence[Planned], *, unsettled: bool) -> list[Answer]:
    """Dry run: nothing is sent."""
    return [Answer("would_delete")] * len(planned)


def _stop_without_markers(chunk: int, planned: Sequence[Planned], answers: Sequence[Answer]) -> None:
    """Rule 12: no marker id means that versioning was suspended and the object is gone for good. Stop before the next chunk."""
    for one, answer in zip(planned, answers, strict=True):
        if answer.outcome in GONE and answer.version_id in NO_MARKER:
            raise Refused(f"chunk {chunk}: {one.key!r} is gone without a delete marker: was versioning suspended? Stopped at once")
