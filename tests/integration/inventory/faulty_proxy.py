"""A proxy on loopback in front of a real S3 server that spoils chosen answers, as networks and stores do."""

import socket
import struct
import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from serving import serving


@dataclass
class Answer:
    """What goes back to a request for `target`. `elsewhere` gives what the store answers to another target; `announced`: the
    Content-Length, if it should differ from the body's; `reset`: no answer but a reset; `stall`: none before the client hangs up."""

    target: str
    elsewhere: Callable[[str], bytes]
    status: int
    body: bytes
    announced: int | None = None
    reset: bool = False
    stall: bool = False


Fault = Callable[[Answer], None]


class FaultyProxy(ThreadingHTTPServer):
    """`spoil(number, target)` gives the fault of the nth list request (from 0), or None. `requests` counts those; `spoilt` the
    answers that a fault changed."""

    daemon_threads = True

    def __init__(self, upstream: str, spoil: Callable[[int, str], Fault | None]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream, self.spoil, self.spoilt = urlsplit(upstream).netloc, spoil, 0
        self.requests, self._lock = 0, threading.Lock()
        self.on_request: Callable[[str, Mapping[str, str]], None] = lambda target, headers: None

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def fault_for(self, target: str) -> Fault | None:
        if "list-type=2" not in target and "?versions" not in target:
            return None
        with self._lock:
            number, self.requests = self.requests, self.requests + 1
            return self.spoil(number, target)

    def spoil_by(self, fault: Fault, answer: Answer) -> None:
        before = replace(answer)
        fault(answer)
        with self._lock:
            self.spoilt += answer != before

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up on a spoilt answer is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FaultyProxy

    def do_GET(self) -> None:
        self._forward()

    def do_HEAD(self) -> None:
        self._forward()

    def _forward(self) -> None:
        self.server.on_request(self.path, dict(self.headers))
        status, headers, body = self._upstream(self.path)
        answer = Answer(self.path, lambda target: self._upstream(target)[2], status, body)
        fault = self.server.fault_for(self.path)
        if fault is not None:
            self.server.spoil_by(fault, answer)
        if answer.stall:
            self.connection.recv(1)
            self.close_connection = True
            return
        if answer.reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            self.connection.close()
            return
        self.send_response_only(answer.status)
        for name, value in headers.items():
            self.send_header(name, value)
        length = len(answer.body) if answer.announced is None else answer.announced
        self.send_header("Content-Length", str(length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)
        if length != len(answer.body):
            self.close_connection = True

    def _upstream(self, target: str) -> tuple[int, dict[str, str], bytes]:
        connection = HTTPConnection(self.server.upstream, timeout=30)
        try:
            # The Host header goes along unchanged: it is signed.
            connection.request(self.command, target, headers=dict(self.headers))
            response = connection.getresponse()
            headers = {name: response.headers[name] for name in ("Date", "Content-Type") if name in response.headers}
            return response.status, headers, response.read()
        finally:
            connection.close()

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


def faulty_proxy(upstream: str, spoil: Callable[[int, str], Fault | None]) -> AbstractContextManager[FaultyProxy]:
    return serving(FaultyProxy(upstream, spoil))
