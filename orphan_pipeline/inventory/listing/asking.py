"""Asks the store for one page of its list and does not give up too early: what passes (SlowDown, resets, time-outs, answers cut off)
is asked again with backoff, what does not pass is Refused with the range it happened in. A page that is not whole is never returned."""

import re
from dataclasses import dataclass, field
from threading import Event
from typing import TYPE_CHECKING

import pyarrow.compute as pc
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    stop_after_attempt,
    stop_any,
    stop_when_event_set,
    wait_random_exponential,
)

from orphan_pipeline.errors import Refused
from orphan_pipeline.inventory.listing.oracle import Oracle
from orphan_pipeline.inventory.listing.page import BrokenPage, Kind, Page, Token
from orphan_pipeline.inventory.listing.page_ends import PageEnds
from orphan_pipeline.inventory.listing.pages import parse_fast
from orphan_pipeline.inventory.listing.transport import TURN, Transport, Unanswered, unanswered

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

OK = 200
SERVER_ERROR = 500
TOO_MANY = 429
CODE = re.compile(rb"<Code>([^<]{1,64})</Code>")
MESSAGE = re.compile(rb"<Message>([^<]{1,200})</Message>")
ONE_FOLDER = re.compile(r"[^/]*/")
REQUEST_PAYER = "x-amz-request-payer"
PASSES = frozenset(
    {"SlowDown", "InternalError", "ServiceUnavailable", "RequestTimeout", "ExpiredToken", "RequestExpired", "RequestTimeTooSkewed"}
)
"""Error codes that a later request may not meet; for the last three it is signed anew, with credentials that were refreshed."""

ATTEMPTS = 9
PAGE_KEYS = 1000
"""The most keys that S3 puts on a page."""

LONGEST_WAIT = 20.0
TIMEOUT = 60
PRESIGNED_SECONDS = 900


class TryAgain(Exception):
    """What happened to one request, in a few words."""


PASSING = (TryAgain, BrokenPage, Unanswered)
"""What may not happen again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked of the list. `token` goes on where a page ended; otherwise the list begins after the key `after`. `ends` are those of
    the pages before, where only they can tell a page that comes again."""

    prefix: str = ""
    after: str = ""
    token: Token | None = None
    delimiter: bool = False
    most: int | None = None
    ends: PageEnds | None = field(default=None, compare=False)

    def parameters(self, page_keys: int, kind: Kind) -> dict[str, str | int]:
        asked: dict[str, str | int] = {"EncodingType": "url", "MaxKeys": self.most or page_keys, **kind.asked_after(self.after, self.token)}
        if self.prefix:
            asked["Prefix"] = self.prefix
        if self.delimiter:
            asked["Delimiter"] = "/"
        return asked

    def __str__(self) -> str:
        return f"prefix {self.prefix!r}" + (f" after {self.after!r}" if self.after else "")


class Asker:
    """Requests are presigned by boto3: its credentials and their refresh, endpoint, addressing. Thread-safe."""

    def __init__(
        self,
        client: "S3Client",
        bucket: str,
        *,
        connections: int,
        attempts: int = ATTEMPTS,
        page_keys: int = PAGE_KEYS,
        timeout: int = TIMEOUT,
        kind: Kind = Kind.OBJECTS,
    ) -> None:
        self._client, self._bucket, self._page_keys, self.kind = client, bucket, page_keys, kind
        self._oracle = Oracle(client, kind)
        self._transport = Transport(client, connections=connections, timeout=timeout)
        self._stopping = Event()
        self._retrying = Retrying(
            retry=retry_if_exception_type(PASSING),
            stop=stop_any(stop_after_attempt(attempts), stop_when_event_set(self._stopping)),
            wait=wait_random_exponential(multiplier=0.2, max=LONGEST_WAIT),
            sleep=self._sleep,
            before_sleep=self._count_retry,
            retry_error_callback=self._give_up,
        )
        self.requests = 0
        self.retried = 0

    def ask(self, question: Question) -> Page:
        """One whole page, for the holder of the turn. Raises Refused, naming the range, when the store does not give one."""
        return self._retrying(self._once, question)

    def stop(self) -> None:
        """Nobody waits for answers any more: what is being retried is given up."""
        self._stopping.set()

    def close(self) -> None:
        self._transport.close()

    def _once(self, question: Question) -> Page:
        status, body = self._transport.send(*self._signed(question))
        if status == OK:
            return answering(parse_fast(body, self.kind) or self._oracle.parse(body), question)
        found = CODE.search(body)
        code = found.group(1).decode() if found else f"HTTP status {status}"
        if code in PASSES or status >= SERVER_ERROR or status == TOO_MANY:
            raise TryAgain(code)
        message = MESSAGE.search(body)
        words = f" ({message.group(1).decode(errors='replace')})" if message else ""
        raise Refused(f"bucket {self._bucket}: listing {question} was answered with {code}{words}")

    def _signed(self, question: Question) -> tuple[str, dict[str, str]]:
        """The URL of a request and the headers that go with it."""
        asked = {"Bucket": self._bucket, **question.parameters(self._page_keys, self.kind)}
        with unanswered():  # credentials that are about to expire are refreshed here, over the network
            url = self._client.generate_presigned_url(self.kind.method, Params=asked, ExpiresIn=PRESIGNED_SECONDS)
        self.requests += 1
        # Where the requester pays, the presigned URL says so in a header that it has signed and that must go along.
        return url, {REQUEST_PAYER: "requester"} if REQUEST_PAYER in url else {}

    def _count_retry(self, _: RetryCallState) -> None:
        self.retried += 1

    def _sleep(self, seconds: float) -> None:
        with TURN.given_up():
            self._stopping.wait(seconds)

    def _give_up(self, state: RetryCallState) -> Page:
        [question] = state.args
        error = state.outcome.exception() if state.outcome else None
        raise Refused(
            f"bucket {self._bucket}: listing {question} failed {state.attempt_number} times, last with {error}: "
            "no inventory is made of part of a list"
        ) from None


def answering(page: Page, question: Question) -> Page:
    """A page that is no answer to the question is broken: one of another prefix; one that comes again; and one that says there is more,
    and not where, or where it came from: such a list would end early, or never. Raises BrokenPage."""
    if not pc.all(pc.starts_with(page.objects["key"], question.prefix), min_count=0).as_py():
        raise BrokenPage("the page holds keys of another prefix")
    for folder in page.common_prefixes:
        if not folder.startswith(question.prefix) or not ONE_FOLDER.fullmatch(folder, len(question.prefix)):
            raise BrokenPage(f"the page names {folder!r} as a folder below the prefix")
    if page.truncated and (not page.next_token or page.next_token == question.token):
        raise BrokenPage("the page says that there is more and gives no new continuation token")
    if isinstance(page.next_token, tuple) and not page.next_token[1] and page.objects["key"][-1:].to_pylist() == [page.next_token[0]]:
        raise BrokenPage("the page says after which key the list goes on, and not after which version of it")
    if page.next_token and not page.truncated:
        raise BrokenPage("the page says that it is the last and gives a continuation token")
    if question.ends is not None:
        question.ends.check(page)
    return page
