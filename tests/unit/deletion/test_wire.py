"""Our own DeleteObjects request and answer are what botocore's would be, for every text that XML can carry."""

from typing import Any
from xml.etree import ElementTree

import pytest
from boto3.session import Session
from botocore import handlers
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from botocore.exceptions import ClientError
from hypothesis import given, settings
from hypothesis import strategies as st

from orphan_pipeline.deletion.looking import XML_CANNOT_CARRY
from orphan_pipeline.deletion.wire.deletes import parsed, serialised
from orphan_pipeline.deletion.wire.quickened import quickened

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(lambda text: not XML_CANNOT_CARRY.search(text))
OBJECTS = st.lists(
    st.fixed_dictionaries({"Key": TEXT}, optional={"ETag": TEXT, "VersionId": TEXT}),
    min_size=1,
    max_size=4,
    unique_by=lambda one: one["Key"],
)
NAMESPACE = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'


def client(*, quick: bool) -> Any:
    made = SESSION.client(
        "s3", region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b", endpoint_url="http://127.0.0.1:9"
    )
    return quickened(made) if quick else made


SESSION = Session()
OURS, THEIRS = client(quick=True), client(quick=False)


class Exchange:
    """What a client sends, and the answer that it gets in place of a store's."""

    def __init__(self, subject: Any, body: bytes = b"<DeleteResult/>", status: int = 200) -> None:
        self.sent: Any = None
        self._events, self._body, self._status = subject.meta.events, body, status
        subject.meta.events.register("before-send.s3.DeleteObjects", self._answer, unique_id="exchange")

    def _answer(self, request: Any, **_: Any) -> AWSResponse:
        self.sent = request
        response = AWSResponse(request.url, self._status, HTTPHeaders(), None)
        response._content = self._body  # type: ignore[attr-defined]
        return response

    def __enter__(self) -> "Exchange":
        return self

    def __exit__(self, *_: object) -> None:
        self._events.unregister("before-send.s3.DeleteObjects", unique_id="exchange")


def fields(body: bytes) -> list[Any]:
    """What a store's parser finds in the request."""
    return [(part.tag, part.text) for part in ElementTree.fromstring(body).iter() if not len(part)]


@settings(max_examples=60, deadline=None)
@given(OBJECTS, st.booleans())
def test_the_request_says_what_botocores_does(objects: list[dict[str, str]], quiet: bool) -> None:
    bodies = []
    for subject in (OURS, THEIRS):
        with Exchange(subject) as exchange:
            subject.delete_objects(Bucket="bucket", Delete={"Objects": objects, "Quiet": quiet})
            assert "x-amz-checksum-crc32" in exchange.sent.headers
            bodies.append(exchange.sent.body)
    assert fields(bodies[0]) == fields(bodies[1])
    assert bodies[0] == serialised(objects, quiet=quiet), "ours was sent, not botocore's"
    assert objects[0].keys() <= {"Key", "ETag", "VersionId"}, "the caller's objects are left as they were"


def escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("\r", "&#13;")


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(TEXT, TEXT, st.sampled_from(["marker", "version", "plain", "error", "error of a version"])), max_size=4))
def test_the_answer_says_what_botocores_parser_finds(lines: list[tuple[str, str, str]]) -> None:
    forms = {
        "marker": "<Deleted><Key>{0}</Key><DeleteMarker>true</DeleteMarker><DeleteMarkerVersionId>{1}</DeleteMarkerVersionId></Deleted>",
        "version": "<Deleted>\n <Key>{0}</Key>\n <VersionId>{1}</VersionId><DeleteMarker>false</DeleteMarker></Deleted>",
        "plain": "<Deleted><Key>{0}</Key></Deleted>",
        "error": "<Error><Key>{0}</Key><Code>AccessDenied</Code><Message>{1}</Message></Error>",
        "error of a version": "<Error><Code>InternalError</Code><Key>{0}</Key><VersionId>{1}</VersionId><Message/></Error>",
    }
    body = "".join(forms[kind].format(escaped(key), escaped(other)) for key, other, kind in lines)
    for root in (f"<DeleteResult {NAMESPACE}>", "<DeleteResult>"):
        answers = []
        for subject in (OURS, THEIRS):
            with Exchange(subject, f'<?xml version="1.0" encoding="UTF-8"?>\n{root}{body}</DeleteResult>'.encode()):
                answer = subject.delete_objects(Bucket="bucket", Delete={"Objects": [{"Key": "k"}]})
                answers.append({name: answer[name] for name in ("Deleted", "Errors") if name in answer})
        assert answers[0] == answers[1]


def test_a_request_with_other_fields_is_left_to_botocore() -> None:
    assert serialised([{"Key": "k", "Size": "1"}], quiet=False) is None
    with Exchange(OURS) as exchange:
        OURS.delete_objects(Bucket="bucket", Delete={"Objects": [{"Key": "k", "Size": 1}]})
        assert b"<Size>1</Size>" in exchange.sent.body
        OURS.delete_objects(Bucket="bucket", Delete={"Objects": [{"Key": "k"}]}, MFA="serial 123456")
        assert exchange.sent.headers["x-amz-mfa"] == b"serial 123456"


@pytest.mark.parametrize("status", [200, 503])
def test_an_error_in_place_of_an_answer_is_botocores_error(status: int) -> None:
    with Exchange(OURS, b"<Error><Code>SlowDown</Code></Error>", status) as exchange:
        exchange._events.register("needs-retry.s3.DeleteObjects", lambda **_: None)
        with pytest.raises(ClientError, match="SlowDown"):
            OURS.delete_objects(Bucket="bucket", Delete={"Objects": [{"Key": "k"}]})


@pytest.mark.parametrize(
    "body", [b"", b"<DeleteResult>", b"<ListBucketResult/>", b"<DeleteResult><Deleted><Key>\x01</Key></Deleted></DeleteResult>"]
)
def test_what_is_no_whole_answer_is_not_read(body: bytes) -> None:
    assert parsed(body) is None


def test_quickening_twice_is_quickening_once() -> None:
    twice = quickened(client(quick=True))
    with Exchange(twice) as exchange:
        twice.delete_objects(Bucket="bucket", Delete={"Objects": [{"Key": "k"}]})
        assert exchange.sent.body.count(b"<Key>") == 1


def test_an_answer_is_parsed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """botocore looks into every body for an error; of ours it sees an empty answer."""
    seen: list[bytes] = []
    monkeypatch.setattr(handlers, "_looks_like_special_case_error", lambda status, body: seen.append(body))
    with Exchange(OURS, f"<DeleteResult {NAMESPACE}><Deleted><Key>a</Key></Deleted></DeleteResult>".encode()):
        assert OURS.delete_objects(Bucket="bucket", Delete={"Objects": [{"Key": "a"}]})["Deleted"] == [{"Key": "a"}]
    assert seen == [b"<DeleteResult/>"]
