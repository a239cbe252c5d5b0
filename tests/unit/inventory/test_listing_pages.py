"""Pages that no sound server gives: each is refused or rises, and none ends the list early."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest
from boto3.session import Session
from botocore.exceptions import ClientError
from botocore.stub import Stubber

from orphan_pipeline.errors import Refused
from orphan_pipeline.inventory.listing import LISTED, list_pages, store_time

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

AT = datetime(2026, 11, 21, tzinfo=UTC)


@contextmanager
def store(*answers: dict[str, Any]) -> Iterator[tuple["S3Client", Stubber]]:
    with Stubber(client()) as stubber:
        for answer in answers:
            stubber.add_response("list_objects_v2", answer)
        yield client(), stubber


@cache
def client() -> "S3Client":
    return Session().client("s3", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x")


def page(*keys: str, token: str | None = None, truncated: bool | None = None) -> dict[str, Any]:
    more = bool(token) if truncated is None else truncated
    contents = [{"Key": key, "Size": 1, "ETag": '"e"', "LastModified": AT} for key in keys]
    return {"IsTruncated": more, "Contents": contents} | ({"NextContinuationToken": token} if token else {})


def keys_of(client: "S3Client") -> list[str]:
    return [row["key"] for batch in list_pages(client, "media") for row in batch.to_pylist()]


def test_pages_follow_one_another_until_the_last() -> None:
    answers = [page("a", token="1"), page(token="2"), page("b", token="3"), page("c")]
    with store(*answers) as (client, stubber):
        assert keys_of(client) == ["a", "b", "c"]
        stubber.assert_no_pending_responses()


def test_an_empty_page_is_a_batch_of_no_rows() -> None:
    with store({"IsTruncated": False}) as (client, _):
        assert [(batch.num_rows, batch.schema) for batch in list_pages(client, "media")] == [(0, LISTED)]


def test_etags_lose_their_quotes_and_an_absent_storage_class_is_standard() -> None:
    answer = page("a")
    answer["Contents"][0]["ETag"] = '"abc-2"'
    with store(answer) as (client, _):
        [batch] = list_pages(client, "media")
    assert batch.to_pylist() == [{"key": "a", "size": 1, "last_modified": AT, "etag": "abc-2", "storage_class": "STANDARD"}]


@pytest.mark.parametrize(
    ("answers", "line"),
    [
        ([page("a", truncated=True)], "bucket media: the list broke off after 'a' (no new continuation token)"),
        ([page("a", token="1"), page(truncated=True)], "bucket media: the list broke off after None (no new continuation token)"),
        ([page("a", token="1"), page("b", token="1")], "bucket media: the list broke off after 'b' (no new continuation token)"),
        ([{}], "bucket media: the list broke off after None (the page does not say whether it is the last)"),
        (
            [page("a", token="1"), page("b", token="2", truncated=False)],
            "bucket media: the list broke off after 'b' (the page does not say whether it is the last)",
        ),
    ],
    ids=["no-token", "no-token-and-nothing-else", "same-token", "not-a-list", "token-on-the-last-page"],
)
def test_a_list_that_loses_its_thread_is_refused(answers: list[dict[str, Any]], line: str) -> None:
    with store(*answers) as (client, _), pytest.raises(Refused) as refused:
        keys_of(client)
    assert str(refused.value) == line


@pytest.mark.parametrize("lead", [0, 1, 5])
@pytest.mark.parametrize("circle", [2, 3, 7])
def test_a_list_that_goes_in_a_circle_is_refused_and_does_not_go_on_for_ever(lead: int, circle: int) -> None:
    tokens = [f"lead-{n}" for n in range(lead)] + [f"circle-{n % circle}" for n in range(100)]
    with store(*(page("a", token=token) for token in tokens)) as (client, _), pytest.raises(Refused, match="no new continuation token"):
        keys_of(client)


def test_a_page_that_the_store_refuses_rises_after_the_pages_before_it() -> None:
    with store(page("a", token="1")) as (client, stubber):
        stubber.add_client_error("list_objects_v2", "AccessDenied", http_status_code=403)
        pages = list_pages(client, "media")
        assert next(pages).num_rows == 1
        with pytest.raises(ClientError, match="AccessDenied"):
            next(pages)


@pytest.mark.parametrize("left_out", ["Key", "Size", "ETag", "LastModified"])
def test_an_object_without_one_of_its_fields_ends_the_list(left_out: str) -> None:
    answer = page("a")
    del answer["Contents"][0][left_out]
    with store(answer) as (client, _), pytest.raises(KeyError, match=left_out):
        keys_of(client)


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
