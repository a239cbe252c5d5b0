"""Lists a bucket page by page, complete or not at all. What a page does not prove, this module does not believe: a list that
loses its thread raises, it never ends early (JuiceFS 6479: listing errors were ignored and live objects deleted)."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from orphan_pipeline.errors import Refused

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import ListObjectsV2OutputTypeDef

_FIELDS: "list[pa.Field[Any]]" = [
    pa.field("key", pa.string(), nullable=False),
    pa.field("size", pa.int64(), nullable=False),
    pa.field("last_modified", pa.timestamp("us", tz="UTC"), nullable=False),
    pa.field("etag", pa.string(), nullable=False),
    pa.field("storage_class", pa.string(), nullable=False),
]
LISTED = pa.schema(_FIELDS)


@dataclass(frozen=True, slots=True)
class StoreTime:
    """One moment by two clocks: the store's (its Date header, whole seconds) and this host's."""

    store: datetime
    host: datetime


def store_time(client: "S3Client", bucket: str) -> StoreTime:
    """Asks the store what time it is. Raises Refused when it does not say."""
    headers = client.head_bucket(Bucket=bucket)["ResponseMetadata"]["HTTPHeaders"]
    if "date" not in headers:
        raise Refused(f"bucket {bucket}: the store's answer carries no Date header, so no cutoff can be trusted")
    return StoreTime(store=parsedate_to_datetime(headers["date"]).astimezone(UTC), host=datetime.now(UTC))


def list_pages(client: "S3Client", bucket: str) -> Iterator[pa.RecordBatch]:
    """Every object of the bucket, a record batch of up to 1,000 rows (schema `LISTED`) a page.

    Raises Refused when a page says there is more and does not say where, or repeats itself. boto3's own errors rise.
    """
    token = None
    while True:
        page = client.list_objects_v2(Bucket=bucket, ContinuationToken=token) if token else client.list_objects_v2(Bucket=bucket)
        yield _as_batch(page)
        if not page["IsTruncated"]:
            return
        following = page.get("NextContinuationToken")
        if not following or following == token:
            raise Refused(f"bucket {bucket}: the list broke off after {_last_key(page)!r} (no new continuation token)")
        token = following


def _as_batch(page: "ListObjectsV2OutputTypeDef") -> pa.RecordBatch:
    objects = page.get("Contents", [])
    return pa.RecordBatch.from_pydict(
        {
            "key": [o["Key"] for o in objects],
            "size": [o["Size"] for o in objects],
            "last_modified": [o["LastModified"] for o in objects],
            "etag": [o["ETag"].strip('"') for o in objects],
            "storage_class": [o.get("StorageClass", "STANDARD") for o in objects],
        },
        schema=LISTED,
    )


def _last_key(page: "ListObjectsV2OutputTypeDef") -> str | None:
    objects = page.get("Contents", [])
    return objects[-1]["Key"] if objects else None
