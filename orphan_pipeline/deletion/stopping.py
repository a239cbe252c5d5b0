"""What makes a run stop before its next chunk although nothing is wrong: the hour, the kill switch, a pause, the cap, the
plan's expiry."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta, tzinfo
from pathlib import Path

from orphan_pipeline.deletion.ending import Reason

CLOSED = timedelta(hours=12)
"""After `not_after`. A night's run that begins late thus finds the window closed, and does not take the next night's."""

LONGEST_REASON = 300

Stop = tuple[Reason, str]
"""With the words for people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """No chunk is begun in the twelve hours after this hour of the day."""

    not_after: time
    timezone: tzinfo

    def closed(self, now: datetime) -> bool:
        local = now.astimezone(self.timezone)
        since_midnight = timedelta(hours=local.hour, minutes=local.minute, seconds=local.second, microseconds=local.microsecond)
        limit = timedelta(hours=self.not_after.hour, minutes=self.not_after.minute)
        return (since_midnight - limit) % timedelta(days=1) < CLOSED


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """`max_deletions`: keys of one run. `paused`: why deletion of the bucket is paused, if it is (rule 15); asked at each chunk."""

    expires_at: datetime
    window: Window | None = None
    kill_switch: Path | None = None
    paused: Callable[[], str | None] | None = None
    max_deletions: int | None = None

    def reached(self, *, begun: int, coming: int, now: datetime | None = None) -> Stop | None:
        """Why the next chunk, of `coming` keys, must not be begun after `begun` keys; None when it may."""
        now = now or datetime.now(UTC)
        if self.kill_switch is not None and (stop := kill_switch_words(self.kill_switch)) is not None:
            return "kill switch", stop
        if self.paused is not None and (why := self.paused()) is not None:
            return "paused", why
        if now >= self.expires_at:
            return "expired", f"the plan expired at {self.expires_at:%Y-%m-%d %H:%M} UTC: run a new sweep for the rest"
        if self.window is not None and self.window.closed(now):
            return "window", f"no chunk is begun in the 12 hours after {self.window.not_after:%H:%M} {self.window.timezone}"
        if self.max_deletions is not None and begun + coming > self.max_deletions:
            return "cap", f"{begun + coming:,} keys would be more than max_deletions of {self.max_deletions:,}"
        return None


def kill_switch_words(file: Path) -> str | None:
    """What stands there, and what to do about it; None when nothing does."""
    said = _text(file)
    return None if said is None else f"{file} stands there{f': {said}' if said else ''}. Remove it to let deletion go on"


def _text(file: Path) -> str | None:
    """One line; None when the file is not there. Whatever else lies there stops too."""
    try:
        return " ".join(file.read_text(encoding="utf-8", errors="replace")[:LONGEST_REASON].split())
    except FileNotFoundError:
        return None
    except OSError:
        return ""
