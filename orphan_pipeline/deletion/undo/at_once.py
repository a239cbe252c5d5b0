"""Brings single keys back while their plan is still carried out: for whoever finds, after a chunk, that a key became referenced (rule
10). Recorded as a restore like any other."""

import uuid
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pyarrow.parquet as pq

from orphan_pipeline.deletion.ledger import Ledger
from orphan_pipeline.deletion.permanent import PERMANENT
from orphan_pipeline.deletion.undo.notes import note_at_once
from orphan_pipeline.deletion.undo.outcomes import Line, RestoreTotals
from orphan_pipeline.deletion.undo.restore import REQUESTS_AT_ONCE, restore_lines
from orphan_pipeline.lake.layout import BucketLake

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

CAN_COME_BACK = ("deleted", "unknown")


@dataclass(frozen=True, slots=True)
class RestoredKeys:
    """What became of each key that was asked for, as in outcomes.py."""

    outcomes: Mapping[str, str]

    @property
    def totals(self) -> RestoreTotals:
        return RestoreTotals.of(Counter(self.outcomes.values()))

    @property
    def missing(self) -> tuple[str, ...]:
        """Asked for, and nothing stands there now."""
        return tuple(key for key, outcome in self.outcomes.items() if outcome not in ("restored", "newer"))


def restore_keys(
    client: "S3Client",
    bucket: str,
    *,
    lake: BucketLake,
    ledger: Ledger,
    keys: Collection[str],
    why: str,
    restore_id: str,
    chunks: Collection[int] | None = None,
) -> RestoredKeys:
    """Brings these keys back, whose outcome is in the ledger as `deleted`; one that is `unknown` may have been deleted by the application
    itself, and stays so (rule 13). Takes no lock: the caller's run holds the ledger.
    Thread-safe; several calls may share one restore. `chunks`: the chunks that the keys are in; None: looked for in all. A key that the
    ledger does not know as deleted, or that went for good, is `lost`."""
    folder = lake.restore(restore_id)
    note_at_once(folder, ledger, why=why, at=datetime.now(UTC))
    lines = sorted(_lines(ledger, frozenset(keys), chunks), key=lambda line: line["key"].encode())
    outcomes: dict[str, str] = dict.fromkeys(keys, "lost")
    if lines:
        with ThreadPoolExecutor(min(REQUESTS_AT_ONCE, len(lines))) as pool:
            file = folder / f"{uuid.uuid4().hex}.parquet"
            results = restore_lines(client, bucket, lines, include_unknown=False, file=file, pool=pool)
        outcomes |= {line["key"]: result.outcome for line, result in zip(lines, results, strict=True)}
    return RestoredKeys(outcomes)


def _lines(ledger: Ledger, keys: frozenset[str], chunks: Collection[int] | None) -> Iterator[Line]:
    files = ledger.parquet()
    if chunks is not None:
        files = [file for file in files if ledger.chunk_of(file) in chunks]
    for file in files:
        for line in pq.read_table(file, filters=[("key", "in", keys)]).to_pylist():
            if line["outcome"] in CAN_COME_BACK and line["code"] != PERMANENT:
                yield {"copy": None, "copy_version": None, **line}
