"""What was done with one key: every row of every ledger and every restore that names it. A ledger can have ten thousand files; each is in
the order of the keys, and so are their numbers, so that a few footers tell which one can hold the key."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pyarrow.parquet as pq

from orphan_pipeline.deletion.ledger import Ledger
from orphan_pipeline.deletion.undo.selection import may_own
from orphan_pipeline.lake.layout import BucketLake


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """One row. `what` is ledger, dry_run or restore; `of` the plan's digest or the restore's id; `file` lies in the bucket's lake."""

    what: str
    of: str
    sweep_id: str | None
    file: Path
    etag: str
    size: int
    last_modified: datetime
    outcome: str
    version_id: str | None
    code: str | None
    at: datetime


def done_with(lake: BucketLake, key: str) -> list[Done]:
    """In the order in which it was recorded."""
    found = [
        *(done for folder in lake.ledgers() for done in _of_ledger(folder, "ledger", key)),
        *(done for folder in sorted(lake.root.glob("dry_runs/*")) for done in _of_ledger(folder, "dry_run", key)),
        *(done for folder in lake.restores() for done in _rows_of(folder, _chunks(folder), "restore", None, key)),
    ]
    return sorted(found, key=lambda done: done.at)


def _of_ledger(folder: Path, what: str, key: str) -> list[Done]:
    plan = Ledger(folder).plan()
    if plan is not None and not may_own(plan.prefix, key):
        return []
    sweep_id = plan.sweep_id if plan is not None else None
    partial = [done for file in folder.glob("*.partial.parquet") for done in _rows_of(folder, [file], what, sweep_id, key)]
    return [*_rows_of(folder, _chunks(folder), what, sweep_id, key), *partial]


def _chunks(folder: Path) -> list[Path]:
    return sorted(folder.glob("*[0-9].parquet"))


def _rows_of(folder: Path, files: Sequence[Path], what: str, sweep_id: str | None, key: str) -> list[Done]:
    # The last file whose first key is not beyond ours is the only one that can hold it.
    place = bisect_right(files, key, key=_first_key) - 1
    if place < 0:
        return []
    table = pq.ParquetFile(files[place]).read()
    return [
        Done(
            what=what,
            of=folder.name,
            sweep_id=sweep_id,
            file=files[place],
            **{name: line[name] for name in ("etag", "size", "last_modified", "outcome", "version_id", "code", "at")},
        )
        for line in table.to_pylist()
        if line["key"] == key
    ]


def _first_key(file: Path) -> str:
    batch = next(pq.ParquetFile(file).iter_batches(batch_size=1, columns=["key"]))
    first: str = batch["key"][0].as_py()
    return first
