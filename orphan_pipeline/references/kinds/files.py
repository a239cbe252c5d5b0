"""Sources that are files: exports in Parquet or CSV, and the snapshots of another lake, for systems that are not PostgreSQL.

A file has no snapshot of its own: it is opened, and what it was then is written down, before anything is read; whatever changes
while it is read fails the sweep. It knows nothing that happened after it was written, so its age is limited, and the cutoff lies before
it. Which raw values are keys belongs in `normalise`.
"""

import csv
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from orphan_pipeline.errors import Refused
from orphan_pipeline.lake.layout import BucketLake
from orphan_pipeline.orphans.approvals import overridden
from orphan_pipeline.references.problems import EMPTY
from orphan_pipeline.references.refusals import one_line
from orphan_pipeline.references.variants import is_glob
from orphan_pipeline.settings.model import ReferenceSettings
from orphan_pipeline.settings.values import duration_text

BATCH_ROWS = 20_000
CLOCK_SLACK = timedelta(minutes=5)
"""As between the clocks of store and databases. A file from the future would be fresh for ever."""

WHOLE_ROW = re.compile(r"(Expected \d+ columns, got \d+): .*", re.DOTALL)
"""How Arrow repeats a row that it cannot read. URLs in it could be signed."""

Fingerprint = tuple[str, int, int, int]
"""Path, size, modification time in nanoseconds, and inode: a file that was put in another's place has a new one."""

