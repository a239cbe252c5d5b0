"""Which S3 Inventory report is read, and what its manifest says: the newest complete one of a folder, or the one that is named. A manifest
is believed when its checksum holds and it is about the right bucket, of a known layout, and young enough. Reading the rows does
not belong here.

The layout, as the documentation of S3 Inventory gives it, under `<destination prefix>/<source bucket>/<configuration id>/`:
`YYYY-MM-DDTHH-MMZ/manifest.json` (the stamp is when the scan of the bucket began), `manifest.checksum` beside it (the MD5 of
manifest.json in hexadecimal, written last), `data/` with the files, `hive/` with what is of no use here.
"""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import md5
from typing import TYPE_CHECKING, Any

from orphan_pipeline.errors import Refused

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

MANIFEST = "manifest.json"
CHECKSUM = "manifest.checksum"
LAYOUT = "2016-11-30"

SCHEMAS = {
    "CSV": re.compile(r"\s*(\w+)\s*(?:,|$)"),
    "ORC": re.compile(r"[<,]\s*(\w+)\s*:"),
    "Parquet": re.compile(r"(?:required|optional)\s+\w+\s+(\w+)"),
}
"""Format -> where the names of the columns stand in the manifest's `fileSchema`, one match a column."""

ALWAYS_THERE = {"bucket": "Bucket", "key": "Key"}
NEEDED = {"size": "Size", "lastmodifieddate": "LastModifiedDate", "etag": "ETag"}
OF_VERSIONS = {"versionid": "VersionId", "islatest": "IsLatest", "isdeletemarker": "IsDeleteMarker"}

_STAMP = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}-[0-9]{2}Z")


