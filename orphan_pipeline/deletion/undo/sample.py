"""Reads some of what was restored and compares its content with what its ETag says: for whoever wants to see it with their own eyes."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from orphan_pipeline.deletion.quarantine.copying import READ, etag_of, part_sizes
from orphan_pipeline.deletion.quarantine.place import Place
from orphan_pipeline.duck import duck, rows
from orphan_pipeline.errors import Refused
from orphan_pipeline.lake.files import write_document
from orphan_pipeline.wording import counted

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

Content = Literal["same", "differs", "unknown"]
SAMPLE = "sample.json"
"""In the folder of a restore: what was read of it."""

SOME = """
SELECT key, etag, size FROM read_parquet($files, hive_partitioning = false) WHERE outcome = 'restored' ORDER BY hash(key) LIMIT $objects
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Contents that were read: `same` as their ETag says, `unknown` where the ETag is no digest."""

    read: int
    same: int
    unknown: int

    def __str__(self) -> str:
        equal = f"sample: {counted(self.read, 'content')} read, {self.same:,} equal their ETag"
        return equal + (f", of {self.unknown:,} the ETag is no digest" if self.unknown else "")


def check_sample(client: "S3Client", bucket: str, files: list[str], *, folder: Path, objects: int, report: Callable[[str], None]) -> Sample:
    """How many of up to `objects` restored objects hold what their ETag says; it stands in `folder` too. Raises Refused, naming the key,
    for one that does not."""
    with duck(folder) as connection:
        chosen = rows(connection, SOME, {"files": files, "objects": objects})
    found: dict[Content, int] = {"same": 0, "differs": 0, "unknown": 0}
    for key, etag, size in chosen:
        content = content_of(client, Place(bucket, key), etag=etag, size=size)
        if content == "differs":
            raise Refused(f"restore: {key!r} is back, and its content is not what its ETag {etag} and its size of {size:,} bytes say")
        found[content] += 1
    sample = Sample(read=len(chosen), same=found["same"], unknown=found["unknown"])
    write_document(folder / SAMPLE, Sample, sample)
    report(f"restore: {sample}")
    return sample


def content_of(client: "S3Client", place: Place, *, etag: str, size: int) -> Content:
    """`unknown` where the ETag is no MD5, as of objects encrypted with KMS, or where the store does not tell the parts."""
    head = client.head_object(Bucket=place.bucket, Key=place.key)
    if etag_of(head) != etag or head["ContentLength"] != size:
        return "differs"
    if head.get("ServerSideEncryption", "AES256") != "AES256":
        return "unknown"
    sizes = part_sizes(client, place, head) if "-" in etag else [size]
    if sizes is None:
        return "unknown"
    digests = [_md5(client, place, begin=sum(sizes[:number]), size=part) for number, part in enumerate(sizes)]
    whole = digests[0].hexdigest() if "-" not in etag else f"{_of_parts(digests)}-{len(digests)}"
    return "same" if whole == etag else "differs"


def _of_parts(digests: "list[hashlib._Hash]") -> str:
    return hashlib.md5(b"".join(digest.digest() for digest in digests), usedforsecurity=False).hexdigest()


def _md5(client: "S3Client", place: Place, *, begin: int, size: int) -> "hashlib._Hash":
    digest = hashlib.md5(usedforsecurity=False)
    if size:
        body = client.get_object(Bucket=place.bucket, Key=place.key, Range=f"bytes={begin}-{begin + size - 1}")["Body"]
        for piece in body.iter_chunks(READ):
            digest.update(piece)
    return digest
