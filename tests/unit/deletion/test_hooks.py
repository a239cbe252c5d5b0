"""Hooks: resolved when the run starts, may hold and stop before a chunk, and lose nothing after it."""

import json
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from types import ModuleType

import boto3
import pytest
from moto.server import ThreadedMotoServer
from tenacity import wait_none

from orphan_pipeline.deletion import hooks as module
from orphan_pipeline.deletion.hooks import Hooks, resolve_hooks
from orphan_pipeline.deletion.ledger import Answer, Ledger, LedgerPlan, Planned
from orphan_pipeline.errors import BadSettings, Refused
from orphan_pipeline.hooks import ChunkAfter, ChunkBefore, cloudfront, webhook
from orphan_pipeline.settings.deletion import DeletionSettings

AT = datetime(2026, 11, 1, tzinfo=UTC)
OF = LedgerPlan(bucket="media", prefix="a/", sweep_id="s", digest="d" * 64, dry_run=False)
ROWS = [Planned("a/1", "e1", 1, AT), Planned("a/2 ü*", "e2", 2, AT), Planned("a/3", "e3", 3, AT)]
ANSWERS = [Answer("deleted", version_id="v1"), Answer("deleted", version_id="v2"), Answer("changed", code="PreconditionFailed")]


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module of the operator's."""
    found = ModuleType("own_hooks")
    monkeypatch.setitem(sys.modules, "own_hooks", found)
    monkeypatch.setattr(module, "wait_random_exponential", lambda **_: wait_none())
    return found


def hooks_of(ledger: Ledger, told: list[str] | None = None, **settings: object) -> Hooks:
    resolved = resolve_hooks(DeletionSettings.model_validate(settings), at="buckets.media")
    report = told.append if told is not None else (lambda _: None)
    return Hooks(resolved, ledger=ledger, of=OF, bucket_name="acme", run_id="r", report=report)


def after() -> ChunkAfter:
    return ChunkAfter(
        bucket="media", bucket_name="acme", prefix="a/", sweep_id="s", plan="d" * 64, run_id="r", chunk=3, rows=ROWS, answers=ANSWERS
    )


