"""What a hook is given, and two hooks that are ready to be named in the settings. When hooks are called, and what becomes of one that
fails, is in `deletion.hooks`.

A function named in `deletion.before_chunk` is called with a `ChunkBefore` and may give a mapping of keys to reasons: these are held. One
in `deletion.after_chunk` is called with a `ChunkAfter`. Either may be called twice for one chunk (a run was killed in between), so it
should do no harm twice; `reference` is the same then. The hook's `options` are keyword arguments.
"""

import json
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from urllib.error import HTTPError, URLError
from urllib.parse import quote
from urllib.request import Request, urlopen

import boto3

from orphan_pipeline.deletion.ledger import GONE, Answer, Planned

SAFE_IN_PATHS = "/-_.~!$&'()+,;=:@"
"""RFC 3986's characters of a path, without `*`: at a path's end that is CloudFront's wildcard."""

TIMEOUT_SECONDS = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkBefore:
    """Objects that are about to go, as planned. `bucket` is the bucket's name in the settings, `bucket_name` the real one."""

    bucket: str
    bucket_name: str
    prefix: str
    sweep_id: str
    plan: str
    run_id: str
    chunk: int
    rows: Sequence[Planned]

    @property
    def reference(self) -> str:
        """The same in every attempt at this chunk, and in no other chunk."""
        return f"{self.plan}-{self.chunk:08d}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkAfter(ChunkBefore):
    """What became of them: one answer a row."""

    answers: Sequence[Answer]

    @property
    def gone(self) -> list[str]:
        """Keys that are not there any more by this run's doing (or maybe by the application's: outcome `unknown`)."""
        return [row.key for row, answer in zip(self.rows, self.answers, strict=True) if answer.outcome in GONE]


def cloudfront(chunk: ChunkAfter, *, distribution_id: str, path: str = "/", region: str = "us-east-1", endpoint: str | None = None) -> None:
    """Invalidates what went, one request a chunk: `path` (ends in `/`) is where the bucket's keys begin in the distribution.

    CloudFront lets 3,000 paths be in progress at once (its developer guide, "Concurrent invalidation request maximum") and refuses more:
    such a request is sent again later. A chunk that is told twice is invalidated, and paid, once: its `reference` is CloudFront's
    CallerReference.
    """
    if not chunk.gone:
        return
    items = [path + quote(key, safe=SAFE_IN_PATHS) for key in chunk.gone]
    with closing(boto3.session.Session().client("cloudfront", region_name=region, endpoint_url=endpoint)) as client:
        client.create_invalidation(
            DistributionId=distribution_id,
            InvalidationBatch={"Paths": {"Quantity": len(items), "Items": items}, "CallerReference": chunk.reference},
        )


def webhook(chunk: ChunkAfter, *, url: str) -> None:
    """Posts the chunk as JSON. `url` is best given as `{env: NAME}`: it stands in no error and in no log.

    {"reference", "bucket", "bucket_name", "prefix", "sweep", "plan", "run", "chunk", "objects": [{"key", "size", "outcome", "version_id"}]}
    """
    body = {
        "reference": chunk.reference,
        "bucket": chunk.bucket,
        "bucket_name": chunk.bucket_name,
        "prefix": chunk.prefix,
        "sweep": chunk.sweep_id,
        "plan": chunk.plan,
        "run": chunk.run_id,
        "chunk": chunk.chunk,
        "objects": [
            {"key": row.key, "size": row.size, "outcome": answer.outcome, "version_id": answer.version_id}
            for row, answer in zip(chunk.rows, chunk.answers, strict=True)
        ],
    }
    headers = {"Content-Type": "application/json", "Idempotency-Key": chunk.reference}
    try:
        with urlopen(Request(url, data=json.dumps(body).encode(), headers=headers), timeout=TIMEOUT_SECONDS):
            pass
    except HTTPError as error:
        with error:
            raise ConnectionError(f"the webhook does not take it: status {error.code}") from None
    except URLError as error:
        raise ConnectionError(f"the webhook does not take it: {error.reason}") from None
