"""What a store can do about conditional deletes is found out, served where it can be, and refused where it cannot (rule 11)."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from deletion_helpers import client_of, delete_now, deleter_of, execute, pace_of, put, recorded, standing, write_plan
from faulty_store import Exchange, faulty_store

from orphan_pipeline.deletion.abilities import StoreAbilities, Way, chosen_way, prepared, probe_store
from orphan_pipeline.deletion.deleter import VersionedDeleter
from orphan_pipeline.deletion.ledger import Answer, Ledger
from orphan_pipeline.deletion.probing import tried
from orphan_pipeline.deletion.requests import remove_every_marker
from orphan_pipeline.demo.servers import ObjectStore
from orphan_pipeline.errors import Refused

MakeBucket = Callable[..., str]
AWS = StoreAbilities(together="honoured", alone="honoured", content_md5=False)
ALONE, LOOKED_AT = Way(together=False), Way(together=False, singly="looked at")
MOTO = StoreAbilities(together="ignored", alone="honoured", content_md5=False)


def everything(client: Any, bucket: str) -> list[Any]:
    answer = client.list_object_versions(Bucket=bucket)
    return [*answer.get("Versions", []), *answer.get("DeleteMarkers", [])]


def ignoring(client: Any) -> Any:
    """A client whose conditions never reach the store."""

    def unconditional(params: Any, **_: Any) -> None:
        for one in params["Delete"]["Objects"]:
            one.pop("ETag", None)

    client.meta.events.register("before-parameter-build.s3.DeleteObjects", unconditional)
    client.meta.events.register("before-parameter-build.s3.DeleteObject", lambda params, **_: params.pop("IfMatch", None))
    return client


@pytest.mark.parametrize("versioned", [True, False])
def test_a_store_that_honours_all_leaves_nothing_of_the_probe(seaweedfs: ObjectStore, make_bucket: MakeBucket, versioned: bool) -> None:
    client, bucket = client_of(seaweedfs), make_bucket(seaweedfs, versioned=versioned)
    assert probe_store(client, bucket) == AWS
    assert chosen_way(AWS, bucket, allow_unconditional=False) == Way()
    assert everything(client, bucket) == []
    assert AWS.words == "DeleteObjects: ETag honoured; DeleteObject: ETag honoured"


@pytest.mark.parametrize("versioned", [True, False])
def test_a_store_that_ignores_etags_in_delete_objects_only(moto: ObjectStore, make_bucket: MakeBucket, versioned: bool) -> None:
    client, bucket = client_of(moto), make_bucket(moto, versioned=versioned)
    assert probe_store(client, bucket) == MOTO
    assert chosen_way(MOTO, bucket, allow_unconditional=False) == ALONE
    assert everything(client, bucket) == []


def test_a_store_that_ignores_every_condition_is_refused_unless_allowed(seaweedfs: ObjectStore, make_bucket: MakeBucket) -> None:
    bucket = make_bucket(seaweedfs, versioned=True)
    found = probe_store(ignoring(client_of(seaweedfs)), bucket)
    assert (found.together, found.alone) == ("ignored", "ignored")
    with pytest.raises(
        Refused, match=f"bucket {bucket}: the store does not honour the ETag on a delete .*allow_unconditional_delete: true"
    ):
        chosen_way(found, bucket, allow_unconditional=False)
    assert chosen_way(found, bucket, allow_unconditional=True) == LOOKED_AT
    assert everything(client_of(seaweedfs), bucket) == []


@pytest.mark.parametrize("code", ["NotImplemented", "InvalidArgument"])
def test_a_store_that_takes_no_condition_at_all(seaweedfs: ObjectStore, make_bucket: MakeBucket, code: str) -> None:
    bucket = make_bucket(seaweedfs, versioned=True)

    def no_etags(exchange: Exchange) -> None:
        if b"<ETag>" in exchange.request:
            exchange.refuse(501 if code == "NotImplemented" else 400, code)

    with faulty_store(seaweedfs.endpoint, before=lambda _: no_etags) as store:
        found = probe_store(client_of(seaweedfs, attempts=1, endpoint=store.endpoint), bucket)
    assert (found.together, found.alone) == ("refused", "honoured")
    assert chosen_way(found, bucket, allow_unconditional=False) == ALONE


def test_a_store_that_says_nothing_of_the_key_is_no_store_that_refuses_it(seaweedfs: ObjectStore, make_bucket: MakeBucket) -> None:
    bucket = make_bucket(seaweedfs, versioned=True)
    silent: Any = client_of(seaweedfs, attempts=1)
    silent.meta.events.register("after-call.s3.DeleteObjects", lambda parsed, **_: parsed.pop("Errors", None))
    assert probe_store(silent, bucket).together == "refused"
    assert everything(client_of(seaweedfs), bucket) == []


def test_a_store_that_refuses_the_right_etag_too_is_not_believed(seaweedfs: ObjectStore, make_bucket: MakeBucket) -> None:
    bucket = make_bucket(seaweedfs, versioned=True)
    wrong: Any = client_of(seaweedfs)

    def spoil(params: Any, **_: Any) -> None:
        for one in params["Delete"]["Objects"]:
            one["ETag"] = '"spoiled"'

    wrong.meta.events.register("before-parameter-build.s3.DeleteObjects", spoil)
    assert probe_store(wrong, bucket).together == "refused"


def wants_md5(exchange: Exchange) -> None:
    if exchange.method == "POST" and "Content-MD5" not in exchange.headers:
        exchange.refuse(400, "MissingContentMD5")


def test_a_store_that_needs_content_md5_is_found_out_and_served(seaweedfs: ObjectStore, make_bucket: MakeBucket) -> None:
    bucket = make_bucket(seaweedfs, versioned=True)
    planned = put(client_of(seaweedfs), bucket, {"a": b"1", "b": b"2"})
    with faulty_store(seaweedfs.endpoint, before=lambda _: wants_md5) as store:
        probing, once = (client_of(seaweedfs, attempts=1, endpoint=store.endpoint) for _ in range(2))
        found = probe_store(probing, bucket)
        assert found == StoreAbilities(together="honoured", alone="honoured", content_md5=True)
        with pytest.raises(ClientError, match="MissingContentMD5"):
            probing.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "a"}]})  # the probe changes no client
        deleter = VersionedDeleter(client=client_of(seaweedfs), once=prepared(once, found), bucket=bucket, pace=pace_of(bucket))
        assert [answer.outcome for answer in deleter(planned, unsettled=False)] == ["deleted"] * 2
    assert {one.current for one in standing(client_of(seaweedfs), bucket).values()} == {None}


def test_a_store_that_does_not_let_us_delete_says_so(seaweedfs: ObjectStore, moto: ObjectStore, make_bucket: MakeBucket) -> None:
    bucket = make_bucket(seaweedfs, versioned=True)
    denied: Any = client_of(seaweedfs)

    def deny(parsed: Any, **_: Any) -> None:
        for error in parsed.get("Errors", []):
            error["Code"] = "AccessDenied"

    denied.meta.events.register("after-call.s3.DeleteObjects", deny)
    with pytest.raises(Refused, match="answered AccessDenied to the delete of a throw-away object"):
        probe_store(denied, bucket)
    assert str(tried(lambda: probe_store(denied, bucket))).startswith("not known: bucket ")
    elsewhere = tried(lambda: probe_store(client_of(moto), "no-such-bucket-here"))
    assert str(elsewhere) == "not known: PutObject was answered NoSuchBucket", "the first error, not that of tidying up"


def test_an_error_of_the_probe_rises_and_leaves_nothing(seaweedfs: ObjectStore, make_bucket: MakeBucket) -> None:
    """The put was carried out, its answer lost: what stands in the store is removed, not what was answered."""
    bucket = make_bucket(seaweedfs, versioned=True)
    unlucky: Any = client_of(seaweedfs, attempts=1)

    def lose(parsed: Any, **_: Any) -> None:
        raise ConnectionResetError

    unlucky.meta.events.register("after-call.s3.PutObject", lose)
    with pytest.raises(ConnectionResetError):
        probe_store(unlucky, bucket)
    assert everything(client_of(seaweedfs), bucket) == []


@pytest.mark.parametrize("way", [ALONE, LOOKED_AT], ids=["alone", "looked at"])
def test_the_fallbacks_keep_what_changed_on_moto(moto: ObjectStore, make_bucket: MakeBucket, way: Way, tmp_path: Path) -> None:
    """The whole plan, several chunks at once: a stale object survives, nothing gets a second marker, totals are exact."""
    client, bucket = client_of(moto), make_bucket(moto, versioned=True)
    keys = [f"a/{i:03d}" for i in range(120)]
    planned = put(client, bucket, dict.fromkeys(keys, b"old"))
    newer = {one.key: one.etag for one in put(client, bucket, {"a/003": b"new", "a/077": b"new"})}
    client.delete_object(Bucket=bucket, Key="a/050")
    ledger = Ledger(tmp_path / "ledger")
    ended = execute(write_plan(tmp_path / "plan", planned, chunk=30), ledger, deleter_of(moto, bucket, way=way), concurrency=4)
    assert (ended.reason, ended.keys) == ("completed", 120)
    assert {outcome: amount.objects for outcome, amount in ledger.totals().items()} == {"changed": 2, "deleted": 117, "missing": 1}
    found = standing(client, bucket)
    assert {key: own.current for key, own in found.items() if own.current} == newer
    assert {len(own.markers) for key, own in found.items() if key not in newer} == {1}
    codes = {line["code"] for line in recorded(ledger) if line["outcome"] == "deleted"}
    assert codes == ({None} if way == ALONE else {"Unconditional"})


def test_delete_objects_on_moto_would_have_lost_it(moto: ObjectStore, make_bucket: MakeBucket) -> None:
    """Why the probe exists."""
    client, bucket = client_of(moto), make_bucket(moto, versioned=True)
    planned = put(client, bucket, {"a": b"old"})
    put(client, bucket, {"a": b"new"})
    [answer] = deleter_of(moto, bucket)(planned, unsettled=False)
    assert answer == Answer("deleted", version_id=standing(client, bucket)["a"].markers[0])


@pytest.mark.parametrize(("allowed", "outcome"), [(False, "failed"), (True, "deleted")])
def test_odd_keys_stay_where_only_delete_objects_honours_the_etag(
    seaweedfs: ObjectStore, make_bucket: MakeBucket, allowed: bool, outcome: str
) -> None:
    bucket = make_bucket(seaweedfs, versioned=True)
    planned = put(client_of(seaweedfs), bucket, {"plain": b"1", "odd\x01": b"2"})
    half = StoreAbilities(together="honoured", alone="ignored", content_md5=False)
    way = chosen_way(half, bucket, allow_unconditional=allowed)
    odd, plain = deleter_of(seaweedfs, bucket, way=way)(planned, unsettled=False)
    assert (plain.outcome, odd.outcome, odd.code) == ("deleted", outcome, "Unconditional" if allowed else "NoConditionalDelete")


def test_such_a_store_gives_back_what_was_deleted(seaweedfs: ObjectStore, make_bucket: MakeBucket) -> None:
    """Regression: only the delete was sent with it, so that no marker could be removed."""
    bucket = make_bucket(seaweedfs, versioned=True)
    planned = put(client_of(seaweedfs), bucket, {"a/1": b"1", "a/2": b"2"})
    markers = {key: answer.version_id or "" for key, answer in delete_now(client_of(seaweedfs), bucket, planned).items() if answer}
    with faulty_store(seaweedfs.endpoint, before=lambda _: wants_md5) as store:
        assert remove_every_marker(client_of(seaweedfs, endpoint=store.endpoint), bucket, markers) == {}
    assert {key: (one.current is None, one.markers) for key, one in standing(client_of(seaweedfs), bucket).items()} == {
        "a/1": (False, []),
        "a/2": (False, []),
    }


def test_a_key_that_the_store_cannot_read_goes_alone_only_where_that_is_safe(seaweedfs: ObjectStore, make_bucket: MakeBucket) -> None:
    bucket = make_bucket(seaweedfs, versioned=True)
    planned = put(client_of(seaweedfs), bucket, {"a": b"1", "b": b"2", "c": b"3"})

    def malformed(exchange: Exchange) -> None:
        if b"<Key>b</Key>" in exchange.request:
            exchange.refuse(400, "MalformedXML")

    with faulty_store(seaweedfs.endpoint, before=lambda _: malformed) as store:
        deleter = deleter_of(seaweedfs, bucket, endpoint=store.endpoint, way=Way(singly="never"))
        answers = deleter(planned, unsettled=False)
    assert [(answer.outcome, answer.code) for answer in answers] == [
        ("deleted", None),
        ("failed", "NoConditionalDelete"),
        ("deleted", None),
    ]
    assert standing(client_of(seaweedfs), bucket)["b"].markers == []
