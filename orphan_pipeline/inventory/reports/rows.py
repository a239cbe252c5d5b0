"""The rows of one file of an S3 Inventory report, CSV, ORC or Parquet, as record batches of what a live listing would have
said. The file is on disk and verified; which file that is does not belong here.

Keys: ORC and Parquet hold them as they are. CSV holds them form-encoded, a space as `+` and a plus as `%2B`, which the documentation
calls URL-encoded and leaves at that (cloud-custodian 1997: keys with a `+` and no `%` were taken as they stood). ETags stand
without quotes in all three. Times are UTC: CSV `2026-11-21T09:15:00.000Z`, Parquet milliseconds, ORC a timestamp without a zone.
"""

import gzip
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_plus

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from pyarrow.fs import LocalFileSystem

from orphan_pipeline.errors import Refused
from orphan_pipeline.inventory.columns import LISTED, VERSIONS
from orphan_pipeline.inventory.reports.manifest import column

if TYPE_CHECKING:
    Values = pa.Array[Any]

BATCH_ROWS = 10_000
BLOCK = 1 << 18

READ = ("bucket", "key", "versionid", "islatest", "isdeletemarker", "size", "lastmodifieddate", "etag", "storageclass")
"""The columns that are read, by the names that `manifest.column` gives. The other optional fields are left where they are."""

# Form-encoding leaves printable ASCII only, and whole escapes. Anything else is a store that writes its keys in another way.
NOT_ENCODED = r"[^!-~]|%(?:[^0-9A-Fa-f]|[0-9A-Fa-f][^0-9A-Fa-f]|[0-9A-Fa-f]?$)"
ENCODED = r"[%+]"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportRows:
    """A batch of the report's rows: of `rows`, `noncurrent` are versions that are not current, and `delete_markers` current ones that are
    none. `listed` are the others (schema `LISTED`), or all of them where versions are asked for (schema `VERSIONS`)."""

    listed: pa.RecordBatch
    rows: int
    noncurrent: int
    delete_markers: int


def read_rows(
    path: Path, *, form: str, columns: tuple[str, ...], source_bucket: str, where: str, versions: bool = False
) -> Iterator[ReportRows]:
    """Streams the file: one block (CSV), or piece of a stripe (ORC) or row group (Parquet), is in memory.

    `columns` are the manifest's. Raises Refused, naming `where`, when the file does not read, has other columns than the manifest
    says, names another bucket, or holds a row that does not parse.
    """
    opened = {"CSV": _csv, "ORC": _orc, "Parquet": _parquet}[form](path, columns, where)
    try:
        for batch in opened:
            yield _listed(batch, source_bucket, where, encoded=form == "CSV", versions=versions)
    except (pa.ArrowException, OSError, EOFError) as wrong:
        raise Refused(f"{where}: does not read as {form}: {_short(wrong)}") from wrong


def decode_keys(keys: "Values", where: str) -> "Values":
    """Form-encoded keys as what they mean. Raises Refused for one that is not form-encoded UTF-8."""
    broken = pc.match_substring_regex(keys, NOT_ENCODED)
    if pc.any(broken).as_py():
        raise Refused(f"{where}: the key {_first(keys, broken)} is not URL-encoded, as the keys of a CSV report are")
    encoded = pc.match_substring_regex(keys, ENCODED)
    try:
        decoded = [unquote_plus(key, errors="strict") for key in keys.filter(encoded).to_pylist() if key is not None]
    except UnicodeDecodeError as wrong:
        raise Refused(f"{where}: a key is not UTF-8: {wrong.object!r}"[:300]) from wrong
    exact: Values = pc.replace_with_mask(keys, encoded, pa.array(decoded, pa.string()))
    return exact


