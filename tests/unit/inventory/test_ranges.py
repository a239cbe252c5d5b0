"""Where pieces are cut: always strictly between, in the order of UTF-8 bytes, and never through a surrogate."""

from hypothesis import given, settings
from hypothesis import strategies as st

from orphan_pipeline.inventory.listing.ranges import LAST, between

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
