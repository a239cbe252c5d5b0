"""Ends the undo: removes copies from quarantine that are older than the undo window. Which ones, the ledgers say; nothing is listed, and
what no ledger names is left where it is.

A copy stays as long as its delete is younger than the undo window, and as long as what was restored of it is held (see releases.py: a
restore that was killed may still need it). One whose original was left standing, though a request of a killed run may have been on its way,
stays for an undo window more where nothing stands by now: that request may have been carried out late, and then the copy is all that is
left.

`{bucket}/purges/{purge_id}/{chunk}.parquet`, one row a copy: key, copy, copy_version, etag (of the original, as planned), size, outcome
(`purged`, or `failed` with the store's code), at.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from orphan_pipeline.deletion.ledger import LEFT_STANDING, Busy, Ledger
from orphan_pipeline.deletion.quarantine.copying import Copier
from orphan_pipeline.deletion.quarantine.place import Place, Quarantine
from orphan_pipeline.deletion.requests import remove
from orphan_pipeline.deletion.sending import is_unanswered
from orphan_pipeline.deletion.undo.held import view_restored
from orphan_pipeline.deletion.undo.outcomes import Line
from orphan_pipeline.duck import arrow_batches, duck, rows, view_files
from orphan_pipeline.inventory.columns import TIME
from orphan_pipeline.inventory.snapshot import Amount
from orphan_pipeline.lake.columns import column
from orphan_pipeline.lake.files import make_folder, written_whole
from orphan_pipeline.lake.layout import BucketLake
from orphan_pipeline.progress import Progress

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

PURGED = pa.schema(
    [
        column("key", pa.string(), "of the original"),
        column("copy", pa.string(), "s3://bucket/key of the copy"),
        column("copy_version", pa.string(), "its version id, where the quarantine keeps versions", nullable=True),
        column("etag", pa.string(), "of the original, as planned"),
        column("size", pa.int64(), "bytes"),
        column("outcome", pa.string(), "purged, or failed: the next purge tries again"),
        column("code", pa.string(), "the store's error code", nullable=True),
        column("at", TIME, "when it was recorded"),
    ]
)
COPIES_A_REQUEST = 1000
LOOKS_AT_ONCE = 16
UPLOADS_LEFT = timedelta(days=1)
"""No copy takes so long; what was begun before is nobody's any more."""

FORMER_PURGES = {"copy": "VARCHAR", "outcome": "VARCHAR"}

# A copy whose original was not deleted after all is nobody's undo, and waits for the window like the others.
DUE = """
SELECT key, "copy", copy_version, etag, size, outcome, code, "at"
FROM read_parquet($ledgers, hive_partitioning = false, union_by_name = true) AS ledger
WHERE "copy" IS NOT NULL AND "at" < $before
  AND NOT EXISTS (FROM restored WHERE restored.key = ledger.key)
  AND NOT EXISTS (FROM purged WHERE purged."copy" = ledger."copy" AND purged.outcome = 'purged')
ORDER BY "copy"
"""
TOTALS = "SELECT outcome, count(*), coalesce(sum(size), 0)::BIGINT FROM read_parquet($files, hive_partitioning = false) GROUP BY outcome"


@dataclass(frozen=True, slots=True, kw_only=True)
class PurgeTotals:
    """`busy`: plans that are being carried out or restored right now, left for the next purge. `kept`: copies that may be all that is left
    of their objects, though by the ledger those were left standing: for an undo window more."""

    purged: Amount
    failed: Amount
    kept: int
    uploads: int
    busy: int


def purge(
    client: "S3Client",
    bucket: str,
    *,
    lake: BucketLake,
    undo_window: timedelta,
    now: datetime,
    purge_id: str,
    go_on: Callable[[], None],
    report: Callable[[str], None],
) -> PurgeTotals:
    """Removes every copy of objects of this bucket that is due, by the version that was made where the quarantine keeps versions, and
    aborts uploads that a killed run left there. Copies that the store will not remove are recorded and counted; boto3's errors rise, and
    what `go_on` raises, which is asked before each request."""
    folder = lake.purge(purge_id)
    progress = Progress("purge", "copies", report)
    number, busy, kept, first_kept = count(), 0, 0, ""
    for ledger in _with_copies(lake):
        try:
            with ledger.exclusively():  # no restore may lose its copy under its hands
                for due in _due(lake, ledger, before=now - undo_window, spill_under=folder):
                    left = _all_that_is_left(Copier(client=client), bucket, due, since=now - 2 * undo_window)
                    lines = [line for line in due if line["key"] not in left]
                    kept, first_kept = kept + len(left), first_kept or min(left, default="")
                    go_on()
                    if not lines:
                        continue
                    _record(folder / f"{next(number):08d}.parquet", lines, _removed(client, lines), at=now)
                    progress.add(len(lines))
        except Busy:
            busy += 1
    go_on()
    uploads = sum(_abort_uploads(client, quarantine, plans, before=now - UPLOADS_LEFT) for quarantine, plans in _quarantines(lake).items())
    progress.finish()
    if kept:
        report(
            f"purge: {kept:,} copies are kept for another undo window: by the ledger their objects were left standing, and now nothing "
            f"stands there. To bring one back: orphan-pipeline restore --key {first_kept!r}"
        )
    totals = _totals(folder)
    return PurgeTotals(
        purged=totals.get("purged", Amount(0, 0)),
        failed=totals.get("failed", Amount(0, 0)),
        kept=kept,
        uploads=uploads,
        busy=busy,
    )


