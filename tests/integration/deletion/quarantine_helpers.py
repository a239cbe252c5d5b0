"""Objects with all that can belong to them, put, quarantined and compared, for the tests of mode quarantine."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deletion_helpers import NEVER, SEEN, client_of, deleter_of, plan_named

from orphan_pipeline.deletion.execute import execute_plan
from orphan_pipeline.deletion.ledger import Ledger, Planned
from orphan_pipeline.deletion.quarantine.copying import LARGEST_COPY, Copier
from orphan_pipeline.deletion.quarantine.deleter import QuarantineDeleter
from orphan_pipeline.deletion.quarantine.place import Quarantine
from orphan_pipeline.deletion.stopping import Limits
from orphan_pipeline.demo.servers import ObjectStore

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

MIB = 2**20
PLAN = "a" * 64
BELONGS: dict[str, Any] = {
    "ContentType": "image/png",
    "CacheControl": "max-age=3",
    "ContentDisposition": 'attachment; filename="x.png"',
    "ContentEncoding": "gzip",
    "ContentLanguage": "de",
    "Expires": datetime(2030, 1, 1),  # noqa: DTZ001  boto3 takes it as it is
    "Metadata": {"who": "me", "spaces": "a b  c"},
    "StorageClass": "STANDARD_IA",
    "Tagging": "team=media&what=a%20b%2Bc",
}
KEPT = (
    "ContentType",
    "CacheControl",
    "ContentDisposition",
    "ContentEncoding",
    "ContentLanguage",
    "ExpiresString",
    "Metadata",
    "StorageClass",
    "ContentLength",
)


@dataclass(frozen=True)
class Whole:
    """All that can be seen of an object, but its time. SeaweedFS gives what was copied in parts another ETag."""

    etag: str = field(compare=False)
    body: bytes = field(repr=False)
    head: dict[str, Any]
    tags: dict[str, str]


def whole(client: "S3Client", bucket: str, key: str) -> Whole:
    head: dict[str, Any] = dict(client.head_object(Bucket=bucket, Key=key))
    tags = client.get_object_tagging(Bucket=bucket, Key=key)["TagSet"]
    body = client.get_object(Bucket=bucket, Key=key)["Body"].read()
    return Whole(head["ETag"].strip('"'), body, {name: head.get(name) for name in KEPT}, {tag["Key"]: tag["Value"] for tag in tags})


def stands(client: "S3Client", bucket: str, key: str) -> Whole | None:
    try:
        return whole(client, bucket, key)
    except client.exceptions.ClientError:
        return None


def put_rich(client: "S3Client", bucket: str, key: str, body: bytes) -> Planned:
    etag = client.put_object(Bucket=bucket, Key=key, Body=body, **BELONGS)["ETag"].strip('"')
    return Planned(key, etag, len(body), SEEN)


def put_parts(client: "S3Client", bucket: str, key: str, sizes: Sequence[int]) -> Planned:
    upload = client.create_multipart_upload(Bucket=bucket, Key=key, **BELONGS)["UploadId"]
    parts: list[Any] = []
    for number, size in enumerate(sizes, 1):
        made = client.upload_part(Bucket=bucket, Key=key, UploadId=upload, PartNumber=number, Body=bytes([number]) * size)
        parts.append({"PartNumber": number, "ETag": made["ETag"]})
    done = client.complete_multipart_upload(Bucket=bucket, Key=key, UploadId=upload, MultipartUpload={"Parts": parts})
    return Planned(key, done["ETag"].strip('"'), sum(sizes), SEEN)


def quarantine_deleter(
    store: ObjectStore, bucket: str, quarantine: Quarantine, *, client: "S3Client | None" = None, largest: int = LARGEST_COPY
) -> QuarantineDeleter:
    return QuarantineDeleter(
        inner=deleter_of(store, bucket),
        copier=Copier(client=client or client_of(store), largest=largest),
        bucket=bucket,
        quarantine=quarantine,
        plan=PLAN,
    )


def carry_out_into_quarantine(store: ObjectStore, bucket: str, quarantine: str, plan: Path, folder: Path) -> None:
    """Also runs in a process of its own, which is killed."""
    execute_into(plan, Ledger(folder), quarantine_deleter(store, bucket, Quarantine.of(quarantine)), quarantine, concurrency=4)


def execute_into(
    plan: Path, ledger: Ledger, deleter: Any, quarantine: str, *, mode: Any = "quarantine", concurrency: int = 1, **more: Any
) -> None:
    of = replace(plan_named(ledger.folder.name, prefix="a/", quarantine=Quarantine.of(quarantine) if quarantine else None), mode=mode)
    how: dict[str, Any] = {"keys": 1, "limits": Limits(expires_at=NEVER), "report": _silent, "concurrency": concurrency} | more
    execute_plan(plan, ledger=ledger, of=of, run_id="run", deleter=deleter, **how)


def _silent(_: str) -> None:
    pass
