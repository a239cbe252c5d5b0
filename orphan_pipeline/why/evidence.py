"""What proves to somebody who asked for an erasure that it was done: every row of ledgers and restores that names the key, each with the
SHA-256 of the file that says so. Dry runs did nothing and are left out."""

from datetime import UTC, datetime
from typing import Any

from orphan_pipeline.lake.files import sha256_of
from orphan_pipeline.lake.layout import BucketLake
from orphan_pipeline.why.ledgers import done_with

EVIDENCE_VERSION = 1


def evidence_of(lake: BucketLake, name: str, real_bucket: str, key: str) -> dict[str, Any]:
    """As JSON: rows in the order in which they were recorded, paths relative to the bucket's lake."""
    return {
        "version": EVIDENCE_VERSION,
        "bucket": real_bucket,
        "name": name,
        "key": key,
        "exported_at": datetime.now(UTC).isoformat(),
        "rows": [
            {
                "what": done.what,
                "of": done.of,
                "sweep_id": done.sweep_id,
                "outcome": done.outcome,
                "at": done.at.isoformat(),
                "etag": done.etag,
                "size": done.size,
                "last_modified": done.last_modified.isoformat(),
                "version_id": done.version_id,
                "code": done.code,
                "file": str(done.file.relative_to(lake.root)),
                "sha256": sha256_of(done.file),
            }
            for done in done_with(lake, key)
            if done.what != "dry_run"
        ],
    }
