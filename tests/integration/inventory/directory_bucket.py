"""An endpoint on loopback that keeps the rules of S3's directory buckets (API reference of ListObjectsV2 and CreateSession): requests bear
a session's token, nothing begins after a key, prefixes end in a slash, and answers come in no order of keys."""

import hashlib
from collections.abc import Collection
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, quote_plus, urlsplit

from serving import serving

SESSION = (
    "<CreateSessionResult><Credentials><AccessKeyId>SESSION-KEY</AccessKeyId><SecretAccessKey>s</SecretAccessKey>"
    "<SessionToken>SESSION-TOKEN</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></CreateSessionResult>"
)
RECORD = (
    "<Contents><Key>{key}</Key><LastModified>2026-01-02T03:04:05.000Z</LastModified><ETag>&quot;0f&quot;</ETag><Size>1</Size>"
    "<StorageClass>EXPRESS_ONEZONE</StorageClass></Contents>"
)


class Against(Exception):
    """A request that a directory bucket would not answer."""


@dataclass
class DirectoryBucket(ThreadingHTTPServer):
    """`uploading`: folders of which only uploads in progress know."""

    keys: Collection[str]
    uploading: Collection[str] = ()
    refused: list[str] = field(default_factory=list)
    daemon_threads = True

    def __post_init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def listed(self, asked: dict[str, str]) -> str:
        """Raises Against."""
        prefix, delimiter = asked.get("prefix", ""), asked.get("delimiter")
        if asked.get("x-amz-s3session-token") != "SESSION-TOKEN":
            raise Against("no session")
        if "start-after" in asked or delimiter not in (None, "/") or (prefix and not prefix.endswith("/")):
            raise Against(f"{asked}")
        names = {key for key in self.keys if key.startswith(prefix)}
        if delimiter:
            names |= {folder for folder in self.uploading if folder.startswith(prefix) and folder != prefix}
            steps = [name[len(prefix) :].partition("/") for name in names]
            names = {prefix + step + slash for step, slash, _ in steps}
        ordered = sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())
        start = int(asked.get("continuation-token", 0))
        end = start + int(asked["max-keys"])
        found, more = ordered[start:end], end < len(ordered)
        folders = [name for name in found if delimiter and name.endswith("/")]
        return (
            f"<ListBucketResult><KeyCount>{len(found)}</KeyCount><EncodingType>url</EncodingType><IsTruncated>{str(more).lower()}</IsTruncated>"
            + (f"<NextContinuationToken>{end}</NextContinuationToken>" if more else "")
            + "".join(RECORD.format(key=quote_plus(name, safe="/")) for name in found if name not in folders)
            + "".join(f"<CommonPrefixes><Prefix>{quote_plus(name, safe='/')}</Prefix></CommonPrefixes>" for name in folders)
            + "</ListBucketResult>"
        )


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: DirectoryBucket

    def do_HEAD(self) -> None:
        self._answer(200, "")

    def do_GET(self) -> None:
        asked = {name.lower(): values[0] for name, values in parse_qs(urlsplit(self.path).query, keep_blank_values=True).items()}
        if "session" in asked:
            self._answer(200, SESSION)
            return
        try:
            self._answer(200, self.server.listed(asked))
        except Against as error:
            self.server.refused.append(str(error))
            self._answer(400, "<Error><Code>InvalidRequest</Code></Error>")

    def _answer(self, status: int, text: str) -> None:
        body = text.encode()
        self.send_response(status)  # with its Date
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


def directory_bucket(keys: Collection[str], uploading: Collection[str] = ()) -> AbstractContextManager[DirectoryBucket]:
    return serving(DirectoryBucket(keys, uploading))
