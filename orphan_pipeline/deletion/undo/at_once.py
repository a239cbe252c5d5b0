"""Brings single keys back while their plan is still carried out: for whoever finds, after a chunk, that a key became referenced (rule
10), or that a newer object was hidden (rule 11). Recorded as a restore like any other."""

import uuid
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

import pyarrow.parquet as pq

from orphan_pipeline.deletion.ledger import GONE, Ledger
from orphan_pipeline.deletion.permanent import PERMANENT
from orphan_pipeline.deletion.undo.notes import note_at_once
from orphan_pipeline.deletion.undo.outcomes import Line
from orphan_pipeline.deletion.undo.restore import REQUESTS_AT_ONCE, restore_lines
from orphan_pipeline.lake.layout import BucketLake

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


@dataclass(frozen=True, slots=True)
class Reason:
    """Why keys come back while their plan is carried out, and what their restore is called after the run's id."""

    name: str
    words: str


REFERENCED_AGAIN = Reason("asked-again", "referenced again after it was deleted (rule 10)")
WRITTEN_MEANWHILE = Reason("uncovered", "a newer object was written in the moment of its delete (rule 11)")

BringBack = Callable[[Collection[str], Collection[int]], Mapping[str, str]]
"""Restores these keys of these chunks of a ledger at once; what became of each, as in outcomes.py."""


def bringing_back(client: "S3Client", bucket: str, reason: Reason, *, lake: BucketLake, ledger: Ledger, run_id: str) -> BringBack:
    """From this ledger only."""
    restore_id = f"{run_id}-{reason.name}"
    return partial(restore_keys, client, bucket, lake=lake, ledger=ledger, why=reason.words, restore_id=restore_id)


def restore_keys(
    client: "S3Client",
    bucket: str,
    keys: Collection[str],
    chunks: Collection[int],
    *,
    lake: BucketLake,
    ledger: Ledger,
    why: str,
    restore_id: str,
) -> dict[str, str]:
    """Brings these keys of these chunks back, never over a newer object, whose outcome is in the ledger as `deleted`; one that is `unknown`
    may have been deleted by the application itself, and stays so (rule 13). Takes no lock: the caller's run holds the ledger.
    Thread-safe; several calls may share one restore. A key that the ledger does not know as deleted, or that went for good, is `lost`."""
    folder = lake.restore(restore_id)
    note_at_once(folder, ledger, why=why, at=datetime.now(UTC))
    lines = sorted(_lines(ledger, frozenset(keys), chunks), key=lambda line: line["key"].encode())
    outcomes: dict[str, str] = dict.fromkeys(keys, "lost")
    if lines:
        with ThreadPoolExecutor(min(REQUESTS_AT_ONCE, len(lines))) as pool:
            file = folder / f"{uuid.uuid4().hex}.parquet"
            results = restore_lines(client, bucket, lines, include_unknown=False, named=False, file=file, pool=pool)
        outcomes |= {line["key"]: result.outcome for line, result in zip(lines, results, strict=True)}
    return outcomes


def _lines(ledger: Ledger, keys: frozenset[str], chunks: Collection[int]) -> Iterator[Line]:
    for file in ledger.parquet():
        if ledger.chunk_of(file) in chunks:
            for line in pq.read_table(file, filters=[("key", "in", keys)]).to_pylist():
                if line["outcome"] in GONE and line["code"] != PERMANENT:
                    yield {"copy": None, "copy_version": None, **line}
