"""An S3 Inventory report in place of a live listing: complete or not at all. Each file is fetched to disk and its MD5 compared before
one of its rows is believed. How a manifest and a file are read is in `manifest` and `rows`.

What a report does not say: S3 promises eventual consistency only, so a report may lack a recent object (which is then no orphan) or
list one that is gone or changed (against which the delete carries the ETag). A configuration with a prefix filter says nothing
about the other keys, and the manifest does not tell: they are never orphans, and references to them look dangling.
"""

import hashlib
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pyarrow as pa
from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError

from orphan_pipeline.errors import Refused
from orphan_pipeline.inventory.reports.manifest import OF_VERSIONS, ReportFile, ReportManifest, find_manifest
from orphan_pipeline.inventory.reports.rows import read_rows

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

# s3transfer asks again for a part that breaks off. More connections than these only cost memory: parts of 8 MiB each.
DOWNLOADING = TransferConfig(max_concurrency=4, num_download_attempts=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportFigures:
    """What has been read so far: whole files and their bytes, all rows, and how many of the rows are no object: versions that are not
    current, and current ones that are delete markers. Final once `batches` has ended."""

    files: int = 0
    bytes: int = 0
    rows: int = 0
    noncurrent: int = 0
    delete_markers: int = 0


class Report:
    """One report that was found complete by its manifest. `batches` reads it."""

    def __init__(self, client: "S3Client", manifest: ReportManifest, *, source_bucket: str, folder: Path, versions: bool = False) -> None:
        self._client, self._manifest, self._source_bucket, self._folder = client, manifest, source_bucket, folder
        self._versions = versions
        self._figures = ReportFigures()

    @property
    def started_at(self) -> datetime:
        """When S3 began to scan the bucket (UTC): the inventory's start."""
        return self._manifest.started_at

    @property
    def manifest_key(self) -> str:
        return self._manifest.key

    @property
    def figures(self) -> ReportFigures:
        return self._figures

    def detail(self) -> str:
        """For a line of progress."""
        return f"{self._figures.files:,} of {len(self._manifest.files):,} files read, {self._figures.rows:,} rows"

    def batches(self) -> Generator[pa.RecordBatch, None, None]:
        """Every current object once, as schema `LISTED` (with versions, every version once, as schema `VERSIONS`), a few thousand rows a
        batch; one file at a time is on disk, in a folder of its
        own that goes away. Raises Refused for a file that is missing or not what the manifest says, and for a row
        that does not parse. What came before is then worth nothing."""
        self._figures = ReportFigures()
        with TemporaryDirectory(prefix="report-", dir=self._folder) as folder:
            for file in self._manifest.files:
                yield from self._rows(file, Path(folder) / "file")

    def _rows(self, file: ReportFile, path: Path) -> Iterator[pa.RecordBatch]:
        where = f"s3://{self._manifest.bucket}/{file.key}"
        self._fetch(file, path, where)
        manifest = self._manifest
        for batch in read_rows(
            path,
            form=manifest.format,
            columns=manifest.columns,
            source_bucket=self._source_bucket,
            where=where,
            versions=self._versions,
        ):
            self._add(rows=batch.rows, noncurrent=batch.noncurrent, delete_markers=batch.delete_markers)
            yield batch.listed
        self._add(files=1, bytes=file.size)
        path.unlink()

    def _fetch(self, file: ReportFile, path: Path, where: str) -> None:
        try:
            self._client.download_file(self._manifest.bucket, file.key, str(path), Config=DOWNLOADING)
        except ClientError as wrong:
            if wrong.response["Error"]["Code"] not in ("404", "NoSuchKey"):
                raise
            raise Refused(f"{where}: missing, and named in {self._manifest.where}") from wrong
        size = path.stat().st_size
        if size != file.size:
            raise Refused(f"{where}: {size:,} bytes, but {self._manifest.where} says {file.size:,}")
        with path.open("rb") as content:
            found = hashlib.file_digest(content, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
        if found != file.md5:
            raise Refused(f"{where}: its MD5 is {found}, but {self._manifest.where} says {file.md5[:40]}")

    def _add(self, *, files: int = 0, bytes: int = 0, rows: int = 0, noncurrent: int = 0, delete_markers: int = 0) -> None:
        was = self._figures
        self._figures = ReportFigures(
            files=was.files + files,
            bytes=was.bytes + bytes,
            rows=was.rows + rows,
            noncurrent=was.noncurrent + noncurrent,
            delete_markers=was.delete_markers + delete_markers,
        )


def read_report(
    client: "S3Client",
    *,
    manifest: str,
    source_bucket: str,
    max_age: timedelta,
    now: datetime,
    folder: Path,
    report: Callable[[str], None],
    versions: bool = False,
) -> Report:
    """The report at `manifest`, `s3://bucket/…/manifest.json` or a folder of reports, about `source_bucket`; `client` must be allowed to
    read where it lies. `now` is by the store's clock. Files are fetched into `folder`; `report` takes lines for
    the log. Raises Refused when no report there can be believed, or `versions` are asked for and it has none; nothing but the manifest has
    been read by then."""
    found = find_manifest(client, location=manifest, source_bucket=source_bucket, max_age=max_age, now=now, report=report)
    files = f"{len(found.files):,} {found.format} files, {sum(file.size for file in found.files):,} bytes"
    report(f"inventory: {found.where}, scan begun at {found.started_at:%Y-%m-%d %H:%M} UTC, {files}")
    if versions and not OF_VERSIONS.keys() <= set(found.columns):
        raise Refused(f"{found.where}: a report of current versions only, expected one of all versions, since inventory.versions is true")
    return Report(client, found, source_bucket=source_bucket, folder=folder, versions=versions)
