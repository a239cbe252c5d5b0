"""Takes back what ledgers say was deleted (rule 12), chunk by chunk, several at once. How one chunk comes back is in chunk.py.

`{bucket}/restores/{restore_id}/{chunk}.parquet`, one row a key: the ledger's columns with the outcome of the restore (outcomes.py). It
is written before the first object comes back and again with the outcomes. Later sweeps hold every object that stands there as
`restored`, whatever the outcome: somebody asked for it, so were it ever back, were it by a restore that was killed, it stays.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from orphan_pipeline.deletion.ledger import GONE, LEDGER, Planned
from orphan_pipeline.deletion.permanent import PERMANENT
from orphan_pipeline.deletion.sending import UNANSWERED
from orphan_pipeline.deletion.settle import settle
from orphan_pipeline.deletion.undo.chunk import bring_back
from orphan_pipeline.deletion.undo.notes import note_restore
from orphan_pipeline.deletion.undo.outcomes import ASKED, Line, RestoreTotals, Result
from orphan_pipeline.deletion.undo.sample import check_sample
from orphan_pipeline.deletion.undo.selection import Selection, ledgers_to_restore
from orphan_pipeline.deletion.undo.unfinished import settle_unfinished
from orphan_pipeline.duck import arrow_batches, duck, rows
from orphan_pipeline.errors import Refused
from orphan_pipeline.lake.files import make_folder, written_whole
from orphan_pipeline.lake.layout import BucketLake
from orphan_pipeline.progress import Progress

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

STANDS = "failed"
"""Outcome of a line whose planned object was looked at and was not deleted."""

KEYS_A_FILE = 1000
CHUNKS_AT_ONCE = 4
REQUESTS_AT_ONCE = 32

RESTORABLE = """
SELECT key, etag, size, last_modified, version_id, outcome, code, "copy", copy_version
FROM read_parquet($files, hive_partitioning = false, union_by_name = true)
WHERE (list_contains($gone, outcome) OR list_contains($unanswered, split_part(code, ':', 1)))
  AND coalesce(code, '') != $permanent
  AND ($keys IS NULL OR list_contains($keys, key))
  AND ($since IS NULL OR "at" >= $since) AND ($until IS NULL OR "at" < $until)
