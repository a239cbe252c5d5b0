"""What stands under the keys of a chunk: by one listing over their range where they are dense, key by key where they are not.

A listing over a range is only believed in what it shows, never in what it does not: SeaweedFS leaves out the versions of a key when more
than a page of other keys begin with it (`a` beside a thousand `a-1`), and another store may list in another order. What is not shown is
looked at by itself.
"""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor
from functools import partial
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from orphan_pipeline.deletion.looking import Current, look, look_behind, older_than, whole

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

FEWEST = 25
"""To list a page costs about as much as to ask for so many keys one by one: fewer keys than these a page, and the listing ends."""

Entry = dict[str, Any]


def current_of(client: "S3Client", bucket: str, keys: Sequence[str], pool: Executor) -> list[Current]:
    """Of each key, in order, what is current and what a marker hides; `keys` ascend by UTF-8."""
    listed = _versions_listed(client, bucket, keys)
    rest = [key for key in keys if key not in listed]
    listed |= dict(zip(rest, pool.map(lambda key: _looked_at(client, bucket, key), rest), strict=True))
    return [listed[key] for key in keys]


def _looked_at(client: "S3Client", bucket: str, key: str) -> Current:
    found = look_behind(client, bucket, key)
    return look(client, bucket, key) if found == Current() else found


def _versions_listed(client: "S3Client", bucket: str, keys: Sequence[str]) -> dict[str, Current]:
    entries: dict[str, list[Entry]] = {}
    for entry in _over_the_range(client, bucket, keys):
        entries.setdefault(entry["Key"], []).append(entry)
    found = {key: _current(own) for key, own in entries.items()}
    return {key: current for key, current in found.items() if current is not None}


def _over_the_range(client: "S3Client", bucket: str, keys: Sequence[str]) -> Iterator[Entry]:
    """Versions and markers (without an ETag) of these keys, as long as the pages hold enough of them."""
    wanted = frozenset(keys)
    if len(wanted) < FEWEST:
        return
    prefix = _common_prefix(keys[0], keys[-1])
    begin: dict[str, Any] = {"KeyMarker": keys[0][:-1]} if len(keys[0]) > 1 else {}
    last = keys[-1].encode()
    while True:
        page = whole(partial(client.list_object_versions, Bucket=bucket, Prefix=prefix, **begin))
        entries = [*page.get("Versions", []), *({**marker, "ETag": None} for marker in page.get("DeleteMarkers", []))]
        ours = [entry for entry in entries if entry["Key"] in wanted]
        yield from ours
        beyond = any(entry["Key"].encode() > last for entry in entries)
        next_one = {"KeyMarker": page.get("NextKeyMarker"), "VersionIdMarker": page.get("NextVersionIdMarker")}
        begin = {name: value for name, value in next_one.items() if value}
        if not page["IsTruncated"] or not begin or beyond or len(ours) < FEWEST:
            return


def _common_prefix(one: str, other: str) -> str:
    same = takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))
    return "".join(first for first, _ in same)


def _current(own: Iterable[Entry]) -> Current | None:
    """None unless the listing shows what is current, and the version behind it if that is a marker. The newest version comes first."""
    latest = next((entry for entry in own if entry["IsLatest"]), None)
    version = next((entry for entry in own if entry["ETag"] is not None), None)
    if latest is None or version is None:
        return None
    etag = version["ETag"].strip('"')
    markers = {entry["VersionId"]: entry["LastModified"] for entry in own if entry["ETag"] is None}
    if latest["ETag"] is None:
        at = version["LastModified"]
        between = older_than(latest["VersionId"], markers, above=at)
        return Current(marker=latest["VersionId"], behind=etag, behind_at=at, markers=frozenset(markers), between=between)
    overlooked = version["LastModified"] > latest["LastModified"]
    return Current(etag=latest["ETag"].strip('"'), markers=frozenset(markers), overlooked=overlooked)
