"""A network and a store that fail in every way they know, before SeaweedFS: bucket, markers and ledger are exact all the same."""

import os
from collections.abc import Callable
from pathlib import Path
from random import Random, SystemRandom
from threading import Lock
from typing import Any

import pytest
from botocore.exceptions import ReadTimeoutError
from botocore.httpsession import URLLib3Session
from deletion_helpers import Standing, client_of, deleter_of, execute, pace_of, put, recorded, standing, write_plan
from faulty_store import NOTHING, Exchange, Fault, FaultyStore, faulty_store

from orphan_pipeline.deletion.deleter import VersionedDeleter
from orphan_pipeline.deletion.ledger import Ledger, Planned
from orphan_pipeline.deletion.looking import look, look_behind
from orphan_pipeline.deletion.pace.pace import Pace
from orphan_pipeline.demo.servers import ObjectStore
from orphan_pipeline.errors import Refused

MakeBucket = Callable[..., str]
OBJECTS = int(os.environ.get("ORPHAN_PIPELINE_FAULT_OBJECTS", "100"))
SEED = int(os.environ.get("ORPHAN_PIPELINE_SEED") or SystemRandom().randrange(10**9))


@pytest.fixture(autouse=True)
def hardly_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pace, "wait", lambda pace, seconds: pace.stopping.wait(min(seconds, 0.01)))


def impatient(store: ObjectStore, proxy: FaultyStore, stalls: Callable[[int], bool]) -> Any:
    """Sends once, one request after the other, and waits a second where no answer will come, but for every other as long as it takes."""
    client: Any = client_of(store, attempts=1, endpoint=proxy.endpoint)
    brief = URLLib3Session(timeout=1)

    def give_up(request: Any, **_: Any) -> Any:
        if not stalls(proxy.spoilt):
            return None
        proxy.stalling.clear()
        try:
            return brief.send(request)
        except ReadTimeoutError:
            assert proxy.stalling.wait(60), "a slow store is no stall: what it was to do before, it has done"
            raise

    client.meta.events.register("before-send.s3.*", give_up)
    return client


def slow_down(exchange: Exchange) -> None:
    exchange.refuse(503, "SlowDown")


def too_many(exchange: Exchange) -> None:
    exchange.status, exchange.body = 429, b"slow down, please"


def broken(exchange: Exchange) -> None:
    exchange.refuse(500, "InternalError")


def bad_gateway(exchange: Exchange) -> None:
    exchange.status, exchange.body = 502, b"<html><body>nginx</body></html>"


def reset(exchange: Exchange) -> None:
    exchange.reset = True


def time_out(exchange: Exchange) -> None:
    exchange.stall = True


