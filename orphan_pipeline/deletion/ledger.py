"""What happened to each key of each chunk, durable (rule 13). A chunk's intent is on disk before its request is sent, its outcome
before the next chunk; a run killed in between finds an intent without an outcome and settles it by looking at the store.

`plan.json`: whose ledger it is. `{chunk}.intent.json`: run, time. `{chunk}.partial.parquet`: the answers that were final when a run
broke off in the chunk; the next run takes them over. `{chunk}.parquet`, one row a key: key, etag, size, last_modified
(as planned), outcome, version_id (of the delete marker), code (the store's own word), at (UTC). `{run_id}.run.json`: how one run
ended (ending.py).

| outcome | meaning |
|---|---|
| deleted | the store confirmed it; version_id is our delete marker |
| would_delete | dry run |
| changed | not the planned object any more: left alone |
| missing | it was gone already |
| failed | the store refused; code says how |
| unknown | gone, with a marker that may be ours or the application's: counted, never restored unasked |
| referenced_again | asked again right before it was to go, a database needed it: left alone; code: the source, or `MayStillGo:` and it |
| held | a hook held it back: left alone; code: its reason, or `MayStillGo:` and it (sending.py) |
"""

import fcntl
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from orphan_pipeline.deletion.ending import Ended
from orphan_pipeline.duck import duck, rows
from orphan_pipeline.errors import Refused
from orphan_pipeline.inventory.columns import TIME
from orphan_pipeline.inventory.snapshot import Amount
from orphan_pipeline.lake.columns import column
from orphan_pipeline.lake.files import make_folder, read_document, write_document, written_whole

Mode = Literal["dry_run", "versioned", "quarantine", "permanent"]
Outcome = Literal["deleted", "would_delete", "changed", "missing", "failed", "unknown", "referenced_again", "held"]

LEDGER = pa.schema(
    [
        column("key", pa.string(), "as planned"),
        column("etag", pa.string(), "as planned, without quotes"),
        column("size", pa.int64(), "bytes, as planned"),
        column("last_modified", TIME, "as planned"),
        column("outcome", pa.string(), "what became of it, by the store's own answer"),
        column("version_id", pa.string(), "of the delete marker", nullable=True),
        column("code", pa.string(), "the store's error code; SettledByLooking, Unconditional; why it was held", nullable=True),
        column("at", TIME, "when it was recorded"),
        column("copy", pa.string(), "s3://bucket/key of the copy in quarantine", nullable=True),
        column("copy_version", pa.string(), "its version id, where the quarantine keeps versions", nullable=True),
    ]
)
PLAN = "plan.json"
RUN = ".run.json"
GONE = ("deleted", "unknown")
LEFT_STANDING = ("failed", "referenced_again", "held")
"""It stood when this was recorded. What is `changed` or `missing` was replaced or deleted by the application."""

NO_MARKER = (None, "null", "")
"""What a store answers when versioning is off or suspended (SeaweedFS and S3 give the marker the id `null`: the object is lost)."""

TOTALS = """
SELECT outcome, count(*), coalesce(sum(size), 0)::BIGINT FROM read_parquet($files, hive_partitioning = false)
GROUP BY outcome ORDER BY outcome
"""

WITHOUT_MARKER = """
SELECT key FROM read_parquet($files, hive_partitioning = false)
WHERE list_contains($gone, outcome) AND coalesce(version_id, '') IN ('', 'null') ORDER BY key LIMIT 1
"""


