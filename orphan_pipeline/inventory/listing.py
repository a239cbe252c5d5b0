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
    try:
        said = parsedate_to_datetime(headers.get("date", ""))
    except ValueError as error:
        raise Refused(f"bucket {bucket}: the store's answer carries no Date header, so no cutoff can be trusted") from error
    # HTTP knows only UTC; a date that leaves its zone open would be taken for local time.
    return StoreTime(store=said.replace(tzinfo=said.tzinfo or UTC).astimezone(UTC), host=datetime.now(UTC))


def list_pages(client: "S3Client", bucket: str) -> Iterator[pa.RecordBatch]:
    """Every object of the bucket, a record batch of up to 1,000 rows (schema `LISTED`) a page.

    Raises Refused when a page does not say whether there is more, or says so and not where, or leads back to a former page.
    boto3's own errors rise.
    """
    token = None
    remembered, pages, renew_at = "", 0, 1
    while True:
        page = client.list_objects_v2(Bucket=bucket, ContinuationToken=token) if token else client.list_objects_v2(Bucket=bucket)
        following = page.get("NextContinuationToken")
        if "IsTruncated" not in page or (following and not page["IsTruncated"]):
            raise Refused(f"bucket {bucket}: the list broke off after {_last_key(page)!r} (the page does not say whether it is the last)")
        yield _as_batch(page)
        if not page["IsTruncated"]:
            return
        if not following or following in (token, remembered):
            raise Refused(f"bucket {bucket}: the list broke off after {_last_key(page)!r} (no new continuation token)")
        token = following
        # Brent's way to notice a circle of any length by remembering one token: else such a list would never end.
        pages += 1
        if pages == renew_at:
            remembered, renew_at = token, 2 * renew_at


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
