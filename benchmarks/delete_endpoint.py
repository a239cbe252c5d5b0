"""A synthetic S3 endpoint on loopback, in a process of its own, that answers deletes without storing anything, so that what is measured
is the client. Beside the listing of endpoint.py (for s5cmd) it answers DeleteObjects in full, each key with a delete marker's id made of
the key, and ListObjectVersions with that marker of each key and the object behind it, a thousand entries a page.

`python -m benchmarks.delete_endpoint --keys 1000000 --limit 3000` prints its port. Above `limit` keys a second, of which it lets one
second's worth pass at once, it answers SlowDown to the whole request."""

import asyncio
import re
import sys
from bisect import bisect_left, bisect_right
from email.utils import formatdate
from time import monotonic
from urllib.parse import parse_qs, urlsplit
from xml.sax.saxutils import escape
from zlib import crc32

import click

from benchmarks.endpoint import PAGE, Listing

ETAG = "9e107d9d372bb6826bd81d3542a419d6"
KEY = re.compile(rb"<Key>([^<]+)</Key>")
LENGTH = re.compile(rb"content-length: *([0-9]+)", re.IGNORECASE)
DELETED = "<Deleted><Key>{key}</Key><DeleteMarker>true</DeleteMarker><DeleteMarkerVersionId>{marker}</DeleteMarkerVersionId></Deleted>"
RESULT = '<?xml version="1.0" encoding="UTF-8"?>\n<DeleteResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{lines}</DeleteResult>'
VERSIONS = (
    '<?xml version="1.0" encoding="UTF-8"?>\n<ListVersionsResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{next}{entries}'
    "</ListVersionsResult>"
)
LAST_PAGE = "<IsTruncated>false</IsTruncated>"
NEXT_PAGE = "<IsTruncated>true</IsTruncated><NextKeyMarker>{key}</NextKeyMarker><NextVersionIdMarker>v</NextVersionIdMarker>"
HIDDEN = (
    "<DeleteMarker><Key>{key}</Key><VersionId>{marker}</VersionId><IsLatest>true</IsLatest>"
    "<LastModified>2026-11-01T00:00:00.000Z</LastModified></DeleteMarker>"
    "<Version><Key>{key}</Key><VersionId>v</VersionId><IsLatest>false</IsLatest>"
    f'<LastModified>2026-01-02T03:04:05.000Z</LastModified><ETag>"{ETAG}"</ETag></Version>'
)
KEYS_A_PAGE = PAGE // 2
"""Of versions: each key is there twice."""

BEYOND = "\U0010ffff"
SLOW_DOWN = "<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"


def marker_of(key: bytes) -> str:
    return f"3HL4kqtJvjVBH40Nrjfkd{crc32(key):010d}"


class Deletes:
    """What the endpoint says. `limit`: keys a second, 0 for any number."""

    def __init__(self, keys: int, limit: float) -> None:
        self._listing, self._limit = Listing(keys), limit
        self._left, self._at = limit, monotonic()

    def answer(self, method: str, target: str, body: bytes) -> tuple[str, bytes]:
        url = urlsplit(target)
        asked = parse_qs(url.query, keep_blank_values=True)
        if method == "POST" and "delete" in asked:
            return self._delete(body)
        if method == "GET" and "versions" in asked:
            return "200 OK", self._versions(asked["prefix"][0], asked.get("key-marker", [""])[0])
        return "200 OK", self._listing.answer(target) if method == "GET" else b""

    def _versions(self, prefix: str, after: str) -> bytes:
        """As if every key had been deleted."""
        keys = self._listing.keys
        begin = max(bisect_left(keys, prefix), bisect_right(keys, after))
        end = bisect_right(keys, prefix + BEYOND)
        page = [escape(keys[number]) for number in range(begin, min(end, begin + KEYS_A_PAGE))]
        entries = "".join([HIDDEN.format(key=key, marker=marker_of(key.encode())) for key in page])
        return VERSIONS.format(next=NEXT_PAGE.format(key=page[-1]) if begin + len(page) < end else LAST_PAGE, entries=entries).encode()

    def _delete(self, body: bytes) -> tuple[str, bytes]:
        keys = KEY.findall(body)
        if self._limit and not self._takes(len(keys)):
            return "503 Slow Down", SLOW_DOWN.encode()
        lines = "".join([DELETED.format(key=key.decode(), marker=marker_of(key)) for key in keys])
        return "200 OK", RESULT.format(lines=lines).encode()

    def _takes(self, keys: int) -> bool:
        now = monotonic()
        self._left = min(self._limit, self._left + (now - self._at) * self._limit)
        self._at = now
        if self._left < keys:
            return False
        self._left -= keys
        return True


class Connection(asyncio.Protocol):
    def __init__(self, deletes: Deletes, latency: float) -> None:
        self._deletes, self._latency = deletes, latency
        self._received = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (end := self._received.find(b"\r\n\r\n")) >= 0:
            head = bytes(self._received[:end])
            found = LENGTH.search(head)
            whole = end + 4 + (int(found.group(1)) if found else 0)
            if len(self._received) < whole:
                return
            body = bytes(self._received[end + 4 : whole])
            del self._received[:whole]
            method, target = head.decode().split(" ", 2)[:2]
            if self._latency:
                asyncio.get_running_loop().call_later(self._latency, self._answer, method, target, body)
            else:
                self._answer(method, target, body)

    def _answer(self, method: str, target: str, body: bytes) -> None:
        status, answer = self._deletes.answer(method, target, body)
        head = f"HTTP/1.1 {status}\r\nDate: {formatdate(usegmt=True)}\r\nContent-Length: {len(answer)}\r\n\r\n"
        self._transport.write(head.encode() + answer)


async def serve(keys: int, limit: float, latency: float) -> None:
    deletes = Deletes(keys, limit)
    server = await asyncio.get_running_loop().create_server(lambda: Connection(deletes, latency), "127.0.0.1", 0)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


@click.command()
@click.option("--keys", type=int, default=1_000_000)
@click.option("--limit", type=float, default=0.0)
@click.option("--latency-ms", type=float, default=0.0)
def main(keys: int, limit: float, latency_ms: float) -> None:
    asyncio.run(serve(keys, limit, latency_ms / 1000))


if __name__ == "__main__":
    main()