class Incomplete(Refused):
    """A report that is not there as a whole, or not yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportFile:
    """One file of a report: its key in the bucket of the manifest, its size in bytes, its MD5 in lower-case hexadecimal."""

    key: str
    size: int
    md5: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportManifest:
    """`columns` are in the order of the file, named by `column`. `format` is a key of `SCHEMAS`."""

    bucket: str
    key: str
    started_at: datetime
    format: str
    columns: tuple[str, ...]
    files: tuple[ReportFile, ...]

    @property
    def where(self) -> str:
        return f"s3://{self.bucket}/{self.key}"


def column(name: str) -> str:
    """One name for the spellings of a column: `LastModifiedDate` in CSV, `last_modified_date` in ORC and Parquet."""
    return name.replace("_", "").lower()


def report_folder(location: str) -> tuple[str, str]:
    """The bucket, and the prefix under which the reports and their files lie, of the `manifest` of the settings.

    Whatever lies there is no orphan, even when it is kept in the bucket that it lists."""
    bucket, key = _split(location)
    above = key.removesuffix(MANIFEST).removesuffix("/").split("/")
    if _stamp(above[-1]):
        above.pop()
    return bucket, "".join(f"{part}/" for part in above)


def find_manifest(
    client: "S3Client", *, location: str, source_bucket: str, max_age: timedelta, now: datetime, report: Callable[[str], None]
) -> ReportManifest:
    """The manifest at `location`: `s3://bucket/…/manifest.json`, or a folder of reports, of which the newest complete one is taken.

    A newer one that is still without its manifest or checksum is passed over, and `report` is told. Raises Refused for everything
    that stands between the manifest and belief: see `parse_manifest`, and a scan that began after `now`, or more than
    `max_age` before it.
    """
    bucket, key = _split(location)
    if key.endswith(f"/{MANIFEST}"):
        manifest = _read(client, bucket, key, source_bucket)
        _in_time(manifest.where, manifest.started_at, max_age, now)
        return manifest
    for stamp, folder in _reports(client, bucket, key):
        _in_time(f"s3://{bucket}/{folder}", stamp, max_age, now)
        try:
            manifest = _read(client, bucket, f"{folder}{MANIFEST}", source_bucket)
        except Incomplete as incomplete:
            report(f"{incomplete}: passed over")
            continue
        _in_time(manifest.where, manifest.started_at, max_age, now)
        return manifest
    raise Incomplete(f"{location}: no complete report, expected some YYYY-MM-DDTHH-MMZ/{MANIFEST} with its {CHECKSUM} directly below")


def parse_manifest(text: bytes, *, bucket: str, key: str, source_bucket: str) -> ReportManifest:
    """What a manifest.json says. `bucket` and `key` are its own place.

    `started_at` is the earlier of the folder's stamp and the manifest's creationTimestamp, which the documentation gives the same
    meaning: the start of the scan. Earlier is the safe side, since the cutoff and the report's age count from it.

    Raises Refused when it is not a manifest of the known layout, about another bucket than `source_bucket`, of an unknown format,
    without a column that is needed, or names a file twice.
    """
    where = f"s3://{bucket}/{key}"
    document = _document(text, where)
    if _text(document, "version", where) != LAYOUT:
        raise Refused(f"{where}: version {document['version']!r}, expected {LAYOUT!r}")
    if _text(document, "sourceBucket", where) != source_bucket:
        raise Refused(f"{where}: a report about bucket {document['sourceBucket']!r}, expected {source_bucket!r}")
    form = _text(document, "fileFormat", where)
    if form not in SCHEMAS:
        raise Refused(f"{where}: fileFormat {form!r}, expected one of {', '.join(SCHEMAS)}")
    stamp = _stamp(key.split("/")[-2]) if "/" in key else None
    if stamp is None:
        raise Refused(f"{where}: expected a folder named YYYY-MM-DDTHH-MMZ around it, which says when the scan began")
    return ReportManifest(
        bucket=bucket,
        key=key,
        started_at=min(stamp, _created(document, where)),
        format=form,
        columns=_columns(form, _text(document, "fileSchema", where), where),
        files=_files(document, where),
    )


def _split(location: str) -> tuple[str, str]:
    bucket, slash, key = location.removeprefix("s3://").partition("/")
    if not location.startswith("s3://") or not bucket or not slash or not key.endswith(("/", f"/{MANIFEST}")):
        raise Refused(f"{location}: expected s3://bucket/prefix/ or s3://bucket/…/{MANIFEST}")
    return bucket, key


def _stamp(name: str) -> datetime | None:
    if not _STAMP.fullmatch(name):
        return None
    try:
        return datetime.strptime(f"{name}+0000", "%Y-%m-%dT%H-%MZ%z").astimezone(UTC)
    except ValueError:
        return None


def _reports(client: "S3Client", bucket: str, folder: str) -> Iterator[tuple[datetime, str]]:
    """The stamped folders in `folder`, the newest first; `folder` itself if it is one."""
    own = _stamp(folder.removesuffix("/").rpartition("/")[2])
    if own:
        yield own, folder
        return
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=folder, Delimiter="/")
    below = [common["Prefix"] for page in pages for common in page.get("CommonPrefixes", [])]
    stamped = [(_stamp(prefix.removeprefix(folder).removesuffix("/")), prefix) for prefix in below]
    yield from sorted(((stamp, prefix) for stamp, prefix in stamped if stamp), reverse=True)


def _in_time(where: str, started_at: datetime, max_age: timedelta, now: datetime) -> None:
    if started_at > now:
        raise Refused(f"{where}: the scan began at {started_at:%Y-%m-%d %H:%M} UTC, which is yet to come (now {now:%Y-%m-%d %H:%M} UTC)")
    if now - started_at > max_age:
        hours = max_age / timedelta(hours=1)
        raise Refused(
            f"{where}: stale, the scan began at {started_at:%Y-%m-%d %H:%M} UTC, more than {hours:g}h ago, and no newer one is complete"
        )


def _read(client: "S3Client", bucket: str, key: str, source_bucket: str) -> ReportManifest:
    text = _get(client, bucket, key)
    expected = _get(client, bucket, f"{key.removesuffix(MANIFEST)}{CHECKSUM}").decode("ascii", "replace").strip().lower()
    found = md5(text, usedforsecurity=False).hexdigest()
    if found != expected:
        raise Refused(f"s3://{bucket}/{key}: its MD5 is {found}, but {CHECKSUM} says {expected[:40]!r}")
    return parse_manifest(text, bucket=bucket, key=key, source_bucket=source_bucket)


def _get(client: "S3Client", bucket: str, key: str) -> bytes:
    try:
        return client.get_object(Bucket=bucket, Key=key)["Body"].read()
    except client.exceptions.NoSuchKey as missing:
        raise Incomplete(f"s3://{bucket}/{key} is missing, the report is not complete") from missing


def _document(text: bytes, where: str) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except ValueError as wrong:
        raise Refused(f"{where}: not JSON: {wrong}") from wrong
    if not isinstance(document, dict):
        raise Refused(f"{where}: expected a JSON object")
    return document


def _text(document: dict[str, Any], name: str, where: str) -> str:
    value = document.get(name)
    if not isinstance(value, str):
        raise Refused(f"{where}: expected {name} as a text")
    return value


def _created(document: dict[str, Any], where: str) -> datetime:
    """Milliseconds since 1970, as a text."""
    text = _text(document, "creationTimestamp", where)
    if not re.fullmatch(r"[0-9]{1,14}", text):
        raise Refused(f"{where}: creationTimestamp {text[:40]!r}, expected milliseconds since 1970")
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=int(text))


def _columns(form: str, schema: str, where: str) -> tuple[str, ...]:
    columns = tuple(column(name) for name in SCHEMAS[form].findall(schema))
    if len(set(columns)) < len(columns):
        raise Refused(f"{where}: fileSchema names a column twice")
    needed = {**ALWAYS_THERE, **NEEDED}
    # Without both of these a noncurrent version, or a delete marker, would pass for an object.
    needed |= OF_VERSIONS if OF_VERSIONS.keys() & set(columns) else {}
    missing = [field for name, field in needed.items() if name not in columns]
    if missing:
        raise Refused(
            f"{where}: the report has no {', '.join(missing)}: turn these optional fields on in the bucket's inventory configuration"
            if set(missing) <= set(NEEDED.values())
            else f"{where}: fileSchema has no {', '.join(missing)}, expected the columns of an S3 Inventory report"
        )
    return columns


def _files(document: dict[str, Any], where: str) -> tuple[ReportFile, ...]:
    entries = document.get("files")
    if not isinstance(entries, list):
        raise Refused(f"{where}: expected files as a list")
    files = tuple(_file(entry, f"{where}: files[{n}]") for n, entry in enumerate(entries))
    if len({file.key for file in files}) < len(files):
        raise Refused(f"{where}: names a file twice")
    return files


def _file(entry: object, where: str) -> ReportFile:
    match entry:
        case {"key": str(key), "size": int(size), "MD5checksum": str(checksum)} if key and size >= 0 and size is not True:
            return ReportFile(key=key, size=size, md5=checksum.lower())
    raise Refused(f"{where}: expected key, size and MD5checksum")
