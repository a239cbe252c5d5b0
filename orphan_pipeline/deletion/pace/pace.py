"""When the next keys may be sent: the limiter that deletion goes through. How the rate changes is in control.py, who shares it in
shared.py."""

from pathlib import Path
from threading import Event, Lock
from time import monotonic

from orphan_pipeline.deletion.pace.shared import SharedFile
from orphan_pipeline.errors import Refused

MADE_UP_SECONDS = 0.05
"""A worker that wakes late may go as if it had been on time, by so much."""

LOOK_AGAIN_SECONDS = 1.0
"""The longest sleep without looking whether the rate, or the run's wish to stop, has changed."""

FULL_REQUEST = 500
SLOW_TIMES, SLOW_SECONDS = 3.0, 1.0
"""A full request that takes three times as long as usual, and over a second, is a sign like SlowDown: stores queue before they refuse."""

LATE_IN_A_ROW = 10
"""Before that is believed: a machine that is short of processors for a moment makes answers late too, and the store need not go slower
for that (seen: half the rate lost beside other work)."""

SMOOTHING = 0.2
FORGETTING = 1.002


class Interrupted(Exception):
    """The run is being stopped: what was not sent stays as it is."""


class Pace:
    """Counts keys, as stores do. Thread-safe; all that share the file share the rate."""

    def __init__(self, file: Path, *, ceiling: float, stopping: Event | None = None) -> None:
        """`ceiling`: keys a second of this host."""
        self.stopping = stopping or Event()
        self._ceiling = ceiling
        self._shared = SharedFile(file)
        self._lock = Lock()
        self._usual = self._recent = 0.0
        self._late = 0
        self.requests = 0
        self.slowed = 0

    def try_take(self, keys: int) -> float:
        """0 when these keys may go now (and are counted), else in how many seconds to ask again."""
        with self._shared.held() as (shared, now):
            shared.rate = shared.rate.grown(now, ceiling=self._ceiling)
            if shared.free_at > now + MADE_UP_SECONDS / 2:
                return min(shared.free_at - now, LOOK_AGAIN_SECONDS)
            shared.free_at = max(shared.free_at, now - MADE_UP_SECONDS) + keys / min(shared.rate.keys, self._ceiling)
            return 0.0

    def take(self, keys: int) -> None:
        """Waits until these keys may go. Raises Interrupted when the run is being stopped meanwhile."""
        while wait := self.try_take(keys):
            self.wait(wait)

    def wait(self, seconds: float) -> None:
        """Raises Interrupted when the run is being stopped meanwhile."""
        if self.stopping.wait(seconds):
            raise Interrupted

    def answered(self, *, keys: int, refused: int, seconds: float) -> None:
        """What became of one request: how many of its keys the store was too busy for, and how long it took."""
        late = self._took_too_long(keys, seconds) if not refused else False
        with self._lock:
            self.requests += 1
            self.slowed += refused > 0
        if refused or late:
            now = monotonic()
            with self._shared.held() as (shared, _):
                shared.rate = shared.rate.lowered(now, sent_at=now - seconds, refused=refused > 0)

    @property
    def keys_per_second(self) -> float:
        with self._shared.held() as (shared, _):
            return min(shared.rate.keys, self._ceiling)

    def words(self) -> str:
        """For whoever watches."""
        return f"at most {self.keys_per_second:,.0f} allowed now, {self.slowed} of {self.requests} requests slowed down"

    def close(self) -> None:
        self._shared.close()

    def _took_too_long(self, keys: int, seconds: float) -> bool:
        if keys < FULL_REQUEST:
            return False
        with self._lock:
            self._recent += SMOOTHING * (seconds - self._recent) if self._recent else seconds
            self._usual = min(self._usual * FORGETTING, self._recent) if self._usual else self._recent
            late = min(self._recent, seconds) > max(SLOW_SECONDS, SLOW_TIMES * self._usual)
            self._late = self._late + 1 if late else 0
            if self._late < LATE_IN_A_ROW:
                return False
            self._late = 0
            return True


def ceiling_of_host(keys_per_second: int, *, hosts: int) -> float:
    """Each host's share. Raises Refused when nothing is left of it."""
    if keys_per_second < hosts:
        raise Refused(f"max_keys_per_second: found {keys_per_second} for {hosts} hosts, expected at least one key a second for each")
    return keys_per_second / hosts
