"""Writes S3 Inventory reports as S3 does, for tests: from the layout in its documentation, not from our reader. All three formats, all
optional fields, many files, and whatever a test wants to be wrong."""

import csv
import gzip
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import md5
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_plus

import pyarrow as pa
import pyarrow.orc as pa_orc
import pyarrow.parquet as pq

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

FORMATS = ("CSV", "ORC", "Parquet")
ENDING = {"CSV": "csv.gz", "ORC": "orc", "Parquet": "parquet"}
VERSION_FIELDS = ("VersionId", "IsLatest", "IsDeleteMarker")
NEEDED = ("Size", "LastModifiedDate", "ETag")
OPTIONAL = (
    *NEEDED, "StorageClass", "IsMultipartUploaded", "ReplicationStatus", "EncryptionStatus", "ObjectLockRetainUntilDate",
    "ObjectLockMode", "ObjectLockLegalHoldStatus", "IntelligentTieringAccessTier", "BucketKeyStatus", "ChecksumAlgorithm",
    "ObjectAccessControlList", "ObjectOwner",
)  # fmt: skip
SNAKE = {
    "Bucket": "bucket", "Key": "key", "VersionId": "version_id", "IsLatest": "is_latest", "IsDeleteMarker": "is_delete_marker",
    "Size": "size", "LastModifiedDate": "last_modified_date", "ETag": "e_tag", "StorageClass": "storage_class",
    "IsMultipartUploaded": "is_multipart_uploaded", "ReplicationStatus": "replication_status", "EncryptionStatus": "encryption_status",
    "ObjectLockRetainUntilDate": "object_lock_retain_until_date", "ObjectLockMode": "object_lock_mode",
    "ObjectLockLegalHoldStatus": "object_lock_legal_hold_status", "IntelligentTieringAccessTier": "intelligent_tiering_access_tier",
    "BucketKeyStatus": "bucket_key_status", "ChecksumAlgorithm": "checksum_algorithm",
    "ObjectAccessControlList": "object_access_control_list", "ObjectOwner": "object_owner",
}  # fmt: skip
BOOLEANS = ("IsLatest", "IsDeleteMarker", "IsMultipartUploaded")
TIMES = ("LastModifiedDate", "ObjectLockRetainUntilDate")


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One row of a report. A delete marker has no size and no ETag."""

    key: str
    size: int = 7
    last_modified: datetime = datetime(2026, 11, 1, 12, 30, 15, 250_000, tzinfo=UTC)
    etag: str = "9e107d9d372bb6826bd81d3542a419d6"
    storage_class: str | None = "STANDARD"
    version_id: str = "v1"
    latest: bool = True
    delete_marker: bool = False


def report_file(form: str, bucket: str, fields: Sequence[str], versions: Sequence[Version]) -> bytes:
    """One file of a report. Small stripes and row groups, so that a few thousand rows make several."""
    rows = [[_value(version, bucket, field) for field in fields] for version in versions]
    if form == "CSV":
        return csv_file([[_in_csv(field, value) for field, value in zip(fields, row, strict=True)] for row in rows])
    columns = [pa.array([row[n] for row in rows], _kind(form, field)) for n, field in enumerate(fields)]
    schema = pa.schema([pa.field(SNAKE[field], _kind(form, field), nullable=field not in ("Bucket", "Key")) for field in fields])
    sink = io.BytesIO()
    table = pa.Table.from_arrays(columns, schema=schema)
    if form == "ORC":
        pa_orc.write_table(table, sink, compression="ZLIB", stripe_size=4096, batch_size=256)
    else:
        pq.write_table(table, sink, compression="snappy", version="1.0", row_group_size=500)
    return sink.getvalue()


def csv_file(rows: Sequence[Sequence[str]]) -> bytes:
    """No header; every field in quotes; a quote in it doubled."""
    text = io.StringIO(newline="")
    csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(rows)
    return gzip.compress(text.getvalue().encode())


def file_schema(form: str, fields: Sequence[str]) -> str:
    if form == "CSV":
        return ", ".join(fields)
    if form == "ORC":
        kinds = {**dict.fromkeys(BOOLEANS, "boolean"), **dict.fromkeys(TIMES, "timestamp"), "Size": "bigint"}
        parts = [f"{SNAKE[field]}:{kinds.get(field, 'string')}" for field in fields]
        return f"struct<{','.join(parts)}>"
    kinds = {**dict.fromkeys(BOOLEANS, "boolean {}"), **dict.fromkeys(TIMES, "int64 {} (TIMESTAMP_MILLIS)"), "Size": "int64 {}"}
    parts = [kinds.get(field, "binary {} (UTF8)").format(SNAKE[field]) for field in fields]
    return f"message s3.inventory {{ required {parts[0]}; required {parts[1]}; {' '.join(f'optional {part};' for part in parts[2:])} }}"


def put_report(
    client: "S3Client",
    bucket: str,
    form: str,
    files: Sequence[Sequence[Version]],
    *,
    source_bucket: str,
    stamp: datetime,
    folder: str = "inv/source/daily/",
    versions: bool = False,
    optional: Sequence[str] = OPTIONAL,
    contents: Sequence[bytes] | None = None,
    change: Callable[[dict[str, Any]], object] = lambda manifest: None,
    checksum: str | None = None,
    with_checksum: bool = True,
) -> str:
    """Puts a report into `bucket` and returns the key of its manifest. `contents` stands in for the files, `change` is applied to the
    manifest before its checksum is taken, `checksum` stands in for that."""
    fields = ("Bucket", "Key", *(VERSION_FIELDS if versions else ()), *optional)
    entries = []
    for n, content in enumerate(contents or [report_file(form, source_bucket, fields, file) for file in files]):
        key = f"{folder}data/{stamp:%Y%m%dT%H%M}-{n}.{ENDING[form]}"
        client.put_object(Bucket=bucket, Key=key, Body=content)
        entries.append({"key": key, "size": len(content), "MD5checksum": md5(content).hexdigest()})
    manifest = {
        "sourceBucket": source_bucket,
        "destinationBucket": f"arn:aws:s3:::{bucket}",
        "version": "2016-11-30",
        "creationTimestamp": str(int(stamp.timestamp() * 1000)),
        "fileFormat": form,
        "fileSchema": file_schema(form, fields),
        "files": entries,
    }
    change(manifest)
    text = json.dumps(manifest, indent=2).encode()
    at = f"{folder}{stamp:%Y-%m-%dT%H-%MZ}/manifest"
    client.put_object(Bucket=bucket, Key=f"{at}.json", Body=text)
    if with_checksum:
        client.put_object(Bucket=bucket, Key=f"{at}.checksum", Body=(checksum or md5(text).hexdigest()).encode())
    client.put_object(Bucket=bucket, Key=f"{folder}hive/dt={stamp:%Y-%m-%d-%H-%M}/symlink.txt", Body=b"")
    return f"{at}.json"


def _kind(form: str, field: str) -> pa.DataType:
    if field in TIMES:
        return pa.timestamp("ns") if form == "ORC" else pa.timestamp("ms", tz="UTC")
    return pa.bool_() if field in BOOLEANS else pa.int64() if field == "Size" else pa.string()


def _value(version: Version, bucket: str, field: str) -> Any:
    there = None if version.delete_marker else version
    known: dict[str, Any] = {
        "Bucket": bucket,
        "Key": version.key,
        "VersionId": version.version_id,
        "IsLatest": version.latest,
        "IsDeleteMarker": version.delete_marker,
        "Size": there and there.size,
        "LastModifiedDate": version.last_modified,
        "ETag": there and there.etag,
        "StorageClass": there and there.storage_class,
        "IsMultipartUploaded": "-" in version.etag,
        "EncryptionStatus": "SSE-S3",
        "ObjectAccessControlList": '{"version":"2022-11-10","grants":[{"a,b":"c\\"d"}]}',
    }
    return known.get(field)


def _in_csv(field: str, value: Any) -> str:
    if value is None:
        return ""
    if field == "Key":
        return quote_plus(value, safe="/*")
    if field in TIMES:
        return f"{value:%Y-%m-%dT%H:%M:%S}.{value.microsecond // 1000:03}Z"
    return str(value).lower() if field in BOOLEANS else str(value)
