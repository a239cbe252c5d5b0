"""What a restore says was not brought back, and what to do about it; which keys a partition may own."""

import pytest

from orphan_pipeline.assets.restore import what_is_missing
from orphan_pipeline.deletion.undo.outcomes import RestoreTotals
from orphan_pipeline.deletion.undo.selection import Selection, may_own


def totals(**counts: int) -> RestoreTotals:
    return RestoreTotals(**{**dict.fromkeys(("restored", "newer", "deleted_again", "lost", "refused", "unknown"), 0), **counts})


def test_nothing_is_missing_when_everything_came_back_or_was_replaced() -> None:
    assert what_is_missing(totals(restored=3, newer=1, deleted_again=1), Selection(prefix="a/")) == ""


def test_what_is_missing_is_one_line_that_says_how_it_comes_back() -> None:
    line = what_is_missing(totals(restored=3, lost=1, refused=2, unknown=1200), Selection(prefix="a b/"))
    assert line == (
        "1 object could not be brought back: their versions or copies are gone; the store refused to bring back 2 objects: see "
        "column `code` of the restore; 1,200 objects went by a delete that may be the application's own; to bring back such too: "
        "orphan-pipeline restore --prefix 'a b/' --include-unknown"
    )
    assert "restore --plan 01234567 --include" in what_is_missing(totals(unknown=1), Selection(plan="01234567"))


@pytest.mark.parametrize(
    ("prefix", "key", "may"),
    [
        ("(all)", "x", True),
        ("a/", "a/1", True),
        ("a/", "b/1", False),
        ("a/(rest)", "a/1", True),
        ("a/2026/", "a/2025/1", False),
    ],
)
def test_which_keys_a_partition_may_own(prefix: str, key: str, may: bool) -> None:
    assert may_own(prefix, key) is may
