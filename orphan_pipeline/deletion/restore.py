"""Takes back what a ledger says was deleted (rule 12): removes our delete marker, so that the object behind it is current again, and
looks whether it is. Only our own marker is ever removed, and only when the planned object is what it hides, or what stands there
although the marker was left behind (SeaweedFS does that when the connection breaks); a newer object is never touched.

`{bucket}/restores/{restore_id}/{chunk}.parquet`, one row a key: key, etag, size, last_modified, version_id (the marker), outcome,
code, at. It is written before the first marker goes and again with the outcomes. Later sweeps hold every object that stands there
as `restored`, whatever the outcome: somebody asked for it, so were it ever back, were it by a restore that was killed, it stays.

| outcome | meaning |
|---|---|
| restored | the planned object is current again |
| newer | another object has the key now: left alone |
| deleted_again | a later delete marker hides it: left alone |
| lost | the version is gone, or its marker has no id of its own (`null`: versioning was suspended): left alone |
| refused | the store would not remove the marker: code says how |
| unknown | gone with a marker that may be the application's: left alone, unless asked for with the key or `--include-unknown` |
| asked | the restore did not get as far as looking: run it again |
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import pyarrow as pa
import pyarrow.parquet as pq
from tenacity import RetryCallState, Retrying, retry_if_result, stop_after_attempt, wait_random_exponential

from orphan_pipeline.deletion.ledger import LEDGER, NO_MARKER
from orphan_pipeline.deletion.looking import Current, look, look_behind
from orphan_pipeline.deletion.requests import TRY_AGAIN, remove_markers
from orphan_pipeline.deletion.restore_notes import note_restore
from orphan_pipeline.deletion.selection import ledgers_to_restore
from orphan_pipeline.deletion.unfinished import settle_unfinished
from orphan_pipeline.duck import arrow_batches, duck, rows
from orphan_pipeline.errors import Refused
from orphan_pipeline.lake.files import make_folder, written_whole
from orphan_pipeline.lake.layout import BucketLake
from orphan_pipeline.progress import Progress

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

Restored = Literal["restored", "newer", "deleted_again", "lost", "refused", "unknown"]
ASKED = "asked"

Result = tuple[Restored, str | None]
"""With the store's code, where it refused."""

LEFT_UNKNOWN: Result = ("unknown", None)
KEYS_A_FILE = 1000
LOOKS_AT_ONCE = 16
ATTEMPTS = 6

RESTORABLE = """
SELECT key, etag, size, last_modified, version_id, outcome FROM read_parquet($files, hive_partitioning = false)
WHERE outcome IN ('deleted', 'unknown') AND ($key IS NULL OR key = $key)
QUALIFY row_number() OVER (PARTITION BY key ORDER BY "at" DESC) = 1
ORDER BY key
"""


BY_OUTCOME = "SELECT outcome, count(*) FROM read_parquet($files, hive_partitioning = false) GROUP BY outcome ORDER BY outcome"


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreTotals:
    restored: int
    newer: int
    deleted_again: int
    lost: int
    refused: int
    unknown: int


def restore_selected(
    client: "S3Client",
    bucket: str,
    *,
    lake: BucketLake,
    plan: str,
    prefix: str,
    key: str,
    include_unknown: bool,
    restore_id: str,
    report: Callable[[str], None],
) -> RestoreTotals:
    """Restores what one plan, one prefix or one key lost, while none of its plans is carried out; chunks that a run left unfinished are
    settled first. Raises Refused for what cannot be restored, and while one of the plans is being carried out."""
    ledgers = ledgers_to_restore(lake, plan=plan, prefix=prefix, key=key)
    folder = lake.restore(restore_id)
    with ExitStack() as held:
        for ledger in ledgers:
            held.enter_context(ledger.exclusively())
        note_restore(folder, ledgers, plan=plan, prefix=prefix, key=key, at=datetime.now(UTC))
        for ledger in ledgers:
            settle_unfinished(client, bucket, lake=lake, ledger=ledger, report=report)
        files = [file for ledger in ledgers for file in ledger.parquet()]
        return restore(client, bucket, ledgers=files, key=key or None, include_unknown=include_unknown, folder=folder, report=report)


