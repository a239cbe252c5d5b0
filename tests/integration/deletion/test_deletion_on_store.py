"""Deletion on SeaweedFS: what changed survives, what is gone gets no second marker, and no lost answer becomes a lie."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError, EndpointConnectionError
from deletion_helpers import Standing, client_of, delete_now, deleter_of, execute, pace_of, put, recorded, standing, write_plan

from orphan_pipeline.deletion.deleter import VersionedDeleter
from orphan_pipeline.deletion.ledger import NO_MARKER, Answer, Ledger, Planned
from orphan_pipeline.deletion.pace.pace import Pace
from orphan_pipeline.deletion.requests import ATTEMPTS
from orphan_pipeline.demo.servers import ObjectStore
from orphan_pipeline.errors import Refused

MakeBucket = Callable[..., str]
ODD = ["a b", "q'q", 'd"d', "a&b", "a<b>c", "ünï/😀", "e\u0301", "a+b", "100%", "%2B", "new\nline", "tab\tkey", " end "]


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pace, "wait", lambda pace, seconds: None)


def failing(store: ObjectStore, bucket: str, operation: str, fault: Callable[[Any], None], *, acted: bool = True) -> VersionedDeleter:
    """A deleter whose deletes reach the store (if `acted`) and whose answers pass through `fault`, which may change or lose them."""
    once: Any = client_of(store, attempts=1)
    if acted:
        once.meta.events.register(f"after-call.s3.{operation}", lambda parsed, **_: fault(parsed))
    else:
        once.meta.events.register(f"before-send.s3.{operation}", lambda request, **_: fault(request))
    return VersionedDeleter(client=client_of(store), once=once, bucket=bucket, pace=pace_of(bucket))


def one_marker_each(store: ObjectStore, bucket: str, planned: list[Planned]) -> None:
    found = standing(client_of(store), bucket)
    for one in planned:
        assert (found[one.key].current, len(found[one.key].markers), found[one.key].versions) == (None, 1, 1), one.key


def test_every_kind_of_key_is_deleted_in_order_with_its_own_marker(seaweedfs: ObjectStore, make_bucket: MakeBucket) -> None:
    bucket = make_bucket(seaweedfs, versioned=True)
    planned = put(client_of(seaweedfs), bucket, {key: key.encode() for key in ODD})[::-1]
    given = delete_now(client_of(seaweedfs, attempts=1), bucket, planned)
    answers = [given[one.key] for one in planned]
    found = standing(client_of(seaweedfs), bucket)
    assert [answer and answer.outcome for answer in answers] == ["deleted"] * len(ODD)
    assert [answer and answer.version_id for answer in answers] == [found[one.key].markers[0] for one in planned]
    one_marker_each(seaweedfs, bucket, planned)


def test_a_key_with_a_control_character_goes_without_spoiling_the_others(seaweedfs: ObjectStore, make_bucket: MakeBucket) -> None:
    bucket = make_bucket(seaweedfs, versioned=True)
    planned = put(client_of(seaweedfs), bucket, {"a": b"1", "c\x01d": b"2", "e": b"3"})
    answers = deleter_of(seaweedfs, bucket)(planned, unsettled=False)
    assert [(answer.outcome, answer.version_id is not None) for answer in answers] == [("deleted", True)] * 3
    with pytest.raises(ClientError, match="404"):
        client_of(seaweedfs).head_object(Bucket=bucket, Key="c\x01d")


def test_changed_survives_and_gone_gets_no_second_marker(seaweedfs: ObjectStore, make_bucket: MakeBucket) -> None:
    bucket = make_bucket(seaweedfs, versioned=True)
    client = client_of(seaweedfs)
    keys = ["changed", "changed\n", "gone", "gone\n", "stands", "stands\n"]
    planned = put(client, bucket, dict.fromkeys(keys, b"old"))
    newer = put(client, bucket, {"changed": b"new", "changed\n": b"new"})
    for key in ("gone", "gone\n"):
        client.delete_object(Bucket=bucket, Key=key)
    planned.append(Planned("never\n", "0" * 32, 1, planned[0].last_modified))
    planned.append(Planned("never", "0" * 32, 1, planned[0].last_modified))
    answers = deleter_of(seaweedfs, bucket)(planned, unsettled=False)
    outcomes = {one.key: answer.outcome for one, answer in zip(planned, answers, strict=True)}
    assert outcomes == {
        **dict.fromkeys(["changed", "changed\n"], "changed"),
        **dict.fromkeys(["gone", "gone\n", "never", "never\n"], "missing"),
        **dict.fromkeys(["stands", "stands\n"], "deleted"),
    }
    found = standing(client, bucket)
    for one in newer:
        assert found[one.key] == Standing(current=one.etag, versions=2)
    assert "never" not in found
    assert "never\n" not in found
    assert {len(found[key].markers) for key in ("gone", "gone\n", "stands", "stands\n")} == {1}


@pytest.mark.parametrize("key", ["plain", "line\nbreak"])
def test_an_answer_lost_after_the_store_acted_is_unknown(seaweedfs: ObjectStore, make_bucket: MakeBucket, key: str) -> None:
    bucket = make_bucket(seaweedfs, versioned=True)
    planned = put(client_of(seaweedfs), bucket, {key: b"1", "other": b"2"})
    operation = "DeleteObject" if key != "plain" else "DeleteObjects"

    def lose(_: Any) -> None:
        raise ConnectionClosedError(endpoint_url=seaweedfs.endpoint)

    answers = dict(zip((one.key for one in planned), failing(seaweedfs, bucket, operation, lose)(planned, unsettled=False), strict=True))
    one_marker_each(seaweedfs, bucket, planned)
    assert answers[key] == Answer("unknown", standing(client_of(seaweedfs), bucket)[key].markers[0], "SettledByLooking")
    # A lost answer for one key takes no other key's answer along.
    assert answers["other"].outcome == ("unknown" if key == "plain" else "deleted")


def test_a_late_act_of_the_first_request_is_not_taken_for_a_change(seaweedfs: ObjectStore, make_bucket: MakeBucket) -> None:
    """Request 1 times out and acts late, so that request 2 finds nothing to match, and some stores then answer 412."""
    bucket = make_bucket(seaweedfs, versioned=True)
    client = client_of(seaweedfs)
    planned = put(client, bucket, {"gone": b"1", "newer": b"2"})
    sent: list[Any] = []

    def time_out_then_act(request: Any) -> None:
        sent.append(request)
        if len(sent) == 1:
            raise EndpointConnectionError(endpoint_url=seaweedfs.endpoint)
        client.delete_object(Bucket=bucket, Key="gone")
        put(client, bucket, {"newer": b"of the application"})

    deleter = failing(seaweedfs, bucket, "DeleteObjects", time_out_then_act, acted=False)

    def not_matched(parsed: Any, **_: Any) -> None:
        parsed.clear()
        parsed["Errors"] = [{"Key": one.key, "Code": "PreconditionFailed"} for one in planned]

    once: Any = deleter._once
    once.meta.events.register("after-call.s3.DeleteObjects", not_matched)
    gone, newer = deleter(planned, unsettled=False)
    assert gone == Answer("unknown", standing(client, bucket)["gone"].markers[0], "SettledByLooking")
    assert newer.outcome == "changed"


def test_a_request_that_never_arrived_is_sent_again(seaweedfs: ObjectStore, make_bucket: MakeBucket) -> None:
    bucket = make_bucket(seaweedfs, versioned=True)
    planned = put(client_of(seaweedfs), bucket, {"a": b"1", "b": b"2"})
    left = [1, 2]

    def unreachable(_: Any) -> None:
        if left:
            left.pop()
            raise EndpointConnectionError(endpoint_url=seaweedfs.endpoint)

    answers = failing(seaweedfs, bucket, "DeleteObjects", unreachable, acted=False)(planned, unsettled=False)
    assert {answer.outcome for answer in answers} == {"deleted"}
    one_marker_each(seaweedfs, bucket, planned)


def test_an_unreachable_store_ends_in_failed_for_each_key(seaweedfs: ObjectStore, make_bucket: MakeBucket) -> None:
    bucket = make_bucket(seaweedfs, versioned=True)
    planned = put(client_of(seaweedfs), bucket, {"a": b"1", "b\n": b"2"})
    attempts = []

    def unreachable(request: Any) -> None:
        attempts.append(request)
        raise EndpointConnectionError(endpoint_url=seaweedfs.endpoint)

    deleter = failing(seaweedfs, bucket, "*", unreachable, acted=False)
    assert deleter(planned, unsettled=False) == [Answer("failed", code="NoAnswer")] * 2
    assert len(attempts) == 2 * ATTEMPTS
    assert all(one.current for one in standing(client_of(seaweedfs), bucket).values())


@pytest.mark.parametrize("code", ["InternalError", "SlowDown", "ConditionalRequestConflict", "AccessDenied"])
def test_an_error_of_one_key(seaweedfs: ObjectStore, make_bucket: MakeBucket, code: str) -> None:
    """The store did act although it says it did not: no second marker, no lie."""
    bucket = make_bucket(seaweedfs, versioned=True)
    planned = put(client_of(seaweedfs), bucket, {"a": b"1", "b": b"2"})
    once = [1]

    def deny(parsed: Any) -> None:
        if once and parsed.get("Deleted"):
            once.pop()
            parsed["Deleted"] = [line for line in parsed["Deleted"] if line["Key"] != "a"]
            parsed["Errors"] = [{"Key": "a", "Code": code}]

    answers = failing(seaweedfs, bucket, "DeleteObjects", deny)(planned, unsettled=False)
    assert answers[0] == (
        Answer("failed", code=code)
        if code == "AccessDenied"
        else Answer("unknown", standing(client_of(seaweedfs), bucket)["a"].markers[0], "SettledByLooking")
    )
    assert answers[1].outcome == "deleted"
    one_marker_each(seaweedfs, bucket, planned)


def test_an_error_that_stays_is_recorded_with_the_stores_word(seaweedfs: ObjectStore, make_bucket: MakeBucket) -> None:
    bucket = make_bucket(seaweedfs, versioned=True)
    planned = put(client_of(seaweedfs), bucket, {"a": b"1"})
    wrong = [Planned("a", planned[0].etag, 1, planned[0].last_modified)]

    def busy(parsed: Any) -> None:
        parsed.pop("Deleted", None)
        parsed["Errors"] = [{"Key": "a", "Code": "InternalError"}]

    deleter = failing(seaweedfs, bucket, "DeleteObjects", busy)
    once: Any = deleter._once
    once.meta.events.register("before-parameter-build.s3.DeleteObjects", spoil_etags)
    assert deleter(wrong, unsettled=False) == [Answer("failed", code="InternalError")]
    assert standing(client_of(seaweedfs), bucket)["a"] == Standing(current=planned[0].etag, versions=1)


def spoil_etags(params: Any, **_: Any) -> None:
    for one in params["Delete"]["Objects"]:
        one["ETag"] = '"spoiled"'


def test_a_refused_request_rises_and_the_chunk_is_settled_next_time(
    seaweedfs: ObjectStore, make_bucket: MakeBucket, tmp_path: Path
) -> None:
    bucket = make_bucket(seaweedfs, versioned=True)
    planned = put(client_of(seaweedfs), bucket, {f"{i:02d}": b"1" for i in range(15)})
    plan, ledger = write_plan(tmp_path / "plan", planned, chunk=5), Ledger(tmp_path / "ledger")

    def deny(_: Any) -> None:
        raise ClientError({"Error": {"Code": "AccessDenied"}, "ResponseMetadata": {"HTTPStatusCode": 403}}, "DeleteObjects")  # type: ignore[typeddict-item]

    with pytest.raises(ClientError):
        execute(plan, ledger, failing(seaweedfs, bucket, "DeleteObjects", deny))
    assert (ledger.begun, ledger.totals()) == (True, {})
    execute(plan, ledger, deleter_of(seaweedfs, bucket))
    assert {outcome: amount.objects for outcome, amount in ledger.totals().items()} == {"deleted": 5, "unknown": 10}
    one_marker_each(seaweedfs, bucket, planned)
    assert [line["key"] for line in recorded(ledger)] == [one.key for one in planned]


def test_suspended_versioning_stops_after_the_canary(seaweedfs: ObjectStore, make_bucket: MakeBucket, tmp_path: Path) -> None:
    bucket = make_bucket(seaweedfs, versioned=True)
    client = client_of(seaweedfs)
    planned = put(client, bucket, {f"{i:02d}": b"1" for i in range(15)})
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Suspended"})
    ledger = Ledger(tmp_path / "ledger")
    plan = write_plan(tmp_path / "plan", planned)
    with pytest.raises(Refused, match="chunk 0: '00' is gone without a delete marker"):
        execute(plan, ledger, deleter_of(seaweedfs, bucket))
    assert ledger.totals()["deleted"].objects == 10
    assert {key for key, one in standing(client, bucket).items() if one.current} == {f"{i:02d}" for i in range(10, 15)}
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    with pytest.raises(Refused, match="of a/ goes no further: '00', and maybe others, went without a delete marker and are lost for good"):
        execute(plan, ledger, deleter_of(seaweedfs, bucket))
    assert {key for key, one in standing(client, bucket).items() if one.current} == {f"{i:02d}" for i in range(10, 15)}


def expired_token(_: Any) -> None:
    raise ClientError({"Error": {"Code": "ExpiredToken"}, "ResponseMetadata": {"HTTPStatusCode": 400}}, "DeleteObjects")  # type: ignore[typeddict-item]


def cancelled(_: Any) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("breaks_off", [expired_token, cancelled])
def test_markers_known_before_a_run_broke_off_are_not_forgotten(
    seaweedfs: ObjectStore, make_bucket: MakeBucket, tmp_path: Path, breaks_off: Callable[[Any], None]
) -> None:
    """Nine keys of the chunk are answered by the first request; the second, for the tenth, ends the run."""
    bucket = make_bucket(seaweedfs, versioned=True)
    planned = put(client_of(seaweedfs), bucket, {f"{i:02d}": b"1" for i in range(10)})
    plan, ledger = write_plan(tmp_path / "plan", planned), Ledger(tmp_path / "ledger")
    attempts: list[Any] = []

    def busy_for_one(parsed: Any) -> None:
        attempts.append(parsed)
        if len(attempts) == 2:
            breaks_off(parsed)
        parsed["Deleted"] = [line for line in parsed["Deleted"] if line["Key"] != "05"]
        parsed["Errors"] = [{"Key": "05", "Code": "SlowDown"}]

    with pytest.raises((ClientError, KeyboardInterrupt)):
        execute(plan, ledger, failing(seaweedfs, bucket, "DeleteObjects", busy_for_one))
    assert (ledger.unfinished(), ledger.parquet(), len(ledger.kept(0))) == ([0], [], 9)
    intent = ledger.intent(0)
    execute(plan, ledger, deleter_of(seaweedfs, bucket))
    assert {line["key"]: line["outcome"] for line in recorded(ledger)} == {one.key: "deleted" for one in planned} | {"05": "unknown"}
    assert all(line["version_id"] == standing(client_of(seaweedfs), bucket)[line["key"]].markers[0] for line in recorded(ledger))
    assert (ledger.unfinished(), ledger.kept(0), ledger.intent(0)) == ([], {}, intent)
    one_marker_each(seaweedfs, bucket, planned)


def test_a_failing_look_does_not_take_the_known_markers_along(seaweedfs: ObjectStore, make_bucket: MakeBucket, tmp_path: Path) -> None:
    bucket = make_bucket(seaweedfs, versioned=True)
    planned = put(client_of(seaweedfs), bucket, {"a": b"1", "b": b"2"})
    plan, ledger = write_plan(tmp_path / "plan", planned), Ledger(tmp_path / "ledger")

    def forget_one(parsed: Any) -> None:
        parsed["Deleted"] = [line for line in parsed["Deleted"] if line["Key"] != "a"]

    deleter = failing(seaweedfs, bucket, "DeleteObjects", forget_one)
    client: Any = deleter._client
    client.meta.events.register("before-send.s3.HeadObject", lambda **_: expired_token(None))
    with pytest.raises(ClientError, match="ExpiredToken"):
        execute(plan, ledger, deleter)
    assert {key: answer.outcome for key, answer in ledger.kept(0).items()} == {"b": "deleted"}
    assert ledger.kept(0)["b"].version_id not in NO_MARKER
