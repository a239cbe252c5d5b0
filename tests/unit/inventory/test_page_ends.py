"""Pages that come again are known by what earlier ones ended with; a name at the border of two pages may come twice."""

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orphan_pipeline.inventory.columns import LISTED, VERSIONS
from orphan_pipeline.inventory.listing import page_ends
from orphan_pipeline.inventory.listing.page import BrokenPage, Page
from orphan_pipeline.inventory.listing.page_ends import PageEnds


def page_of(keys: list[str], folders: tuple[str, ...] = (), versions: list[str] | None = None) -> Page:
    n = len(keys)
    columns: dict[str, list[Any]] = {"key": keys, "size": [1] * n, "last_modified": [0] * n, "etag": ["e"] * n, "storage_class": ["S"] * n}
    if versions is not None:
        columns |= {"version_id": versions, "is_latest": [False] * n, "is_delete_marker": [False] * n}
    objects = pa.RecordBatch.from_pydict(columns, schema=LISTED if versions is None else VERSIONS)
    return Page(objects=objects, common_prefixes=folders, truncated=True, next_token="t", fast=True)


def held(pages: list[Page], page: Page) -> bool:
    """Whether the page is one that was there, after these."""
    ends = PageEnds()
    for earlier in pages:
        ends.check(earlier)
        ends.add(earlier)
    try:
        ends.check(page)
    except BrokenPage:
        return True
    return False


AB, CD = page_of(["a", "b"]), page_of(["c", "d"])


@pytest.mark.parametrize(
    ("pages", "page", "expected"),
    [
        ([AB], CD, False),
        ([AB], AB, True),
        ([AB, CD], AB, True),
        ([AB, CD], page_of(["b", "e"]), True),  # the border of another page
        ([AB], page_of(["b", "c"]), False),  # the border
        ([AB], page_of(["b"]), False),
        ([page_of(["b"])], page_of(["b"]), True),  # nothing but the page itself
        ([AB], page_of(["c", "b"]), True),
        ([page_of([], ("f/", "g/"))], page_of([], ("g/", "h/")), False),
        ([page_of([], ("f/", "g/"))], page_of([], ("f/", "g/")), True),
        ([page_of(["a"], ("f/",))], page_of(["a"], ("f/",)), True),
        ([page_of(["a"], ("f/",))], page_of(["b"], ("f/", "g/")), False),
        ([page_of(["f/"])], page_of(["a"], ("f/",)), False),  # an object and a folder of one name
        ([page_of(["a", "a"], versions=["1", "2"])], page_of(["a", "a"], versions=["3", "4"]), False),
        ([page_of(["a", "a"], versions=["1", "2"])], page_of(["a", "a"], versions=["1", "2"]), True),
        ([AB], page_of([]), False),
    ],
)
def test_a_page_that_was_there_is_known(pages: list[Page], page: Page, expected: bool) -> None:
    assert held(pages, page) is expected


@settings(deadline=None, max_examples=100)
@given(st.integers(2, 40), st.integers(2, 5), st.integers(0, 1000), st.integers(0, 1000), st.integers(1, 8))
def test_whatever_stretch_comes_again_is_known(count: int, size: int, place: int, start: int, recent: int) -> None:
    """Also where most hashes are sorted already."""
    names = [f"k{n:04d}" for n in range(count * size)]
    pages = [page_of(names[n : n + size]) for n in range(0, len(names), size)]
    before = pages[: 1 + place % (len(pages) - 1)]
    first = start % (len(before) * size - 1)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(page_ends, "RECENT", recent)
        assert held(before, page_of(names[first : first + size]))
        assert not held(before, pages[len(before)])
