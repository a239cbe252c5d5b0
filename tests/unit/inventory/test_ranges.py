"""Where pieces are cut: always strictly between, in the order of UTF-8 bytes, and never through a surrogate."""

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from orphan_pipeline.inventory.listing.ranges import LAST, MOST_RANGES, PieceFigures, between, cuts_around, in_other_folders, ladder, merged

KEYS = st.text(st.characters(codec="utf-8"), max_size=8) | st.text("01", max_size=8)


@settings(deadline=None, max_examples=1000)
@given(prefix=st.sampled_from(["", "a/", "ü/"]), low=KEYS, high=st.none() | KEYS)
def test_a_cut_lies_strictly_between(prefix: str, low: str, high: str | None) -> None:
    low, high = prefix + low, None if high is None else prefix + high
    if high is not None and high <= low:
        return
    middle = between(low, high, prefix)
    if middle is None:
        return
    upper = (prefix + LAST if high is None else high).encode()
    assert low.encode() < middle.encode() < upper
    assert middle.startswith(prefix)


@settings(deadline=None)
@given(numbers=st.lists(st.integers(0, 10**6), min_size=2, max_size=2, unique=True))
def test_between_two_numbers_far_apart_there_is_always_room(numbers: list[int]) -> None:
    low, high = sorted(numbers)
    middle = between(f"uploads/{low:012d}", f"uploads/{high:012d}~", "uploads/")
    assert middle is not None
    assert f"uploads/{low:012d}" < middle < f"uploads/{high:012d}~"


def test_halving_from_the_end_of_a_prefix_reaches_digits_quickly() -> None:
    """Each empty probe costs a request: the first leaves the million code points above ASCII behind."""
    high, probes = None, 0
    while high is None or high[len("uploads/")] > "9":
        high = between("uploads/000000000017", high, "uploads/")
        probes += 1
        assert high is not None
    assert probes <= 6


def test_counters_and_dates_are_cut_among_their_digits() -> None:
    assert between("uploads/000000012345", "uploads/1", "uploads/") == "uploads/05"
    assert between("2026-01-02/a", "2026-1", "") == "2026-05"
    assert between("a/b", None, "a/") == "a/n"


@settings(deadline=None, max_examples=50)
@given(folders=st.integers(1, 4), each=st.sampled_from([1, 3, 400, 900]))
def test_neighbouring_ranges_are_merged_and_still_count_the_same(folders: int, each: int) -> None:
    pieces = [
        PieceFigures(
            prefix=f"{folder}/",
            after=f"{folder}/{n:04d}",
            until=f"{folder}/{n + 1:04d}",
            objects=n % 3,
            pages=1,
            first=f"{folder}/{n:04d}a" if n % 3 else None,
            last=f"{folder}/{n:04d}b" if n % 3 else None,
            beyond=f"{folder}/{n + 1:04d}a",
        )
        for folder in range(folders)
        for n in range(each)
    ]
    found = merged(pieces[::-1])
    assert len(found) <= MOST_RANGES
    assert (sum(one.objects for one in found), sum(one.pages for one in found)) == (sum(p.objects for p in pieces), len(pieces))
    assert sum(one.ranges for one in found) == len(pieces)
    firsts, lasts = [one.first for one in found if one.first], [one.last for one in found if one.last]
    assert all(last < first for last, first in zip(lasts, firsts[1:], strict=False))
    assert (firsts[:1], lasts[-1:]) == ([p.first for p in pieces if p.first][:1], [p.last for p in pieces if p.last][-1:])
    if len(pieces) <= MOST_RANGES:
        assert list(found) == pieces


def test_a_declared_prefix_is_cut_off_before_and_behind() -> None:
    assert cuts_around(["b/", "a/b/", "a/b/c/"], within="a/") == ["a/b/", "a/b/c/", "a/b/c0", "a/b0"]
    assert cuts_around(["a/"], within="a/") == []


@settings(deadline=None)
@given(low=KEYS, high=st.none() | KEYS, most=st.integers(1, 20))
def test_a_ladder_goes_down_by_the_same_steps_as_halving_again_and_again(low: str, high: str | None, most: int) -> None:
    if high is not None and high <= low:
        return
    rungs = ladder(low, high, "", most=most)
    assert rungs == sorted(rungs, reverse=True)
    assert len(rungs) <= most
    for upper, rung in zip([high, *rungs], rungs, strict=False):
        assert rung == between(low, upper, "")


@settings(deadline=None)
@given(keys=st.lists(st.text("ab/é", max_size=6)), folders=st.sets(st.sampled_from(["p/a/", "p/b/", "p/é/", "p//", "p/ab/"])))
def test_what_lies_in_other_folders_is_known_by_its_first_step(keys: list[str], folders: set[str]) -> None:
    expected = ["/" in key and f"p/{key.partition('/')[0]}/" not in folders for key in keys]
    assert in_other_folders(pa.array([f"p/{key}" for key in keys], pa.string()), "p/", folders).to_pylist() == expected
