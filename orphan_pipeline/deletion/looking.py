"""What stands under a key right now, object or delete marker, as the store itself says."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

NOT_FOUND = 404


@dataclass(frozen=True, slots=True)
class Current:
    """`etag` of the current object, or `marker`, the version id of the delete marker that hides the key; neither: nothing is there."""

    etag: str | None = None
    marker: str | None = None


def look(client: "S3Client", bucket: str, key: str) -> Current:
    """One HeadObject; only when that finds nothing are the key's versions listed, since not every store's 404 tells of a marker."""
    try:
        return Current(etag=client.head_object(Bucket=bucket, Key=key)["ETag"].strip('"'))
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] != NOT_FOUND:
            raise
    for page in client.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=key):
        for marker in page.get("DeleteMarkers", []):
            if marker["Key"] == key and marker["IsLatest"]:
                return Current(marker=marker["VersionId"])
    return Current()