Batch = list[tuple[str, str | None, str | None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class FileFigures:
    """What a file source was when it was opened. `written_at`: its oldest file, or when the other lake's snapshot was taken."""

    source: str
    files: int
    bytes: int
    written_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenFile:
    """A file source before it is read. `globs`: templates that another lake's references have beside the keys."""

    source: ReferenceSettings
    column: str
    fingerprints: tuple[Fingerprint, ...]
    written_at: datetime
    globs: tuple[str, ...] = ()

    @property
    def figures(self) -> FileFigures:
        return FileFigures(
            source=self.source.name,
            files=len(self.fingerprints),
            bytes=sum(size for _, size, _, _ in self.fingerprints),
            written_at=self.written_at,
        )


def open_files(sources: Sequence[ReferenceSettings], *, now: datetime) -> Mapping[str, OpenFile]:
    """The file and lake sources among these, by name. Raises Refused for one that is missing, stale, or from the future."""
    return {source.name: _opened(source, now) for source in sources if not source.of_postgres}


def _opened(source: ReferenceSettings, now: datetime) -> OpenFile:
    opened = _export(source) if source.kind == "file" else _snapshot(source, oldest=now - source.max_age)
    written = f"{opened.written_at:%Y-%m-%d %H:%M} UTC"
    if opened.written_at > now + CLOCK_SLACK:
        raise Refused(f"source {source.name}: {_place(source)} is from the future, {written}: are the clocks right?")
    if now - opened.written_at > source.max_age:
        what = "its oldest file was written" if len(opened.fingerprints) > 1 and source.kind == "file" else "it was written"
        raise Refused(
            f"source {source.name}: {_place(source)} is stale: {what} at {written}, "
            f"longer ago than max_age ({duration_text(source.max_age)}): export it again"
        )
    return opened


def _place(source: ReferenceSettings) -> str:
    return str(source.file if source.kind == "file" else source.lake)


def _export(source: ReferenceSettings) -> OpenFile:
    assert source.file is not None
    assert source.column is not None
    found = _fingerprints(source)
    return OpenFile(
        source=source,
        column=source.column,
        fingerprints=found,
        written_at=datetime.fromtimestamp(min(modified for _, _, modified, _ in found) / 1e9, UTC),
    )


def _fingerprints(source: ReferenceSettings) -> tuple[Fingerprint, ...]:
    assert source.file is not None
    is_glob_of_files = any(mark in source.file for mark in "*?[")
    paths = sorted(map(str, Path("/").glob(source.file.lstrip("/")))) if is_glob_of_files else [source.file]
    if not paths:
        raise Refused(f"source {source.name}: no file matches {source.file}")
    return tuple(_fingerprint(source, path) for path in paths)


def _fingerprint(source: ReferenceSettings, path: str) -> Fingerprint:
    try:
        found = Path(path).stat()
    except OSError as error:
        raise Refused(f"source {source.name}: {path} cannot be read: {error.strerror}") from None
    return path, found.st_size, found.st_mtime_ns, found.st_ino


def _snapshot(source: ReferenceSettings, *, oldest: datetime) -> OpenFile:
    """The latest sweep of another lake's bucket; for its references, the latest that was accepted there."""
    assert source.lake is not None
    published = [(sweep.parent, _document(source, sweep)) for sweep in Path(source.lake).glob("sweeps/*/manifest.json")]
    # What was put together from two nights may lack a reference (rule 4d).
    published = [one for one in published if all(own.get("full", True) for own in one[1]["references"]["sources"])]
    if not published:
        raise Refused(f"source {source.name}: {source.lake} holds no published sweep; expected a bucket's folder in a lake")
    # The one that looked last, as the other lake itself would choose.
    published.sort(key=lambda one: (one[1]["inventory"]["started_at"], one[1]["references"]["snapshot_at"]))
    accepted = [one for one in published if source.take == "inventory" or not _still_closed(source, one[1])]
    if not accepted or _taken_at(source, accepted[-1][1]) < oldest <= _taken_at(source, published[-1][1]):
        latest, manifest = published[-1]
        raise Refused(
            f"source {source.name}: {source.lake} holds no sweep within max_age ({duration_text(source.max_age)}) that was accepted there: "
            f"{latest.name} tripped {', '.join(_still_closed(source, manifest))}: "
            f"approve {manifest['digest'][:16]} there, if it is right, or sweep there again"
        )
    folder, manifest = accepted[-1]
    parts = sorted((folder / source.take).rglob("*.parquet"))
    if not parts:
        raise Refused(f"source {source.name}: sweep {folder.name} in {source.lake} holds no {source.take} any more")
    templates = (glob for own in manifest["references"]["sources"] for glob in own.get("globs", ()))
    return OpenFile(
        source=source,
        column="key",
        fingerprints=tuple(_fingerprint(source, str(part)) for part in parts),
        written_at=_taken_at(source, manifest),
        globs=tuple(dict.fromkeys(templates)) if source.take == "references" else (),
    )


def _taken_at(source: ReferenceSettings, manifest: dict[str, Any]) -> datetime:
    taken_at = manifest["references"]["snapshot_at"] if source.take == "references" else manifest["inventory"]["started_at"]
    return datetime.fromisoformat(taken_at).astimezone(UTC)


def _still_closed(source: ReferenceSettings, manifest: dict[str, Any]) -> list[str]:
    """The other bucket's gates that tripped on this sweep and that nobody approved there: for that bucket its references count for nothing,
    and they may lack a source or a table's rows."""
    assert source.lake is not None
    return sorted(set(manifest["tripped"]) - overridden(BucketLake(Path(source.lake)), manifest["digest"]))


def _document(source: ReferenceSettings, manifest: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(manifest.read_bytes())
        _ = found["inventory"]["started_at"], found["references"]["snapshot_at"], found["references"]["sources"]
        _ = found["tripped"], found["digest"]
    except (OSError, ValueError, KeyError, TypeError):
        raise Refused(f"source {source.name}: {manifest} cannot be read: cut, edited, or of another release?") from None
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class FileReading:
    """A file source that is ready to be read; the same face as a `Reading` in a database."""

    opened: OpenFile

    @property
    def source(self) -> ReferenceSettings:
        return self.opened.source

    @property
    def globs(self) -> tuple[str, ...]:
        """The templates that protect more than the keys."""
        return tuple(dict.fromkeys((*(template for template in self.source.variants if is_glob(template)), *self.opened.globs)))

    def refused(self, row_id: str, why: str) -> Refused:
        return Refused(f"source {self.source.name}: {one_line(row_id)}: {why}")

    def batches(self) -> Iterator[Batch]:
        """Rows (row_id, raw or None, None), up to `BATCH_ROWS` at a time; of a column of lists every element is one.

        Raises Refused for a file without the column, one that is cut or broken, an empty value, and a file that changed meanwhile.
        """
        paths = [path for path, *_ in self.opened.fingerprints]
        names = [Path(path).name for path in paths]
        for path, name in zip(paths, names, strict=True):
            yield from self._read(path, name if names.count(name) == 1 else path)
        self._refuse_changed()

    def _read(self, path: str, name: str) -> Iterator[Batch]:
        numbers = count(1)
        try:
            for values in _columns(path, self.opened.column):
                batch: Batch = []
                for value in values.to_pylist():
                    row_id = f"{name} row {next(numbers)}"
                    raws = value if isinstance(value, list) else [value]
                    if isinstance(value, list) and None in raws and not self.source.ignore_null:
                        raise self.refused(row_id, "an element of the list is null")
                    if "" in raws:
                        raise self.refused(row_id, EMPTY)
                    batch += [(row_id, raw, None) for raw in raws] or [(row_id, None, None)]
                yield batch
        except KeyError:
            raise Refused(f"source {self.source.name}: {path} has no column {self.opened.column}") from None
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            said = one_line(WHOLE_ROW.sub(r"\1", str(error)))
            raise Refused(f"source {self.source.name}: {path} cannot be read: {said}") from None

    def _refuse_changed(self) -> None:
        before = self.opened.fingerprints
        after = _fingerprints(self.source) if self.source.kind == "file" else tuple(_fingerprint(self.source, path) for path, *_ in before)
        if after != before:
            changed = sorted({path for path, *_ in set(before) ^ set(after)})
            raise Refused(
                f"source {self.source.name}: {changed[0]} changed while it was read: run the sweep again, "
                f"and let exports be written beside it and renamed"
            )


def _columns(path: str, column: str) -> Iterator["pa.Array[Any]"]:
    """One column in batches, in the order of the file, as text or lists of text. Raises KeyError when there is none."""
    if path.endswith(".csv"):
        yield from _csv(path, column)
        return
    with pq.ParquetFile(path) as file:
        _must_be_one(file.schema_arrow.names, column)
        of_type = file.schema_arrow.field(column).type
        wanted = pa.list_(pa.string()) if pa.types.is_nested(of_type) else pa.string()
        for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=[column]):
            yield pc.cast(batch.column(0), wanted)


def _csv(path: str, column: str) -> Iterator["pa.Array[Any]"]:
    """Nothing is guessed: comma, double quotes, a header, UTF-8. A row with more or fewer fields than the header is an error."""
    options = pa_csv.ConvertOptions(
        include_columns=[column],
        column_types={column: pa.string()},
        null_values=[""],
        strings_can_be_null=True,
        quoted_strings_can_be_null=False,
    )
    reading = pa_csv.ReadOptions(use_threads=False)
    parsing = pa_csv.ParseOptions(newlines_in_values=True)
    with Path(path).open(encoding="utf-8-sig", newline="") as text:
        _must_be_one(next(csv.reader(text), []), column)
    with pa_csv.open_csv(path, read_options=reading, parse_options=parsing, convert_options=options) as file:
        for batch in file:
            yield batch.column(0)


def _must_be_one(names: Sequence[str], column: str) -> None:
    """Of two columns of one name either could hold the keys."""
    if column not in names:
        raise KeyError(column)
    if names.count(column) > 1:
        raise pa.ArrowInvalid(f"{names.count(column)} columns are called {column}")
