"""What stands under a key right now, object or delete marker, as the store itself says."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

NOT_FOUND = 404


@dataclass(frozen=True, slots=True)
class Current:
    """`etag` of the current object, or `marker`, the version id of the delete marker that hides the key; neither: nothing is there.
    `behind`: the ETag of the newest version under the marker, if it was looked for and is there. `markers`: every delete marker that
    was found on the way, current or not."""

    etag: str | None = None
    marker: str | None = None
    behind: str | None = None
    markers: frozenset[str] = frozenset()


def look(client: "S3Client", bucket: str, key: str) -> Current:
    """One HeadObject, whose 404 tells of a marker on most stores; where it does not, the key's versions are listed."""
    try:
        return Current(etag=client.head_object(Bucket=bucket, Key=key)["ETag"].strip('"'))
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] != NOT_FOUND:
            raise
        headers = error.response["ResponseMetadata"]["HTTPHeaders"]
        if headers.get("x-amz-delete-marker") == "true" and "x-amz-version-id" in headers:
            return Current(marker=headers["x-amz-version-id"])
    return look_behind(client, bucket, key)


def look_behind(client: "S3Client", bucket: str, key: str) -> Current:
    """One listing of the key's versions (more only where very many keys begin with this one): also says what a marker hides."""
    marker = None
    markers: frozenset[str] = frozenset()
    for page in client.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=key):
        for found in page.get("DeleteMarkers", []):
            if found["Key"] == key:
                markers |= {found["VersionId"]}
                marker = found["VersionId"] if found["IsLatest"] else marker
        for version in page.get("Versions", []):
            if version["Key"] == key:  # the newest of them comes first
                etag = version["ETag"].strip('"')
                if version["IsLatest"]:
                    return Current(etag=etag, markers=markers)
                return Current(marker=marker, behind=etag, markers=markers)
    return Current(marker=marker, markers=markers)
