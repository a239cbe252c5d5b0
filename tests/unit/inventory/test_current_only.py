"""Versions that are not current and delete markers are in the inventory where asked, and nobody takes them for objects."""

from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from sweep_files import DAY, NOON, hold_limits, put_references

from orphan_pipeline.inventory.clock import StoreTime
from orphan_pipeline.inventory.columns import VERSIONS
from orphan_pipeline.inventory.prefixes import OwnedPrefix
from orphan_pipeline.inventory.snapshot import INVENTORY, Amount, InventoryFigures, write_inventory
from orphan_pipeline.lake.layout import BucketLake, SweepFolder
from orphan_pipeline.orphans.dangling import write_dangling
from orphan_pipeline.orphans.snapshot import write_orphan_set

# Key, version, whether it is the latest, whether it is a delete marker.
ROWS = [
    ("a/kept", "2", True, False),
    ("a/kept", "1", False, False),
    ("a/orphan", "4", True, False),
    ("a/orphan", "3", False, True),
    ("a/orphan", "2", False, False),
    ("a/gone", "9", True, True),
    ("a/gone", "8", False, False),
    ("elsewhere", "7", False, False),
]


def taken(sweep: SweepFolder) -> InventoryFigures:
    same = {"last_modified": NOON - 100 * DAY, "storage_class": "STANDARD"}
    rows = [
        {
            **same,
            "key": key,
            "size": 0 if marker else 10,
            "etag": "" if marker else "e",
            "version_id": version,
            "is_latest": latest,
            "is_delete_marker": marker,
        }
        for key, version, latest, marker in ROWS
    ]
    with sweep.writing("inventory") as folder:
        return write_inventory(
            [pa.RecordBatch.from_pylist(rows[:3], schema=VERSIONS), pa.RecordBatch.from_pylist(rows[3:], schema=VERSIONS)],
            started=StoreTime(NOON, NOON),
            prefixes=[OwnedPrefix(path="a/")],
            folder=folder,
            report=lambda line: None,
        )


def test_figures_are_of_current_objects_and_tell_of_the_rest_apart(tmp_path: Path) -> None:
    sweep = BucketLake(tmp_path).sweep("s")
    figures = taken(sweep)
    assert figures.total == figures.prefixes["a/"] == figures.storage_classes["STANDARD"] == Amount(2, 20)
    assert (figures.unowned, figures.noncurrent, figures.delete_markers) == (Amount(0, 0), Amount(4, 40), 2)
    table = pq.read_table(sweep.parquet("inventory")[0])
    assert table.schema.equals(INVENTORY)
    assert [tuple(row[name] for name in ("key", "version_id", "is_latest", "is_delete_marker")) for row in table.to_pylist()] == ROWS


def test_only_current_objects_are_orphans_or_answer_a_reference(tmp_path: Path) -> None:
    sweep = BucketLake(tmp_path).sweep("s")
    taken(sweep)
    put_references(sweep, [("a/kept", "documents", False), ("a/gone", "documents", False)])
    with sweep.writing("dangling") as folder:
        assert write_dangling(sweep, folder).sources == {"documents": 1}
    with sweep.writing("orphans") as folder:
        figures = write_orphan_set(
            sweep,
            previous=None,
            restored=[],
            sweep_at=NOON,
            cutoff=NOON - timedelta(days=1),
            limits=hold_limits(),
            folder=folder,
        )
    assert figures.amounts == {("a/", None): Amount(1, 10)}
