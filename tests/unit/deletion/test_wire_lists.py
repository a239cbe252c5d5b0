"""A page of versions that is read here is what botocore makes of it, for every page."""

from typing import Any
from urllib.parse import quote_plus
from xml.etree import ElementTree
from xml.sax.saxutils import escape

import pytest
from boto3.session import Session
from botocore import handlers
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from botocore.exceptions import ClientError
from botocore.parsers import ResponseParserError
from hypothesis import given, settings
from hypothesis import strategies as st

from orphan_pipeline.deletion.looking import XML_CANNOT_CARRY
from orphan_pipeline.deletion.wire.lists import OPERATION, ROOT, parsed
from orphan_pipeline.deletion.wire.quickened import quickened

SESSION = Session()
NAMESPACE = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'


def client() -> Any:
    return SESSION.client(
        "s3", region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b", endpoint_url="http://127.0.0.1:9"
    )


OURS, THEIRS = quickened(client()), client()


def answered(subject: Any, body: bytes, status: int = 200) -> Any:
    """What the client makes of this answer: a page, or the name of the error that it raises."""

    def answer(request: Any, **_: Any) -> AWSResponse:
        response = AWSResponse(request.url, status, HTTPHeaders(), None)
        response._content = body  # type: ignore[attr-defined]
        return response

    subject.meta.events.register(f"before-send.s3.{OPERATION}", answer, unique_id="answer")
    subject.meta.events.register(f"needs-retry.s3.{OPERATION}", lambda **_: None, unique_id="once")
    try:
        found = subject.list_object_versions(Bucket="bucket")
    except ClientError as error:
        return str(error)
    except (ResponseParserError, ValueError, KeyError, TypeError, AttributeError) as error:
        return type(error).__name__
    finally:
        subject.meta.events.unregister(f"before-send.s3.{OPERATION}", unique_id="answer")
        subject.meta.events.unregister(f"needs-retry.s3.{OPERATION}", unique_id="once")
    return comparable({field: value for field, value in found.items() if field != "ResponseMetadata"})


def comparable(found: Any) -> Any:
    """What stands twice where it should stand once, botocore gives as it came."""
    if isinstance(found, dict):
        return {name: comparable(value) for name, value in found.items()}
    if isinstance(found, list):
        return [comparable(value) for value in found]
    return (found.tag, found.text) if isinstance(found, ElementTree.Element) else found


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=6).filter(lambda text: not XML_CANNOT_CARRY.search(text))
FIELDS = st.sampled_from(["Key", "VersionId", "ETag", "StorageClass", "ChecksumType", "ChecksumAlgorithm", "Strange"])
ODD = st.sampled_from(
    [
        "<Size>5</Size>",
        "<Size>-5</Size>",
        "<Size> 5</Size>",
        "<Size>5e3</Size>",
        "<Size/>",
        "<IsLatest>true</IsLatest>",
        "<IsLatest>True</IsLatest>",
        "<LastModified>2026-01-02T03:04:05.678Z</LastModified>",
        "<LastModified>2026-01-02T03:04:05Z</LastModified>",
        "<LastModified>2026-13-02T03:04:05Z</LastModified>",
        "<LastModified>2026-01-02T03:04:05+02:00</LastModified>",
        "<LastModified>Fri, 02 Jan 2026 03:04:05 GMT</LastModified>",
        "<LastModified/>",
        "<Owner><ID>me</ID><DisplayName/></Owner>",
        "<Owner><Name>me</Name></Owner>",
        "<Owner/>",
        "<Owner><ID>me</ID><ID>you</ID></Owner>",
        "<Key><Key>a</Key></Key>",
        "<!-- words -->",
        "<RestoreStatus><IsRestoreInProgress>false</IsRestoreInProgress></RestoreStatus>",
    ]
)
PARTS = st.one_of(ODD, st.tuples(FIELDS, TEXT).map(lambda pair: f"<{pair[0]}>{escape(quote_plus(pair[1]))}</{pair[0]}>"))
# Without a key no store answers; botocore would fail at decoding it.
RECORDS = st.tuples(st.sampled_from(["Version", "DeleteMarker", "Strange"]), st.lists(PARTS, max_size=6)).map(
    lambda pair: f"<{pair[0]}><Key>k%2B</Key>{''.join(pair[1])}</{pair[0]}>"
)
OF_A_PAGE = st.sampled_from(
    [
        "<IsTruncated>true</IsTruncated>",
        "<IsTruncated>false</IsTruncated>",
        "<IsTruncated/>",
        "<EncodingType>url</EncodingType>",
        "<Name>b</Name>",
        "<Prefix>a%2Fb</Prefix>",
        "<Prefix/>",
        "<KeyMarker>a%2B</KeyMarker>",
        "<NextKeyMarker>%C3%A9</NextKeyMarker>",
        "<NextVersionIdMarker>v</NextVersionIdMarker>",
        "<NextContinuationToken>t</NextContinuationToken>",
        "<KeyCount>2</KeyCount>",
        "<MaxKeys>1000</MaxKeys>",
        "<CommonPrefixes><Prefix>a/</Prefix></CommonPrefixes>",
        "<Strange>1</Strange>",
    ]
)