def half(exchange: Exchange) -> None:
    exchange.announced, exchange.body = len(exchange.body), exchange.body[: len(exchange.body) // 2]


def half_that_looks_whole(exchange: Exchange) -> None:
    exchange.body = exchange.body[: len(exchange.body) // 2]


def empty(exchange: Exchange) -> None:
    exchange.body = b""


def error_with_status_200(exchange: Exchange) -> None:
    exchange.body = b"<Error><Code>InternalError</Code><Message>We encountered an internal error.</Message></Error>"


def error_a_key(code: str) -> Fault:
    """Every third key that went is said not to have gone."""

    def spoil(exchange: Exchange) -> None:
        head, *lines = exchange.body.decode().split("<Deleted>")
        for place, line in enumerate(lines):
            inside, end, rest = line.partition("</Deleted>")
            key = inside.partition("<Key>")[2].partition("</Key>")[0]
            wrong = f"<Error><Key>{key}</Key><Code>{code}</Code><Message/></Error>{rest}"
            lines[place] = wrong if place % 3 == 0 else f"<Deleted>{inside}{end}{rest}"
        exchange.body = (head + "".join(lines)).encode()

    return spoil


def silent_about_some(exchange: Exchange) -> None:
    head, *lines = exchange.body.decode().split("<Deleted>")
    exchange.body = (head + "".join(f"<Deleted>{line}" for line in lines[1:])).encode() if len(lines) > 1 else exchange.body


BEFORE: dict[str, Fault] = {f.__name__: f for f in (slow_down, too_many, broken, bad_gateway, reset, time_out)}
AFTER: dict[str, Fault] = {
    **{f.__name__: f for f in (slow_down, broken, bad_gateway, reset, time_out, half, half_that_looks_whole, empty)},
    **{f.__name__: f for f in (error_with_status_200, silent_about_some)},
    "InternalError a key": error_a_key("InternalError"),
    "SlowDown a key": error_a_key("SlowDown"),
}


def exact(store: ObjectStore, bucket: str, planned: list[Planned], ledger: Ledger, *, newer: set[str] = frozenset()) -> None:  # type: ignore[assignment]
    """Every object is gone once, behind the marker that the ledger names; what is newer stands, and the ledger says so."""
    found, lines = standing(client_of(store), bucket), {line["key"]: line for line in recorded(ledger)}
    assert sorted(lines) == sorted(one.key for one in planned)
    assert sum(amount.objects for amount in ledger.totals().values()) == len(planned)
    for one in planned:
        line, own = lines[one.key], found[one.key]
        if one.key in newer:
            assert (line["outcome"], own.markers, own.versions) == ("changed", [], 2), one.key
        else:
            assert own == Standing(current=None, markers=[line["version_id"]], versions=1), one.key
            assert line["outcome"] in ("deleted", "unknown")


@pytest.mark.parametrize("when", ["before", "after"])
def test_each_fault_in_turn_and_then_all_of_them(seaweedfs: ObjectStore, make_bucket: MakeBucket, tmp_path: Path, when: str) -> None:
    """`before`: the server never saw the request; `after`: it acted, and nobody was told."""
    faults = list((BEFORE if when == "before" else AFTER).values())
    bucket = make_bucket(seaweedfs, versioned=True)
    client = client_of(seaweedfs)
    keys = [f"a/{i:02d}" for i in range(4 * len(faults))]
    planned = put(client, bucket, dict.fromkeys(keys, b"old"))
    newer = {keys[1], keys[-1]}
    put(client, bucket, dict.fromkeys(newer, b"new"))

    def unspoilt(number: int) -> Fault:
        return NOTHING

    def every_second(number: int) -> Fault:
        return NOTHING if number % 2 else faults[number // 2 % len(faults)]

    before, after = (every_second, unspoilt) if when == "before" else (unspoilt, every_second)
    with faulty_store(seaweedfs.endpoint, before=before, after=after) as store:
        once = impatient(seaweedfs, store, lambda number: every_second(number) is time_out)
        deleter = VersionedDeleter(client=client, once=once, bucket=bucket, pace=pace_of(bucket))
        ledger = Ledger(tmp_path / "ledger")
        ended = execute(write_plan(tmp_path / "plan", planned, canary=2, chunk=4), ledger, deleter, concurrency=1)
    assert (ended.reason, ended.keys) == ("completed", len(keys))
    exact(seaweedfs, bucket, planned, ledger, newer=newer)
    if when == "before":
        assert ended.slowed > 0
        assert {line["outcome"] for line in recorded(ledger)} == {"deleted", "changed"}


def test_storms_of_faults_with_several_chunks_at_once(seaweedfs: ObjectStore, make_bucket: MakeBucket, tmp_path: Path) -> None:
    print(f"ORPHAN_PIPELINE_SEED={SEED}")
    random = Random(SEED)
    bucket = make_bucket(seaweedfs, versioned=True)
    client = client_of(seaweedfs)
    keys = [f"a/{i:05d}{odd}" for i, odd in zip(range(OBJECTS), ["", " ", "&<>", "ü+%", "\n"] * OBJECTS, strict=False)]
    planned = put(client, bucket, dict.fromkeys(keys, b"old"))
    newer = set(random.sample(keys, 10))
    put(client, bucket, dict.fromkeys(newer, b"new"))
    quick = {name: fault for name, fault in AFTER.items() if fault is not time_out}
    after = [random.choice([NOTHING, *quick.values()]) for _ in range(10_000)]
    before = [random.choice([NOTHING, NOTHING, NOTHING, slow_down, reset, broken]) for _ in range(10_000)]
    before[20:40] = [slow_down] * 20
    with faulty_store(seaweedfs.endpoint, before=before.__getitem__, after=after.__getitem__) as store:
        ledger, plan = Ledger(tmp_path / "ledger"), write_plan(tmp_path / "plan", planned, canary=5, chunk=20)
        execute(plan, ledger, deleter_of(seaweedfs, bucket, endpoint=store.endpoint), concurrency=6)
    failed = {line["key"] for line in recorded(ledger) if line["outcome"] == "failed"}
    assert len(failed) <= len(keys) // 2, "ten attempts each"
    rest = [one for one in planned if one.key not in failed]
    lines = {line["key"]: line for line in recorded(ledger)}
    found = standing(client, bucket)
    for one in rest:
        line, own = lines[one.key], found[one.key]
        if one.key in newer:
            assert (line["outcome"], own.markers, own.versions) == ("changed", [], 2), one.key
        else:
            assert own == Standing(current=None, markers=[line["version_id"]], versions=1), one.key
            assert line["outcome"] in ("deleted", "unknown")
    for key in failed:
        assert (found[key].markers, found[key].versions) == ([], 1 + (key in newer)), "what is called failed stands as it was"


def test_a_chunk_that_the_store_cannot_read_is_halved_until_it_can(seaweedfs: ObjectStore, make_bucket: MakeBucket, tmp_path: Path) -> None:
    bucket = make_bucket(seaweedfs, versioned=True)
    planned = put(client_of(seaweedfs), bucket, {f"a/{i:02d}": b"1" for i in range(20)})
    requests: list[bytes] = []

    def malformed(exchange: Exchange) -> None:
        requests.append(exchange.request)
        if b"<Key>a/13</Key>" in exchange.request:
            exchange.refuse(400, "MalformedXML")

    with faulty_store(seaweedfs.endpoint, before=lambda _: malformed) as store:
        ledger = Ledger(tmp_path / "ledger")
        execute(write_plan(tmp_path / "plan", planned, canary=20), ledger, deleter_of(seaweedfs, bucket, endpoint=store.endpoint))
    exact(seaweedfs, bucket, planned, ledger)
    assert {line["outcome"] for line in recorded(ledger)} == {"deleted"}
    assert len(requests) <= 12, "halved, not one by one"


@pytest.mark.parametrize("code", ["AccessDenied", "InvalidRequest", "NoSuchUpload"])
def test_a_final_error_of_a_key_is_sent_once_and_recorded(
    seaweedfs: ObjectStore, make_bucket: MakeBucket, tmp_path: Path, code: str
) -> None:
    """What object lock, MFA delete and policies answer."""
    bucket = make_bucket(seaweedfs, versioned=True)
    planned = put(client_of(seaweedfs), bucket, {f"a/{i}": b"1" for i in range(4)})
    requests: list[bytes] = []

    def deny(exchange: Exchange) -> None:
        requests.append(exchange.request)
        lines = "".join(f"<Error><Key>{one.key}</Key><Code>{code}</Code></Error>" for one in planned)
        exchange.status, exchange.body = 200, f"<DeleteResult>{lines}</DeleteResult>".encode()

    with faulty_store(seaweedfs.endpoint, before=lambda _: deny) as store:
        ledger = Ledger(tmp_path / "ledger")
        execute(write_plan(tmp_path / "plan", planned), ledger, deleter_of(seaweedfs, bucket, endpoint=store.endpoint))
    assert [(line["outcome"], line["code"]) for line in recorded(ledger)] == [("failed", code)] * 4
    assert len(requests) == 1


def test_versioning_suspended_in_the_middle_stops_the_run(seaweedfs: ObjectStore, make_bucket: MakeBucket, tmp_path: Path) -> None:
    bucket, client = make_bucket(seaweedfs, versioned=True), client_of(seaweedfs)
    planned = put(client, bucket, {f"a/{i:03d}": b"1" for i in range(200)})
    one_by_one = Lock()

    def suspend(number: int) -> Fault:
        with one_by_one:  # whoever comes later waits until the store has taken it, however long that is
            if number == 6:
                client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Suspended"})
        return NOTHING

    with faulty_store(seaweedfs.endpoint, before=suspend) as store:
        ledger, plan = Ledger(tmp_path / "ledger"), write_plan(tmp_path / "plan", planned, chunk=10)
        with pytest.raises(Refused, match="is gone without a delete marker: was versioning suspended"):
            execute(plan, ledger, deleter_of(seaweedfs, bucket, endpoint=store.endpoint), concurrency=3)
    lost = [line for line in recorded(ledger) if line["outcome"] == "deleted" and line["version_id"] in (None, "null")]
    assert 0 < len(lost) <= 30, "the chunks that were under way, and no other"
    assert sum(one.current is not None for one in standing(client, bucket).values()) >= 100, "six chunks before it, and three at most after"
    [end] = ledger.endings()
    assert end.reason == "refused"
    with pytest.raises(Refused, match="goes no further"):
        execute(plan, ledger, deleter_of(seaweedfs, bucket))


@pytest.mark.parametrize("lie", ["stands", "no marker", "another marker"])
def test_a_store_whose_answers_are_not_true_is_found_out_by_the_canary(
    seaweedfs: ObjectStore, make_bucket: MakeBucket, tmp_path: Path, lie: str
) -> None:
    bucket, client = make_bucket(seaweedfs, versioned=True), client_of(seaweedfs)
    planned = put(client, bucket, {f"a/{i:02d}": b"1" for i in range(30)})

    def answer(exchange: Exchange) -> None:
        keys = [part.partition("</Key>")[0] for part in exchange.request.decode().split("<Key>")[1:]]
        if lie == "no marker":
            for key in keys:
                for version in client.list_object_versions(Bucket=bucket, Prefix=key)["Versions"]:
                    client.delete_object(Bucket=bucket, Key=key, VersionId=version["VersionId"])
        if lie == "another marker":
            for key in keys:
                client.delete_object(Bucket=bucket, Key=key)
        lines = "".join(f"<Deleted><Key>{key}</Key><DeleteMarkerVersionId>made-up</DeleteMarkerVersionId></Deleted>" for key in keys)
        exchange.status, exchange.body = 200, f"<DeleteResult>{lines}</DeleteResult>".encode()

    expected = {
        "stands": "but it still stands",
        "no marker": "but no delete marker hides it, so it cannot be brought back",
        "another marker": "but its delete marker made-up is not there",
    }
    with faulty_store(seaweedfs.endpoint, before=lambda _: answer) as store:
        ledger, plan = Ledger(tmp_path / "ledger"), write_plan(tmp_path / "plan", planned)
        with pytest.raises(Refused, match=f"canary: the store said that 'a/00' was deleted, {expected[lie]}"):
            execute(plan, ledger, deleter_of(seaweedfs, bucket, endpoint=store.endpoint))
    with pytest.raises(Refused, match="canary"):  # not passed over because its chunk is finished
        execute(plan, ledger, deleter_of(seaweedfs, bucket))
    assert len([one for one in standing(client, bucket).values() if one.current]) >= 20


def test_a_key_that_over_a_thousand_others_begin_with_is_found(seaweedfs: ObjectStore, make_bucket: MakeBucket) -> None:
    """SeaweedFS lists the versions of `k` after those of `k-…`, and after a full page of these not at all."""
    bucket, client = make_bucket(seaweedfs, versioned=True), client_of(seaweedfs)
    planned = put(client, bucket, {"a/k": b"1", **{f"a/k-{i:04d}": b"2" for i in range(1001)}})
    marker = client.delete_object(Bucket=bucket, Key="a/k")["VersionId"]
    listed = client.list_object_versions(Bucket=bucket, Prefix="a/k")
    assert listed["IsTruncated"]
    assert not [entry for entry in [*listed.get("DeleteMarkers", []), *listed["Versions"]] if entry["Key"] == "a/k"], "still so"
    assert look(client, bucket, "a/k").marker == marker
    found = look_behind(client, bucket, "a/k")
    assert (found.marker, found.behind, found.markers) == (marker, planned[0].etag, frozenset({marker}))
    assert deleter_of(seaweedfs, bucket)(planned[:1], unsettled=True)[0].version_id == marker
    assert look(client, bucket, "a/k-missing").marker is None


def test_a_key_that_no_listing_can_show_is_found(seaweedfs: ObjectStore, make_bucket: MakeBucket) -> None:
    bucket, client = make_bucket(seaweedfs, versioned=True), client_of(seaweedfs)
    planned = put(client, bucket, {"a\x01": b"1", "a\x02": b"2"})
    markers = [client.delete_object(Bucket=bucket, Key=one.key)["VersionId"] for one in planned]
    assert [look(client, bucket, one.key).marker for one in planned] == markers
    assert [look_behind(client, bucket, one.key).behind for one in planned] == [one.etag for one in planned]
