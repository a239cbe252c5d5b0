"""Every request that the package sends to S3 has its IAM action in docs/permissions.md."""

import re
from pathlib import Path

import orphan_pipeline

PACKAGE = Path(orphan_pipeline.__file__).parent
DOCUMENT = (PACKAGE.parent / "docs" / "permissions.md").read_text()
ACTIONS = {
    "abort_multipart_upload": {"AbortMultipartUpload"},
    "complete_multipart_upload": {"PutObject"},
    "copy_object": {"GetObject", "GetObjectVersion", "PutObject", "GetObjectTagging", "PutObjectTagging"},
    "create_multipart_upload": {"PutObject"},
    "delete_object": {"DeleteObject", "DeleteObjectVersion"},
    "delete_objects": {"DeleteObject", "DeleteObjectVersion"},
    "get_bucket_lifecycle_configuration": {"GetLifecycleConfiguration"},
    "get_bucket_versioning": {"GetBucketVersioning"},
    "get_object": {"GetObject", "GetObjectVersion"},
    "get_object_tagging": {"GetObjectTagging", "GetObjectVersionTagging"},
    "head_bucket": {"ListBucket"},
    "head_object": {"GetObject", "GetObjectVersion"},
    "list_multipart_uploads": {"ListBucketMultipartUploads"},
    "list_object_versions": {"ListBucketVersions"},
    "list_objects_v2": {"ListBucket"},
    "put_object": {"PutObject"},
    "upload_part_copy": {"GetObject", "GetObjectVersion", "PutObject"},
}
"""AWS's service authorization reference, Amazon S3."""

NOT_REQUESTS = {"create_invalidation", "get_paginator"}
VERBS = "abort|complete|copy|create|delete|get|head|list|put|upload"
SENT = re.compile(rf"(?:[Cc]lient|once)\.((?:{VERBS})_[a-z_0-9]+)|\(\"(list_[a-z_0-9]+)\"\)")


def _sent() -> set[str]:
    files = [path for path in PACKAGE.rglob("*.py") if "demo" not in path.parts]
    return {name for path in files for found in SENT.findall(path.read_text()) for name in found if name} - NOT_REQUESTS


def test_each_request_has_its_action() -> None:
    sent = _sent()
    assert len(sent) > 10
    assert sorted(sent - ACTIONS.keys()) == []
    assert sorted(ACTIONS.keys() - sent) == []


def test_each_action_is_documented() -> None:
    named = set(re.findall(r"`([A-Z][A-Za-z]+)`", DOCUMENT))
    assert sorted(set().union(*ACTIONS.values()) - named) == []
