"""Sources that are files or another lake: whole, fresh, unchanged while they are read; anything else fails the sweep."""

import os
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sweep_files import NOON, bucket_settings, publish

from orphan_pipeline.errors import Refused
from orphan_pipeline.inventory.snapshot import InventoryFigures
from orphan_pipeline.lake.layout import Lake
from orphan_pipeline.orphans.acceptance import gates_of
from orphan_pipeline.orphans.approvals import approve
from orphan_pipeline.orphans.publish import _cutoff
from orphan_pipeline.references.kinds.files import FileReading, open_files
from orphan_pipeline.references.samples import sample_of_file
from orphan_pipeline.references.snapshot import PART, ReferenceFigures, snapshot_references
from orphan_pipeline.settings.model import ReferenceSettings

Take = Callable[..., tuple[ReferenceFigures, list[tuple[str, bool, str]]]]


def export(file: Path | str, **more: Any) -> ReferenceSettings:
    return ReferenceSettings.model_validate({"name": "legacy", "file": str(file), "column": "key", **more})


def written(path: Path, keys: Any, *, age: timedelta = timedelta(hours=1)) -> Path:
    """Parquet of a column `key`, or a text as it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(keys, str):
        path.write_text(keys)
    else:
        pq.write_table(pa.table({"id": list(range(len(keys))), "key": keys}), path)
    at = (datetime.now(UTC) - age).timestamp()
    os.utime(path, (at, at))
    return path


@pytest.fixture
def take(tmp_path: Path) -> Take:
    def run(*sources: ReferenceSettings) -> tuple[ReferenceFigures, list[tuple[str, bool, str]]]:
        folder = tmp_path / "references"
        figures = snapshot_references(sources=sources, databases={}, inventory_started_at=NOON, folder=folder, report=lambda line: None)
        rows = pq.read_table(folder / PART).select(["key", "derived", "row_id"]).to_pylist()
        return figures, [tuple(row.values()) for row in rows]

    return run


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("keys.parquet", pa.array(["a/b.jpg", None, 'c,d "e".jpg'])),
        ("keys.parquet", pa.array(["a/b.jpg", None, 'c,d "e".jpg']).dictionary_encode()),
        ("keys.csv", 'id,key\n1,a/b.jpg\n2,\n3,"c,d ""e"".jpg"\n'),
    ],
    ids=["parquet", "dictionary", "csv"],
)
def test_one_column_of_one_file(tmp_path: Path, take: Take, name: str, content: Any) -> None:
    figures, rows = take(export(written(tmp_path / name, content), variants=["{dir}small-{stem}{suffix}"]))
    assert sorted(rows) == [
        ("a/b.jpg", False, f"{name} row 1"),
        ("a/small-b.jpg", True, f"{name} row 1"),
        ('c,d "e".jpg', False, f"{name} row 3"),
        ('small-c,d "e".jpg', True, f"{name} row 3"),
    ]
    [source] = figures.sources
    assert (source.database, source.rows, source.references, source.without_key, source.derived) == ("", 3, 2, 1, 2)
    [file] = figures.files
    assert (file.source, file.files, file.bytes) == ("legacy", 1, (tmp_path / name).stat().st_size)
    assert file.written_at == datetime.fromtimestamp((tmp_path / name).stat().st_mtime, UTC)
    assert figures.cuts == ()


def test_a_glob_of_files_and_lists_and_numbers(tmp_path: Path, take: Take) -> None:
    written(tmp_path / "a" / "1.parquet", pa.array([["x", "y"], [], None]))
    written(tmp_path / "b" / "2.parquet", pa.array([7, None]), age=timedelta(hours=30))
    figures, rows = take(export(tmp_path / "**" / "*.parquet"))
    assert rows == [("x", False, "1.parquet row 1"), ("y", False, "1.parquet row 1"), ("7", False, "2.parquet row 1")]
    [source], [file] = figures.sources, figures.files
    assert (source.rows, source.references, source.without_key, file.files) == (5, 3, 3, 2)
    assert datetime.now(UTC) - file.written_at > timedelta(hours=29), "the oldest file decides"


@pytest.mark.parametrize(
    ("name", "content", "more", "said"),
    [
        ("k.parquet", pa.array(["a"]), {"column": "keys"}, "{file} has no column keys"),
        ("k.csv", "id,key\n1,a\n", {"column": "keys"}, "{file} has no column keys"),
        ("k.csv", "id,key\n1,a\n2,b,c\n", {}, "{file} cannot be read: CSV parse error: Row #3: Expected 2 columns, got 3"),
        ("k.csv", "", {}, "{file} has no column key"),
        ("k.csv", "key,id,key\na,1,b\n", {}, "{file} cannot be read: 2 columns are called key"),
        ("k.parquet", "PAR1 and then nothing", {}, "{file} cannot be read: "),
        ("k.parquet", pa.array(["a", ""]), {}, "k.parquet row 2: the value is an empty string, which is no key"),
        ("k.csv", 'id,key\n1,""\n', {}, "k.csv row 1: the value is an empty string, which is no key"),
        ("k.parquet", pa.array([["a", None]]), {}, "k.parquet row 1: an element of the list is null"),
        ("k.parquet", pa.array(["https://a.example.com/b"]), {}, "k.parquet row 1: a URL under no declared base"),
        ("k.parquet", pa.array([b"\xff"]), {}, "{file} cannot be read: Invalid UTF8 payload"),
        ("k.parquet", pa.array([{"a": 1}]), {}, "{file} cannot be read: "),
    ],
)  # fmt: skip
def test_what_cannot_be_read_as_declared(tmp_path: Path, take: Take, name: str, content: Any, more: dict[str, str], said: str) -> None:
    file = written(tmp_path / name, content)
    with pytest.raises(Refused) as refused:
        take(export(file, **more))
    assert str(refused.value).startswith(f"source legacy: {said.format(file=file)}")
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "references" / PART).exists()


def test_missing_stale_and_future_files(tmp_path: Path, take: Take) -> None:
    with pytest.raises(Refused, match=r"^source legacy: no file matches .*/\*\.parquet$"):
        take(export(tmp_path / "*.parquet"))
    with pytest.raises(Refused, match=r"^source legacy: .*/none.csv cannot be read: No such file or directory$"):
        take(export(tmp_path / "none.csv"))
    file = written(tmp_path / "k.parquet", pa.array(["a"]), age=timedelta(hours=49))
    with pytest.raises(Refused, match=r"k.parquet is stale: it was written at .* UTC, longer ago than max_age \(2d\): export it again$"):
        take(export(file))
    assert take(export(file, max_age="3d"))[1] == [("a", False, "k.parquet row 1")]
    written(tmp_path / "l.parquet", pa.array(["b"]))
    with pytest.raises(Refused, match="its oldest file was written at"):
        take(export(tmp_path / "?.parquet"))
    written(file, pa.array(["a"]), age=-timedelta(hours=1))
    with pytest.raises(Refused, match="is from the future"):
        take(export(file))


@pytest.mark.parametrize("change", ["written in place", "replaced", "joined by another", "gone"])
def test_a_file_that_changes_while_it_is_read(tmp_path: Path, change: str) -> None:
    file = written(tmp_path / "k.csv", "key\n" + "".join(f"{n}\n" for n in range(1000)))
    source = export(tmp_path / "*.csv")
    reading = FileReading(opened=open_files([source], now=datetime.now(UTC))["legacy"])
    batches = reading.batches()
    assert next(batches)[0] == ("k.csv row 1", "0", None)
    if change == "written in place":
        with file.open("a") as more:
            more.write("new\n")
    elif change == "replaced":
        written(tmp_path / "new", file.read_text()).replace(file)
    elif change == "joined by another":
        written(tmp_path / "l.csv", "key\n1\n")
    else:
        file.unlink()
    with pytest.raises(Refused, match=r"(changed while it was read: run the sweep again|no file matches)"):
        list(batches)


def lake_source(lake: Path, **more: Any) -> ReferenceSettings:
    return ReferenceSettings.model_validate({"name": "shop", "lake": str(lake / "media"), **more})


def test_the_latest_sweep_of_another_lake(tmp_path: Path, take: Take) -> None:
    lake = Lake(tmp_path / "shop").bucket("media")
    now = datetime.now(UTC)
    publish(lake, "one", referenced=["a/old"], gone=["a/gone"], started_at=now - timedelta(hours=5))
    publish(lake, "two", referenced=["a/new"], orphans=["a/orphan"], started_at=now - timedelta(hours=3))
    figures, rows = take(lake_source(tmp_path / "shop"))
    assert [key for key, _, _ in rows] == ["a/new"]
    assert timedelta(hours=2, minutes=59) < now - figures.files[0].written_at < timedelta(hours=3)
    _, rows = take(lake_source(tmp_path / "shop", take="inventory", key={"prepend": "mirror/"}))
    assert sorted(key for key, _, _ in rows) == ["mirror/a/new", "mirror/a/orphan"]
    with pytest.raises(Refused, match=r"media is stale: it was written at .*, longer ago than max_age \(2h\)"):
        take(lake_source(tmp_path / "shop", max_age="2h"))


def test_a_sweep_that_its_own_lake_rejected_is_not_taken(tmp_path: Path, take: Take) -> None:
    """Regression: somebody removed a source there, which stopped deletion there, and here its objects looked like orphans."""
    lake, now = Lake(tmp_path / "shop").bucket("media"), datetime.now(UTC)
    sources = [{"name": name, "database": "app", "sql": "SELECT 1"} for name in ("documents", "avatars")]
    both, one = bucket_settings(references=sources), bucket_settings(references=sources[:1])
    named, kept = ["documents", "avatars"], [f"a/k{n}" for n in range(30)]
    here = lake_source(tmp_path / "shop", max_age="12h")

    first = publish(lake, "one", settings=both, sources=named, started_at=now - timedelta(hours=20), baseline=False)
    refused = (
        rf"^source shop: .*/shop/media holds no sweep within max_age \(12h\) that was accepted there: one tripped baseline: "
        rf"approve {first.digest[:16]} there, if it is right, or sweep there again$"
    )
    with pytest.raises(Refused, match=refused):
        take(here)
    approve(lake, first.digest, [gate for gate in gates_of(lake, first, both) if not gate.passed], by="operator", at=now)
    with pytest.raises(Refused, match="is stale"):
        take(here)

    whole = publish(lake, "two", settings=both, sources=named, referenced=[*kept, "a/avatar"], started_at=now - timedelta(hours=5))
    assert (whole.tripped, {key for key, _, _ in take(here)[1]}) == ((), {*kept, "a/avatar"})

    other = publish(lake, "three", settings=one, referenced=kept, orphans=["a/avatar"], started_at=now - timedelta(hours=3))
    assert other.tripped == ("references_unchanged",)
    figures, rows = take(here)
    assert {key for key, _, _ in rows} == {*kept, "a/avatar"}, "the last that was accepted"
    assert now - figures.files[0].written_at > timedelta(hours=4)
    _, rows = take(lake_source(tmp_path / "shop", take="inventory"))
    assert sorted(key for key, _, _ in rows) == sorted([*kept, "a/avatar"]), "what the bucket holds is no matter of gates"
    with pytest.raises(Refused, match=r"within max_age \(4h\) that was accepted there: three tripped references_unchanged: approve "):
        take(lake_source(tmp_path / "shop", max_age="4h"))

    closed = [gate for gate in gates_of(lake, other, one) if not gate.passed]
    approve(lake, other.digest, [replace(closed[0], name="source_shrink")], by="operator", at=now)
    assert {key for key, _, _ in take(here)[1]} == {*kept, "a/avatar"}, "an approval covers the gates that it names"
    approve(lake, other.digest, closed, by="operator", at=now)
    assert {key for key, _, _ in take(here)[1]} == {*kept}


def test_another_lake_without_a_sweep_that_can_be_read(tmp_path: Path, take: Take) -> None:
    with pytest.raises(Refused, match="holds no published sweep; expected a bucket's folder in a lake"):
        take(lake_source(tmp_path / "shop"))
    lake = Lake(tmp_path / "shop").bucket("media")
    publish(lake, "one", started_at=datetime.now(UTC))
    for part in lake.sweep("one").parquet("references"):
        Path(part).unlink()
    with pytest.raises(Refused, match="holds no references any more"):
        take(lake_source(tmp_path / "shop"))
    lake.sweep("one").manifest.write_text('{"cut')
    with pytest.raises(Refused, match=r"manifest.json cannot be read: cut, edited, or of another release"):
        take(lake_source(tmp_path / "shop"))


def test_a_file_bounds_what_counts_as_old(tmp_path: Path, take: Take) -> None:
    """An object that came after the export is in use, for all that the file knows."""

    now = datetime.now(UTC)
    figures, _ = take(export(written(tmp_path / "k.parquet", pa.array(["a"]), age=timedelta(hours=40))))
    lake = Lake(tmp_path / "lake").bucket("media")
    publish(lake, "one", started_at=now)
    inventory = lake.sweep("one").figures("inventory", InventoryFigures)
    settings = bucket_settings()
    assert _cutoff(inventory, figures, settings) == figures.files[0].written_at - settings.safety.min_age


def test_files_of_one_name_are_told_apart(tmp_path: Path, take: Take) -> None:
    for folder in ("a", "b"):
        written(tmp_path / folder / "part.csv", f"\ufeffkey\n{folder}.jpg\n")
    figures, rows = take(export(tmp_path / "*" / "part.csv"))
    assert rows == [(f"{folder}.jpg", False, f"{tmp_path}/{folder}/part.csv row 1") for folder in ("a", "b")]
    assert figures.sources[0].rows == 2


def test_a_sample_is_of_the_whole_file(tmp_path: Path) -> None:
    keys = [f"k/{n}" for n in range(5000)]
    source = export(written(tmp_path / "k.parquet", pa.array([*keys, None])))
    rows, sample = sample_of_file(open_files([source], now=datetime.now(UTC))["legacy"], size=100)
    assert (rows, sample.keys, len(sample.raws), sample.problem) == (5001, 5000, 100, None)
    assert len(set(sample.raws)) == 100
    assert set(sample.raws) < set(keys)
    assert any(raw in keys[4000:] for raw in sample.raws)
