"""Every way in which a list can go wrong on the network: the inventory is exactly right, or there is none."""

import dataclasses
import itertools
import json
import random
import re
import threading
from collections.abc import Callable, Iterable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pyarrow.parquet as pq
import pytest
from boto3.session import Session
from botocore.config import Config
from botocore.credentials import RefreshableCredentials
from botocore.exceptions import EndpointConnectionError
from botocore.session import get_session
from faulty_proxy import Answer, Fault, faulty_proxy
from tenacity import Retrying, retry_if_result, stop_after_delay, wait_fixed

from orphan_pipeline.demo.servers import ObjectStore
from orphan_pipeline.errors import Refused
from orphan_pipeline.inventory.clock import store_time
from orphan_pipeline.inventory.listing.asking import Asker, Question
from orphan_pipeline.inventory.listing.transport import TURN
from orphan_pipeline.inventory.prefixes import WHOLE_BUCKET, OwnedPrefix
from orphan_pipeline.inventory.snapshot import PART, InventoryFigures
from orphan_pipeline.inventory.take import take_inventory
from orphan_pipeline.resources.bucket import _requester_pays
from orphan_pipeline.settings.model import InventorySettings

KEYS = sorted(f"{folder}/{n:04d}" for folder in ("a", "b", "c") for n in range(60))
ATTEMPTS = 4
GIVEN_UP = 3
"""Seconds after which a request that is stalled is; the others' answers take less, on a slow machine too."""


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


def of_another_prefix(answer: Answer) -> None:
    """A page like any other, of keys that were not asked for."""
    answer.body = answer.elsewhere(with_parameter(answer.target, "prefix", "c/"))


def a_key_outside(answer: Answer) -> None:
    """One stranger among the keys, in its place in the order."""
    answer.body = re.sub(rb"(<Key>)b/([^<]*</Key>(?!.*<Key>))", rb"\1bc/\2", answer.body, flags=re.DOTALL)


def the_token_again(answer: Answer) -> None:
    """The page goes on where it began itself."""
    answer.body = re.sub(TOKEN, asked_token(answer.target), answer.body)


def the_first_page_again(answer: Answer) -> None:
    """And with it the token that leads to the second."""
    answer.body = answer.elsewhere(with_parameter(answer.target, "continuation-token", None))


def the_first_page_under_a_new_token(answer: Answer) -> None:
    """Its keys in the place of others, and the list goes on after them."""
    ours = re.search(TOKEN, answer.body)
    the_first_page_again(answer)
    if ours is None:  # the last page
        answer.body = re.sub(TOKEN, b"", answer.body).replace(b"<IsTruncated>true", b"<IsTruncated>false")
    else:
        answer.body = re.sub(TOKEN, ours.group(), answer.body)


def from_the_beginning(answer: Answer) -> None:
    """Keys from before the range."""
    answer.body = answer.elsewhere(with_parameter(answer.target, "start-after", None))


def from_beyond(answer: Answer) -> None:
    """Keys from after the next range has begun; those in between were never named."""
    answer.body = answer.elsewhere(with_parameter(answer.target, "start-after", "c/0010"))


TOKEN = rb"<NextContinuationToken>[^<]*</NextContinuationToken>"


def itself_as_a_folder(answer: Answer) -> None:
    """Whoever believed it would ask for ever."""
    answer.body = re.sub(rb"(<CommonPrefixes>\s*<Prefix>)a/", rb"\1", answer.body)


ASKED_AGAIN = r"listing prefix 'b/'.* failed 4 times, last with the page "
OF_ANOTHER_PLACE = [
    (of_another_prefix, ["prefix=b%2F"], ASKED_AGAIN + "holds keys of another prefix"),
    (a_key_outside, ["prefix=b%2F"], ASKED_AGAIN + "holds keys of another prefix"),
    (the_token_again, ["prefix=b%2F", "continuation-token"], ASKED_AGAIN + "says that there is more and gives no new continuation token"),
    (the_first_page_again, ["prefix=b%2F", "continuation-token"], ASKED_AGAIN + ".* no new continuation token"),
    (the_first_page_under_a_new_token, ["prefix=b%2F", "continuation-token"], ASKED_AGAIN + "holds what an earlier page ended with"),
]


