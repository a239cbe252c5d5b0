"""Where the lease lies: a small document that is only ever replaced by who has read it. In the bucket itself, by conditional writes, so
that two lakes see each other; where the store does not honour those, in the lake, which only keeps runs with the same lake apart.

In a versioned bucket every write leaves a noncurrent version behind: each writer removes the version that it replaced, and the last
holder removes its own, so that nothing piles up and no delete marker is left.
"""

import fcntl
import hashlib
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from botocore.exceptions import ClientError
from pydantic import TypeAdapter, ValidationError

from orphan_pipeline.deletion.lease.document import LeaseDocument
from orphan_pipeline.deletion.probing import NotKnown, tried
from orphan_pipeline.deletion.requests import GONE, NOT_THE_PLANNED_OBJECT
from orphan_pipeline.errors import Refused
from orphan_pipeline.inventory.prefixes import OWN_PREFIX
from orphan_pipeline.lake.files import make_folder, written_whole

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

LEASE_KEY = f"{OWN_PREFIX}lease.json"
ANY = "*"
STALE_ETAG = '"' + "0" * 32 + '"'
DOCUMENT = TypeAdapter(LeaseDocument)
NOT_WRITTEN = NOT_THE_PLANNED_OBJECT | GONE | {"ConditionalRequestConflict", "409"}
"""What stores answer when the document is not the one that was read any more (moto says 404 when it is gone)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """The document (None: there is none), what tells it from every other, and what time it is where it lies."""

    document: LeaseDocument | None
    tag: str | None
    now: datetime
    version: str | None = None


class Register(Protocol):
    """Holds one document."""

    where: str
    """For people."""

    def read(self) -> Reading: ...

    def write(self, document: LeaseDocument, *, after: Reading) -> bool:
        """Replaces what was read, and nothing else: False when somebody was faster."""
        ...

    def remove(self, *, after: Reading) -> bool:
        """As `write`, leaving nothing."""
        ...


class StoreRegister:
    """The object `.orphan_pipeline/lease.json` in the bucket."""

    def __init__(self, client: "S3Client", bucket: str, *, key: str = LEASE_KEY) -> None:
        self._client, self._bucket, self._key = client, bucket, key
        self.where = f"bucket {bucket}"

    def read(self) -> Reading:
        try:
            response = self._client.get_object(Bucket=self._bucket, Key=self._key)
        except ClientError as error:
            if error.response["Error"].get("Code") not in GONE | {"NoSuchVersion"}:
                raise
            return Reading(document=None, tag=None, now=_store_clock(error.response, self._bucket))
        return Reading(
            document=_parsed(response["Body"].read(), self.where),
            tag=response["ETag"],
            now=_store_clock(response, self._bucket),
            version=response.get("VersionId"),
        )

    def write(self, document: LeaseDocument, *, after: Reading) -> bool:
        condition: dict[str, Any] = {"IfMatch": after.tag} if after.tag is not None else {"IfNoneMatch": ANY}
        body = DOCUMENT.dump_json(replace(document, written=uuid.uuid4().hex), indent=2)
        if not _done(lambda: self._client.put_object(Bucket=self._bucket, Key=self._key, Body=body, **condition)):
            return False
        self._remove_version(after.version)
        return True

    def remove(self, *, after: Reading) -> bool:
        if after.version in (None, "null"):
            return _done(lambda: self._client.delete_object(Bucket=self._bucket, Key=self._key, IfMatch=after.tag or STALE_ETAG))
        # Exactly what was read, whatever stands there by now, and without a delete marker.
        self._remove_version(after.version)
        return True

    def _remove_version(self, version: str | None) -> None:
        if version not in (None, "null"):
            self._client.delete_object(Bucket=self._bucket, Key=self._key, VersionId=str(version))


class LakeRegister:
    """A file in the lake, under a lock of this host: for stores that ignore conditions on writes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.where = f"lake {folder}"

    def read(self) -> Reading:
        with self._locked():
            return self._read()

    def write(self, document: LeaseDocument, *, after: Reading) -> bool:
        with self._locked():
            if self._read().tag != after.tag:
                return False
            with written_whole(self._file) as unfinished:
                unfinished.write_bytes(DOCUMENT.dump_json(replace(document, written=uuid.uuid4().hex), indent=2))
            return True

    def remove(self, *, after: Reading) -> bool:
        with self._locked():
            same = self._read().tag == after.tag
            if same:
                self._file.unlink(missing_ok=True)
            return same

    @property
    def _file(self) -> Path:
        return self._folder / "lease.json"

    def _read(self) -> Reading:
        body = self._file.read_bytes() if self._file.is_file() else None
        return Reading(
            document=None if body is None else _parsed(body, self.where),
            tag=None if body is None else hashlib.sha256(body).hexdigest(),
            now=datetime.now(UTC),
        )

    @contextmanager
    def _locked(self) -> Iterator[None]:
        make_folder(self._folder)
        with (self._folder / "lease.lock").open("a+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def honours_conditional_writes(client: "S3Client", bucket: str) -> bool:
    """Tries with a throw-away object whether writes and deletes that should be refused are. Nothing of it stays behind."""
    key = f"{OWN_PREFIX}lease-probe-{uuid.uuid4().hex}"
    register = StoreRegister(client, bucket, key=key)
    empty = register.read()
    try:
        if not register.write(LeaseDocument(), after=empty) or register.write(LeaseDocument(), after=empty):
            return False
        stale = replace(register.read(), tag=STALE_ETAG, version=None)
        return not register.write(LeaseDocument(), after=stale) and not register.remove(after=stale)
    finally:
        while (last := register.read()).document is not None:
            register.remove(after=last)


def lease_words(client: "S3Client", bucket: str) -> str:
    """Where the lease of this bucket lies, for people; where it is not allowed to try, that."""
    honoured = tried(lambda: honours_conditional_writes(client, bucket))
    if isinstance(honoured, NotKnown):
        return str(honoured)
    if honoured:
        return "in the bucket"
    return "in the lake: the store ignores conditions on writes, so only runs with the same lake keep each other out"


def _parsed(body: bytes, where: str) -> LeaseDocument:
    try:
        return DOCUMENT.validate_json(body, extra="forbid")
    except ValidationError as wrong:
        raise Refused(f"{where}: its lease {LEASE_KEY} is not as this release writes it: cut, edited, or of another release?") from wrong


def _done(request: Callable[[], object]) -> bool:
    try:
        request()
    except ClientError as error:
        if error.response["Error"].get("Code") not in NOT_WRITTEN:
            raise
        return False
    return True


def _store_clock(response: Any, bucket: str) -> datetime:
    said = response["ResponseMetadata"]["HTTPHeaders"].get("date", "")
    try:
        at = parsedate_to_datetime(said)
    except ValueError as error:
        raise Refused(f"bucket {bucket}: the store's answer carries no Date header, so no lease can be timed") from error
    return at.replace(tzinfo=at.tzinfo or UTC).astimezone(UTC)
