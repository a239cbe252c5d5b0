"""What can become of one key that is to be brought back, and how that is counted.

| outcome | meaning |
|---|---|
| restored | the planned object is current again |
| newer | the application wrote another object since: left alone, or uncovered where our marker hid it |
| deleted_again | a later delete marker hides it: left alone |
| lost | the version, or the copy in quarantine, is gone; or its marker has no id of its own (`null`: versioning was suspended) |
| refused | the store would not remove the marker, or not copy, or left what the application just wrote behind it: code says how |
| unknown | the marker, or one below it, may be the application's: left alone, unless asked for with the key or `--include-unknown` |
| asked | the restore did not get as far as looking: run it again |
"""

from collections import Counter
from dataclasses import dataclass
from typing import Any, Literal, Self, get_args

Restored = Literal["restored", "newer", "deleted_again", "lost", "refused", "unknown"]

Line = dict[str, Any]
"""What the ledger says of one key: key, etag, size, last_modified, version_id, outcome, copy, copy_version."""


@dataclass(frozen=True, slots=True)
class Result:
    """`code`: the store's, where it refused. `etag`: of what stands there now, where the store gave what came back another one."""

    outcome: Restored | Literal["asked"]
    code: str | None = None
    etag: str | None = None


ASKED = Result("asked")
NOTHING_LEFT_TO_DO = ("restored", "newer", "deleted_again")
"""Outcomes after which something stands under the key; or somebody deleted it after us: that is the application's own doing, and its
reference dangles by its own doing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreTotals:
    """`standing`: passed over, since they stand; but the store may yet carry out a request for them."""

    restored: int
    newer: int
    deleted_again: int
    lost: int
    refused: int
    unknown: int
    standing: int = 0

    @classmethod
    def of(cls, counted: Counter[str]) -> Self:
        return cls(**{outcome: counted[outcome] for outcome in get_args(Restored)})