def with_parameter(target: str, name: str, value: str | None) -> str:
    """The target with this parameter of its query set, or without it."""
    path, _, query = target.partition("?")
    others = [pair for pair in query.split("&") if not pair.startswith(f"{name}=")]
    return f"{path}?{'&'.join(others if value is None else [*others, f'{name}={quote(value)}'])}"


def asked_token(target: str) -> bytes:
    [token] = parse_qs(urlsplit(target).query)["continuation-token"]
    return f"<NextContinuationToken>{token}</NextContinuationToken>".encode()


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


def filled(store: ObjectStore, bucket: str, keys: Iterable[str]) -> Any:
    client = store.client()
    client.create_bucket(Bucket=bucket)
    for key in keys:
        client.put_object(Bucket=bucket, Key=key, Body=b"x")
    return client


@pytest.fixture(scope="module")
def bucket(moto: ObjectStore) -> str:
    client = filled(moto, "faults", KEYS)
    written = client.head_object(Bucket="faults", Key=KEYS[-1])["LastModified"]
    # The store tells whole seconds, and what was written since a listing began may be missing from it.
    until_later = Retrying(retry=retry_if_result(lambda now: now <= written), wait=wait_fixed(0.05), stop=stop_after_delay(30))
    until_later(lambda: store_time(client, "faults").store)
    return "faults"


FOLDERS = sorted([f"f{n:02d}/{m}" for n in range(50) for m in range(2)] + [f"big/{n:02d}" for n in range(60)])
"""Three pages of folders, and three pages of one folder before all others."""


@pytest.fixture(scope="module")
def folders(moto: ObjectStore) -> str:
    filled(moto, "folders", FOLDERS)
    return "folders"


@pytest.fixture(autouse=True)
def small_pages_soon_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orphan_pipeline.inventory.listing.asking.LONGEST_WAIT", 0.1)
    small_pages(monkeypatch)


def small_pages(monkeypatch: pytest.MonkeyPatch, *, timeout: int = 60) -> None:
    asker = partial(Asker, attempts=ATTEMPTS, page_keys=20, timeout=timeout)
    monkeypatch.setattr("orphan_pipeline.inventory.take.Asker", asker)


@dataclasses.dataclass(frozen=True, slots=True)
class Listed:
    keys: list[str]
    requests: int
    spoilt: int
    figures: InventoryFigures
    lines: list[str]


@pytest.fixture
def listed(moto: ObjectStore, bucket: str, tmp_path: Path) -> Callable[..., Listed]:
    """`listed(spoil, last=None, bucket=…, declared="*")` takes the inventory through the proxy, all the way into its file."""

    def take(
        spoil: Callable[[int, str], Fault | None],
        *,
        last: InventoryFigures | None = None,
        bucket: str = bucket,
        declared: str = WHOLE_BUCKET,
        versions: bool = False,
    ) -> Listed:
        lines: list[str] = []
        with faulty_proxy(moto.endpoint, spoil) as proxy:
            figures = take_inventory(
                dataclasses.replace(moto, endpoint=proxy.endpoint).client(),
                bucket,
                InventorySettings(concurrency=4, versions=versions),
                prefixes=[OwnedPrefix(path=declared)],
                last=last,
                folder=tmp_path,
                report=lines.append,
            )
        keys = sorted(map(str, pq.read_table(tmp_path / PART)["key"].to_pylist()))
        return Listed(keys, proxy.requests, proxy.spoilt, figures, lines)

    return take


