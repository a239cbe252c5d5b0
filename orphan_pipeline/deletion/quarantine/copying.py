"""Copies one object on the store's side, with all that belongs to it, and proves that the copy is the same. Used both ways: into
quarantine and back.

What CopyObject keeps by itself: user metadata, content headers, tags. What it drops and is given again: storage class, encryption and
its key, website redirect. What nobody can copy: ACLs (the copy has the bucket's default), object locks, and objects encrypted with the
customer's own key (refused by the store). A multipart object is copied in its own parts, so that its ETag stays what it was.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from botocore.exceptions import BotoCoreError, ClientError

from orphan_pipeline.deletion.ledger import NO_MARKER
from orphan_pipeline.deletion.quarantine.place import Place

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

LARGEST_COPY = 5 * 2**30
"""Bytes that one CopyObject takes (S3 API reference); beyond it, parts."""

PART = 512 * 2**20
"""Of an object whose own parts are not known: 10,000 parts of it make 5 TB, the largest object there is."""

CONTENT_HEADERS = ("CacheControl", "ContentDisposition", "ContentEncoding", "ContentLanguage", "ContentType", "Metadata")
GIVEN_AGAIN = ("StorageClass", "ServerSideEncryption", "SSEKMSKeyId", "BucketKeyEnabled", "WebsiteRedirectLocation")
MUST_AGREE = ("ContentLength", *CONTENT_HEADERS, "ExpiresString", "StorageClass", "WebsiteRedirectLocation")
MUST_AGREE_IF_SET = ("ServerSideEncryption", "SSEKMSKeyId")
"""An object without encryption may get the default of where it goes."""

CHECKSUMS = tuple(f"Checksum{kind}" for kind in ("CRC64NVME", "SHA256", "SHA512", "SHA1", "CRC32C", "CRC32", "MD5"))
READ = 2**20
NOT_FOUND = frozenset({"404", "NoSuchKey", "NoSuchVersion", "NotFound"})
PRECONDITION = frozenset({"412", "PreconditionFailed"})
NOT_KNOWN = frozenset({"NotImplemented", "501"})
"""What some stores answer to a condition on a copy."""

Head = Mapping[str, Any]
Condition = Mapping[str, str]


class NotCopied(Exception):
    """The copy was not made, or is not the same. `code`: the store's, or `CopyDiffers:{what}`."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class SourceChanged(NotCopied):
    """Another object stands there, or none (`gone`)."""

    def __init__(self, *, gone: bool) -> None:
        super().__init__("NoSuchKey" if gone else "PreconditionFailed")
        self.gone = gone


class TargetTaken(NotCopied):
    """Something else stands, or already nothing again, where the copy was to go, or went, and it was to go only where nothing stands."""

    def __init__(self) -> None:
        super().__init__("PreconditionFailed")


@dataclass(frozen=True, slots=True)
class Copied:
    """The copy as the store shows it afterwards, or as it answered right away: then `etag` is empty if the answer had no body."""

    etag: str
    version: str | None


