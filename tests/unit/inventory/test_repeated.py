"""An object that stands in an inventory twice is found, wherever its two rows are."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orphan_pipeline.inventory import repeated
from orphan_pipeline.inventory.repeated import repeated_key
from orphan_pipeline.lake.columns import column

ROWS = st.lists(st.tuples(st.text("ab", max_size=3), st.none() | st.sampled_from("123"), st.booleans()), max_size=30)
"""Key, id of the version, whether it is current."""

SCHEMA = pa.schema(
    [
        column("key", pa.string(), ""),
        column("version_id", pa.string(), "", nullable=True),
        column("is_latest", pa.bool_(), ""),
        column("is_delete_marker", pa.bool_(), ""),
    ]
)


def written(rows: list[tuple[str, str | None, bool]], folder: Path) -> Path:
    table = [{"key": key, "version_id": version, "is_latest": current, "is_delete_marker": False} for key, version, current in rows]
    pq.write_table(pa.Table.from_pylist(table, SCHEMA), folder / "x.parquet")
    return folder / "x.parquet"


@settings(max_examples=60, deadline=None)
@given(rows=ROWS, bytes_a_row=st.sampled_from([2, 2**24, 2**26]), versions=st.booleans())
def test_a_key_that_stands_there_twice_is_found(
    rows: list[tuple[str, str | None, bool]], bytes_a_row: int, versions: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    ids: list[tuple[object, ...]] = [(key, version) for key, version, _ in rows] if versions else [(key,) for key, *_ in rows]
    ids += [("current", key) for key, _, current in rows if versions and current]
    twice = {one[-1] if one[0] == "current" else one[0] for one in ids if ids.count(one) > 1}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(repeated, "BYTES_A_ROW", bytes_a_row)
        found = repeated_key(written(rows, tmp_path_factory.mktemp("rows")), versions=versions)
    assert found in twice if twice else found is None


def test_versions_of_one_key_are_no_repetition_and_hashes_alike_are_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = written([("a", None, True), ("b", None, False), ("b", "1", True), ("c", "1", False), ("c", "2", False)], tmp_path)
    assert repeated_key(file, versions=True) is None
    monkeypatch.setattr(repeated, "VERSIONS", repeated.VERSIONS.replace("hash(key, id)", "7").replace("hash(key)", "7"))
    assert repeated_key(file, versions=True) is None
    assert repeated_key(written([("a", None, False), ("b", None, False), ("a", None, False)], tmp_path), versions=True) == "a"


def test_of_two_versions_of_a_key_only_one_is_current(tmp_path: Path) -> None:
    assert repeated_key(written([("a", "1", True), ("b", "1", True), ("b", "2", True)], tmp_path), versions=True) == "b"
