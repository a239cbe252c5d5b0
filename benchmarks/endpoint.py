"""A synthetic S3 endpoint on loopback, in a process of its own: lists any number of keys without storing one, so that what is measured is
the client. Every record has the same width and a page is a matrix of bytes into which the numbers are written.

Keys are `uploads/{number:012d}-…`, in UTF-8 order; every seventh holds an umlaut, a space, `+` and `%`, encoded as asked.
`python -m benchmarks.endpoint --keys 1000000 --latency-ms 0` prints its port. Asked for `/?cpu` it answers with the CPU seconds that it has
used itself, since it takes them from the machine that the client is measured on. HEAD has its Date header and no body; of its versions the
bucket says that they are kept.
"""

import asyncio
import sys
import time
from bisect import bisect_right
from collections.abc import Sequence
from email.utils import formatdate
from urllib.parse import parse_qs, unquote_plus, urlsplit

import click
import numpy as np
import numpy.typing as npt

PREFIX = "uploads/"
DIGITS = 12
ODD = "-%C3%BC+of%2Ba%25summer-in-hills.jpeg"
PLAIN = "-photo-of-a-summer-in-the-hills.jpeg".rjust(len(ODD), "-")
PAGE = 1000
FULL_CIRCLE = 7
CPU = "/?cpu"
OF_THE_BUCKET = {
    "versioning": b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>",
    "lifecycle": b"<LifecycleConfiguration><Rule><Status>Disabled</Status></Rule></LifecycleConfiguration>",
}
"""What a sweep asks besides the list, by query."""

FOUR_DIGITS = np.frombuffer("".join(f"{number:04d}" for number in range(10_000)).encode(), "<u4")

HEAD = (
    '<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>{bucket}</Name>'
    "<Prefix>{prefix}</Prefix><KeyCount>{count}</KeyCount><MaxKeys>{most}</MaxKeys><EncodingType>url</EncodingType>"
    "<IsTruncated>{truncated}</IsTruncated>{token}"
)
RECORD = (
    "<Contents><Key>{key}</Key><LastModified>2026-01-02T03:04:05.000Z</LastModified>"
    "<ETag>&quot;9e107d9d372bb6826bd81d3542a419d6&quot;</ETag><ChecksumAlgorithm>CRC64NVME</ChecksumAlgorithm>"
    "<ChecksumType>FULL_OBJECT</ChecksumType><Size>123456</Size><StorageClass>STANDARD</StorageClass></Contents>"
)
TAIL = "</ListBucketResult>"


def key(number: int) -> str:
    return PREFIX + encoded_name(number).replace(ODD, unquote_plus(ODD))


def encoded_name(number: int) -> str:
    return f"{number:0{DIGITS}d}{ODD if number % FULL_CIRCLE == 0 else PLAIN}"


class _Keys(Sequence[str]):
    """All keys, none of them in memory: what bisect needs."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, number):  # type: ignore[no-untyped-def]
        return key(number)


class Listing:
    """Answers ListObjectsV2 over `count` keys."""

    def __init__(self, count: int) -> None:
        self.keys = _Keys(count)
        records = [RECORD.format(key=PREFIX + encoded_name(number)) for number in range(PAGE * FULL_CIRCLE)]
        self._records = np.frombuffer("".join(records).encode(), np.uint8).reshape(len(records), -1)
        self._digits = RECORD.index("{key}") + len(PREFIX)

    def answer(self, target: str) -> bytes:
        url = urlsplit(target)
        if url.query in OF_THE_BUCKET:
            return OF_THE_BUCKET[url.query]
        asked = {name: values[0] for name, values in parse_qs(url.query).items()}
        bucket, prefix, most = url.path.strip("/"), asked.get("prefix", ""), int(asked.get("max-keys", PAGE))
        if asked.get("delimiter") and not prefix:
            head = HEAD.format(bucket=bucket, prefix="", count=1, most=most, truncated="false", token="")
            return f"{head}<CommonPrefixes><Prefix>{PREFIX}</Prefix></CommonPrefixes>{TAIL}".encode()
        if "continuation-token" in asked:
            start = int(asked["continuation-token"])
        else:
            start = bisect_right(self.keys, asked["start-after"]) if "start-after" in asked else 0
        end = min(start + most, len(self.keys))
        truncated = end < len(self.keys)
        token = f"<NextContinuationToken>{end}</NextContinuationToken>" if truncated else ""
        head = HEAD.format(bucket=bucket, prefix=prefix, count=end - start, most=most, truncated=str(truncated).lower(), token=token)
        return b"".join([head.encode(), self._page(start, end).data, TAIL.encode()])

    def _page(self, start: int, end: int) -> "npt.NDArray[np.uint8]":
        numbers = np.arange(start, end)
        page = self._records.take(numbers % len(self._records), axis=0)
        for place in range(0, DIGITS, 4):
            digits = page[:, self._digits + place : self._digits + place + 4].view("<u4")
            digits[:, 0] = FOUR_DIGITS[numbers // 10 ** (DIGITS - 4 - place) % len(FOUR_DIGITS)]
        return page


class Connection(asyncio.Protocol):
    def __init__(self, listing: Listing, latency: float) -> None:
        self._listing, self._latency = listing, latency
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        while b"\r\n\r\n" in self._received:
            request, _, self._received = self._received.partition(b"\r\n\r\n")
            method, target = request.decode().split(" ", 2)[:2]
            if self._latency:
                asyncio.get_running_loop().call_later(self._latency, self._answer, method, target)
            else:
                self._answer(method, target)

    def _answer(self, method: str, target: str) -> None:
        body = self._body(target) if method == "GET" else b""
        head = f"HTTP/1.1 200 OK\r\nDate: {formatdate(usegmt=True)}\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}\r\n\r\n"
        self._transport.write(head.encode() + body)

    def _body(self, target: str) -> bytes:
        return str(time.process_time()).encode() if target == CPU else self._listing.answer(target)


async def serve(keys: int, latency: float) -> None:
    listing = Listing(keys)
    server = await asyncio.get_running_loop().create_server(lambda: Connection(listing, latency), "127.0.0.1", 0)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


@click.command()
@click.option("--keys", type=int, default=1_000_000)
@click.option("--latency-ms", type=float, default=0.0)
def main(keys: int, latency_ms: float) -> None:
    asyncio.run(serve(keys, latency_ms / 1000))


if __name__ == "__main__":
    main()
