"""The one way in which DuckDB is opened: bounded, in UTC, and streamed."""

from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest

from orphan_pipeline.duck import arrow_batches, arrow_table, control_group_limits, duck, machine_memory, rows


def test_memory_is_bounded_and_times_are_utc(tmp_path: Path) -> None:
    with duck(tmp_path, memory_bytes=300 * 2**20) as connection:
        assert rows(connection, "SELECT current_setting('memory_limit'), current_setting('TimeZone')") == [("240.0 MiB", "UTC")]
        assert rows(connection, "SELECT make_timestamptz(2026, 11, 21, 12, 0, 0)") == [(datetime(2026, 11, 21, 12, tzinfo=UTC),)]
    with duck(tmp_path) as connection:
        [(limit,)] = rows(connection, "SELECT current_setting('memory_limit')")
    assert limit.endswith("iB")
    assert machine_memory() > 0


def test_an_answer_is_streamed_in_batches_and_not_held(tmp_path: Path) -> None:
    before = pa.total_allocated_bytes()
    with duck(tmp_path) as connection:
        reader = arrow_batches(connection, "SELECT n FROM range($rows) AS numbers(n)", {"rows": 5_000_000}, rows_each=1000)
        sizes, held = [], 0
        for batch in reader:
            sizes.append(batch.num_rows)
            held = max(held, pa.total_allocated_bytes() - before)
    assert sum(sizes) == 5_000_000
    assert max(sizes) == 1000
    assert held < 2**20


def test_a_small_answer_is_one_table(tmp_path: Path) -> None:
    with duck(tmp_path) as connection:
        assert arrow_table(connection, "SELECT $key AS key", {"key": "a"}).to_pylist() == [{"key": "a"}]


def test_what_spilled_is_gone_afterwards(tmp_path: Path) -> None:
    with duck(tmp_path, memory_bytes=64 * 2**20) as connection:
        connection.execute("CREATE TEMP TABLE big AS SELECT md5(n::VARCHAR) AS key FROM range(3_000_000) AS numbers(n)")
        spilled = any(tmp_path.rglob("*"))
    assert spilled
    assert list(tmp_path.iterdir()) == []


def test_a_query_that_fails_raises(tmp_path: Path) -> None:
    with duck(tmp_path) as connection, pytest.raises(Exception, match="nowhere"):
        rows(connection, "SELECT * FROM nowhere")


@pytest.mark.parametrize(
    ("files", "own", "limits"),
    [
        ({}, "", []),
        ({"memory.max": "max"}, "0::/", []),
        ({"memory.max": "1000"}, "0::/", [1000, 1000]),
        ({"system.slice/job/memory.max": "max", "system.slice/memory.max": "2000"}, "0::/system.slice/job", [2000]),
        ({"memory/memory.limit_in_bytes": "3000"}, "", [3000]),
        ({"memory/docker/x/memory.limit_in_bytes": "4000"}, "7:cpu,memory:/docker/x\n3:pids:/docker/x", [4000]),
    ],
    ids=["none", "unlimited", "container", "group above", "version 1", "version 1, own group"],
)
def test_the_limits_of_control_groups_count(tmp_path: Path, files: dict[str, str], own: str, limits: list[int]) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"{text}\n")
    (tmp_path / "own").write_text(own)
    assert list(control_group_limits(tmp_path, tmp_path / "own")) == limits


def test_a_small_memory_gets_fewer_threads(tmp_path: Path) -> None:
    with duck(tmp_path, memory_bytes=100 * 2**20) as connection:
        assert rows(connection, "SELECT current_setting('threads')") == [(1,)]
