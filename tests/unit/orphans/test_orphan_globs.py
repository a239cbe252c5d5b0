"""Globs among the variants: what they match for a source's key is referenced; nothing else changes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from slow_engine import Stored
from sweep_files import DAY, NOON, hold_limits, put_inventory, put_references

from orphan_pipeline.lake.layout import SweepFolder, prefix_folder
from orphan_pipeline.orphans.snapshot import write_orphan_set

PREFIXES = ("uploads/", "variants/")


def deletable(
    tmp_path: Path, keys: Sequence[str], references: Sequence[tuple[str, str, bool]], globs: Mapping[str, Sequence[str]] | None
) -> list[str]:
    sweep = SweepFolder(tmp_path / "sweep")
    put_inventory(
        sweep,
        [
            Stored(key=key, etag="e", last_modified=NOON - 99 * DAY, size=1, prefix=f"{key.partition('/')[0]}/", is_multipart=False)
            for key in keys
        ],
    )
    put_references(sweep, references)
    folder = tmp_path / "orphans"
    folder.mkdir()
    more: dict[str, Any] = {} if globs is None else {"globs": globs}
    figures = write_orphan_set(
        sweep, previous=None, restored=[], sweep_at=NOON, cutoff=NOON - DAY, limits=hold_limits(), folder=folder, **more
    )
    assert sum(amount.objects for amount in figures.amounts.values()) == sum(
        pq.read_metadata(file).num_rows for prefix in PREFIXES for file in (folder / prefix_folder(prefix)).glob("*.parquet")
    )
    return sorted(str(key) for plan in folder.rglob("plan.parquet") for key in pq.read_table(plan)["key"].to_pylist())


KEYS = [
    "uploads/a.jpg",
    "uploads/a-1x2.jpg",
    "uploads/a-1x2.png",
    "uploads/a-1x/2.jpg",
    "uploads/b-1x2.jpg",
    "variants/uploads/a.jpg/small",
    "variants/uploads/a.jpg/w/h/x",
    "variants/uploads/b.jpg/small",
]


@pytest.mark.parametrize(
    ("globs", "gone"),
    [
        (None, KEYS[1:]),
        ({}, KEYS[1:]),
        ({"documents": ["variants/{key}/**"]}, [*KEYS[1:5], KEYS[7]]),
        ({"documents": ["variants/{key}/*"]}, [*KEYS[1:5], *KEYS[6:]]),
        ({"documents": ["{dir}{stem}-*x*{suffix}"]}, KEYS[2:]),
        ({"documents": ["variants/{key}/**", "{dir}{stem}-*x*{suffix}"]}, [KEYS[2], KEYS[3], KEYS[4], KEYS[7]]),
        ({"others": ["variants/{key}/**"]}, KEYS[1:7]),
        ({"others": ["variants/{key}/**"], "documents": ["{dir}{stem}-*"]}, [KEYS[3], KEYS[4], *KEYS[5:7]]),
    ],
)
def test_what_is_matched_stays(tmp_path: Path, globs: Mapping[str, Sequence[str]] | None, gone: Sequence[str]) -> None:
    references = [("uploads/a.jpg", "documents", False), ("uploads/b.jpg", "others", False), ("uploads/b.jpg", "documents", True)]
    assert deletable(tmp_path, KEYS, references, globs) == sorted(gone)


def test_without_any_reference_nothing_is_matched(tmp_path: Path) -> None:
    assert deletable(tmp_path, KEYS, [("x", "others", False)], {"documents": ["{dir}{stem}**"]}) == sorted(KEYS)
