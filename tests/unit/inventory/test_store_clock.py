"""The store's clock: read from its Date header, UTC wherever this host stands, refused when it is not told."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING

import pytest
from boto3.session import Session
from botocore.stub import Stubber

from orphan_pipeline.errors import Refused
from orphan_pipeline.inventory.clock import store_time

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


@contextmanager
def store() -> Iterator[tuple["S3Client", Stubber]]:
    with Stubber(client()) as stubber:
        yield client(), stubber


@cache
def client() -> "S3Client":
    return Session().client("s3", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x")


@pytest.mark.parametrize("headers", [{}, {"date": ""}, {"date": "yesterday"}])
def test_a_store_that_does_not_tell_the_time_is_refused(headers: dict[str, str]) -> None:
    with store() as (client, stubber):
        stubber.add_response("head_bucket", {"ResponseMetadata": {"HTTPHeaders": headers}})
        with pytest.raises(Refused) as refused:
            store_time(client, "media")
    assert str(refused.value) == "bucket media: the store's answer carries no Date header, so no cutoff can be trusted"


@pytest.mark.parametrize("zone", ["GMT", "-0000", "+0000"])
def test_the_time_of_the_store_is_utc_wherever_this_host_stands(zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Pacific/Auckland")
    time.tzset()
    try:
        with store() as (client, stubber):
            stubber.add_response("head_bucket", {"ResponseMetadata": {"HTTPHeaders": {"date": f"Sat, 21 Nov 2026 12:00:00 {zone}"}}})
            assert store_time(client, "media").store == datetime(2026, 11, 21, 12, tzinfo=UTC)
    finally:
        monkeypatch.undo()
        time.tzset()
