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
@given(rows=ROWS, rows_a_pass=st.sampled_from([1, 3, 1000]))
def test_a_key_that_stands_there_twice_is_found(
    rows: list[tuple[str, str | None]], rows_a_pass: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    twice = {key for key, version in rows if rows.count((key, version)) > 1}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(repeated, "ROWS_A_PASS", rows_a_pass)
        found = repeated_key(written(rows, tmp_path_factory.mktemp("rows")))
    assert found in twice if twice else found is None


def test_versions_of_one_key_are_no_repetition_and_hashes_alike_are_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = written([("a", None), ("b", None), ("c", "1"), ("c", "2")], tmp_path)
    assert repeated_key(file) is None
    for query in ("ALIKE", "REPEATED"):
        monkeypatch.setattr(repeated, query, getattr(repeated, query).replace("hash(key, version_id)", "7"))
    assert repeated_key(file) is None
    assert repeated_key(written([("a", None), ("b", None), ("a", None)], tmp_path)) == "a"
