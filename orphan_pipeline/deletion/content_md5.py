"""Content-MD5 on DeleteObjects, for stores that do not know the checksums that boto3 sends since 1.36 (CRC32)."""

import hashlib
from base64 import b64encode
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from botocore.exceptions import ClientError
    from mypy_boto3_s3 import S3Client

HEADER = "Content-MD5"
BEFORE_SIGNING = "before-sign.s3.DeleteObjects"
HOOK = "orphan_pipeline_content_md5"


def is_wanted(error: "ClientError") -> bool:
    """MissingContentMD5, or InvalidRequest with words about it."""
    told = error.response["Error"]
    return HEADER.replace("-", "") in told.get("Code", "") or HEADER in told.get("Message", "")


def send_content_md5(client: "S3Client") -> None:
    """With every DeleteObjects of this client from now on. May be called again."""
    events: Any = client.meta.events
    events.register(BEFORE_SIGNING, _add, unique_id=HOOK)


def leave_out_content_md5(client: "S3Client") -> None:
    client.meta.events.unregister(BEFORE_SIGNING, unique_id=HOOK)


def _add(request: Any, **_: object) -> None:
    digest = hashlib.md5(request.data, usedforsecurity=False).digest()
    request.headers[HEADER] = b64encode(digest).decode()
