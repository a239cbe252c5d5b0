"""Where a quarantine is, where in it the copy of each planned object lies, and which quarantines this lake ever used: what lies in one
is no orphan, even after the settings forgot it."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Self

from orphan_pipeline.lake.files import read_document, write_document
from orphan_pipeline.lake.layout import BucketLake

LONGEST_KEY = 1024
"""Bytes of UTF-8 (S3 user guide, object key naming)."""

OF_THE_DIGEST = 16
LONG = ".long"


@dataclass(frozen=True, slots=True)
class Place:
    """One object; `version` where it is one version of it that is meant."""

    bucket: str
    key: str
    version: str | None = None

    @property
    def uri(self) -> str:
        """`s3://bucket/key`, the key as it is, nothing encoded."""
        return f"s3://{self.bucket}/{self.key}"

    @classmethod
    def of(cls, uri: str, version: str | None = None) -> Self:
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        return cls(bucket, key, version)


@dataclass(frozen=True, slots=True)
class Quarantine:
    """`prefix` is empty or ends in `/`."""

    bucket: str
    prefix: str

    @classmethod
    def of(cls, uri: str) -> Self:
        place = Place.of(uri)
        return cls(place.bucket, place.key)

    @property
    def uri(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}"

    def copy_of(self, key: str, *, plan: str) -> Place:
        """The same for the same plan and key, so that a run that was killed finds what it had copied; another plan's copy of the key
        lies elsewhere. A key too long for its place is named by its SHA-256."""
        copy = f"{self.prefix}{plan[:OF_THE_DIGEST]}/{key}"
        if len(copy.encode()) > LONGEST_KEY:
            copy = f"{self.prefix}{plan[:OF_THE_DIGEST]}{LONG}/{sha256(key.encode()).hexdigest()}"
        return Place(self.bucket, copy)

    def holds_copy(self, key: str, *, plans: Collection[str]) -> bool:
        """Whether a key of the quarantine's bucket is where `copy_of` puts copies of these plans."""
        folder, _, _ = key.removeprefix(self.prefix).partition("/")
        return key.startswith(self.prefix) and folder.removesuffix(LONG) in {plan[:OF_THE_DIGEST] for plan in plans}


@dataclass(frozen=True, slots=True, kw_only=True)
class Remembered:
    """`quarantines/{name}.json`"""

    quarantine: str
    first_used: datetime


def remember(lake: BucketLake, quarantine: Quarantine, *, at: datetime) -> None:
    """On disk before the first copy is made."""
    path = lake.quarantine(sha256(quarantine.uri.encode()).hexdigest()[:16])
    if not path.is_file():
        write_document(path, Remembered, Remembered(quarantine=quarantine.uri, first_used=at))


def remembered(lake: BucketLake) -> list[str]:
    """The quarantines of every bucket in the lake, as `s3://bucket/prefix/`."""
    return [read_document(path, Remembered).quarantine for path in lake.quarantines()]