def _csv(path: Path, columns: tuple[str, ...], where: str) -> Iterator[pa.RecordBatch]:
    # pyarrow takes a file without rows for a mistake, and one that is not even gzip for a file without rows.
    with gzip.open(path) as stream:
        if path.stat().st_size and not stream.read(1):
            return
    wanted = [name for name in READ if name in columns]
    with pa.input_stream(str(path), compression="gzip") as stream:
        reader = pa_csv.open_csv(
            stream,  # type: ignore[arg-type]  # the stubs know Python's own files only
            read_options=pa_csv.ReadOptions(column_names=list(columns), block_size=BLOCK),
            # An empty line is a row without its fields, and no reason to read on.
            parse_options=pa_csv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False),
            convert_options=pa_csv.ConvertOptions(
                include_columns=wanted, column_types=dict.fromkeys(wanted, pa.string()), strings_can_be_null=False
            ),
        )
        yield from reader


def _orc(path: Path, columns: tuple[str, ...], where: str) -> Iterator[pa.RecordBatch]:
    file = ds.OrcFileFormat().make_fragment(str(path), LocalFileSystem())
    names = _names_in_file(file.physical_schema, columns, where)
    # A stripe can be any number of rows: one of 4 M, 21 MB on disk, became 600 MB when it was read as a whole.
    scanner = file.scanner(columns=list(names.values()), batch_size=BATCH_ROWS, batch_readahead=1, use_threads=False)
    for batch in scanner.to_batches():
        yield _renamed(batch, names)


def _parquet(path: Path, columns: tuple[str, ...], where: str) -> Iterator[pa.RecordBatch]:
    with pq.ParquetFile(path, buffer_size=BLOCK, pre_buffer=False) as file:
        names = _names_in_file(file.schema_arrow, columns, where)
        for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=list(names.values())):
            yield _renamed(batch, names)


def _names_in_file(schema: pa.Schema, columns: tuple[str, ...], where: str) -> dict[str, str]:
    """Our name -> the file's, of the columns that are read. The manifest's checksum vouches for its columns, so the file must agree:
    one that says less about versions would turn noncurrent ones into objects."""
    found = [name for name in schema.names if column(name) in READ]
    names = {column(name): name for name in found}
    said = {name for name in READ if name in columns}
    if names.keys() != said or len(names) < len(found):
        differing = ", ".join(sorted(names.keys() ^ said)) or "a name twice"
        raise Refused(f"{where}: its columns are not those of the manifest's fileSchema ({differing})")
    return names


def _renamed(batch: pa.RecordBatch, names: Mapping[str, str]) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([batch.column(in_file) for in_file in names.values()], names=list(names))


def _listed(batch: pa.RecordBatch, source_bucket: str, where: str, *, encoded: bool, versions: bool) -> ReportRows:
    buckets = _values(batch, "bucket", pa.string(), where)
    other = pc.not_equal(buckets, pa.scalar(source_bucket))
    if pc.any(other).as_py():
        raise Refused(f"{where}: a row of bucket {_first(buckets, other)}, expected {source_bucket!r}")
    rows, noncurrent, delete_markers = batch.num_rows, 0, 0
    of_versions: dict[str, Any] = {}
    if "islatest" in batch.schema.names:
        latest = _truth(batch, "islatest", where)
        marker = _truth(batch, "isdeletemarker", where)
        current = pc.and_(latest, pc.invert(marker))
        noncurrent = rows - latest.true_count
        delete_markers = latest.true_count - current.true_count
        if versions:
            batch = _markers_filled(batch, marker)
            of_versions = {"version_id": _version_ids(batch), "is_latest": latest, "is_delete_marker": marker}
        else:
            batch = batch.filter(current)
    keys = _filled(_values(batch, "key", pa.string(), where), "key", where)
    etags: Values = pc.utf8_trim(_values(batch, "etag", pa.string(), where), characters='"')
    _filled(etags.filter(pc.invert(of_versions["is_delete_marker"])) if of_versions else etags, "etag", where)
    sizes = _values(batch, "size", pa.int64(), where)
    negative = pc.less(sizes, pa.scalar(0))
    if pc.any(negative).as_py():
        raise Refused(f"{where}: a row does not parse: size is {_first(sizes, negative)}, expected a number of bytes")
    listed = {
        "key": decode_keys(keys, where) if encoded else keys,
        "size": sizes,
        "last_modified": _times(batch, where),
        "etag": etags,
        "storage_class": _storage_classes(batch, where),
        **of_versions,
    }
    schema = VERSIONS if versions else LISTED
    exact = pa.RecordBatch.from_arrays([listed[name] for name in schema.names], schema=schema)
    exact.validate(full=True)  # ORC and Parquet are read without a look at whether a text is UTF-8
    return ReportRows(listed=exact, rows=rows, noncurrent=noncurrent, delete_markers=delete_markers)


