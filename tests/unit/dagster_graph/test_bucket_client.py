"""What the bucket's client sends besides what it is asked to."""

import pytest

from orphan_pipeline.resources.bucket import bucket_resource
from orphan_pipeline.settings.model import BucketSettings


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "y")


def settings(**changed: object) -> BucketSettings:
    references = [{"name": "documents", "database": "app", "sql": "SELECT key FROM documents"}]
    return BucketSettings.model_validate(
        {"bucket": "acme-media", "region": "eu-west-1", "prefixes": ["a/"], "references": references, **changed}
    )


@pytest.mark.parametrize("operation", ["list_objects_v2", "head_object", "delete_object", "put_object"])
def test_requester_pays_is_said_with_every_request(operation: str) -> None:
    asked = {"Bucket": "acme-media"} | ({"Key": "a/1"} if operation.endswith("object") else {})
    for pays in (True, False):
        url = bucket_resource(settings(requester_pays=pays)).get_client().generate_presigned_url(operation, Params=asked)
        assert ("x-amz-request-payer" in url.lower()) is pays


def test_a_bucket_operation_that_cannot_say_who_pays_is_left_alone() -> None:
    client = bucket_resource(settings(requester_pays=True)).get_client()
    assert "payer" not in client.generate_presigned_url("get_bucket_versioning", Params={"Bucket": "acme-media"}).lower()


def test_the_environment_does_not_send_a_plan_to_another_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1")
    assert bucket_resource(settings()).get_client().meta.endpoint_url == "https://s3.eu-west-1.amazonaws.com"
