"""A proxy on loopback in front of a real S3 server that spoils chosen answers, as networks and stores do."""

import socket
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


@dataclass
class Answer:
    """What goes back. `announced`: the Content-Length, if it should differ from the body's; `reset`: no answer but a reset; `stall`: none
    before the client hangs up."""

    status: int
    body: bytes
    announced: int | None = None
    reset: bool = False
    stall: bool = False


Fault = Callable[[Answer], None]


class FaultyProxy(ThreadingHTTPServer):
    """`spoil(number, target)` gives the fault of the nth list request (from 0), or None."""

    daemon_threads = True

    def __init__(self, upstream: str, spoil: Callable[[int, str], Fault | None]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream, self.spoil, self.spoilt = urlsplit(upstream).netloc, spoil, 0
        self._count, self._lock = 0, threading.Lock()
        self.on_headers: Callable[[Mapping[str, str]], None] = lambda headers: None

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def fault_for(self, target: str) -> Fault | None:
        if "list-type=2" not in target:
            return None
        with self._lock:
            number, self._count = self._count, self._count + 1
            fault = self.spoil(number, target)
            self.spoilt += fault is not None
        return fault

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
        self.server.on_headers(dict(self.headers))
        connection = HTTPConnection(self.server.upstream, timeout=30)
        try:
            # The Host header goes along unchanged: it is signed.
            connection.request(self.command, self.path, headers=dict(self.headers))
            response = connection.getresponse()
            answer = Answer(response.status, response.read())
            headers = {name: response.headers[name] for name in ("Date", "Content-Type") if name in response.headers}
        finally:
            connection.close()
        fault = self.server.fault_for(self.path)
        if fault is not None:
            fault(answer)
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

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@contextmanager
def faulty_proxy(upstream: str, spoil: Callable[[int, str], Fault | None]) -> Iterator[FaultyProxy]:
    with FaultyProxy(upstream, spoil) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
