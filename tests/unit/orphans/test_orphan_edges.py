"""The orphan set at its edges: several files, unowned orphans on wish, precedence of holds, a wrong join, keys that come twice."""

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from slow_engine import Stored
from sweep_files import DAY, NOON, hold_limits, put_inventory, put_references
from test_orphan_set import read, stored, write, write_restored

from orphan_pipeline.errors import Refused
from orphan_pipeline.lake.layout import BucketLake, SweepFolder, prefix_folder
from orphan_pipeline.orphans import queries
from orphan_pipeline.orphans.dangling import write_dangling
from orphan_pipeline.orphans.files import HOLDS, write_prefixes
from orphan_pipeline.orphans.snapshot import write_orphan_set


def sweep_of(lake: Path, objects: Sequence[Stored], references: Sequence[str]) -> SweepFolder:
    sweep = BucketLake(lake).sweep("s")
    put_inventory(sweep, objects)
    put_references(sweep, [(key, "live", False) for key in references])
    return sweep


def holds_of(sweep: SweepFolder, prefix: str = "a/") -> dict[str, str]:
    return {row["key"]: row["hold"] for row in read(sweep.stage("orphans") / prefix_folder(prefix) / "holds.parquet")}


def planned_in(sweep: SweepFolder) -> list[str]:
    return [row["key"] for file in sorted(sweep.stage("orphans").glob("*/plan.parquet")) for row in read(file)]


def in_two_files(folder: Path) -> None:
    table = pq.ParquetFile(folder / "part-00000.parquet").read()
    for number in range(2):
        pq.write_table(table.filter(pa.array([n % 2 == number for n in range(table.num_rows)])), folder / f"part-{number:05}.parquet")


def test_snapshots_of_several_files_are_one(tmp_path: Path) -> None:
    keys = [f"a/{n}" for n in range(20)]
    sweep = sweep_of(tmp_path, [stored(key) for key in keys], [*keys[::3], "a/%31", "a/gone"])
    in_two_files(sweep.stage("inventory"))
    in_two_files(sweep.stage("references"))
    write(sweep)
    assert planned_in(sweep) == sorted(set(keys) - set(keys[::3]) - {"a/1"})
    assert holds_of(sweep) == {"a/1": "ambiguous"}
    with sweep.writing("dangling") as folder:
        assert write_dangling(sweep, folder).sources == {"live": 2}
        assert [row["key"] for row in read(folder / "part-00000.parquet")] == ["a/%31", "a/gone"]


def test_unowned_orphans_are_counted_and_listed_only_on_wish(tmp_path: Path) -> None:
    objects = [stored("a/1"), stored("c/2", prefix=None), stored("c/1", prefix=None), stored("c/kept", prefix=None)]
    sweep = sweep_of(tmp_path, objects, ["c/kept"])
    figures = write(sweep)
    assert figures.amounts[None, "unowned"].objects == 2
    assert not (sweep.stage("orphans") / "unowned.parquet").exists()
    with sweep.writing("orphans") as folder:
        again = write_orphan_set(
            sweep,
            previous=None,
            restored=[],
            sweep_at=NOON,
            cutoff=NOON,
            limits=hold_limits(),
            folder=folder,
            list_unowned=True,
        )
    assert again == figures
    assert [row["key"] for row in read(sweep.stage("orphans") / "unowned.parquet")] == ["c/1", "c/2"]
    assert [path.parent.name for path in sweep.orphan_files()] == ["a%2F", "a%2F"]


def test_each_orphan_has_the_first_reason_that_holds_and_the_evidence_of_the_others(tmp_path: Path) -> None:
    young = NOON + timedelta(hours=1)
    objects = [stored(f"a/{name}", modified=young) for name in ("KEEP.protected", "KEEP.restored", "KEEP.ambiguous", "young")]
    sweep = sweep_of(tmp_path, [*objects, stored("a/unconfirmed")], ["a/keep.protected", "a/keep.restored", "a/keep.ambiguous"])
    restored = write_restored(tmp_path / "restored.parquet", frozenset(o.version for o in objects[:2]))
    write(sweep, restored=restored, limits=hold_limits(protect=["*.protected"], confirmations=2, confirmation_gap=DAY))
    assert holds_of(sweep) == {
        "a/KEEP.protected": "protected",
        "a/KEEP.restored": "restored",
        "a/KEEP.ambiguous": "ambiguous",
        "a/young": "young",
        "a/unconfirmed": "unconfirmed",
    }
    first = next(row for row in read(sweep.orphan_files()[0]) if row["key"] == "a/KEEP.protected")
    assert [first[name] for name in ("protected_by", "restored_at", "resembles", "view")] == [
        "*.protected",
        NOON,
        "a/keep.protected",
        "case",
    ]


