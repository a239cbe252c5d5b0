"""What one store can do about conditional deletes, found out with throw-away objects before the first delete of a run (rule 11): some
stores accept the planned ETag and ignore it, some want another checksum. Of the probes nothing stays behind."""

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from botocore.exceptions import ClientError

from orphan_pipeline.deletion import content_md5
from orphan_pipeline.deletion.looking import look
from orphan_pipeline.deletion.requests import NOT_THE_PLANNED_OBJECT
from orphan_pipeline.errors import Refused
from orphan_pipeline.inventory.prefixes import OWN_PREFIX

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

Condition = Literal["honoured", "ignored", "refused"]
"""Of a delete with a wrong ETag: the object stayed; it went; the store takes no such request at all, whatever the ETag."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """How objects are deleted from one store. `together`: by DeleteObjects. `singly`: how keys go by DeleteObject, all of them if not
    `together`, else those that XML cannot carry: with the ETag, without one right after a look, or not at all."""

    together: bool = True
    singly: Literal["conditional", "looked at", "never"] = "conditional"


USUAL = Way()
"""Where the store honours every ETag, as S3 does."""


STALE_ETAG = "0" * 32
FORBIDDEN = frozenset({"AccessDenied", "403", "SignatureDoesNotMatch", "InvalidAccessKeyId", "NoSuchBucket", "404", "SlowDown"})
"""Codes that say nothing of conditions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreAbilities:
    """`together`, `alone`: what becomes of the ETag on DeleteObjects and on DeleteObject. `content_md5`: whether DeleteObjects is refused
    without that header.

    A key that XML cannot carry is not tried: some stores cannot list a bucket that holds one (moto), and a probe must do no harm. It goes
    by DeleteObject, so `alone` speaks for it."""

    together: Condition
    alone: Condition
    content_md5: bool

    @property
    def words(self) -> str:
        """One line for people."""
        said = f"DeleteObjects: ETag {self.together}; DeleteObject: ETag {self.alone}"
        return said + ("; needs Content-MD5" if self.content_md5 else "")


def chosen_way(abilities: StoreAbilities, bucket: str, *, allow_unconditional: bool) -> Way:
    """How objects are deleted from such a store. Raises Refused when it would delete an object that changed meanwhile."""
    if abilities.together == "honoured":
        return Way(singly="conditional" if abilities.alone == "honoured" else "looked at" if allow_unconditional else "never")
    if abilities.alone == "honoured":
        return Way(together=False)
    if allow_unconditional:
        return Way(together=False, singly="looked at")
    raise Refused(
        f"bucket {bucket}: the store does not honour the ETag on a delete ({abilities.words}): an object that changed meanwhile "
        "could be lost, so nothing is deleted here, unless allow_unconditional_delete: true"
    )


def prepared(client: "S3Client", abilities: StoreAbilities) -> "S3Client":
    """The same client, which sends what this store needs."""
    if abilities.content_md5:
        content_md5.send_content_md5(client)
    return client


def probe_store(client: "S3Client", bucket: str) -> StoreAbilities:
    """Raises boto3's ClientError when the store does not let us put, look or delete at all."""
    key = f"{OWN_PREFIX}probe-{uuid.uuid4().hex}"
    wants_md5 = False
    try:
        etag = _put(client, bucket, key)
        wants_md5 = _wants_md5(client, bucket, key)
        if wants_md5:
            content_md5.send_content_md5(client)
        together = _condition(client, bucket, key, etag, _delete_together)
        alone = _condition(client, bucket, key, etag, _delete_alone)
    finally:
        remove_every_version(client, bucket, key)
        if wants_md5:
            content_md5.leave_out_content_md5(client)
    return StoreAbilities(together=together, alone=alone, content_md5=wants_md5)


def _condition(client: "S3Client", bucket: str, key: str, etag: str, delete: Any) -> Condition:
    """Asked with a wrong ETag first, then with the right one, which must not be refused as well."""
    _put(client, bucket, key)
    code = delete(client, bucket, key, STALE_ETAG)
    if look(client, bucket, key).etag is None:
        return "ignored"
    if code not in NOT_THE_PLANNED_OBJECT:
        return "refused"
    delete(client, bucket, key, etag)
    return "honoured" if look(client, bucket, key).etag is None else "refused"


def _wants_md5(client: "S3Client", bucket: str, key: str) -> bool:
    try:
        client.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key, "ETag": f'"{STALE_ETAG}"'}]})
    except ClientError as error:
        return content_md5.is_wanted(error)
    return False


def _put(client: "S3Client", bucket: str, key: str) -> str:
    return client.put_object(Bucket=bucket, Key=key, Body=b"probe")["ETag"].strip('"')


def _delete_together(client: "S3Client", bucket: str, key: str, etag: str) -> str | None:
    try:
        response = client.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key, "ETag": f'"{etag}"'}]})
    except ClientError as error:
        return _code(error)
    code = next((error.get("Code", "no code") for error in response.get("Errors", [])), None)
    if code in FORBIDDEN:
        raise Refused(f"bucket {bucket}: the store answered {code} to the delete of a throw-away object, so nothing is deleted here")
    return code


def _delete_alone(client: "S3Client", bucket: str, key: str, etag: str) -> str | None:
    try:
        client.delete_object(Bucket=bucket, Key=key, IfMatch=f'"{etag}"')
    except ClientError as error:
        return _code(error)
    return None


def _code(error: ClientError) -> str:
    code = error.response["Error"].get("Code", "no code")
    if code in FORBIDDEN:
        raise error
    return code


def remove_every_version(client: "S3Client", bucket: str, prefix: str) -> None:
    """What stands in the store, not what was answered: an answer may be lost. Nobody else has a key with this prefix."""
    for page in client.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=prefix):
        for version in [*page.get("Versions", []), *page.get("DeleteMarkers", [])]:
            client.delete_object(Bucket=bucket, Key=version["Key"], VersionId=version["VersionId"])