@dataclass(frozen=True, slots=True)
class Planned:
    """One object as the plan saw it."""

    key: str
    etag: str
    size: int
    last_modified: datetime


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one key. `code` is the store's error code where there is one, `copy` where its copy in quarantine lies."""

    outcome: Outcome
    version_id: str | None = None
    code: str | None = None
    copy: str | None = None
    copy_version: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerPlan:
    """Which plan a ledger is of. It stands in the ledger itself, which may outlive the sweep that the plan came from."""

    bucket: str
    prefix: str
    sweep_id: str
    digest: str
    dry_run: bool
    mode: Mode = "versioned"
    quarantine: str | None = None
    """Of mode quarantine: where the copies go, whatever the settings say later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    run_id: str
    at: datetime


class Busy(Refused):
    """Another process of this host has the ledger."""


@dataclass(frozen=True, slots=True)
class Ledger:
    """The ledger of one plan."""

    folder: Path

    @property
    def begun(self) -> bool:
        return any(self.folder.glob("*.intent.json"))

    def begin(self, plan: LedgerPlan) -> None:
        """Notes whose ledger this is: on disk when this returns. Raises Refused when it is another plan's already."""
        noted = self.plan()
        if noted is None:
            write_document(self.folder / PLAN, LedgerPlan, plan)
        elif replace(noted, mode=plan.mode, quarantine=plan.quarantine) == plan and noted != plan:
            began, now = (" ".join(filter(None, (one.mode, one.quarantine))) for one in (noted, plan))
            raise Refused(
                f"plan {plan.digest[:12]} of {plan.prefix} was begun in mode {began}, found {now}: set it back or run a new sweep"
            )
        elif noted != plan:
            raise Refused(f"{self.folder}: found the ledger of {noted}, expected that of {plan}")

    def plan(self) -> LedgerPlan | None:
        """None for a ledger that nothing has gone into."""
        path = self.folder / PLAN
        return read_document(path, LedgerPlan) if path.is_file() else None

    def ended(self, end: Ended) -> None:
        """Notes how a run ended; what it did stands in the chunks."""
        write_document(self.folder / f"{end.run_id}{RUN}", Ended, end)

    def endings(self) -> list[Ended]:
        """How the runs of this plan ended, in the order in which they did. One that was killed left nothing."""
        found = [read_document(path, Ended) for path in self.folder.glob(f"*{RUN}")]
        return sorted(found, key=lambda end: end.ended_at)

    def recorded(self, chunk: int) -> list[tuple[Planned, Answer]]:
        """What a finished chunk says of each key."""
        lines = pq.ParquetFile(self._outcome(chunk)).read().to_pylist()
        return [(_planned(line), _answer(line)) for line in lines]

    def finished(self, chunk: int) -> bool:
        return self._outcome(chunk).is_file()

    def intent(self, chunk: int) -> Intent | None:
        path = self._intent(chunk)
        return read_document(path, Intent) if path.is_file() else None

    def intend(self, chunk: int, *, run_id: str, at: datetime) -> None:
        """On disk when this returns; only then may the request be sent. Of a chunk that was begun before, the first intent stays."""
        if self.intent(chunk) is None:
            write_document(self._intent(chunk), Intent, Intent(run_id=run_id, at=at))

    def unfinished(self) -> list[int]:
        """Chunks that were begun and have no outcome."""
        begun = sorted(int(path.name.partition(".")[0]) for path in self.folder.glob("*.intent.json"))
        return [chunk for chunk in begun if not self.finished(chunk)]

    def keep(self, chunk: int, planned: Sequence[Planned], known: Mapping[str, Answer], *, at: datetime) -> None:
        """What is known of an unfinished chunk, whole or absent."""
        final = [one for one in planned if one.key in known]
        if final:
            _write(self._partial(chunk), final, [known[one.key] for one in final], at=at)

    def kept(self, chunk: int) -> dict[str, Answer]:
        """What a run that broke off in this chunk knew, by key."""
        if not self._partial(chunk).is_file():
            return {}
        lines = pq.ParquetFile(self._partial(chunk)).read().to_pylist()
        return {line["key"]: _answer(line) for line in lines}

    def record(self, chunk: int, planned: Sequence[Planned], answers: Sequence[Answer], *, at: datetime) -> None:
        """The outcome of every key of the chunk, whole or absent."""
        _write(self._outcome(chunk), planned, answers, at=at)
        self._partial(chunk).unlink(missing_ok=True)

    def parquet(self) -> list[str]:
        """The outcomes, without what is only partial."""
        return sorted(str(path) for path in self.folder.glob("*[0-9].parquet"))

    @staticmethod
    def chunk_of(file: str) -> int:
        """Which chunk one of the files of `parquet` is of."""
        return int(Path(file).stem)

    def first_without_marker(self) -> str | None:
        """A key that is gone without a delete marker of its own, so for good; None when there is none."""
        files = [*self.parquet(), *map(str, self.folder.glob("*.partial.parquet"))]
        if not files:
            return None
        with duck(self.folder) as connection:
            found = rows(connection, WITHOUT_MARKER, {"files": files, "gone": list(GONE)})
        return found[0][0] if found else None

    def totals(self) -> dict[str, Amount]:
        """Counts and bytes by outcome, from what the store answered."""
        files = self.parquet()
        if not files:
            return {}
        with duck(self.folder) as connection:
            return {outcome: Amount(n, size) for outcome, n, size in rows(connection, TOTALS, {"files": files})}

    @contextmanager
    def exclusively(self) -> Iterator[None]:
        """Two runs of one plan would settle each other's intents, and a restore beside one would be undone. Raises Busy when another
        process of this host has it."""
        make_folder(self.folder)
        with (self.folder / "lock").open("a+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                lock.seek(0)
                raise Busy(f"this plan is being executed or restored by process {lock.read().strip()}: wait until it ends") from error
            lock.truncate(0)
            lock.write(str(os.getpid()))
            lock.flush()
            yield

    def _intent(self, chunk: int) -> Path:
        return self.folder / f"{chunk:08d}.intent.json"

    def _outcome(self, chunk: int) -> Path:
        return self.folder / f"{chunk:08d}.parquet"

    def _partial(self, chunk: int) -> Path:
        return self.folder / f"{chunk:08d}.partial.parquet"


OF_PLANNED = tuple(field.name for field in fields(Planned))
OF_ANSWER = tuple(field.name for field in fields(Answer))


def _planned(line: Mapping[str, Any]) -> Planned:
    return Planned(**{name: line[name] for name in OF_PLANNED})


def _answer(line: Mapping[str, Any]) -> Answer:
    return Answer(**{name: line[name] for name in OF_ANSWER})


def _write(file: Path, planned: Sequence[Planned], answers: Sequence[Answer], *, at: datetime) -> None:
    lines = list(zip(planned, answers, strict=True))
    columns: dict[str, Any] = {
        **{name: [getattr(one, name) for one, _ in lines] for name in OF_PLANNED},
        **{name: [getattr(answer, name) for _, answer in lines] for name in OF_ANSWER},
        "at": pa.repeat(pa.scalar(at, TIME), len(lines)),
    }
    with written_whole(file) as unfinished:
        pq.write_table(pa.Table.from_pydict(columns, schema=LEDGER), unfinished, compression="zstd")