def _with_copies(lake: BucketLake) -> Iterator[Ledger]:
    for ledger in map(Ledger, lake.ledgers()):
        plan = ledger.plan()
        if plan is not None and plan.quarantine is not None and ledger.parquet():
            yield ledger


def _quarantines(lake: BucketLake) -> dict[Quarantine, set[str]]:
    """Each with the digests of the plans that were carried out into it."""
    found: dict[Quarantine, set[str]] = {}
    for ledger in map(Ledger, lake.ledgers()):
        plan = ledger.plan()
        if plan is not None and plan.quarantine is not None:
            found.setdefault(Quarantine.of(plan.quarantine), set()).add(plan.digest)
    return found


def _due(lake: BucketLake, ledger: Ledger, *, before: datetime, spill_under: Path) -> Iterator[list[Line]]:
    make_folder(spill_under)
    with duck(spill_under) as connection:
        view_restored(connection, lake.restored_parquet(), lake.released_parquet())
        view_files(connection, "purged", lake.purged_parquet(), FORMER_PURGES)
        for batch in arrow_batches(connection, DUE, {"ledgers": ledger.parquet(), "before": before}, rows_each=COPIES_A_REQUEST):
            yield batch.to_pylist()


def _all_that_is_left(copier: Copier, bucket: str, due: Sequence[Line], *, since: datetime) -> set[str]:
    """The keys of those whose copies must not go yet. What was recorded before that moment was kept long enough."""

    def is_all(line: Line) -> bool:
        return copier.head(Place(bucket, line["key"])) is None and copier.head(Place.of(line["copy"], line["copy_version"])) is not None

    doubtful = [line for line in due if line["outcome"] in LEFT_STANDING and is_unanswered(line["code"]) and line["at"] >= since]
    with ThreadPoolExecutor(LOOKS_AT_ONCE) as pool:
        return {line["key"] for line, is_left in zip(doubtful, pool.map(is_all, doubtful), strict=True) if is_left}


def _removed(client: "S3Client", lines: Sequence[Line]) -> list[str | None]:
    """The store's code for each copy that it would not remove. One that is gone already counts as removed."""
    places = [Place.of(line["copy"], line["copy_version"]) for line in lines]
    codes: dict[Place, str] = {}
    for bucket in sorted({place.bucket for place in places}):
        there = {place.key: place for place in places if place.bucket == bucket}
        refused = remove(client, bucket, {key: place.version for key, place in there.items()})
        codes |= {there[key]: code for key, code in refused.items()}
    return [codes.get(place) for place in places]


def _abort_uploads(client: "S3Client", quarantine: Quarantine, plans: Collection[str], *, before: datetime) -> int:
    """Only of these plans' copies: others may have uploads of their own in the bucket."""
    aborted = 0
    for page in client.get_paginator("list_multipart_uploads").paginate(Bucket=quarantine.bucket, Prefix=quarantine.prefix):
        for upload in page.get("Uploads", []):
            if upload["Initiated"] < before and quarantine.holds_copy(upload["Key"], plans=plans):
                client.abort_multipart_upload(Bucket=quarantine.bucket, Key=upload["Key"], UploadId=upload["UploadId"])
                aborted += 1
    return aborted


def _record(file: Path, lines: Sequence[Line], codes: Sequence[str | None], *, at: datetime) -> None:
    said = [{"outcome": "failed" if code else "purged", "code": code, "at": at} for code in codes]
    table = pa.Table.from_pylist([{**line, **what} for line, what in zip(lines, said, strict=True)], schema=PURGED)
    with written_whole(file) as unfinished:
        pq.write_table(table, unfinished, compression="zstd")


def _totals(folder: Path) -> dict[str, Amount]:
    files = sorted(str(path) for path in folder.glob("*.parquet"))
    if not files:
        return {}
    with duck(folder) as connection:
        return {outcome: Amount(objects, size) for outcome, objects, size in rows(connection, TOTALS, {"files": files})}
