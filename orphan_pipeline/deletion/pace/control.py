"""How fast to go, from what the store answers: additive increase, multiplicative decrease. Pure: time is given.

A store says SlowDown when more keys come than it takes (S3: 3,500 writes a second and partition, HADOOP-17935: each key of a
DeleteObjects is one). Until the first SlowDown the rate doubles every two seconds; after one it keeps a tenth below the rate that was
refused, comes near it again at once and then climbs so slowly that about one request in a hundred is refused. A rate that has passed
the refused one by a tenth shows that the limit is gone: it grows faster again."""

from dataclasses import dataclass, replace
from math import inf

START = 3000.0
"""Keys a second: what S3 takes anywhere."""

FLOOR = 10.0
NO_LIMIT = inf
DOUBLING_SECONDS = 2.0
DECREASE = 0.9
STEEP_DECREASE = 0.6
"""While the rate doubles it may be far too high, and so it may where the last decrease did not help: the store refuses all that comes
until the burst that it let pass before is paid for."""

STEEP_MEMORY = 0.8
"""What was refused then was further above the limit than the rate will come near again."""

STILL_TOO_FAST_SECONDS = 5.0
NEAR = 0.93
FAST_GROWTH_A_SECOND = 1.1
CLIMB_SECONDS = 60.0
"""In which the rate climbs by a tenth of the refused rate."""

GONE = 1.1
LONGEST_STEP = 1.0
"""Growth for longer than this without a request is not taken: an idle time proves nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """`keys` a second; `refused`: the rate at which the store last said SlowDown; `since`: when the rate was last lowered;
    `at`: up to when its growth is in it. Seconds of one clock."""

    keys: float = START
    refused: float = NO_LIMIT
    since: float = -inf
    at: float

    def grown(self, now: float, *, ceiling: float) -> "Rate":
        """The rate at `now`, never above `ceiling`."""
        step = min(max(now - self.at, 0.0), LONGEST_STEP)
        keys, refused = self.keys, self.refused
        if refused == NO_LIMIT:
            keys *= 2 ** (step / DOUBLING_SECONDS)
        elif keys < NEAR * refused:
            keys = min(keys * FAST_GROWTH_A_SECOND**step, NEAR * refused)
        elif keys < GONE * refused:
            keys += step * (1 - DECREASE) * refused / CLIMB_SECONDS
        else:
            keys *= FAST_GROWTH_A_SECOND**step
        return replace(self, keys=max(min(keys, ceiling), FLOOR), at=now)

    def lowered(self, now: float, *, sent_at: float, refused: bool = True) -> "Rate":
        """After a SlowDown to a request sent at `sent_at`, or (`refused` false) an answer that took far too long. One that was sent before
        the rate was last lowered says nothing new: all requests under way when a limit is met are refused together."""
        if sent_at <= self.since:
            return self
        if refused and (self.refused == NO_LIMIT or now - self.since < STILL_TOO_FAST_SECONDS):
            return self._lowered_to(STEEP_DECREASE, now, remembered=STEEP_MEMORY)
        return self._lowered_to(DECREASE, now, remembered=1.0)

    def _lowered_to(self, share: float, now: float, *, remembered: float) -> "Rate":
        return replace(self, keys=max(self.keys * share, FLOOR), refused=self.keys * remembered, since=now)
