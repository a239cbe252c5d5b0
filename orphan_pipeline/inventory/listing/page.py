"""One answer of the store's list, and the two kinds of list there are: of objects (ListObjectsV2), and of all their versions
(ListObjectVersions). Where each goes on, and how it is asked to, is said here and nowhere else."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum

import pyarrow as pa

Token = str | tuple[str, str]
"""Where a list goes on: S3's continuation token, or the markers of a key and of a version of it."""


class Kind(Enum):
    """The operation, the root of its answer, the tags of its records."""

    OBJECTS = ("ListObjectsV2", "ListBucketResult", ("Contents",))
    VERSIONS = ("ListObjectVersions", "ListVersionsResult", ("Version", "DeleteMarker"))

    def __init__(self, operation: str, root: str, records: tuple[str, ...]) -> None:
        self.operation, self.root, self.records = operation, root, records

    @property
    def method(self) -> str:
        """What boto3 calls the operation."""
        return "list_objects_v2" if self is Kind.OBJECTS else "list_object_versions"

    def next_token(self, said: Mapping[str, str], decoded: Callable[[str], str]) -> Token | None:
        """What the page says of where the list goes on. Raises UnicodeDecodeError."""
        if self is Kind.OBJECTS:
            return said.get("NextContinuationToken")
        if not said.get("NextKeyMarker"):
            return None
        return decoded(said["NextKeyMarker"]), said.get("NextVersionIdMarker", "")

    def asked_after(self, after: str, token: Token | None) -> dict[str, str]:
        """The parameters of a request for what comes after a key, or where a page ended."""
        if isinstance(token, tuple):
            key, version = token
            return {"KeyMarker": key, **({"VersionIdMarker": version} if version else {})}
        if token is not None:
            return {"ContinuationToken": token}
        if not after:
            return {}
        return {"StartAfter" if self is Kind.OBJECTS else "KeyMarker": after}


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One answer: its objects (schema `LISTED`, or `VERSIONS`), the prefixes below it when a delimiter was given, and where the list
    goes on."""

    objects: pa.RecordBatch
    common_prefixes: tuple[str, ...]
    truncated: bool
    next_token: Token | None
    fast: bool


class BrokenPage(Exception):
    """The body is no whole answer: cut off, or something else altogether."""
