"""Every way in which a list can go wrong on the network: the inventory is exactly right, or there is none."""

import dataclasses
import random
import re
import threading
from collections.abc import Callable

import pytest
from faulty_proxy import Answer, Fault, faulty_proxy

from orphan_pipeline.demo.servers import ObjectStore
from orphan_pipeline.errors import Refused
from orphan_pipeline.inventory.listing.asking import Asker, Question
from orphan_pipeline.inventory.listing.lister import Lister
from orphan_pipeline.inventory.listing.transport import TURN
from orphan_pipeline.resources.bucket import _requester_pays

KEYS = sorted(f"{folder}/{n:04d}" for folder in ("a", "b", "c") for n in range(60))
ATTEMPTS = 4


def cut_off(answer: Answer) -> None:
    """The connection ends in the middle of the body."""
    answer.announced = len(answer.body)
    answer.body = answer.body[: len(answer.body) // 2]


def cut_off_quietly(answer: Answer) -> None:
    """Half a body that says it is whole."""
    answer.body = answer.body[: len(answer.body) // 2]


def empty(answer: Answer) -> None:
    answer.body = b""


def reset(answer: Answer) -> None:
    answer.reset = True


def stall(answer: Answer) -> None:
    answer.stall = True


def slow_down(answer: Answer) -> None:
    answer.status, answer.body = 503, b"<Error><Code>SlowDown</Code></Error>"


def internal_error(answer: Answer) -> None:
    answer.status, answer.body = 500, b"<Error><Code>InternalError</Code></Error>"


def expired_token(answer: Answer) -> None:
    answer.status, answer.body = 400, b"<Error><Code>ExpiredToken</Code></Error>"


def without_token(answer: Answer) -> None:
    answer.body = re.sub(rb"<IsTruncated>false", b"<IsTruncated>true", answer.body)
    answer.body = re.sub(rb"<NextContinuationToken>.*?</NextContinuationToken>", b"", answer.body)


def error_in_a_good_answer(answer: Answer) -> None:
    answer.body = b"<Error><Code>InternalError</Code></Error>"


def counts_nothing(answer: Answer) -> None:
    answer.body = re.sub(rb"<KeyCount>[0-9]+<", b"<KeyCount>0<", answer.body)


def wrong_count(answer: Answer) -> None:
    """Fewer objects than the page counts."""
    answer.body = re.sub(rb"<KeyCount>[0-9]+<", b"<KeyCount>9999<", answer.body)


PASSING = [
    stall,
    cut_off,
    cut_off_quietly,
    empty,
    reset,
    slow_down,
    internal_error,
    expired_token,
    without_token,
    error_in_a_good_answer,
    wrong_count,
]


@pytest.fixture(scope="module")
def bucket(moto: ObjectStore) -> str:
    client = moto.client()
    client.create_bucket(Bucket="faults")
    for key in KEYS:
        client.put_object(Bucket="faults", Key=key, Body=b"x")
    return "faults"


def listed(store: ObjectStore, bucket: str, spoil: Callable[[int, str], Fault | None], *, timeout: int = 1) -> tuple[list[str], int]:
    with faulty_proxy(store.endpoint, spoil) as proxy:
        asker = Asker(
            dataclasses.replace(store, endpoint=proxy.endpoint).client(),
            bucket,
            connections=4,
            attempts=ATTEMPTS,
            page_keys=20,
            timeout=timeout,
        )
        try:
            lister = Lister(asker, bucket, concurrency=4, in_order=True)
            keys = [str(key) for batch in lister.batches() for key in batch["key"].to_pylist()]
        finally:
            asker.close()
        return sorted(keys), proxy.spoilt


@pytest.mark.parametrize("fault", PASSING)
def test_a_fault_that_passes_leaves_the_inventory_exact(moto: ObjectStore, bucket: str, fault: Fault) -> None:
    keys, spoilt = listed(moto, bucket, lambda number, _: fault if number in (0, 2, 3) else None)
    assert keys == KEYS
    assert spoilt == 3


@pytest.mark.parametrize("fault", PASSING)
def test_a_fault_that_stays_leaves_no_inventory(moto: ObjectStore, bucket: str, fault: Fault) -> None:
    with pytest.raises(Refused, match=r"listing prefix 'b/'.* failed 4 times, last with .*: no inventory is made of part of a list"):
        listed(moto, bucket, lambda _, target: fault if "prefix=b%2F" in target else None)


def test_a_page_that_counts_fewer_than_it_holds_is_read_slowly_and_exactly(moto: ObjectStore, bucket: str) -> None:
    keys, _ = listed(moto, bucket, lambda _number, _target: counts_nothing)
    assert keys == KEYS


def test_a_store_that_is_not_there_is_tried_again_and_told_without_its_url(moto: ObjectStore, bucket: str) -> None:
    """The URL of a request holds its signature and the session's token."""
    asker = Asker(dataclasses.replace(moto, endpoint="http://127.0.0.1:9").client(), bucket, connections=1, attempts=3)
    with pytest.raises(Refused) as refused, TURN:
        asker.ask(Question(prefix="a/"))
    asker.close()
    assert asker.retried == 2
    assert str(refused.value) == (
        "bucket faults: listing prefix 'a/' failed 3 times, last with EndpointConnectionError: no inventory is made of part of a list"
    )
    assert refused.value.__cause__ is None


def test_a_refusal_is_not_asked_again(moto: ObjectStore, bucket: str) -> None:
    def denied(answer: Answer) -> None:
        answer.status, answer.body = 403, b"<Error><Code>AccessDenied</Code></Error>"

    with pytest.raises(Refused, match="bucket faults: listing prefix '' was answered with AccessDenied"):
        listed(moto, bucket, lambda _number, _target: denied)


def test_who_pays_stands_in_the_request_that_is_sent(moto: ObjectStore, bucket: str) -> None:
    """It is a signed header: a URL that speaks of it and a request that does not are refused by S3."""
    seen: list[str | None] = []
    with faulty_proxy(moto.endpoint, lambda _number, _target: None) as proxy:
        proxy.on_headers = lambda headers: seen.append(headers.get("x-amz-request-payer"))
        client = dataclasses.replace(moto, endpoint=proxy.endpoint).client()
        client.meta.events.register("provide-client-params.s3", _requester_pays)  # type: ignore[arg-type]
        asker = Asker(client, bucket, connections=1)
        with TURN:
            asker.ask(Question())
        asker.close()
    assert seen == ["requester"]


def test_random_faults_never_give_a_wrong_inventory(moto: ObjectStore, bucket: str) -> None:
    for seed in range(6):
        numbers = random.Random(seed)
        faults = {number: numbers.choice(PASSING) for number in range(60) if numbers.random() < 0.3}
        try:
            keys, _ = listed(moto, bucket, lambda number, _, faults=faults: faults.get(number))  # type: ignore[misc]
        except Refused:
            continue
        assert keys == KEYS, f"seed {seed}"


def test_requests_are_under_way_at_the_same_time(moto: ObjectStore, bucket: str) -> None:
    """Threads take turns at work, not at waiting: no answer comes here before three requests have been sent."""
    three = threading.Barrier(3)

    def held_back(_: Answer) -> None:
        three.wait(timeout=30)

    # The first is the root, before there are folders to ask for.
    keys, _ = listed(moto, bucket, lambda number, _target: held_back if 1 <= number <= 3 else None, timeout=60)
    assert keys == KEYS
    assert not three.broken
