"""How a run of a plan ended and why: what `{run_id}.run.json` in the ledger says, and the words that people read."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

Reason = Literal["completed", "window", "kill switch", "paused", "cap", "expired", "refused", "failed", "cancelled"]
"""The first six are no failure: what was done is done, the rest goes on next time or in the next sweep."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """`keys`, `chunks`: what this run brought to an outcome. `requests` to delete, `slowed` of them with SlowDown."""

    run_id: str
    reason: Reason
    words: str
    began_at: datetime
    ended_at: datetime
    keys: int
    chunks: int
    requests: int
    slowed: int

    @property
    def keys_per_second(self) -> float:
        return self.keys / max((self.ended_at - self.began_at).total_seconds(), 1e-6)

    def __str__(self) -> str:
        if self.reason == "completed":
            return f"completed: {self.words}"
        return f"stopped ({self.reason}): {self.words}"
