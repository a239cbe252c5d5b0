"""Compares a real bucket, object by object, with what it should hold. It shares no code with the pipeline it judges,
and trusts neither its ledger nor its figures."""

from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

from orphan_pipeline.demo.data import REFERENCED, Case, DemoData

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What was found. The tuples hold keys, sorted; a right bucket leaves every one of them empty.

    lost: referenced, but not there.
    gone: unreferenced, but should be there (young, protected, unowned; an orphan before deletion or after its restore).
    left: an orphan that should have been deleted.
    altered: ETag or content is not what was uploaded.
    unexpected: an object nobody uploaded.
    unrecoverable: deleted, but not by exactly one delete marker above the version that was uploaded.
    marked: has a delete marker where none belongs.
    """

    present: dict[str, int]
    listed: int
    markers: int
    contents_read: int
    lost: tuple[str, ...]
    gone: tuple[str, ...]
    left: tuple[str, ...]
    altered: tuple[str, ...]
    unexpected: tuple[str, ...]
    unrecoverable: tuple[str, ...]
    marked: tuple[str, ...]

    @property
    def ok(self) -> bool:
        return not self.failures()

    def failures(self) -> dict[str, tuple[str, ...]]:
        """The kinds of failure that occurred, worst first."""
        kinds = ("lost", "altered", "gone", "unrecoverable", "left", "unexpected", "marked")
        return {kind: keys for kind in kinds if (keys := getattr(self, kind))}


def judge(
    client: "S3Client",
    bucket: str,
    data: DemoData,
    *,
    deleted: bool,
    restored_prefix: str | None = None,
    sample: int | None = 500,
) -> Verdict:
    """`restored_prefix` is a partition (see data.PARTITIONS). Content is read of all restored objects, and of a
    random `sample` of the others (None: of all); ETags are compared of all."""
    orphans = data.keys(Case.ORPHAN) if deleted else frozenset()
    restored = data.keys(Case.ORPHAN, partition=restored_prefix) if deleted and restored_prefix else frozenset()
    absent = orphans - restored
    expected = data.objects.keys() - absent
    found = dict(_objects(client, bucket))
    versions, markers = _versions(client, bucket)

    right = {key for key in expected & found.keys() if found[key] == data.etag(key)}
    others = sorted(right - restored)
    to_read = others if sample is None else Random(1).sample(others, min(sample, len(others)))
    to_read = [*to_read, *sorted(right & restored)]
    altered = (expected & found.keys()) - right | _wrong_content(client, bucket, data, to_read)
    missing = expected - found.keys()
    lost = {key for key in missing if data.objects[key] in REFERENCED}
    return Verdict(
        present=dict(Counter(data.objects[key].value for key in found if key in data.objects)),
        listed=len(found),
        markers=markers.total(),
        contents_read=len(to_read),
        lost=_sorted(lost),
        gone=_sorted(missing - lost),
        left=_sorted(absent & found.keys()),
        altered=_sorted(altered),
        unexpected=_sorted(found.keys() - data.objects.keys()),
        unrecoverable=_sorted(key for key in absent - found.keys() if markers[key] != 1 or (key, data.etag(key)) not in versions),
        marked=_sorted(markers.keys() - absent),
    )


def _objects(client: "S3Client", bucket: str) -> Iterator[tuple[str, str]]:
    token: dict[str, str] = {}
    while True:
        page = client.list_objects_v2(Bucket=bucket, **token)  # type: ignore[arg-type]
        for item in page.get("Contents", ()):
            yield item["Key"], item["ETag"].strip('"')
        if not page["IsTruncated"]:
            return
        token = {"ContinuationToken": page["NextContinuationToken"]}


def _versions(client: "S3Client", bucket: str) -> tuple[set[tuple[str, str]], Counter[str]]:
    """Key and ETag of every version, and how many delete markers each key has."""
    versions: set[tuple[str, str]] = set()
    markers: Counter[str] = Counter()
    for page in client.get_paginator("list_object_versions").paginate(Bucket=bucket):
        versions.update((item["Key"], item["ETag"].strip('"')) for item in page.get("Versions", ()))
        markers.update(item["Key"] for item in page.get("DeleteMarkers", ()))
    return versions, markers


def _wrong_content(client: "S3Client", bucket: str, data: DemoData, keys: Iterable[str]) -> set[str]:
    def differs(key: str) -> bool:
        return client.get_object(Bucket=bucket, Key=key)["Body"].read() != data.body(key)

    keys = list(keys)
    with ThreadPoolExecutor(16) as threads:
        return {key for key, wrong in zip(keys, threads.map(differs, keys), strict=True) if wrong}


def _sorted(keys: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(keys))
