"""A proxy on loopback in front of a real S3 server that spoils chosen requests (deletes, unless another kind is asked for), before or after
the server acted, as networks and stores do. Everything else goes through as it is."""

import socket
import struct
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from serving import serving

NOT_KEPT = ("content-length", "transfer-encoding", "connection", "keep-alive")
"""Of the server's answer: these are said anew."""

SERVER_ERROR = 500


@dataclass
class Exchange:
    """One request and what goes back. A fault changes it before the server sees it (`status` is 0 then, and setting it answers in
    the server's place) or afterwards. `reset`: no answer but a reset; `stall`: none before the client hangs up; `announced`: the
    Content-Length, if it should differ from the body's."""

    method: str
    target: str
    headers: dict[str, str]
    request: bytes
    status: int = 0
    body: bytes = b""
    answered: dict[str, str] = field(default_factory=dict)
    announced: int | None = None
    reset: bool = False
    stall: bool = False

    def refuse(self, status: int, code: str) -> None:
        self.status, self.body = status, f"<Error><Code>{code}</Code><Message>as asked for ({code})</Message></Error>".encode()


Fault = Callable[[Exchange], None]
NOTHING: Fault = lambda _: None  # noqa: E731
Kind = Callable[[Exchange], bool]


def is_delete(exchange: Exchange) -> bool:
    return exchange.method == "DELETE" or (exchange.method == "POST" and "delete" in urlsplit(exchange.target).query)


class FaultyStore(ThreadingHTTPServer):
    """`before(number)`, `after(number)` give the fault of the nth request of the kind (from 0), while it is `armed`. `stalling`: set when
    no more comes to a request than a stall."""

    daemon_threads = True

    def __init__(self, upstream: str, *, before: Callable[[int], Fault], after: Callable[[int], Fault], kind: Kind) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream, self.before, self.after, self.kind = urlsplit(upstream).netloc, before, after, kind
        self.armed, self.spoilt = True, 0
        self.stalling = threading.Event()
        self._lock = threading.Lock()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def next_of_the_kind(self) -> int:
        with self._lock:
            self.spoilt += 1
            return self.spoilt - 1

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up on a spoilt answer is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: FaultyStore

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        exchange = Exchange(self.command, self.path, dict(self.headers), body)
        spoilt = self.server.armed and self.server.kind(exchange)
        number = self.server.next_of_the_kind() if spoilt else 0
        if spoilt:
            self.server.before(number)(exchange)
        if not (exchange.status or exchange.reset or exchange.stall):
            self._ask_upstream(exchange)
            if spoilt:
                length = exchange.announced
                self.server.after(number)(exchange)
                if exchange.method == "HEAD":  # it has no body that could be half of it
                    exchange.announced = length
            if exchange.status >= SERVER_ERROR:  # what an object's answer says of it, an error does not say
                exchange.answered = {"Date": exchange.answered["Date"]}
        self._answer(exchange)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _handle

    def _ask_upstream(self, exchange: Exchange) -> None:
        connection = HTTPConnection(self.server.upstream, timeout=60)
        try:
            # The Host header goes along unchanged: it is signed.
            connection.request(exchange.method, exchange.target, body=exchange.request, headers=exchange.headers)
            response = connection.getresponse()
            exchange.status, exchange.body = response.status, response.read()
            exchange.answered = {name: value for name, value in response.headers.items() if name.lower() not in NOT_KEPT}
            if exchange.method == "HEAD" and "Content-Length" in response.headers:
                exchange.announced = int(response.headers["Content-Length"])
        finally:
            connection.close()

    def _answer(self, exchange: Exchange) -> None:
        if exchange.stall:
            self.server.stalling.set()
            self.connection.recv(1)
        if exchange.stall or exchange.reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            self.connection.close()
            return
        self.send_response_only(exchange.status)
        for name, value in exchange.answered.items():
            self.send_header(name, value)
        length = len(exchange.body) if exchange.announced is None else exchange.announced
        if exchange.status != 204:
            self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(exchange.body)
        if length != len(exchange.body) and exchange.method != "HEAD":
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


def faulty_store(
    upstream: str,
    *,
    before: Callable[[int], Fault] = lambda _: NOTHING,
    after: Callable[[int], Fault] = lambda _: NOTHING,
    kind: Kind = is_delete,
) -> AbstractContextManager[FaultyStore]:
    return serving(FaultyStore(upstream, before=before, after=after, kind=kind))