QUALIFY row_number() OVER (PARTITION BY key ORDER BY "at" DESC) = 1
ORDER BY key
"""
BY_OUTCOME = "SELECT outcome, count(*) FROM read_parquet($files, hive_partitioning = false) GROUP BY outcome ORDER BY outcome"


@dataclass(frozen=True, slots=True, kw_only=True)
class Which:
    """Of the rows of some ledgers, which are meant. None: all."""

    keys: Sequence[str] | None = None
    since: datetime | None = None
    until: datetime | None = None


def restore_selected(
    client: "S3Client",
    bucket: str,
    *,
    lake: BucketLake,
    selection: Selection,
    include_unknown: bool,
    restore_id: str,
    go_on: Callable[[], None],
    report: Callable[[str], None],
    sample: int = 0,
) -> RestoreTotals:
    """Restores what was selected, while none of its plans is carried out; chunks that a run left unfinished are settled first. Of what
    came back, the content of `sample` objects is read and compared. Raises Refused for what cannot be restored, while one of the plans
    is being carried out, and for content that differs; and what `go_on` raises, which is asked before each chunk."""
    ledgers = ledgers_to_restore(lake, selection, report=report)
    folder = lake.restore(restore_id)
    with ExitStack() as held:
        for ledger in ledgers:
            held.enter_context(ledger.exclusively())
        note_restore(folder, ledgers, selection, at=datetime.now(UTC))
        for ledger in ledgers:
            settle_unfinished(client, bucket, lake=lake, ledger=ledger, report=report)
        totals = restore(
            client,
            bucket,
            ledgers=[file for ledger in ledgers for file in ledger.parquet()],
            which=Which(keys=[selection.key] if selection.key else None, since=selection.since, until=selection.until),
            include_unknown=include_unknown or bool(selection.key),
            folder=folder,
            go_on=go_on,
            report=report,
        )
        if not totals.standing and not any(lake.restore(restore_id).glob("*.parquet")):
            raise Refused(
                f"restore: the ledger says of no object{f' with the key {selection.key!r}' if selection.key else ''} that it was deleted"
            )
    if sample:
        check_sample(client, bucket, [str(file) for file in folder.glob("*.parquet")], folder=folder, objects=sample, report=report)
    return totals


def restore(
    client: "S3Client",
    bucket: str,
    *,
    ledgers: list[str],
    which: Which,
    include_unknown: bool,
    folder: Path,
    go_on: Callable[[], None],
    report: Callable[[str], None],
) -> RestoreTotals:
    """Brings back the keys of these ledger files that are meant. What is current already counts as restored, so a restore that was
    interrupted can be run again. Raises Refused when the store stays too busy, and what `go_on` raises, which is asked before each chunk:
    no other begins then."""
    outcomes: Counter[str] = Counter()
    standing: list[int] = []
    progress = Progress("restore", "keys", report)
    with ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool, ThreadPoolExecutor(CHUNKS_AT_ONCE) as chunks:

        def one_chunk(number: int, lines: list[Line]) -> list[Result]:
            go_on()
            file, named = folder / f"{number:08d}.parquet", which.keys is not None
            lines = _looked_up(client, bucket, lines, pool)
            if not named:  # what stands is neither brought back nor held; who named its key is told that it is back
                standing.append(sum(line["outcome"] not in GONE for line in lines))
                lines = [line for line in lines if line["outcome"] in GONE]
            return restore_lines(client, bucket, lines, include_unknown=include_unknown, named=named, file=file, pool=pool)

        under_way: set[Future[list[Result]]] = set()
        for number, lines in enumerate(restorable(ledgers, which, spill_under=folder)):
            under_way.add(chunks.submit(one_chunk, number, lines))
            if len(under_way) > CHUNKS_AT_ONCE:
                done, under_way = wait(under_way, return_when=FIRST_COMPLETED)
                outcomes += _counted(done, progress)
        outcomes += _counted(under_way, progress)
    progress.finish()
    totals = replace(RestoreTotals.of(outcomes), standing=sum(standing))
    if totals.standing:
        report(f"restore: {totals.standing:,} objects stand, but the store may yet carry out a request for them: run this again later")
    return totals


def restore_lines(
    client: "S3Client", bucket: str, lines: list[Line], *, include_unknown: bool, named: bool, file: Path, pool: ThreadPoolExecutor
) -> list[Result]:
    """One chunk, recorded before and after."""
    if not lines:
        return []
    write_results(file, lines, [ASKED] * len(lines))
    # `unknown` may be the application's own delete: it is only brought back when somebody says so.
    sure = [line for line in lines if line["outcome"] == "deleted" or include_unknown]
    found = dict(
        zip(
            (line["key"] for line in sure),
            bring_back(client, bucket, sure, pool, named=named, include_unknown=include_unknown),
            strict=True,
        )
    )
    results = [found.get(line["key"], Result("unknown")) for line in lines]
    write_results(file, lines, results)
    return results


def _looked_up(client: "S3Client", bucket: str, lines: list[Line], pool: ThreadPoolExecutor) -> list[Line]:
    """Of keys that stood when they were last looked at, though a request for them may have been on its way: what became of them since."""
    stood = [line for line in lines if line["outcome"] not in GONE]

    def look_up(line: Line) -> Line:
        became = settle(client, bucket, Planned(line["key"], line["etag"], line["size"], line["last_modified"]))
        if became is None:
            return {**line, "outcome": STANDS}
        return {**line, "outcome": "unknown" if became.outcome == "missing" else became.outcome, "version_id": became.version_id}

    looked = dict(zip((line["key"] for line in stood), pool.map(look_up, stood), strict=True))
    return [looked.get(line["key"], line) for line in lines]


def restorable(ledgers: list[str], which: Which, *, spill_under: Path) -> Iterator[list[Line]]:
    """What these files say was deleted, or may have been since, and can be brought back, by key, the latest line of each."""
    if not ledgers:
        return
    make_folder(spill_under)
    parameters = {
        "files": ledgers,
        "keys": None if which.keys is None else list(which.keys),
        "since": which.since,
        "until": which.until,
        "permanent": PERMANENT,
        "gone": list(GONE),
        "unanswered": list(UNANSWERED),
    }
    with duck(spill_under) as connection:
        for batch in arrow_batches(connection, RESTORABLE, parameters, rows_each=KEYS_A_FILE):
            yield batch.to_pylist()


def restore_totals(lake: BucketLake, restore_id: str) -> dict[str, int]:
    """Keys by outcome of one restore, from what it recorded."""
    files = sorted(str(path) for path in lake.restore(restore_id).glob("*.parquet"))
    if not files:
        return {}
    with duck(lake.restore(restore_id)) as connection:
        return dict(rows(connection, BY_OUTCOME, {"files": files}))


def _counted(done: Iterable[Future[list[Result]]], progress: Progress) -> Counter[str]:
    counted: Counter[str] = Counter(result.outcome for chunk in done for result in chunk.result())
    progress.add(counted.total())
    return counted


def write_results(file: Path, lines: list[Line], results: Sequence[Result]) -> None:
    now = datetime.now(UTC)
    table = pa.Table.from_pylist(
        [
            {**line, "etag": result.etag or line["etag"], "outcome": result.outcome, "code": result.code, "at": now}
            for line, result in zip(lines, results, strict=True)
        ],
        schema=LEDGER,
    )
    with written_whole(file) as unfinished:
        pq.write_table(table, unfinished, compression="zstd")
