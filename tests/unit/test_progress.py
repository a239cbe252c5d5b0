"""Progress lines: what they say, and that they come every few seconds and not with every chunk."""

import re

from orphan_pipeline.progress import Progress


def test_nothing_is_said_before_its_time_but_the_end_is() -> None:
    lines: list[str] = []
    progress = Progress("inventory", "keys", lines.append, every_seconds=3600)
    for _ in range(1000):
        progress.add(10)
    assert lines == []
    progress.finish()
    assert len(lines) == 1
    assert re.fullmatch(r"inventory: 10,000 keys in \d+\.\d s", lines[0])


def test_without_a_total_it_tells_count_and_rate() -> None:
    lines: list[str] = []
    progress = Progress("restore", "keys", lines.append, every_seconds=0)
    progress.add(1500)
    assert re.fullmatch(r"restore: 1,500 keys, [\d,]+ keys/s", lines[0])


def test_with_a_total_it_tells_the_share_and_the_expected_end() -> None:
    lines: list[str] = []
    progress = Progress("references", "keys", lines.append, total=2000, every_seconds=0)
    for _ in range(3):
        progress.add(1000)
    patterns = [r"references: 1,000 .* 50% done, expected end in [\d,]+ s", r".*: 2,000 .* 100% done, expected end in 0 s"]
    assert all(re.fullmatch(pattern, line) for pattern, line in zip(patterns, lines, strict=False))
    assert re.fullmatch(r".*: 3,000 .* 100% done, expected end in 0 s", lines[2])


def test_nothing_done_and_a_total_of_nothing_are_told_without_a_share() -> None:
    lines: list[str] = []
    Progress("a", "keys", lines.append, total=10, every_seconds=0).add(0)
    Progress("a", "keys", lines.append, total=0, every_seconds=0).add(1)
    assert [re.sub(r"[\d,]+ keys/s", "n keys/s", line) for line in lines] == ["a: 0 keys, n keys/s", "a: 1 keys, n keys/s"]