@pytest.mark.parametrize("fault", PASSING)
def test_a_fault_that_passes_leaves_the_inventory_exact(
    listed: Callable[..., Listed], fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_pages(monkeypatch, timeout=GIVEN_UP if fault is stall else 60)
    found = listed(lambda number, _: fault if number in (0, 2, 3) else None)
    assert found.keys == KEYS
    assert found.spoilt == 3


@pytest.mark.parametrize("fault", PASSING)
def test_a_fault_that_stays_leaves_no_inventory(listed: Callable[..., Listed], fault: Fault, monkeypatch: pytest.MonkeyPatch) -> None:
    small_pages(monkeypatch, timeout=GIVEN_UP if fault is stall else 60)
    with pytest.raises(Refused, match=r"listing prefix 'b/'.* failed 4 times, last with .*: no inventory is made of part of a list"):
        listed(lambda _, target: fault if "prefix=b%2F" in target else None)


@pytest.fixture(scope="module")
def bucket_of_a_tree(seaweedfs: ObjectStore) -> str:
    filled(seaweedfs, "faults", KEYS)
    return "faults"


@pytest.mark.parametrize("fault", PASSING)
def test_before_a_store_that_lists_a_tree_the_inventory_is_exact_or_absent_too(
    seaweedfs: ObjectStore, bucket_of_a_tree: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Fault
) -> None:
    small_pages(monkeypatch, timeout=GIVEN_UP if fault is stall else 60)

    def keys(spoil: Callable[[int, str], Fault | None]) -> list[str]:
        with faulty_proxy(seaweedfs.endpoint, spoil) as proxy:
            take_inventory(
                dataclasses.replace(seaweedfs, endpoint=proxy.endpoint).client(),
                bucket_of_a_tree,
                InventorySettings(concurrency=4),
                prefixes=[OwnedPrefix(path=WHOLE_BUCKET)],
                last=None,
                folder=tmp_path,
                report=lambda line: None,
            )
        assert proxy.spoilt == 3
        return sorted(map(str, pq.read_table(tmp_path / PART)["key"].to_pylist()))

    assert keys(lambda number, _: fault if number in (0, 2, 3) else None) == KEYS
    with pytest.raises(Refused, match=r"listing prefix 'b/'.* failed 4 times, last with .*: no inventory is made of part of a list"):
        keys(lambda _, target: fault if "prefix=b%2F" in target else None)


def only(fault: Fault, *marks: str, times: int | None = None) -> Callable[[int, str], Fault | None]:
    """Spoils whole pages whose requests bear these marks, all of them or only the first few."""
    left = itertools.count() if times is None else iter(range(times))
    return lambda _, target: fault if all(mark in target for mark in ("max-keys=20", *marks)) and next(left, None) is not None else None


@pytest.mark.parametrize(("fault", "marks", "words"), OF_ANOTHER_PLACE)
def test_a_page_of_another_place_that_comes_once_leaves_the_inventory_exact(
    listed: Callable[..., Listed], fault: Fault, marks: list[str], words: str
) -> None:
    found = listed(only(fault, *marks, times=1))
    assert found.keys == KEYS
    assert found.spoilt == 1
    assert not any("listing again" in line for line in found.lines)
    assert found.figures.listing is not None
    assert found.figures.listing.in_order


@pytest.mark.parametrize(("fault", "marks", "words"), OF_ANOTHER_PLACE)
def test_a_page_of_another_place_that_comes_always_leaves_no_inventory(
    listed: Callable[..., Listed], fault: Fault, marks: list[str], words: str
) -> None:
    with pytest.raises(Refused, match=rf"^bucket faults: {words}"):
        listed(only(fault, *marks))


def test_a_folder_that_is_not_below_is_not_believed(listed: Callable[..., Listed]) -> None:
    found = listed(only(itself_as_a_folder, "delimiter", times=1))
    assert (found.keys, found.spoilt) == (KEYS, 1)
    with pytest.raises(
        Refused, match=r"^bucket faults: listing prefix '' failed 4 times, last with the page names '' as a folder below the"
    ):
        listed(only(itself_as_a_folder, "delimiter"))


LISTS = [pytest.param(["delimiter", "continuation-token"], 64, id="folders"), pytest.param(["continuation-token"], 0, id="besides")]
"""Marks of the requests that are spoilt, and how many folders a worker may ask for: with none, only those that are declared."""


@pytest.mark.parametrize(("marks", "folders_a_worker"), LISTS)
@pytest.mark.parametrize("times", [1, None])
def test_a_page_of_folders_or_of_rows_that_others_write_does_not_come_in_the_place_of_another(
    listed: Callable[..., Listed],
    folders: str,
    monkeypatch: pytest.MonkeyPatch,
    marks: list[str],
    folders_a_worker: int,
    times: int | None,
) -> None:
    """Where the store lists in another order, and nothing that is written comes twice."""
    monkeypatch.setattr("orphan_pipeline.inventory.listing.lister.FOLDERS_A_WORKER", folders_a_worker)
    taught = listed(lambda _number, _target: None, bucket=folders).figures
    assert taught.listing is not None
    last = dataclasses.replace(taught, listing=dataclasses.replace(taught.listing, in_order=False))
    left = itertools.count() if times is None else iter(range(times))

    def spoil(_: int, target: str) -> Fault | None:
        of_the_list = (
            all(mark in target for mark in marks) and "prefix=" not in target and ("delimiter" in target) == ("delimiter" in marks)
        )
        return the_first_page_under_a_new_token if of_the_list and next(left, None) is not None else None

    if times is None:
        with pytest.raises(
            Refused, match=r"^bucket folders: listing prefix '' failed 4 times, last with the page holds what an earlier page ended with"
        ):
            listed(spoil, last=last, bucket=folders, declared="big/")
        return
    found = listed(spoil, last=last, bucket=folders, declared="big/")
    assert (found.keys, found.spoilt) == (FOLDERS, 1)
    assert found.figures.listing is not None
    assert found.figures.listing.retried == 1


VERSIONS = sorted(key for key in KEYS[:90] for _ in range(2))


@pytest.fixture(scope="module")
def versioned(moto: ObjectStore) -> str:
    client = filled(moto, "versions", [])
    client.put_bucket_versioning(Bucket="versions", VersioningConfiguration={"Status": "Enabled"})
    for n, key in enumerate(VERSIONS):
        if n % 4 == 3:
            client.delete_object(Bucket="versions", Key=key)
        else:
            client.put_object(Bucket="versions", Key=key, Body=b"x")
    return "versions"


def without_a_version_to_go_on_from(answer: Answer) -> None:
    answer.body = re.sub(rb"<NextVersionIdMarker>.*?</NextVersionIdMarker>", b"", answer.body)


def without_a_place_to_go_on_from(answer: Answer) -> None:
    answer.body = re.sub(rb"<IsTruncated>false", b"<IsTruncated>true", answer.body)
    answer.body = re.sub(rb"<NextKeyMarker>.*?</NextKeyMarker>", b"", answer.body)


OF_VERSIONS = [
    cut_off,
    cut_off_quietly,
    empty,
    reset,
    slow_down,
    error_in_a_good_answer,
    without_a_version_to_go_on_from,
    without_a_place_to_go_on_from,
]


@pytest.mark.parametrize("fault", OF_VERSIONS)
def test_of_versions_too_all_are_listed_or_none(listed: Callable[..., Listed], versioned: str, fault: Fault) -> None:
    def of_a_page(times: int | None) -> Callable[[int, str], Fault | None]:
        left = itertools.count() if times is None else iter(range(times))

        def spoil(_: int, target: str) -> Fault | None:
            return fault if "max-keys=20" in target and "delimiter" not in target and next(left, None) is not None else None

        return spoil

    found = listed(of_a_page(2), bucket=versioned, versions=True)
    assert (found.keys, found.spoilt) == (VERSIONS, 2)
    assert (found.figures.total.objects, found.figures.noncurrent.objects, found.figures.delete_markers) == (45, 90, 45)
    with pytest.raises(Refused, match=r"failed 4 times, last with .*: no inventory is made of part of a list"):
        listed(of_a_page(None), bucket=versioned, versions=True)


CUTS = ("a/0030", "b/0030")


def test_keys_that_are_left_out_before_the_last_range_begins_are_found(listed: Callable[..., Listed]) -> None:
    """The range before it has named them, and nothing comes after it that could show them."""
    last = dataclasses.replace(listed(lambda _number, _target: None).figures, cuts=CUTS)
    found = listed(only(from_beyond, "start-after=b%2F0030"), last=last)
    assert (found.keys, found.spoilt) == (KEYS, 1)
    assert "the list left out 'b/0031', which the store names now" in found.lines[-2]


@pytest.mark.parametrize(
    ("fault", "words", "asked"),
    [(from_the_beginning, "does not list in UTF-8 order", 2), (from_beyond, "left out 'a/0031', which the store names now", 1)],
)
def test_a_page_outside_of_its_range_is_found_and_the_bucket_listed_again_without_ranges(
    listed: Callable[..., Listed], fault: Fault, words: str, asked: int
) -> None:
    """Without StartAfter the fault has nothing to hold on to."""
    last = dataclasses.replace(listed(lambda _number, _target: None).figures, cuts=CUTS)
    found = listed(only(fault, "start-after=a%2F0030"), last=last)
    assert found.keys == KEYS
    assert found.spoilt == asked
    assert found.figures.listing is not None
    assert found.figures.listing.requests == found.requests, "both times it was listed"
    assert words in found.lines[-2]
    assert "listing again, cut by folders only" in found.lines[-2]


@pytest.mark.parametrize("fault", [from_the_beginning, from_beyond])
def test_a_fault_that_passes_does_not_take_cutting_by_keys_from_the_bucket(listed: Callable[..., Listed], fault: Fault) -> None:
    last = dataclasses.replace(listed(lambda _number, _target: None).figures, cuts=CUTS)
    spoilt = listed(only(fault, "start-after=a%2F0030", times=1), last=last)
    assert (spoilt.keys, spoilt.spoilt) == (KEYS, 1)
    for _ in range(2):
        clean = listed(lambda _number, _target: None, last=dataclasses.replace(spoilt.figures, cuts=CUTS))
        assert clean.keys == KEYS
        assert clean.figures.listing is not None
        assert {"", *CUTS} <= {piece.after for piece in clean.figures.listing.pieces}


def test_a_page_that_counts_fewer_than_it_holds_is_read_slowly_and_exactly(listed: Callable[..., Listed]) -> None:
    assert listed(lambda _number, _target: counts_nothing).keys == KEYS


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


def test_a_refusal_is_not_asked_again(listed: Callable[..., Listed]) -> None:
    def denied(answer: Answer) -> None:
        answer.status, answer.body = 403, b"<Error><Code>AccessDenied</Code></Error>"

    with pytest.raises(Refused, match="bucket faults: listing prefix '' was answered with AccessDenied"):
        listed(lambda _number, _target: denied)


def test_who_pays_stands_in_the_request_that_is_sent(moto: ObjectStore, bucket: str) -> None:
    """It is a signed header: a URL that speaks of it and a request that does not are refused by S3."""
    seen: list[str | None] = []
    with faulty_proxy(moto.endpoint, lambda _number, _target: None) as proxy:
        proxy.on_request = lambda _target, headers: seen.append(headers.get("x-amz-request-payer"))
        client = dataclasses.replace(moto, endpoint=proxy.endpoint).client()
        client.meta.events.register("provide-client-params.s3", _requester_pays)  # type: ignore[arg-type]
        asker = Asker(client, bucket, connections=1)
        with TURN:
            asker.ask(Question())
        asker.close()
    assert seen == ["requester"]


def test_random_faults_never_give_a_wrong_inventory(listed: Callable[..., Listed], monkeypatch: pytest.MonkeyPatch) -> None:
    small_pages(monkeypatch, timeout=1)
    only_where: dict[Fault, str] = {
        the_first_page_under_a_new_token: "continuation-token",
        the_first_page_again: "continuation-token",
        from_beyond: "start-after",
    }
    possible: list[Fault] = [*PASSING, of_another_prefix, a_key_outside, from_the_beginning, *only_where]
    last = dataclasses.replace(listed(lambda _number, _target: None).figures, cuts=CUTS)
    exact = 0
    for seed in range(8):
        numbers = random.Random(seed)
        faults = {number: numbers.choice(possible) for number in range(60) if numbers.random() < 0.2}

        def spoil(number: int, target: str, faults: dict[int, Fault] = faults) -> Fault | None:
            fault = faults.get(number)
            return fault if fault is None or only_where.get(fault, "") in target else None

        try:
            found = listed(spoil, last=last if seed % 2 else None)
        except Refused:
            continue
        assert found.keys == KEYS, f"seed {seed}"
        exact += found.spoilt > 0
    assert exact > 0


def test_requests_are_under_way_at_the_same_time(listed: Callable[..., Listed]) -> None:
    """Threads take turns at work, not at waiting: no answer comes here before three requests have been sent."""
    three = threading.Barrier(3)

    def held_back(_: Answer) -> None:
        three.wait(timeout=30)

    # The first is the root, before there are folders to ask for.
    assert listed(lambda number, _target: held_back if 1 <= number <= 3 else None).keys == KEYS
    assert not three.broken


def test_a_request_that_was_refused_as_expired_is_signed_anew_with_fresh_credentials(
    moto: ObjectStore, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A profile's `credential_process` gives keys that are about to expire, and other keys after the store has refused those."""
    given, config = tmp_path / "given.json", tmp_path / "config"
    config.write_text(f"[profile short-lived]\ncredential_process = cat {given}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)

    def give(name: str, lifetime: timedelta) -> None:
        expires = (datetime.now(UTC) + lifetime).isoformat()
        keys = {"AccessKeyId": f"{name}-KEY", "SecretAccessKey": "secret", "SessionToken": f"{name}-TOKEN", "Expiration": expires}
        given.write_text(json.dumps({"Version": 1, **keys}))

    seen: list[tuple[str, str]] = []

    def expired(answer: Answer) -> None:
        expired_token(answer)
        give("NEW", timedelta(hours=1))

    def spoil(_: int, target: str) -> Fault | None:
        asked = parse_qs(urlsplit(target).query)
        seen.append((asked["X-Amz-Credential"][0].partition("/")[0], asked["X-Amz-Security-Token"][0]))
        return expired if seen[-1][0] == "OLD-KEY" else None

    give("OLD", timedelta(minutes=1))
    with faulty_proxy(moto.endpoint, spoil) as proxy:
        keys, retried = asked(Session(profile_name="short-lived"), proxy.endpoint, bucket)
    assert keys == [key for key in KEYS if key.startswith("a/")]
    assert seen == [("OLD-KEY", "OLD-TOKEN"), ("NEW-KEY", "NEW-TOKEN")]
    assert retried == 1


def asked(session: Session, endpoint: str, bucket: str) -> tuple[list[str], int]:
    """The keys of one page, asked for with the session's credentials, and how often that was tried again."""
    client = session.client("s3", endpoint_url=endpoint, region_name="us-east-1", config=Config(signature_version="s3v4", proxies={}))
    asker = Asker(client, bucket, connections=1, attempts=ATTEMPTS)
    with closing(asker), TURN:
        page = asker.ask(Question(prefix="a/"))
    return [str(key) for key in page.objects["key"].to_pylist()], asker.retried


def test_credentials_that_cannot_be_refreshed_once_are_asked_for_again(moto: ObjectStore, bucket: str) -> None:
    """Each request is signed anew; a role's credentials come over the network too."""
    refreshed: list[str] = []

    def refresh() -> dict[str, str]:
        refreshed.append("asked")
        if len(refreshed) == 1:
            raise EndpointConnectionError(endpoint_url="https://sts.example")
        later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
        return {"access_key": "NEW", "secret_key": "secret", "token": "token", "expiry_time": later}

    session, soon = get_session(), datetime.now(UTC) + timedelta(minutes=5)
    session._credentials = RefreshableCredentials("OLD", "secret", "token", soon, refresh, "assume-role")  # type: ignore[attr-defined]
    keys, retried = asked(Session(botocore_session=session), moto.endpoint, bucket)
    assert keys == [key for key in KEYS if key.startswith("a/")]
    assert (len(refreshed), retried) == (2, 1)
