"""The frozen cutoff: rule 2 as a table, and never later than any clock allows."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orphan_pipeline.errors import Refused
from orphan_pipeline.orphans.cutoff import ClockReading, frozen_cutoff, time_at_least

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
WEEK = timedelta(days=7)


def reading(whose: str, *, after: int = 0, ahead: int = 0) -> ClockReading:
    """Read so many seconds after noon, from a clock so many seconds ahead of this host's."""
    host = NOON + timedelta(seconds=after)
    return ClockReading(whose, host + timedelta(seconds=ahead), host)


@pytest.mark.parametrize(
    ("store_ahead", "databases", "earliest"),
    [
        (0, {"app": (60, 0)}, 0),
        (10, {"app": (60, 10)}, 10),
        (-10, {"app": (60, 10)}, -10),
        (10, {"app": (60, -120)}, -60),
        (0, {"app": (60, 0), "archive": (90, -200)}, -110),
        (300, {"app": (0, 0)}, 0),
        (-300, {"app": (0, 0)}, -300),
        (150, {"app": (0, -150)}, -150),
    ],
)
def test_the_cutoff_is_the_earliest_clock_less_min_age(store_ahead: int, databases: dict[str, tuple[int, int]], earliest: int) -> None:
    references = [reading(name, after=after, ahead=ahead) for name, (after, ahead) in databases.items()]
    assert frozen_cutoff(reading("the store", ahead=store_ahead), references, WEEK) == NOON + timedelta(seconds=earliest) - WEEK


@pytest.mark.parametrize(
    ("store", "database", "line"),
    [
        (
            {"ahead": 301},
            {"ahead": 301},
            "the clock of the store is 301 s off this host's: at most 300 s is allowed, since ages would be wrong",
        ),
        (
            {},
            {"ahead": -3600},
            "the clock of database app is -3,600 s off this host's: at most 300 s is allowed, since ages would be wrong",
        ),
        (
            {"ahead": 200},
            {"ahead": -200},
            "the clocks of the store and database app are 400 s apart: at most 300 s is allowed, since ages would be wrong",
        ),
        ({}, {"after": -1}, "the references of database app were read before the inventory began: run the sweep again"),
        # By the clocks themselves these were taken after the inventory; it is this host's clock that orders them.
        ({}, {"after": -1, "ahead": 100}, "the references of database app were read before the inventory began: run the sweep again"),
    ],
)
def test_clocks_apart_and_references_before_the_inventory_are_refused(store: dict[str, int], database: dict[str, int], line: str) -> None:
    with pytest.raises(Refused) as refused:
        frozen_cutoff(reading("the store", **store), [reading("database app", **database)], WEEK)
    assert str(refused.value) == line


@pytest.mark.parametrize(("ahead", "least"), [(300, 0), (0, 0), (-300, -300)])
def test_the_least_time_is_what_both_clocks_say_has_come(ahead: int, least: int) -> None:
    assert time_at_least(reading("the store", ahead=ahead)) == NOON + timedelta(seconds=least)


@pytest.mark.parametrize(("ahead", "line"), [(301, "the clock of the store is 301 s off"), (-301, "the clock of the store is -301 s off")])
def test_clocks_apart_say_no_time(ahead: int, line: str) -> None:
    with pytest.raises(Refused, match=line):
        time_at_least(reading("the store", ahead=ahead))


zones = st.integers(-12, 14).map(lambda hours: timezone(timedelta(hours=hours)))
clocks = st.tuples(st.integers(0, 10_000), st.integers(-400, 400), zones)


@given(store=clocks, databases=st.lists(clocks, max_size=4), min_age=st.timedeltas(timedelta(), timedelta(days=400)))
def test_the_cutoff_is_never_later_than_any_clock_less_min_age(
    store: tuple[int, int, timezone], databases: list[tuple[int, int, timezone]], min_age: timedelta
) -> None:
    made = [reading("one", after=after, ahead=ahead) for after, ahead, _ in [store, *databases]]
    zoned = [ClockReading(r.whose, r.time.astimezone(zone), r.host_time) for r, (*_, zone) in zip(made, [store, *databases], strict=True)]
    try:
        cutoff = frozen_cutoff(zoned[0], zoned[1:], min_age)
    except Refused:
        aheads = [ahead for _, ahead, _ in [store, *databases]]
        apart = max(map(abs, [*aheads, max(aheads) - min(aheads)])) > 300
        assert apart or any(after < store[0] for after, *_ in databases)
    else:
        assert cutoff in {r.time - min_age for r in zoned}
        assert all(cutoff <= r.time - min_age for r in zoned)
        assert cutoff.tzinfo is UTC