def test_a_hold_of_another_kind_does_not_use_up_the_cap(tmp_path: Path) -> None:
    objects = [stored(f"a/{n}", modified=NOON - n * DAY) for n in range(1, 6)]
    sweep = sweep_of(tmp_path, objects, ["A/5"])
    write(sweep, limits=hold_limits(max_deletions=2))
    assert planned_in(sweep) == ["a/3", "a/4"]
    assert holds_of(sweep) == {"a/1": "capped", "a/2": "capped", "a/5": "ambiguous"}


def test_names_with_a_sign_of_a_query_resemble_what_they_are_and_not_each_other(tmp_path: Path) -> None:
    """Thousands of files are called `invoice #n.pdf`; those that nothing references were held for good."""
    objects = [stored(f"a/invoice #{n}.pdf") for n in range(3000)]
    also = [stored("a/invoice "), stored("a/INVOICE #2002.pdf"), stored("a/invoice #1.pdf?v=1"), stored("a/v?v=1"), stored("a/w#1")]
    references = [*(f"a/invoice #{n}.pdf" for n in range(0, 3000, 2)), "a/v?v=2", "a/w%231?v=2"]
    sweep = sweep_of(tmp_path, [*objects, *also], references)
    write(sweep)
    assert planned_in(sweep) == sorted([*(f"a/invoice #{n}.pdf" for n in range(1, 3000, 2)), "a/invoice #1.pdf?v=1", "a/v?v=1"])
    found = {row["key"]: (row["resembles"], row["view"]) for row in read(sweep.orphan_files()[0])}
    assert found == {
        "a/invoice ": ("a/invoice #0.pdf", "query"),
        "a/INVOICE #2002.pdf": ("a/invoice #2002.pdf", "case"),
        "a/w#1": ("a/w%231?v=2", "percent+query"),
    }


def test_a_join_that_lets_a_referenced_key_through_fails_the_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it would where both sides are hashed by two versions of a function."""
    monkeypatch.setattr(
        queries, "UNREFERENCED", queries.UNREFERENCED.replace("SELECT hash(key) AS hashed FROM refs", "SELECT 1::UBIGINT AS hashed")
    )
    sweep = sweep_of(tmp_path, [stored("a/1"), stored("a/2")], ["a/2"])
    with pytest.raises(RuntimeError, match="the join took 'a/2' for an orphan"):
        write(sweep)
    assert not sweep.stage("orphans").exists()


def test_hundreds_of_prefixes_are_written_in_one_pass(tmp_path: Path) -> None:
    prefixes = [f"a/{n:03}/" for n in range(300)]
    objects = [stored(f"{prefix}{n}", prefix=prefix) for n in range(3) for prefix in prefixes]
    sweep = sweep_of(tmp_path, objects, [f"{prefix}0" for prefix in prefixes])
    figures = write(sweep)
    assert list(figures.plans) == prefixes
    assert planned_in(sweep) == sorted(o.key for o in objects if not o.key.endswith("/0"))
    assert {plan.chunks for plan in figures.plans.values()} == {1}


def batch(keys: Sequence[str]) -> pa.RecordBatch:
    schema = pa.schema([pa.field("prefix", pa.string()), *(field.with_nullable(True) for field in HOLDS)])
    row = {"prefix": "a/", "size": 1, "last_modified": NOON, "etag": "e", "storage_class": "STANDARD", "is_multipart": False}
    return pa.RecordBatch.from_pylist([{**row, "first_seen": NOON, "sightings": 1, "sighted_at": NOON, "key": key} for key in keys], schema)


@pytest.mark.parametrize("batches", [[["a/1", "a/2", "a/2"]], [["a/1"], ["a/1"]], [["a/1", "a/2"], ["a/2", "a/3"]]])
def test_a_key_that_comes_twice_is_refused_wherever_batches_end(tmp_path: Path, batches: list[list[str]]) -> None:
    with pytest.raises(Refused, match="more than once"):
        write_prefixes(map(batch, batches), tmp_path)


def test_keys_in_several_batches_are_numbered_on(tmp_path: Path) -> None:
    plan = write_prefixes([batch([f"a/{n}" for n in range(9)]), batch(["a/91", "a/92"])], tmp_path)["a/"]
    assert [row["chunk"] for row in read(tmp_path / plan.file)] == [0] * 10 + [1]
    assert plan.chunks == 2
