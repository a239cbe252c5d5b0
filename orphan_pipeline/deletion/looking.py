"""What stands under a key right now, object or delete marker, as the store itself says."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from orphan_pipeline.errors import Refused

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

NOT_FOUND = 404
ATTEMPTS_TO_LIST = 3
XML_CANNOT_CARRY = re.compile("[\x00-\x1f\x7f\ufffe\uffff]")
UNREADABLE = "\ufffd"
"""What SeaweedFS lists in the place of such a character."""

SEAWEEDFS_VERSIONS = ".versions/"
"""SeaweedFS keeps the versions of `k` in a folder `k.versions` and lists them in its place, after `k-…`: where a page of other keys that
begin with `k` comes first, the next page begins beyond `k`, and its versions appear in no listing but that of their folder (4.48, seen)."""


@dataclass(frozen=True, slots=True)
class Current:
    """`etag` of the current object, or `marker`, the version id of the delete marker that hides the key; neither: nothing is there.
    `behind`: the ETag of the newest version under the marker, if it was looked for and is there, `behind_at` its LastModified. `markers`:
    every delete marker that was found on the way, current or not; `between`: those that are older than the current one and newer, by the
    second, than what it hides. `overlooked`: a version that is newer than the current object is listed, and is not current."""

    etag: str | None = None
    marker: str | None = None
    behind: str | None = None
    behind_at: datetime | None = None
    markers: frozenset[str] = frozenset()
    between: frozenset[str] = frozenset()
    overlooked: bool = False


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
    """A listing of the key's versions, newest first: also says what a marker hides. One request, unless the key has very many versions
    or, on a store that does not list in byte order, many other keys begin with it."""
    marker = behind = at = None
    markers: dict[str, datetime] = {}
    for entry, is_marker in versions_of(client, bucket, key):
        if is_marker:
            markers[entry["VersionId"]] = entry["LastModified"]
            marker = entry["VersionId"] if entry["IsLatest"] else marker
            continue
        if entry["IsLatest"]:
            overlooked = at is not None and at > entry["LastModified"]
            return Current(etag=entry["ETag"].strip('"'), markers=frozenset(markers), overlooked=overlooked)
        if behind is None:
            behind, at = entry["ETag"].strip('"'), entry["LastModified"]
    return Current(marker=marker, behind=behind, behind_at=at, markers=frozenset(markers), between=older_than(marker, markers, above=at))


def older_than(marker: str | None, markers: Mapping[str, datetime], *, above: datetime | None) -> frozenset[str]:
    """Of a key's delete markers, id and LastModified, newest first, those that come after this one and surely later than that time: a store
    may tell times in whole seconds. One before it is the application's delete of this very moment, which the store does not call current
    yet."""
    after = islice(markers.items(), list(markers).index(marker) + 1, None) if marker is not None else ()
    return frozenset(one for one, made_at in after if above is None or made_at > above)


def versions_of(client: "S3Client", bucket: str, key: str) -> Iterator[tuple[Any, bool]]:
    """The key's markers and versions, each with whether it is a marker; of a page the markers come first."""
    latest = False
    page: Any = {}
    asked: dict[str, Any] = {"Bucket": bucket, "Prefix": key}
    while True:
        page = whole(partial(client.list_object_versions, **asked))
        for entry, is_marker in _of(page, key):
            latest = latest or entry["IsLatest"]
            yield entry, is_marker
        # In byte order the key itself comes before all that begin with it: only a page that ends within its versions leads to more.
        if not page["IsTruncated"] or page.get("NextKeyMarker") != key:
            break
        asked |= {"KeyMarker": key, "VersionIdMarker": page["NextVersionIdMarker"]}
    listed_as = XML_CANNOT_CARRY.sub(UNREADABLE, key)
    if not latest and (page["IsTruncated"] or listed_as != key):
        in_their_folder = partial(client.list_object_versions, Bucket=bucket, Prefix=key + SEAWEEDFS_VERSIONS)
        yield from _of(whole(in_their_folder), key, listed_as)


class NoList(Refused):
    """The answer to a listing had no body."""


def whole(ask: Callable[[], Any]) -> Any:
    """A page of a listing, asked for again where the answer has no body: botocore gives that as a list of nothing, and what stands would
    be taken for gone. Raises NoList when it has none each time."""
    for _ in range(ATTEMPTS_TO_LIST):
        page = ask()
        if "IsTruncated" in page:
            return page
    raise NoList(f"the store answered a listing with nothing at all, {ATTEMPTS_TO_LIST} times: run it again")


def _of(page: Any, *names: str) -> Iterator[tuple[Any, bool]]:
    yield from ((entry, True) for entry in page.get("DeleteMarkers", []) if entry["Key"] in names)
    yield from ((entry, False) for entry in page.get("Versions", []) if entry["Key"] in names)
