"""The gates on bands of ages: where younger objects are orphaned more often than older ones, their references are missing."""

import pytest
from gate_manifests import LIMITS, gate, manifest, owned
from hypothesis import given
from hypothesis import strategies as st

from orphan_pipeline.gates.evaluate import evaluate_alone, tripped
from orphan_pipeline.orphans.ages import BANDS

WEEKS, MONTHS, YEARS = "7 to 30 days", "30 to 90 days", "1 to 2 years"


@pytest.mark.parametrize(
    ("ages", "passed", "found"),
    [
        ({WEEKS: (1000, 0), YEARS: (1000, 0)}, True, 0.0),
        ({WEEKS: (1000, 100), YEARS: (1000, 0)}, True, 0.1),
        ({WEEKS: (1000, 101), YEARS: (1000, 0)}, False, 0.101),
        ({WEEKS: (1000, 1000), YEARS: (1000, 950)}, True, 0.05),
        ({WEEKS: (1000, 0), YEARS: (1000, 1000)}, True, 0.0),
        ({WEEKS: (99, 99), YEARS: (1000, 0)}, True, 0.0),
        ({WEEKS: (100, 100), YEARS: (99, 0)}, True, 0.0),
        ({WEEKS: (100, 100), YEARS: (100, 0)}, False, 1.0),
        ({WEEKS: (100, 50), MONTHS: (60, 0), YEARS: (40, 0)}, False, 0.5),
        ({"young": (1000, 1000), YEARS: (1000, 0)}, True, 0.0),
        ({}, True, 0.0),
    ],
)
def test_a_band_is_held_against_everything_older(ages: dict[str, tuple[int, int]], passed: bool, found: float) -> None:
    of = manifest(prefixes={"a/": owned(2000, 0, ages=ages)})
    for name in ("age_bands", "prefix_age_bands"):
        assert (gate(name, of).passed, round(gate(name, of).found, 9)) == (passed, found)


def test_the_band_that_stands_out_most_is_told() -> None:
    of = manifest(prefixes={"a/": owned(3000, 0, ages={WEEKS: (1000, 500), MONTHS: (1000, 100), YEARS: (1000, 0)})})
    assert gate("age_bands", of).message == (
        "50.0% of the objects that are 7 to 30 days old are orphans, and 5.0% of the older ones: at most 10.0% more is expected: "
        "is a source missing that came into use in that time, or is one read from a stale copy?"
    )


def test_one_prefix_stands_out_where_the_bucket_hides_it() -> None:
    small = owned(400, 200, ages={WEEKS: (200, 100), YEARS: (200, 0)})
    large = owned(200_000, 0, ages={WEEKS: (100_000, 0), YEARS: (100_000, 0)})
    gates = evaluate_alone(manifest(prefixes={"small/": small, "large/": large}), LIMITS)
    assert tripped(gates) == []
    assert [gate.name for gate in tripped(gates, prefix="small/") if "age" in gate.name] == ["prefix_age_bands"]


counts = st.integers(0, 500)


@given(st.lists(st.tuples(counts, counts), min_size=len(BANDS), max_size=len(BANDS)))
def test_where_the_share_only_rises_with_age_nothing_trips(sizes: list[tuple[int, int]]) -> None:
    shares = sorted(min(1.0, orphans / max(1, objects)) for objects, orphans in sizes)
    ages = {band.name: (n, int(n * share)) for band, (n, _), share in zip(BANDS, sizes, shares, strict=True)}
    found = gate("age_bands", manifest(prefixes={"a/": owned(5000, 0, ages=ages)}))
    assert found.found <= 0.01, "but for the rounding of at most one orphan in a hundred"
