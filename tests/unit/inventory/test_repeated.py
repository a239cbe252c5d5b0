"""An object that stands in an inventory twice is found, wherever its two rows are."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orphan_pipeline.inventory import repeated
from orphan_pipeline.inventory.repeated import repeated_key

ROWS = st.lists(st.tuples(st.text("ab", max_size=3), st.none() | st.sampled_from("123")), max_size=30)


def written(rows: list[tuple[str, str | None]], folder: Path) -> Path:
    keys, versions = [key for key, _ in rows], [version for _, version in rows]
    pq.write_table(pa.table({"key": pa.array(keys, pa.string()), "version_id": pa.array(versions, pa.string())}), folder / "x.parquet")
    return folder / "x.parquet"


@settings(max_examples=40, deadline=None)
@given(rows=ROWS)
def test_it_is_the_first_of_the_keys_that_stand_there_twice(
    rows: list[tuple[str, str | None]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    twice = [key for key, version in rows if rows.count((key, version)) > 1]
    assert repeated_key(written(rows, tmp_path_factory.mktemp("rows"))) == min(twice, default=None)


def test_versions_of_one_key_are_no_repetition_and_hashes_alike_are_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = written([("a", None), ("b", None), ("c", "1"), ("c", "2")], tmp_path)
    assert repeated_key(file) is None
    monkeypatch.setattr(repeated, "REPEATED", repeated.REPEATED.replace("hash(key, version_id)", "7"))
    assert repeated_key(file) is None
    assert repeated_key(written([("a", None), ("b", None), ("a", None)], tmp_path)) == "a"
