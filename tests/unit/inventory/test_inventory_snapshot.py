"""The inventory snapshot: every row that was listed, its owner, and figures that add up."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orphan_pipeline.errors import Refused
from orphan_pipeline.inventory.clock import StoreTime
from orphan_pipeline.inventory.columns import LISTED
from orphan_pipeline.inventory.prefixes import MOST_PARTITIONS, OwnedPrefix
from orphan_pipeline.inventory.snapshot import INVENTORY, Amount, InventoryFigures, write_inventory

AT = datetime(2026, 11, 21, 12, 0, 0, 1, tzinfo=UTC)


def batch(keys: Sequence[str], *, etag: str = "e", storage_class: str = "STANDARD") -> pa.RecordBatch:
    rows = [{"key": key, "size": 3, "last_modified": AT, "etag": etag, "storage_class": storage_class} for key in keys]
    return pa.RecordBatch.from_pylist(rows, schema=LISTED)


def write(folder: Path, pages: Iterator[pa.RecordBatch] | Sequence[pa.RecordBatch], *prefixes: OwnedPrefix) -> InventoryFigures:
    return write_inventory(
        pages, started=StoreTime(AT, AT), prefixes=prefixes or [OwnedPrefix(path="a/")], folder=folder, report=lambda line: None
    )


def test_every_row_is_written_once_over_many_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orphan_pipeline.inventory.snapshot.ROW_GROUP", 50)
    pages = (batch([f"a/{page:04}-{n}" for n in range(7)]) for page in range(101))
    figures = write(tmp_path, pages)
    table = pq.read_table(tmp_path / "part-00000.parquet")
    assert pq.ParquetFile(tmp_path / "part-00000.parquet").num_row_groups > 10
    assert table.schema.equals(INVENTORY)
    assert sorted(map(str, table["key"].to_pylist())) == [f"a/{page:04}-{n}" for page in range(101) for n in range(7)]
    assert figures.total == figures.prefixes["a/"] == Amount(707, 3 * 707)


def test_figures_divide_the_bucket_into_prefixes_and_unowned_and_into_storage_classes(tmp_path: Path) -> None:
    pages = [batch(["a/1", "a/x/1", "b/1"]), batch([]), batch(["a/x/2", "c", "/a/1", "A/1"], storage_class="GLACIER")]
    figures = write(tmp_path, pages, OwnedPrefix(path="a/", split=1), OwnedPrefix(path="c/"))
    assert figures.prefixes == {"a/(rest)": Amount(1, 3), "a/x/": Amount(2, 6)}
    assert figures.unowned == Amount(4, 12)
    assert figures.total == Amount(7, 21)
    assert figures.storage_classes == {"GLACIER": Amount(4, 12), "STANDARD": Amount(3, 9)}
    assert (figures.started_at, figures.store_clock, figures.host_clock) == (AT, AT, AT)


@pytest.mark.parametrize("pages", [[], [[]], [[], []]])
def test_an_empty_bucket_is_an_inventory_of_no_rows(tmp_path: Path, pages: list[list[str]]) -> None:
    figures = write(tmp_path, [batch(keys) for keys in pages])
    assert (figures.total, figures.unowned, figures.prefixes, figures.storage_classes) == (Amount(0, 0), Amount(0, 0), {}, {})
    assert pq.read_table(tmp_path / "part-00000.parquet").schema.equals(INVENTORY)


@pytest.mark.parametrize(("etag", "multipart"), [("abc", False), ("abc-1", True), ("abc-10000", True), ("a-1b", False), ("-", False)])
def test_an_etag_that_ends_in_a_count_of_parts_is_multipart(tmp_path: Path, etag: str, multipart: bool) -> None:
    write(tmp_path, [batch(["a/1"], etag=etag)])
    assert pq.read_table(tmp_path / "part-00000.parquet")["is_multipart"].to_pylist() == [multipart]


def test_as_many_partitions_as_there_may_be_are_written_and_one_more_is_refused(tmp_path: Path) -> None:
    split = OwnedPrefix(path="a/", split=1)
    folders = [f"a/{n}/x" for n in range(MOST_PARTITIONS)]
    assert len(write(tmp_path, [batch([*folders, "unowned"])], split).prefixes) == MOST_PARTITIONS
    with pytest.raises(Refused) as refused:
        write(tmp_path, [batch([*folders, "a/higher"])], split)
    assert str(refused.value) == "the declared prefixes make 1,001 partitions, at most 1,000: `split` is too deep"


def test_a_page_that_fails_fails_the_inventory(tmp_path: Path) -> None:
    def broken() -> Iterator[pa.RecordBatch]:
        yield batch(["a/1"])
        raise ConnectionError("the line broke")

    with pytest.raises(ConnectionError, match="the line broke"):
        write(tmp_path, broken())


def test_a_folder_above_the_lake_that_is_named_like_a_column_changes_no_figure(tmp_path: Path) -> None:
    folder = tmp_path / "prefix=b" / "size=9" / "storage_class=c"
    folder.mkdir(parents=True)
    figures = write(folder, [batch(["a/1", "a/2", "b/1"])])
    assert (figures.prefixes, figures.unowned, list(figures.storage_classes)) == ({"a/": Amount(2, 6)}, Amount(1, 3), ["STANDARD"])


def test_nothing_but_the_snapshot_is_left_in_the_folder(tmp_path: Path) -> None:
    write(tmp_path, [batch(["a/1"])])
    assert [path.name for path in tmp_path.iterdir()] == ["part-00000.parquet"]
