"""The judge must be able to fail: each kind of damage is done to a right bucket, and must be found."""

from collections.abc import Callable
from io import BytesIO
from typing import Any

import pytest

from orphan_pipeline.demo.data import REFERENCED, Case, DemoData, demo_data
from orphan_pipeline.demo.judge import Verdict, judge

DATA = demo_data(200)
RESTORED = "uploads/2025/"
OTHER = "uploads/2026/"


class Bucket:
    """As much of a versioned bucket as the judge looks at: bodies, ETags, versions, delete markers."""

    def __init__(self, data: DemoData) -> None:
        self.bodies = {key: data.body(key) for key in data.objects}
        self.etags = {key: data.etag(key) for key in data.objects}
        self.versions = set(self.etags.items())
        self.markers: list[str] = []

    def delete(self, key: str) -> None:
        del self.bodies[key], self.etags[key]
        self.markers.append(key)

    def list_objects_v2(self, *, Bucket: str, ContinuationToken: str = "") -> dict[str, Any]:
        keys = sorted(key for key in self.etags if key > ContinuationToken)
        page = {"Contents": [{"Key": key, "ETag": f'"{self.etags[key]}"'} for key in keys[:50]]}
        return page | {"IsTruncated": len(keys) > 50} | ({"NextContinuationToken": keys[49]} if len(keys) > 50 else {})

    def get_paginator(self, name: str) -> "Bucket":
        assert name == "list_object_versions"
        return self

    def paginate(self, *, Bucket: str) -> list[dict[str, Any]]:
        versions = [{"Key": key, "ETag": f'"{etag}"'} for key, etag in self.versions]
        return [{"Versions": versions}, {"DeleteMarkers": [{"Key": key} for key in self.markers]}]

    def get_object(self, *, Bucket: str, Key: str) -> dict[str, Any]:
        return {"Body": BytesIO(self.bodies[Key])}


def judged(bucket: Bucket, *, deleted: bool = True, restored_prefix: str | None = RESTORED) -> Verdict:
    client: Any = bucket
    return judge(client, "any", DATA, deleted=deleted, restored_prefix=restored_prefix, sample=None)


@pytest.fixture
def bucket() -> Bucket:
    """After deletion of all orphans and the restore of one partition."""
    right = Bucket(DATA)
    for key in DATA.keys(Case.ORPHAN) - DATA.keys(Case.ORPHAN, partition=RESTORED):
        right.delete(key)
    return right


def one(*cases: Case, partition: str | None = None) -> str:
    return min(DATA.keys(*cases, partition=partition))


def test_a_right_bucket_is_right(bucket: Bucket) -> None:
    verdict = judged(bucket)
    assert verdict.ok
    assert verdict.failures() == {}
    assert verdict.listed == sum(verdict.present.values()) == len(bucket.bodies) == verdict.contents_read
    assert verdict.markers == len(DATA.keys(Case.ORPHAN)) - len(DATA.keys(Case.ORPHAN, partition=RESTORED))


def test_an_untouched_bucket_is_right_before_deletion() -> None:
    assert judged(Bucket(DATA), deleted=False, restored_prefix=None).ok


@pytest.mark.parametrize("case", sorted(REFERENCED))
def test_lost(bucket: Bucket, case: Case) -> None:
    key = one(case)
    bucket.delete(key)
    assert judged(bucket).failures() == {"lost": (key,), "marked": (key,)}


@pytest.mark.parametrize("case", [Case.YOUNG, Case.PROTECTED, Case.UNOWNED])
def test_gone(bucket: Bucket, case: Case) -> None:
    key = one(case)
    bucket.delete(key)
    assert judged(bucket).failures() == {"gone": (key,), "marked": (key,)}


def test_gone_because_it_was_not_restored(bucket: Bucket) -> None:
    key = one(Case.ORPHAN, partition=RESTORED)
    bucket.delete(key)
    assert judged(bucket).failures() == {"gone": (key,), "marked": (key,)}


def test_gone_although_nothing_should_be_deleted_yet() -> None:
    bucket = Bucket(DATA)
    key = one(Case.ORPHAN)
    bucket.delete(key)
    verdict = judged(bucket, deleted=False, restored_prefix=None)
    assert verdict.failures() == {"gone": (key,), "marked": (key,)}


def test_left(bucket: Bucket) -> None:
    key = one(Case.ORPHAN, partition=OTHER)
    bucket.bodies[key], bucket.etags[key] = DATA.body(key), DATA.etag(key)
    bucket.markers.remove(key)
    assert judged(bucket).failures() == {"left": (key,)}


def _other_etag(bucket: Bucket, key: str) -> None:
    bucket.etags[key] = "0" * 32


def _other_content(bucket: Bucket, key: str) -> None:
    bucket.bodies[key] = b"somebody else's"


@pytest.mark.parametrize("damage", [_other_etag, _other_content])
@pytest.mark.parametrize("key", [one(Case.BOTH), one(Case.UNOWNED), one(Case.ORPHAN, partition=RESTORED)])
def test_altered(bucket: Bucket, key: str, damage: Callable[[Bucket, str], None]) -> None:
    damage(bucket, key)
    assert judged(bucket).failures() == {"altered": (key,)}


def test_unexpected(bucket: Bucket) -> None:
    bucket.bodies["uploads/new"], bucket.etags["uploads/new"] = b"", ""
    assert judged(bucket).failures() == {"unexpected": ("uploads/new",)}


def _without_marker(bucket: Bucket, key: str) -> None:
    bucket.markers.remove(key)


def _second_marker(bucket: Bucket, key: str) -> None:
    bucket.markers.append(key)


def _version_gone(bucket: Bucket, key: str) -> None:
    bucket.versions.remove((key, DATA.etag(key)))


@pytest.mark.parametrize("damage", [_without_marker, _second_marker, _version_gone])
def test_unrecoverable(bucket: Bucket, damage: Callable[[Bucket, str], None]) -> None:
    key = one(Case.ORPHAN, partition=OTHER)
    damage(bucket, key)
    assert judged(bucket).failures() == {"unrecoverable": (key,)}


def test_marked_below_a_newer_version(bucket: Bucket) -> None:
    key = one(Case.LIVE)
    bucket.markers.append(key)
    assert judged(bucket).failures() == {"marked": (key,)}
