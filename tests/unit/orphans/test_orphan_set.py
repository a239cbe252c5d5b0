"""The orphan set: DuckDB against a slow and obvious engine, row by row, and the edges of the chunks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from slow_engine import Orphan, Seen, Stored, Version, earliest, slow_alike, slow_kept, slow_orphans
from sweep_files import DAY, NOON, hold_limits, put_inventory, put_references

from orphan_pipeline.deletion.ledger import LEDGER
from orphan_pipeline.errors import Refused
from orphan_pipeline.inventory.prefixes import OWN_PREFIX
from orphan_pipeline.lake.files import sha256_of
from orphan_pipeline.lake.layout import BucketLake, SweepFolder, prefix_folder
from orphan_pipeline.orphans.snapshot import PLAN, HoldLimits, OrphanFigures, write_orphan_set

HOUR = timedelta(hours=1)
PREFIXES = ("a/", "b=1/", "b=1/é/", None)
NAMES = (
    "1",
    "2",
    "é",
    "e\u0301",
    "É",
    "'",
    "A",
    "a",
    "%41",
    "/a",
    "a?v=1",
    "a#1",
    "a#1?v",
    " ",
    "+",
    "%2520",
    "\n",
    "😀",
    ".keep",
    "\uffff",
)


@dataclass(frozen=True, slots=True)
class World:
    """What the bucket and the databases hold at one sweep. References may repeat, be derived, or name what is not there."""

    sweep_at: datetime
    inventory: Sequence[Stored]
    references: Sequence[tuple[str, str, bool]]
    restored: frozenset[Version]


@st.composite
def objects(draw: st.DrawFn) -> list[Stored]:
    prefix = draw(st.sampled_from(PREFIXES))
    key = f"{prefix or 'other/'}{draw(st.sampled_from(NAMES))}"
    versions = []
    for etag in ("x", "y-2", "x"):
        modified = NOON - draw(st.integers(0, 60)) * 12 * HOUR + timedelta(microseconds=draw(st.integers(0, 1)))
        stored = Stored(
            key=key,
            etag=etag,
            last_modified=modified,
            size=draw(st.integers(0, 2**40)),
            prefix=prefix,
            is_multipart="-" in etag,
        )
        versions.append(stored)
    return versions


@st.composite
def histories(draw: st.DrawFn) -> list[World]:
    """Three sweeps of one bucket: objects come, go, are overwritten and come back; so do references."""
    universe = draw(st.lists(objects(), max_size=14, unique_by=lambda versions: versions[0].key))
    worlds, at = [], NOON
    for _ in range(3):
        at += draw(st.integers(1, 50)) * HOUR
        there = [draw(st.sampled_from([*versions, versions[0], versions[0], None])) for versions in universe]
        inventory = [stored for stored in there if stored]
        written = [versions[0].key for versions in universe]
        keys = st.sampled_from(
            [f"{start}{key}" for key in written for start in ("", "", "https://acme.example/", "acme-media/")] or ["none"]
        )
        references = draw(st.lists(st.tuples(keys, st.sampled_from(["live", "history"]), st.booleans()), max_size=5))
        restored = draw(st.frozensets(st.sampled_from(inventory), max_size=1)) if inventory else frozenset()
        worlds.append(World(at, inventory, references, frozenset(stored.version for stored in restored)))
    return worlds


limits_of_any_kind = st.builds(
    HoldLimits,
    own_prefixes=st.just((OWN_PREFIX,)),
    min_age=st.integers(0, 40).map(lambda n: n * DAY),
    multipart_grace=st.integers(0, 45).map(lambda n: n * DAY),
    confirmations=st.integers(1, 3),
    confirmation_gap=st.integers(0, 50).map(lambda n: n * HOUR),
    max_deletions=st.integers(1, 6),
    protect=st.sampled_from([(), ("**/.keep",), ("/b=1/é/", "A")]),
    hosts=st.sampled_from([(), ("acme-media",)]),
)


def write(
    sweep: SweepFolder,
    *,
    previous: SweepFolder | None = None,
    restored: Sequence[str] = (),
    sweep_at: datetime = NOON,
    cutoff: datetime | None = None,
    limits: HoldLimits | None = None,
    globs: Mapping[str, Sequence[str]] | None = None,
) -> OrphanFigures:
    with sweep.writing("orphans") as folder:
        return write_orphan_set(
            sweep,
            previous=previous,
            restored=list(restored),
            sweep_at=sweep_at,
            cutoff=cutoff or sweep_at,
            limits=limits or hold_limits(),
            folder=folder,
            globs=globs,
        )


def read(path: Path) -> list[dict[str, Any]]:
    return pq.ParquetFile(path).read().to_pylist()


def as_row(orphan: Orphan) -> dict[str, Any]:
    stored, seen = orphan.stored, orphan.seen
    row: dict[str, Any] = {name: getattr(stored, name) for name in ("key", "size", "last_modified", "etag", "is_multipart")}
    row |= {"storage_class": "STANDARD", "first_seen": seen.first_seen, "sightings": seen.sightings, "sighted_at": seen.sighted_at}
    if orphan.hold is None:
        return {"chunk": orphan.chunk, **row}
    evidence = {name: getattr(orphan, name) for name in ("hold", "ready_at", "protected_by", "restored_at", "resembles", "view")}
    return {**evidence, **row}


def write_restored(path: Path, versions: frozenset[Version]) -> list[str]:
    """As a restore leaves it, and twice, since one object can be brought back more than once."""
    rows = [
        {"key": key, "etag": etag, "size": 1, "last_modified": at, "outcome": "restored", "at": NOON} for key, etag, at in sorted(versions)
    ]
    pq.write_table(pa.Table.from_pylist([*rows, *rows], schema=LEDGER), path)
    return [str(path)]


templates = st.sampled_from(["{dir}{stem}*", "{dir}*", "{up}**", "{key}?*", "{dir}%*{suffix}"])
globs_of_any_kind = st.dictionaries(st.sampled_from(["live", "history", "other"]), st.lists(templates, min_size=1, max_size=2), max_size=2)


@settings(max_examples=40, deadline=None)
@given(worlds=histories(), limits=limits_of_any_kind, slack=st.integers(0, 2), globs=globs_of_any_kind)
def test_three_sweeps_agree_with_the_slow_engine_row_by_row(
    worlds: list[World], limits: HoldLimits, slack: int, globs: dict[str, list[str]]
) -> None:
    with TemporaryDirectory() as folder:
        lake = BucketLake(Path(folder))
        previous: SweepFolder | None = None
        seen: dict[Version, Seen] = {}
        for number, world in enumerate(worlds):
            sweep = lake.sweep(f"sweep-{number}")
            put_inventory(sweep, world.inventory)
            put_references(sweep, world.references)
            cutoff = world.sweep_at - limits.min_age - slack * timedelta(seconds=1)
            restored = write_restored(Path(folder) / f"restored-{number}.parquet", world.restored)
            figures = write(sweep, previous=previous, restored=restored, sweep_at=world.sweep_at, cutoff=cutoff, limits=limits, globs=globs)
            referenced = {key for key, _, _ in world.references}
            kept = slow_kept(world.inventory, world.references, globs)
            expected = slow_orphans(
                world.inventory,
                referenced,
                previous=seen,
                restored=dict.fromkeys(world.restored, NOON),
                sweep_at=world.sweep_at,
                cutoff=cutoff,
                limits=limits,
                kept=kept,
            )
            assert_same(sweep, figures, expected)
            assert_nothing_referenced_is_deletable(expected, referenced, kept, limits)
            previous, seen = sweep, {o.stored.version: o.seen for o in expected if o.hold != "unowned"}


def assert_nothing_referenced_is_deletable(orphans: list[Orphan], referenced: set[str], kept: set[str], limits: HoldLimits) -> None:
    """Of the slow engine, to whose rows the files are compared."""
    deletable = [o.stored.key for o in orphans if o.hold is None]
    assert [key for key in deletable if any(slow_alike(key, reference, limits.hosts) for reference in referenced)] == []
    assert {o.stored.key for o in orphans} & (referenced | kept) == set()


def assert_same(sweep: SweepFolder, figures: OrphanFigures, expected: list[Orphan]) -> None:
    stage = sweep.stage("orphans")
    by_key = sorted(expected, key=lambda orphan: orphan.stored.key.encode())
    prefixes = {o.stored.prefix for o in expected if o.stored.prefix is not None}
    assert {path.name for path in stage.iterdir()} == {prefix_folder(prefix) for prefix in prefixes}
    for prefix in prefixes:
        folder = stage / prefix_folder(prefix)
        own = [o for o in by_key if o.stored.prefix == prefix]
        assert read(folder / "holds.parquet") == [as_row(o) for o in own if o.hold is not None]
        planned = [as_row(o) for o in own if o.hold is None]
        assert (prefix in figures.plans) == bool(planned) == (folder / "plan.parquet").exists()
        if planned:
            plan = figures.plans[prefix]
            assert stage / plan.file == folder / "plan.parquet"
            assert (read(stage / plan.file), plan.chunks) == (planned, planned[-1]["chunk"] + 1)
            assert plan.sha256 == sha256_of(stage / plan.file)
    groups = {(o.stored.prefix, o.hold) for o in expected}
    assert {group: (amount.objects, amount.bytes) for group, amount in figures.amounts.items()} == {
        group: (len(sizes), sum(sizes))
        for group in groups
        for sizes in [[o.stored.size for o in expected if (o.stored.prefix, o.hold) == group]]
    }
    assert (figures.earliest and (figures.earliest.at, figures.earliest.hold)) == earliest(expected)


def stored(key: str, *, prefix: str | None = "a/", modified: datetime = NOON - DAY, etag: str = "x") -> Stored:
    return Stored(key=key, etag=etag, last_modified=modified, size=1, prefix=prefix, is_multipart="-" in etag)


@pytest.mark.parametrize(("rows", "sizes"), [(1, [1]), (10, [10]), (11, [10, 1]), (1010, [10, 1000]), (1011, [10, 1000, 1])])
def test_the_first_chunk_is_ten_keys_and_the_others_a_thousand(tmp_path: Path, rows: int, sizes: list[int]) -> None:
    sweep = BucketLake(tmp_path).sweep("s")
    put_inventory(sweep, [stored(f"a/{n}") for n in range(rows)])
    put_references(sweep, [])
    plan = write(sweep).plans["a/"]
    chunks = [row["chunk"] for row in read(sweep.stage("orphans") / plan.file)]
    assert chunks == [number for number, size in enumerate(sizes) for _ in range(size)]
    assert plan.chunks == len(sizes)


def test_a_plan_has_the_columns_that_it_documents(tmp_path: Path) -> None:
    sweep = BucketLake(tmp_path).sweep("s")
    put_inventory(sweep, [stored("a/1")])
    put_references(sweep, [])
    plan = write(sweep).plans["a/"]
    schema = pq.read_schema(sweep.stage("orphans") / plan.file)
    assert [(field.name, field.type) for field in schema] == [(field.name, field.type) for field in PLAN]


def test_an_empty_bucket_gives_an_empty_orphan_set(tmp_path: Path) -> None:
    sweep = BucketLake(tmp_path).sweep("s")
    put_inventory(sweep, [])
    put_references(sweep, [("a/1", "live", False)])
    assert write(sweep) == OrphanFigures(amounts={}, plans={}, earliest=None)


@pytest.mark.parametrize("missing", ["inventory", "references"])
def test_a_snapshot_without_a_file_fails_and_is_never_taken_for_an_empty_one(tmp_path: Path, missing: str) -> None:
    sweep = BucketLake(tmp_path).sweep("s")
    put_inventory(sweep, [stored("a/1")])
    put_references(sweep, [("a/2", "live", False)])
    (sweep.root / missing / "part-00000.parquet").unlink()
    with pytest.raises((duckdb.Error, RuntimeError)):
        write(sweep)
    assert not sweep.stage("orphans").exists()


@pytest.mark.parametrize("hidden", [False, True])
def test_an_orphan_that_is_listed_twice_is_refused(tmp_path: Path, hidden: bool) -> None:
    """It would be deleted twice: where the ETag is ignored, that is a second delete marker."""
    sweep = BucketLake(tmp_path).sweep("s")
    put_inventory(sweep, [stored("a/1"), stored("a/2"), stored("a/1", etag="y" if hidden else "x")])
    put_references(sweep, [("a/2", "live", False)])
    with pytest.raises(Refused) as refused:
        write(sweep, limits=hold_limits(confirmations=2 if hidden else 1))
    assert str(refused.value) == "the inventory holds 'a/1' more than once: the list changed while it was read, run a new sweep"


def test_a_reference_listed_twice_and_one_that_is_derived_keep_their_objects(tmp_path: Path) -> None:
    sweep = BucketLake(tmp_path).sweep("s")
    put_inventory(sweep, [stored("a/1"), stored("a/2"), stored("a/3"), stored("a/3 ")])
    put_references(sweep, [("a/1", "live", False), ("a/1", "live", False), ("a/1", "history", False), ("a/2", "live", True)])
    plan = write(sweep).plans["a/"]
    assert [row["key"] for row in read(sweep.stage("orphans") / plan.file)] == ["a/3", "a/3 "]


def test_a_folder_above_the_lake_that_is_named_like_a_column_changes_nothing(tmp_path: Path) -> None:
    sweep = BucketLake(tmp_path / "chunk=7" / "key=a" / "prefix=b" / "source=c").sweep("s")
    put_inventory(sweep, [stored("a/1"), stored("a/2")])
    put_references(sweep, [("a/2", "live", False)])
    plan = write(sweep).plans["a/"]
    assert (plan.chunks, [row["key"] for row in read(sweep.stage("orphans") / plan.file)]) == (1, ["a/1"])


def test_a_hold_names_what_it_waits_for_in_the_end(tmp_path: Path) -> None:
    """Too young for an hour more, but not confirmed before tomorrow."""
    sweep = BucketLake(tmp_path).sweep("s")
    put_inventory(sweep, [stored("a/1", modified=NOON - DAY + HOUR)])
    put_references(sweep, [])
    limits = hold_limits(min_age=DAY, confirmations=2, confirmation_gap=20 * HOUR)
    figures = write(sweep, cutoff=NOON - DAY, limits=limits)
    assert list(figures.amounts) == [("a/", "young")]
    assert figures.earliest is not None
    assert (figures.earliest.at, figures.earliest.hold) == (NOON + 20 * HOUR, "unconfirmed")


def test_an_object_written_at_the_cutoff_is_young_and_one_written_just_before_is_not(tmp_path: Path) -> None:
    sweep = BucketLake(tmp_path).sweep("s")
    grace = timedelta(days=45)
    instant = timedelta(microseconds=1)
    put_inventory(
        sweep,
        [
            stored("a/at", modified=NOON),
            stored("a/before", modified=NOON - instant),
            stored("a/multipart-at", modified=NOON - grace, etag="x-2"),
            stored("a/multipart-before", modified=NOON - grace - instant, etag="x-2"),
        ],
    )
    put_references(sweep, [])
    plan = write(sweep, limits=hold_limits(multipart_grace=grace)).plans["a/"]
    assert [row["key"] for row in read(sweep.stage("orphans") / plan.file)] == ["a/before", "a/multipart-before"]


@pytest.mark.parametrize(("short", "deletable"), [(timedelta(), True), (timedelta(microseconds=1), False)])
def test_two_sweeps_count_as_two_when_the_gap_is_over_to_the_instant(tmp_path: Path, short: timedelta, deletable: bool) -> None:
    lake, gap = BucketLake(tmp_path), timedelta(days=45)
    for sweep_id in ("s1", "s2"):
        put_inventory(lake.sweep(sweep_id), [stored("a/1")])
        put_references(lake.sweep(sweep_id), [])
    limits = hold_limits(confirmations=2, confirmation_gap=gap)
    assert list(write(lake.sweep("s1"), limits=limits).amounts) == [("a/", "unconfirmed")]
    second = write(lake.sweep("s2"), previous=lake.sweep("s1"), sweep_at=NOON + gap - short, cutoff=NOON, limits=limits)
    assert list(second.amounts) == [("a/", None if deletable else "unconfirmed")]


def test_the_cap_leaves_the_oldest_over_all_prefixes(tmp_path: Path) -> None:
    sweep = BucketLake(tmp_path).sweep("s")
    put_inventory(sweep, [stored(f"{p}{n}", prefix=p, modified=NOON - n * DAY) for n in range(1, 5) for p in ("a/", "b/")])
    put_references(sweep, [])
    figures = write(sweep, limits=hold_limits(max_deletions=3))
    plans = [row["key"] for plan in figures.plans.values() for row in read(sweep.stage("orphans") / plan.file)]
    assert plans == ["a/3", "a/4", "b/4"]
