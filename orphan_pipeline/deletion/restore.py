"""Takes back what a ledger says was deleted (rule 12): removes our delete marker, so that the object behind it is current again, and
looks whether it is. Only our own marker is ever removed, and only while it is what hides the key; a newer object is never touched.

`{bucket}/restores/{restore_id}/{chunk}.parquet`, one row a key: key, etag, size, last_modified, version_id (the marker), outcome,
code, at. Later sweeps hold what stands there as `restored`.

| outcome | meaning |
|---|---|
| restored | the planned object is current again |
| newer | another object has the key now: left alone |
| deleted_again | a later delete marker, not ours, hides it: left alone |
| lost | neither is there: the version is gone |
"""

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import pyarrow as pa
import pyarrow.parquet as pq

from orphan_pipeline.deletion.ledger import LEDGER, Ledger
from orphan_pipeline.deletion.looking import look
from orphan_pipeline.duck import arrow_batches, duck, rows
from orphan_pipeline.errors import Refused
from orphan_pipeline.lake.files import written_whole
from orphan_pipeline.lake.layout import BucketLake
from orphan_pipeline.orphans.manifest import read_manifests
from orphan_pipeline.progress import Progress

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

Restored = Literal["restored", "newer", "deleted_again", "lost"]
KEYS_A_FILE = 1000
LOOKS_AT_ONCE = 16

# `unknown` may be the application's own delete: only a key that somebody names is brought back from it.
RESTORABLE = """
SELECT key, etag, size, last_modified, version_id FROM read_parquet($files)
WHERE version_id IS NOT NULL AND (outcome = 'deleted' OR (outcome = 'unknown' AND key = $key))
  AND ($key IS NULL OR key = $key)
QUALIFY row_number() OVER (PARTITION BY key ORDER BY "at" DESC) = 1
ORDER BY key
"""


BY_OUTCOME = "SELECT outcome, count(*) FROM read_parquet($files) GROUP BY outcome ORDER BY outcome"


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreTotals:
    restored: int
    newer: int
    deleted_again: int
    lost: int


def ledgers_to_restore(lake: BucketLake, *, plan: str = "", prefix: str = "", key: str = "") -> list[str]:
    """The ledger files that hold what was deleted by one plan, under one prefix, or of one key (all of them: the latest delete of a
    key counts). Raises Refused unless exactly one is named and something was deleted."""
    named = [(kind, value) for kind, value in (("plan", plan), ("prefix", prefix), ("key", key)) if value]
    if len(named) != 1:
        raise Refused(f"restore: found {len(named)} of plan, prefix and key, expected exactly one of them")
    folders = lake.ledgers()
    if plan:
        folders = [folder for folder in folders if folder.name.startswith(plan)]
    elif prefix:
        plans = {entry.digest for manifest in read_manifests(lake) for entry in manifest.plans.values() if entry.prefix == prefix}
        folders = [folder for folder in folders if folder.name in plans]
    files = [file for folder in folders for file in Ledger(folder).parquet()]
    if not files:
        raise Refused(f"restore: no ledger says that anything of {named[0][0]} {named[0][1]!r} was deleted")
    return files


def restore(
    client: "S3Client",
    bucket: str,
    *,
    ledgers: list[str],
    key: str | None,
    folder: Path,
    report: Callable[[str], None],
) -> RestoreTotals:
    """Brings back every key that these ledger files say was deleted, or just `key`. What is current already counts as restored, so
    a restore that was interrupted can be run again."""
    totals: Counter[Restored] = Counter()
    progress = Progress("restore", "keys", report)
    for number, lines in enumerate(_restorable(ledgers, key, spill_under=folder)):
        with ThreadPoolExecutor(LOOKS_AT_ONCE) as pool:
            outcomes = list(pool.map(lambda line: _restore_one(client, bucket, line), lines))
        with written_whole(folder / f"{number:08d}.parquet") as unfinished:
            pq.write_table(_as_table(lines, outcomes), unfinished, compression="zstd")
        totals.update(outcomes)
        progress.add(len(lines))
    progress.finish()
    return RestoreTotals(**{outcome: totals[outcome] for outcome in get_args(Restored)})


def restore_totals(lake: BucketLake, restore_id: str) -> dict[str, int]:
    """Keys by outcome of one restore, from what it recorded."""
    files = sorted(str(path) for path in lake.restore(restore_id).glob("*.parquet"))
    if not files:
        return {}
    with duck(lake.restore(restore_id)) as connection:
        return dict(rows(connection, BY_OUTCOME, {"files": files}))


def _restorable(ledgers: list[str], key: str | None, *, spill_under: Path) -> Iterator[list[dict[str, Any]]]:
    if not ledgers:
        return
    spill_under.mkdir(parents=True, exist_ok=True)
    with duck(spill_under) as connection:
        for batch in arrow_batches(connection, RESTORABLE, {"files": ledgers, "key": key}, rows_each=KEYS_A_FILE):
            yield batch.to_pylist()


def _restore_one(client: "S3Client", bucket: str, line: dict[str, Any]) -> Restored:
    current = look(client, bucket, line["key"])
    if current.marker == line["version_id"]:
        client.delete_object(Bucket=bucket, Key=line["key"], VersionId=line["version_id"])
        current = look(client, bucket, line["key"])
    if current.etag is not None:
        return "restored" if current.etag == line["etag"] else "newer"
    return "lost" if current.marker is None else "deleted_again"


def _as_table(lines: list[dict[str, Any]], outcomes: list[Restored]) -> pa.Table:
    now = datetime.now(UTC)
    return pa.Table.from_pylist(
        [{**line, "outcome": outcome, "code": None, "at": now} for line, outcome in zip(lines, outcomes, strict=True)],
        schema=LEDGER,
    )