def _version_ids(batch: pa.RecordBatch) -> "Values":
    """None for an object that was written while versioning was not on."""
    ids = batch.column("versionid").cast(pa.string())
    named: Values = pc.if_else(pc.equal(ids, pa.scalar("")), pa.scalar(None, pa.string()), ids)
    return named


def _markers_filled(batch: pa.RecordBatch, marker: pa.BooleanArray) -> pa.RecordBatch:
    """A delete marker has neither size nor ETag: as a listing gives it, no bytes and an empty ETag."""
    nothing = {"size": "0", "etag": ""}
    columns: dict[str, Any] = {name: batch.column(name) for name in batch.schema.names}
    for name, value in nothing.items():
        columns[name] = pc.if_else(marker, pa.scalar(value), columns[name].cast(pa.string()))
    return pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))


def _truth(batch: pa.RecordBatch, name: str, where: str) -> pa.BooleanArray:
    words = pc.utf8_lower(_values(batch, name, pa.string(), where))  # a boolean reads as true or false too
    truth = pc.equal(words, pa.scalar("true"))
    unclear = pc.invert(pc.or_(truth, pc.equal(words, pa.scalar("false"))))
    if pc.any(unclear).as_py():
        raise Refused(f"{where}: a row does not parse: {name} is {_first(words, unclear)}, expected true or false")
    return truth


def _filled(values: "Values", name: str, where: str) -> "Values":
    if pc.any(pc.equal(values, pa.scalar(""))).as_py():
        raise Refused(f"{where}: a row does not parse: {name} is empty")
    return values


def _values(batch: pa.RecordBatch, name: str, kind: pa.DataType, where: str) -> "Values":
    values = batch.column(name)
    if values.null_count:
        raise Refused(f"{where}: a row does not parse: {name} is empty")
    try:
        return values.cast(kind)
    except pa.ArrowException as wrong:
        raise Refused(f"{where}: a row does not parse: {name}: {_short(wrong)}") from wrong


def _times(batch: pa.RecordBatch, where: str) -> "Values":
    kind = batch.column("lastmodifieddate").type
    # A cast from a bare number would be taken for microseconds, whatever it counts.
    if not pa.types.is_timestamp(kind) and not pa.types.is_string(kind):
        raise Refused(f"{where}: LastModifiedDate is of type {kind}, expected a timestamp")
    return _values(batch, "lastmodifieddate", pa.timestamp("us", tz="UTC"), where)


def _storage_classes(batch: pa.RecordBatch, where: str) -> "Values":
    """As a listing says it: an object without one is STANDARD."""
    if "storageclass" not in batch.schema.names:
        return pa.array(["STANDARD"] * batch.num_rows, pa.string())
    classes = batch.column("storageclass").cast(pa.string()).fill_null("STANDARD")
    named: Values = pc.if_else(pc.equal(classes, pa.scalar("")), pa.scalar("STANDARD"), classes)
    return named


def _first(values: "Values", mask: pa.BooleanArray) -> str:
    return repr(values.filter(mask)[0].as_py())[:200]


def _short(wrong: Exception) -> str:
    return " ".join(str(wrong).split())[:200]
