"""Whether single keys exist, asked for a few thousand of them: of the last inventory, or of the bucket itself. What belongs to a whole
sweep compares snapshots, and never this."""

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import gettempdir
from typing import TYPE_CHECKING

import pyarrow as pa
from botocore.exceptions import ClientError

from orphan_pipeline.duck import duck, rows
from orphan_pipeline.inventory.columns import CURRENT

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

CONCURRENCY = 16
MOST_FOLDERS = 20

FOUND = f"""
SELECT DISTINCT key FROM (FROM read_parquet($files, hive_partitioning = false) WHERE {CURRENT}) SEMI JOIN wanted USING (key)
"""

FOLDERS = """
SELECT regexp_extract(key, '^(?s:.*)/') AS folder FROM read_parquet($files, hive_partitioning = false)
WHERE contains(key, '/') GROUP BY ALL ORDER BY count(*) DESC, folder LIMIT 1000
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """What can be asked about existence. `source` says in words who answers; `is_costly`: each key is a request."""

    source: str
    existing: Callable[[Collection[str]], set[str]]
    folders: Callable[[], tuple[str, ...]]
    is_costly: bool


def of_inventory(files: Sequence[str], source: str) -> Catalogue:
    """The catalogue of an inventory's Parquet files."""
    return Catalogue(
        source=source,
        existing=lambda keys: _in_inventory(files, keys),
        folders=lambda: _upper_folders(_folders_of(files)),
        is_costly=False,
    )


def of_bucket(client: "S3Client", bucket: str, prefixes: Sequence[str]) -> Catalogue:
    """The catalogue of the live bucket: a HEAD a key, a list where that does not tell; each key is asked once. Raises botocore's errors as
    they come."""
    known = _Known(client, bucket)
    return Catalogue(
        source="the bucket",
        existing=known.existing,
        folders=lambda: tuple(_listed_folders(client, bucket, prefixes))[:MOST_FOLDERS],
        is_costly=True,
    )


@dataclass(slots=True)
class _Known:
    client: "S3Client"
    bucket: str
    answers: dict[str, bool] = field(default_factory=dict)

    def existing(self, keys: Collection[str]) -> set[str]:
        wanted = [key for key in dict.fromkeys(keys) if key not in self.answers]
        with ThreadPoolExecutor(CONCURRENCY) as pool:
            self.answers.update(zip(wanted, pool.map(self._exists, wanted), strict=True))
        return {key for key in keys if self.answers[key]}

    def _exists(self, key: str) -> bool:
        if len(key.encode()) > 1024:  # no store takes it
            return False
        try:
            self.client.head_object(Bucket=self.bucket, Key=key)
        except ClientError as error:
            status = error.response["ResponseMetadata"]["HTTPStatusCode"]
            if status == 404:
                return False
            if status != 403:
                raise
            return key in self._first_of(key)  # looking at an object takes the right to read it, a list of the bucket does not
        # SeaweedFS takes `//` in a path for `/`, and so `/a` for `a`: it answers for an object that the sweep would not match. What it
        # lists under `a//` does not begin so.
        place = f"/{key}".find("//")
        return place < 0 or any(first.startswith(key[: place + 1]) for first in self._first_of(key[: place + 1]))

    def _first_of(self, prefix: str) -> list[str]:
        """The first key under a prefix, which is the prefix itself if that is a key."""
        page = self.client.list_objects_v2(Bucket=self.bucket, Prefix=prefix, MaxKeys=1)
        return [item["Key"] for item in page.get("Contents", [])]


def _in_inventory(files: Sequence[str], keys: Collection[str]) -> set[str]:
    with duck(Path(gettempdir())) as connection:
        connection.register("wanted", pa.table({"key": pa.array(list(dict.fromkeys(keys)), pa.string())}))
        return {key for (key,) in rows(connection, FOUND, {"files": list(files)})}


def _folders_of(files: Sequence[str]) -> list[str]:
    with duck(Path(gettempdir())) as connection:
        return [folder for (folder,) in rows(connection, FOLDERS, {"files": list(files)})]


def _upper_folders(folders: Sequence[str]) -> tuple[str, ...]:
    """The folders, and those that they lie in: the ones that hold most come first."""
    counted: Counter[str] = Counter()
    for folder in folders:
        parts = folder.rstrip("/").split("/")
        counted.update("/".join(parts[:depth]) + "/" for depth in range(1, len(parts) + 1))
    return tuple(folder for folder, _ in counted.most_common(MOST_FOLDERS))


def _listed_folders(client: "S3Client", bucket: str, prefixes: Sequence[str]) -> list[str]:
    found: dict[str, None] = {}
    for prefix in ("", *prefixes):
        page = client.list_objects_v2(Bucket=bucket, Prefix=prefix, Delimiter="/", MaxKeys=1000)
        found.update((common["Prefix"], None) for common in page.get("CommonPrefixes", []))
    return list(found)