def restore(
    client: "S3Client",
    bucket: str,
    *,
    ledgers: list[str],
    key: str | None,
    include_unknown: bool,
    folder: Path,
    report: Callable[[str], None],
) -> RestoreTotals:
    """Brings back every key that these ledger files say was deleted, or just `key`. What is current already counts as restored, so
    a restore that was interrupted can be run again.

    Raises Refused when there is nothing to bring back, or when the store will not remove a marker.
    """
    totals: Counter[Restored] = Counter()
    progress = Progress("restore", "keys", report)
    with ThreadPoolExecutor(LOOKS_AT_ONCE) as pool:
        for number, lines in enumerate(_restorable(ledgers, key, spill_under=folder)):
            file = folder / f"{number:08d}.parquet"
            _write(file, lines, [(ASKED, None)] * len(lines))
            # `unknown` may be the application's own delete: it is only brought back when somebody says so.
            sure = [line for line in lines if line["outcome"] == "deleted" or include_unknown or key is not None]
            found = dict(zip((line["key"] for line in sure), _restore_chunk(client, bucket, sure, pool), strict=True))
            outcomes = [found.get(line["key"], LEFT_UNKNOWN) for line in lines]
            _write(file, lines, outcomes)
            totals.update(outcome for outcome, _ in outcomes)
            progress.add(len(lines))
    progress.finish()
    if not totals:
        raise Refused(f"restore: the ledger says of no object{f' with the key {key!r}' if key else ''} that it was deleted")
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
    make_folder(spill_under)
    with duck(spill_under) as connection:
        for batch in arrow_batches(connection, RESTORABLE, {"files": ledgers, "key": key}, rows_each=KEYS_A_FILE):
            yield batch.to_pylist()


def _restore_chunk(client: "S3Client", bucket: str, lines: list[dict[str, Any]], pool: ThreadPoolExecutor) -> list[Result]:
    """Two requests a key: what stands there, and what stands there after the markers are gone."""
    before = list(pool.map(lambda line: look_behind(client, bucket, line["key"]), lines))
    ours = [line for line, current in zip(lines, before, strict=True) if _ours_to_remove(line, current)]
    refused = _remove(client, bucket, {line["key"]: line["version_id"] for line in ours})
    gone = [line["key"] for line in ours if line["key"] not in refused]
    after = dict(zip(gone, pool.map(lambda key: look(client, bucket, key), gone), strict=True))
    return [
        ("refused", refused[line["key"]]) if line["key"] in refused else (_outcome(line, after.get(line["key"], current)), None)
        for line, current in zip(lines, before, strict=True)
    ]


def _ours_to_remove(line: dict[str, Any], current: Current) -> bool:
    """Were anything else behind the marker, its removal would bring back what the application had replaced."""
    ours: str | None = line["version_id"]
    planned_is_next = line["etag"] == (current.etag if current.marker is None else current.behind)
    # An object can have the version id `null` too, so that removing it could remove an object.
    return ours not in NO_MARKER and ours in current.markers and current.marker in (None, ours) and planned_is_next


def _remove(client: "S3Client", bucket: str, markers: dict[str, str]) -> dict[str, str]:
    """Gives the store's code for each key whose marker it will not remove; the other keys go on."""
    left = dict(markers)
    final: dict[str, str] = {}

    def remove_the_rest() -> bool:
        refused = remove_markers(client, bucket, left)
        final.update({key: code for key, code in refused.items() if code not in TRY_AGAIN})
        for key in left.keys() - refused.keys() | final.keys():
            left.pop(key, None)
        return bool(left)

    Retrying(
        retry=retry_if_result(bool),
        stop=stop_after_attempt(ATTEMPTS),
        wait=wait_random_exponential(multiplier=0.5, max=20),
        retry_error_callback=_give_up,
    )(remove_the_rest)
    return final


def _give_up(_: RetryCallState) -> bool:
    raise Refused(f"restore: the store is still too busy to remove delete markers after {ATTEMPTS} attempts: run it again later")


def _outcome(line: dict[str, Any], current: Current) -> Restored:
    if current.etag is not None:
        return "restored" if current.etag == line["etag"] else "newer"
    return "lost" if current.marker in (None, line["version_id"]) else "deleted_again"


def _write(file: Path, lines: list[dict[str, Any]], outcomes: Sequence[tuple[str, str | None]]) -> None:
    now = datetime.now(UTC)
    table = pa.Table.from_pylist(
        [{**line, "outcome": outcome, "code": code, "at": now} for line, (outcome, code) in zip(lines, outcomes, strict=True)],
        schema=LEDGER,
    )
    with written_whole(file) as unfinished:
        pq.write_table(table, unfinished, compression="zstd")
