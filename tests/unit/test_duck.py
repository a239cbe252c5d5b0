"""The one way in which DuckDB is opened: bounded, in UTC, and streamed."""

from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest

from orphan_pipeline.duck import arrow_batches, arrow_table, duck, machine_memory, rows


def test_memory_is_bounded_and_times_are_utc(tmp_path: Path) -> None:
    with duck(tmp_path, memory_bytes=300 * 2**20) as connection:
        assert rows(connection, "SELECT current_setting('memory_limit'), current_setting('TimeZone')") == [("300.0 MiB", "UTC")]
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