def test_what_cannot_be_called_is_one_line_each(own: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    own.no_function = 7  # type: ignore[attr-defined]
    own.takes_nothing_else = lambda chunk: None  # type: ignore[attr-defined]
    monkeypatch.delenv("NOT_SET", raising=False)
    found = DeletionSettings.model_validate(
        {
            "before_chunk": ["not_there.at_all:f", "own_hooks:no_function", "own_hooks:missing"],
            "after_chunk": [
                {"call": "own_hooks:takes_nothing_else", "options": {"colour": 1}},
                {"call": "own_hooks:takes_nothing_else", "options": {"url": {"env": "NOT_SET"}}},
            ],
        }
    )
    with pytest.raises(BadSettings) as refused:
        resolve_hooks(found, at="buckets.media")
    assert refused.value.lines == (
        "buckets.media.deletion.before_chunk[0]: found 'not_there.at_all:f', but not_there.at_all does not import: "
        "No module named 'not_there'",
        "buckets.media.deletion.before_chunk[1]: found 'own_hooks:no_function', but own_hooks has no function no_function",
        "buckets.media.deletion.before_chunk[2]: found 'own_hooks:missing', but own_hooks has no function missing",
        "buckets.media.deletion.after_chunk[0]: found 'own_hooks:takes_nothing_else', but it cannot be called with these options: "
        "got an unexpected keyword argument 'colour'",
        "buckets.media.deletion.after_chunk[1]: environment variable NOT_SET is not set; the settings name it for a secret",
    )


def test_a_hook_may_hold_keys_and_the_next_one_is_not_asked_about_them(own: ModuleType, tmp_path: Path) -> None:
    seen: list[list[str]] = []

    def hold(chunk: ChunkBefore, *, key: str) -> Mapping[str, str]:
        seen.append([row.key for row in chunk.rows])
        return {key: "legal hold"}

    own.hold = hold  # type: ignore[attr-defined]
    calls = [{"call": "own_hooks:hold", "options": {"key": key}} for key in ("a/1", "a/3")]
    held = hooks_of(Ledger(tmp_path), before_chunk=calls).before(3, ROWS)
    assert held == {"a/1": Answer("held", code="legal hold"), "a/3": Answer("held", code="legal hold")}
    assert seen == [["a/1", "a/2 ü*", "a/3"], ["a/2 ü*", "a/3"]]


@pytest.mark.parametrize("given", [{"b/9": "not of this chunk"}, {"a/1": ""}, {"a/1": 7}, ["a/1"]])
def test_what_a_hook_gives_is_believed_only_as_keys_with_reasons(own: ModuleType, tmp_path: Path, given: object) -> None:
    own.hold = lambda chunk: given  # type: ignore[attr-defined]
    with pytest.raises(Refused, match="hook own_hooks:hold gave something else than keys of chunk 3, each with a reason"):
        hooks_of(Ledger(tmp_path), before_chunk=["own_hooks:hold"]).before(3, ROWS)


def test_what_a_hook_raises_stops_the_run_and_tells_no_secret(own: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(chunk: ChunkBefore, *, token: str) -> None:
        raise RuntimeError(f"no answer\nwith {token}")

    own.refuse = refuse  # type: ignore[attr-defined]
    monkeypatch.setenv("HOOK_TOKEN", "hunter2")
    hooks = hooks_of(Ledger(tmp_path), before_chunk=[{"call": "own_hooks:refuse", "options": {"token": {"env": "HOOK_TOKEN"}}}])
    with pytest.raises(Refused, match=r"^hook own_hooks:refuse stopped the run before chunk 3: RuntimeError: no answer with …$"):
        hooks.before(3, ROWS)


def test_one_that_fails_is_tried_again_then_remembered_and_told_by_the_next_run(own: ModuleType, tmp_path: Path) -> None:
    calls: list[int] = []
    broken = True

    def tell(chunk: ChunkAfter) -> None:
        calls.append(chunk.chunk)
        if broken:
            raise RuntimeError("out of order")

    own.tell, own.fine = tell, lambda chunk: None  # type: ignore[attr-defined]
    ledger, told = Ledger(tmp_path), list[str]()
    for chunk in (3, 4):
        ledger.record(chunk, ROWS, ANSWERS, at=AT)
    hooks = hooks_of(ledger, told, after_chunk=["own_hooks:tell", "own_hooks:fine"])
    hooks.after(3, ROWS, ANSWERS)
    hooks.after(4, ROWS, ANSWERS)
    assert calls == [3] * module.ATTEMPTS + [4], "a hook that gave up is tried once a chunk from then on"
    assert hooks.failures == {"own_hooks:tell": "chunk 4: RuntimeError: out of order"}
    assert len(told) == 1
    noted = json.loads((tmp_path / "00000003.hooks.json").read_text())
    assert (noted["told"], list(noted["failed"])) == (["own_hooks:fine"], ["own_hooks:tell"])
    assert len(ledger.parquet()) == 2

    broken = False
    calls.clear()
    hooks_of(ledger, after_chunk=["own_hooks:tell", "own_hooks:fine"]).tell_what_is_left()
    assert calls == [3, 4]
    hooks_of(ledger, after_chunk=["own_hooks:tell", "own_hooks:fine"]).tell_what_is_left()
    assert calls == [3, 4]


def test_a_run_that_was_killed_before_it_told_is_made_up_for(own: ModuleType, tmp_path: Path) -> None:
    seen: list[ChunkAfter] = []
    own.tell = seen.append  # type: ignore[attr-defined]
    ledger = Ledger(tmp_path)
    ledger.record(7, ROWS, ANSWERS, at=AT)
    hooks_of(ledger, after_chunk=["own_hooks:tell"]).tell_what_is_left()
    [chunk] = seen
    assert (chunk.chunk, chunk.gone, chunk.reference) == (7, ["a/1", "a/2 ü*"], f"{'d' * 64}-00000007")
    assert list(chunk.rows) == ROWS


def test_cloudfront_is_asked_once_a_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "moto")
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        endpoint = f"http://{host}:{port}"
        client = boto3.session.Session().client("cloudfront", region_name="us-east-1", endpoint_url=endpoint)
        origin = {"Id": "o", "DomainName": "acme.s3.amazonaws.com", "S3OriginConfig": {"OriginAccessIdentity": ""}}
        distribution = client.create_distribution(
            DistributionConfig={
                "CallerReference": "test",
                "Origins": {"Quantity": 1, "Items": [origin]},
                "DefaultCacheBehavior": {"TargetOriginId": "o", "ViewerProtocolPolicy": "allow-all"},
                "Comment": "",
                "Enabled": True,
            }
        )["Distribution"]["Id"]
        cloudfront(after(), distribution_id=distribution, path="/media/", endpoint=endpoint)
        [item] = client.list_invalidations(DistributionId=distribution)["InvalidationList"]["Items"]
        batch = client.get_invalidation(DistributionId=distribution, Id=item["Id"])["Invalidation"]["InvalidationBatch"]
        client.close()
    finally:
        server.stop()
    assert batch["Paths"]["Items"] == ["/media/a/1", "/media/a/2%20%C3%BC%2A"]
    assert batch["CallerReference"] == f"{'d' * 64}-00000003"


@pytest.fixture
def receiver() -> Iterator[tuple[str, list[tuple[str | None, bytes]], list[int]]]:
    """URL, what was posted (idempotency key, body), and the answers to give."""
    posted: list[tuple[str | None, bytes]] = []
    answers: list[int] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            posted.append((self.headers["Idempotency-Key"], self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(answers.pop(0))
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/secret-path", posted, answers
        server.shutdown()
        thread.join()


def test_webhook(receiver: tuple[str, list[tuple[str | None, bytes]], list[int]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    url, posted, answers = receiver
    answers += [200, 500]
    webhook(after(), url=url)
    [(idempotency_key, body)] = posted
    sent = json.loads(body)
    assert idempotency_key == sent["reference"] == f"{'d' * 64}-00000003"
    assert sent["objects"][0] == {"key": "a/1", "size": 1, "outcome": "deleted", "version_id": "v1"}
    assert [one["outcome"] for one in sent["objects"]] == ["deleted", "deleted", "changed"]
    with pytest.raises(ConnectionError, match="the webhook does not take it") as failed:
        webhook(after(), url=url)
    assert "secret-path" not in str(failed.value)
