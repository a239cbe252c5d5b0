"""The hour, the kill switch, the cap and the expiry stop a run before its next chunk, each with its words."""

from dataclasses import replace
from datetime import UTC, datetime, time
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from orphan_pipeline.deletion.stopping import Limits, Window

NEVER = datetime(9999, 1, 1, tzinfo=UTC)
NOON = datetime(2026, 11, 2, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("hour", "now", "closed"),
    [
        (time(6), "2026-11-02T05:59:59+00:00", False),
        (time(6), "2026-11-02T06:00:00+00:00", True),
        (time(6), "2026-11-02T17:59:59+00:00", True),
        (time(6), "2026-11-02T18:00:00+00:00", False),
        (time(6), "2026-11-02T23:30:00+00:00", False),
        (time(22, 30), "2026-11-02T22:29:00+00:00", False),
        (time(22, 30), "2026-11-03T01:00:00+00:00", True),
        (time(22, 30), "2026-11-03T10:30:00+00:00", False),
    ],
)
def test_no_chunk_is_begun_in_the_twelve_hours_after_the_hour(hour: time, now: str, closed: bool) -> None:
    assert Window(not_after=hour, timezone=UTC).closed(datetime.fromisoformat(now)) is closed


@pytest.mark.parametrize(("now", "closed"), [("2026-10-25T04:59:00+00:00", False), ("2026-10-25T05:00:00+00:00", True)])
def test_the_hour_is_that_of_the_schedules_clock_on_the_night_it_is_set_back(now: str, closed: bool) -> None:
    window = Window(not_after=time(6), timezone=ZoneInfo("Europe/Berlin"))
    assert window.closed(datetime.fromisoformat(now)) is closed


def test_nothing_stops_by_default() -> None:
    assert Limits(expires_at=NEVER).reached(begun=10**9, coming=1000) is None


def test_each_limit_says_what_it_is(tmp_path: Path) -> None:
    switch = tmp_path / "STOP"
    limits = Limits(expires_at=NEVER, window=Window(not_after=time(23), timezone=ZoneInfo("UTC")), kill_switch=switch, max_deletions=1000)
    assert limits.reached(begun=0, coming=1000, now=NOON) is None
    assert limits.reached(begun=1, coming=1000, now=NOON) == ("cap", "1,001 keys would be more than max_deletions of 1,000")
    late = NOON.replace(hour=23)
    assert limits.reached(begun=0, coming=1, now=late) == ("window", "no chunk is begun in the 12 hours after 23:00 UTC")
    assert limits.reached(begun=0, coming=1, now=NEVER) == (
        "expired",
        "the plan expired at 9999-01-01 00:00 UTC: run a new sweep for the rest",
    )
    paused = replace(limits, paused=lambda: "deletion is paused since yesterday")
    assert paused.reached(begun=0, coming=1, now=late) == ("paused", "deletion is paused since yesterday")
    assert replace(limits, paused=lambda: None).reached(begun=0, coming=1000, now=NOON) is None
    switch.write_text("Ana: the CDN\nis being moved\n" + "x" * 1000)
    reason, words = limits.reached(begun=0, coming=1, now=late) or ("", "")
    assert reason == "kill switch"
    assert words.startswith(f"{switch} stands there: Ana: the CDN is being moved xxx")
    assert "\n" not in words
    switch.write_bytes(b"")
    assert limits.reached(begun=0, coming=1, now=NOON) == ("kill switch", f"{switch} stands there. Remove it to let deletion go on")
    switch.unlink()
    switch.mkdir()
    assert limits.reached(begun=0, coming=1, now=NOON) is not None, "whatever is called STOP stops"