@settings(max_examples=300, deadline=None)
@given(
    around=st.lists(OF_A_PAGE, max_size=5),
    records=st.lists(RECORDS, max_size=4),
    namespace=st.sampled_from(["", f" {NAMESPACE}"]),
    cut=st.integers(0, 400),
)
def test_a_page_is_what_botocore_makes_of_it(around: list[str], records: list[str], namespace: str, cut: int) -> None:
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n<{ROOT}{namespace}>{"".join(around + records)}</{ROOT}>'.encode()
    body = body[: len(body) - cut] if cut < len(body) // 4 else body
    assert answered(OURS, body) == answered(THEIRS, body)


def page(*records: str) -> bytes:
    return (
        f"<{ROOT} {NAMESPACE}><Name>b</Name><IsTruncated>false</IsTruncated><EncodingType>url</EncodingType>{''.join(records)}</{ROOT}>"
    ).encode()


RECORD = (
    "<Key>a%2B</Key><LastModified>2026-01-02T03:04:05.678Z</LastModified>"
    "<ETag>&quot;e&quot;</ETag><ChecksumAlgorithm>SHA1</ChecksumAlgorithm><ChecksumAlgorithm>CRC32</ChecksumAlgorithm><ChecksumType>FULL_OBJECT</ChecksumType><Size>5</Size>"
    "<Owner><ID>me</ID></Owner><StorageClass>STANDARD</StorageClass>"
)


def test_a_plain_page_is_read_here_and_seen_by_botocore_as_an_empty_one(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bytes] = []
    monkeypatch.setattr(handlers, "_looks_like_special_case_error", lambda status, body: seen.append(body))
    body = page(f"<Version>{RECORD}<VersionId>v</VersionId><IsLatest>true</IsLatest></Version>")
    found = answered(OURS, body)
    assert seen == [f"<{ROOT}/>".encode()]
    assert found == answered(THEIRS, body)
    [one] = found["Versions"]
    assert one["Key"] == "a+"


@pytest.mark.parametrize(
    ("status", "body"), [(200, b"<Error><Code>SlowDown</Code></Error>"), (503, b"<Error><Code>SlowDown</Code></Error>")]
)
def test_an_error_in_place_of_a_page_is_botocores_error(status: int, body: bytes) -> None:
    found = answered(OURS, body, status)
    assert "SlowDown" in str(found)
    assert found == answered(THEIRS, body, status)


@pytest.mark.parametrize("body", [b"", b"<ListVersionsResult>", b"<ListBucketResult/>", b"<ListVersionsResult><Version><Key>\x01</Key>"])
def test_what_is_no_whole_page_is_not_read_here(body: bytes) -> None:
    assert parsed(body, OURS.meta.service_model.operation_model(OPERATION)) is None