Way = Callable[[Place, Condition], Copied]
"""Makes the copy and gives what the store's own answer says that it made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Copier:
    """Copies within one store. `largest`: bytes that one request copies. `asks_tags`: the store does not count tags in HeadObject, so
    that they are asked for one by one."""

    client: "S3Client"
    largest: int = LARGEST_COPY
    asks_tags: bool = False

    def head(self, place: Place) -> Head | None:
        """None when nothing stands there."""
        try:
            return self.client.head_object(**_named(place), ChecksumMode="ENABLED")
        except ClientError as error:
            if error.response["Error"].get("Code") in NOT_FOUND:
                return None
            raise

    def copy(self, source: Place, target: Place, *, etag: str, only_if_free: bool) -> Copied:
        """Copies the object that has this ETag, and proves it. With `only_if_free` never over another object, where the store honours
        that condition; look right before where it may not.

        Raises SourceChanged, TargetTaken, NotCopied for what the store says of this one object; boto3's errors otherwise.
        """
        head = self.head(source)
        if head is None or etag_of(head) != etag:
            raise SourceChanged(gone=head is None)
        pinned = Place(source.bucket, source.key, source.version or _version(head))
        condition = {"IfNoneMatch": "*"} if only_if_free else {}
        made: Head | None = None
        replaced: list[Place] = []
        for copy_it in self._ways(pinned, head):
            try:
                answered = copy_it(target, condition)
            except ClientError as error:
                raise _what_the_store_says(error) from error
            made = self.head(target)
            if only_if_free and not _is_shown(answered, made):
                raise TargetTaken
            if made is None or etag_of(made) == etag:
                break
            if only_if_free:
                condition = {"IfMatch": f'"{answered.etag}"'}  # the next way goes over what this one made, over nothing else
            # By the answer, never by what a look shows: that may be an object that the application has written meanwhile.
            replaced.append(Place(target.bucket, target.key, answered.version))
        proven = self._proven(pinned, head, target, made)
        for former in replaced:
            if former.version not in (*NO_MARKER, proven.version):
                self.client.delete_object(**_named(former))  # where versions are kept: nobody would ever purge it
        return proven

    def same(self, one: Place, other: Place) -> Copied | None:
        """`other`, if it stands and is the same object as `one`; None otherwise."""
        head, made = self.head(one), self.head(other)
        if head is None or made is None:
            return None
        try:
            return self._proven(one, head, other, made)
        except NotCopied:
            return None

    def _ways(self, source: Place, head: Head) -> Sequence[Way]:
        """In the order in which they are tried. On AWS the same parts give the same ETag, on SeaweedFS CopyObject does; an ETag that
        stayed the same is the best proof there is, and the object comes back as what it was."""
        small_enough = head["ContentLength"] <= self.largest
        whole = [partial(self._copy_whole, source, head)] if small_enough else []
        sizes = part_sizes(self.client, source, head) or ([] if small_enough else _cut(head["ContentLength"], min(PART, self.largest)))
        return [partial(self._copy_parts, source, head, sizes), *whole] if sizes else whole

    def _copy_whole(self, source: Place, head: Head, target: Place, condition: Condition) -> Copied:
        given: dict[str, Any] = {name: head[name] for name in GIVEN_AGAIN if name in head}
        copy = partial(
            self.client.copy_object,
            **_named(target),
            CopySource=_source(source),
            CopySourceIfMatch=head["ETag"],
            MetadataDirective="COPY",
            TaggingDirective="COPY",
            **given,
        )
        return _send(copy, condition)

    def _copy_parts(self, source: Place, head: Head, sizes: Sequence[int], target: Place, condition: Condition) -> Copied:
        given: dict[str, Any] = {name: head[name] for name in (*GIVEN_AGAIN, *CONTENT_HEADERS, "Expires") if name in head}
        tags = _tag_set(self.client, source)  # nothing copies them here, so no count is relied on
        if tags:
            given["Tagging"] = urlencode(tags)
        upload = self.client.create_multipart_upload(**_named(target), **given)["UploadId"]
        try:
            parts: list[Any] = []
            begins = 0
            for number, size in enumerate(sizes, 1):
                copied = self.client.upload_part_copy(
                    **_named(target),
                    UploadId=upload,
                    PartNumber=number,
                    CopySource=_source(source),
                    CopySourceIfMatch=head["ETag"],
                    CopySourceRange=f"bytes={begins}-{begins + size - 1}",
                )
                parts.append({"PartNumber": number, "ETag": copied["CopyPartResult"]["ETag"]})
                begins += size
            complete = partial(self.client.complete_multipart_upload, **_named(target), UploadId=upload, MultipartUpload={"Parts": parts})
            return _send(complete, condition)
        except BaseException:
            # Parts that nobody completes are paid for and seen by nobody. What this misses, the purge finds.
            with suppress(ClientError, BotoCoreError):
                self.client.abort_multipart_upload(**_named(target), UploadId=upload)
            raise

    def _proven(self, source: Place, head: Head, target: Place, made: Head | None) -> Copied:
        if made is None:
            raise NotCopied("CopyDiffers:gone")
        for name in (*MUST_AGREE, *(name for name in MUST_AGREE_IF_SET if name in head)):
            if head.get(name) != made.get(name):
                raise NotCopied(f"CopyDiffers:{name}")
        if dict(self._tags(source, head)) != dict(self._tags(target, made)):
            raise NotCopied("CopyDiffers:Tagging")
        at = Place(target.bucket, target.key, _version(made))
        if not (etag_of(head) == etag_of(made) or _same_checksum(head, made) or self._same_bytes((source, head), (at, made))):
            raise NotCopied("CopyDiffers:content")
        return Copied(etag_of(made), at.version)

    def _tags(self, place: Place, head: Head) -> list[tuple[str, str]]:
        if not head.get("TagCount") and not self.asks_tags:
            return []
        return _tag_set(self.client, place)

    def _same_bytes(self, *objects: tuple[Place, Head]) -> bool:
        """Where the ETag is no digest (KMS) and no checksum was kept: both are read once, in a stream. The very objects that were looked
        at: a source that changed meanwhile could be the same as a copy of what it changed to."""
        try:
            return len({_sha256(self.client, place, head) for place, head in objects}) == 1
        except ClientError as error:
            raise _what_the_store_says(error) from error


def _tag_set(client: "S3Client", place: Place) -> list[tuple[str, str]]:
    """Raises NotCopied for an answer without a body."""
    found = client.get_object_tagging(**_named(place)).get("TagSet")
    if found is None:
        raise NotCopied("NoTagSet")
    return [(tag["Key"], tag["Value"]) for tag in found]


def _sha256(client: "S3Client", place: Place, head: Head) -> str:
    digest = hashlib.sha256()
    for piece in client.get_object(**_named(place), IfMatch=head["ETag"])["Body"].iter_chunks(READ):
        digest.update(piece)
    return digest.hexdigest()


def part_sizes(client: "S3Client", place: Place, head: Head) -> list[int] | None:
    """The sizes of the parts that the object was uploaded in; None for one that was not, or where the store does not say."""
    _, dash, count = etag_of(head).partition("-")
    if not dash or not count.isdigit() or not head["ContentLength"]:
        return None
    parts = int(count)

    def size_of(number: int) -> int | None:
        found = client.head_object(**_named(place), PartNumber=number)
        return found["ContentLength"] if found.get("PartsCount") == parts else None

    try:
        first, last = size_of(1), size_of(parts)
        if first is None or last is None:
            return None
        if first * (parts - 1) + last == head["ContentLength"]:
            return [first] * (parts - 1) + [last]
        sizes = [size_of(number) for number in range(1, parts + 1)]
    except ClientError:
        return None  # a store that cannot answer for one part: the proof falls back on checksum or content
    known = [size for size in sizes if size is not None]
    return known if len(known) == parts and sum(known) == head["ContentLength"] else None


def etag_of(head: Head) -> str:
    return str(head["ETag"]).strip('"')


def _cut(size: int, part: int) -> list[int]:
    return [min(part, size - begins) for begins in range(0, size, part)]


def _same_checksum(head: Head, made: Head) -> bool:
    """Only of the whole object: one composed of parts depends on where they were cut."""
    if "COMPOSITE" in (head.get("ChecksumType"), made.get("ChecksumType")):
        return False
    return any(name in head and head[name] == made.get(name) and "-" not in head[name] for name in CHECKSUMS)


def _is_shown(answered: Copied, made: Head | None) -> bool:
    """Whether what stands is what the store said that it made."""
    return made is not None and etag_of(made) == answered.etag and len({answered.version, _version(made)} - {*NO_MARKER}) <= 1


def _send(request: Callable[..., Any], condition: Condition) -> Copied:
    try:
        return _answered(request(**condition))
    except ClientError as error:
        code = error.response["Error"].get("Code")
        if condition and code in PRECONDITION:
            raise TargetTaken from error
        if not condition or code not in NOT_KNOWN:
            raise
        return _answered(request())


def _answered(answer: Any) -> Copied:
    """To a CopyObject or a CompleteMultipartUpload."""
    return Copied(str(answer.get("CopyObjectResult", answer).get("ETag", "")).strip('"'), _version(answer))


def _what_the_store_says(error: ClientError) -> Exception:
    code = error.response["Error"].get("Code", "no code")
    if error.response["ResponseMetadata"]["HTTPStatusCode"] >= 500:
        return error
    if code in PRECONDITION:
        return SourceChanged(gone=False)
    return SourceChanged(gone=True) if code in NOT_FOUND else NotCopied(code)


def _named(place: Place) -> dict[str, Any]:
    return {"Bucket": place.bucket, "Key": place.key, **({"VersionId": place.version} if place.version else {})}


def _source(place: Place) -> Any:
    return _named(place)


def _version(head: Head) -> str | None:
    """`null` too: it names what stands there, in a bucket whose versions were suspended."""
    found: str | None = head.get("VersionId")
    return found
