"""Accidents of other systems that need a past or a clock, rebuilt on snapshots made by hand."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sweep_files import DATABASES, DAY, NOON, bucket_settings, listed, publish, put_references, take_inventory

from orphan_pipeline.errors import Refused
from orphan_pipeline.gates.evaluate import tripped
from orphan_pipeline.lake.files import write_document
from orphan_pipeline.lake.layout import FIGURES, BucketLake
from orphan_pipeline.orphans.acceptance import gates_of
from orphan_pipeline.orphans.manifest import Manifest
from orphan_pipeline.orphans.publish import publish_sweep
from orphan_pipeline.references.snapshot import ReferenceFigures

HOUR = timedelta(hours=1)
WIDE = bucket_settings(safety={"confirmations": 1, "max_orphan_fraction": 0.9})


@pytest.fixture
def lake(tmp_path: Path) -> BucketLake:
    return BucketLake(tmp_path / "media")


def said(lake: BucketLake, manifest: Manifest) -> dict[str, str]:
    return {gate.name: gate.message for gate in tripped(gates_of(lake, manifest, WIDE))}


def test_references_are_read_before_the_inventory(lake: BucketLake) -> None:
    """Paimon 3074: what was written and referenced in between looked like an orphan."""
    publish(lake, "s1", orphans=["a/1"], started_at=NOON)
    sweep = lake.sweep("s1")
    sweep.manifest.unlink()
    figures = sweep.figures("references", ReferenceFigures)
    early = tuple(replace(cut, host_snapshot_at=NOON - HOUR, snapshot_at=NOON - HOUR) for cut in figures.cuts)
    write_document(sweep.stage("references") / FIGURES, ReferenceFigures, replace(figures, cuts=early))
    with pytest.raises(Refused, match="the references of database app were read before the inventory began: run the sweep again"):
        publish_sweep(sweep, name="media", lake=lake, settings=WIDE, databases=DATABASES, reports=(), report=lambda line: None)
    assert not sweep.published


def test_the_inventory_is_taken_again_after_the_references(lake: BucketLake) -> None:
    """The same by another way: a retry from the first stage. The references that were read before it are thrown away."""
    put_references(lake.sweep("s1"), [("a/kept", "documents", False)])
    take_inventory(lake.sweep("s1"), [listed(["a/kept"], last_modified=NOON)])
    assert not lake.sweep("s1").stage("references").exists()


def test_a_file_is_written_while_the_bucket_is_scanned(lake: BucketLake) -> None:
    """JuiceFS 5068, Milvus 27202: the cutoff was taken after the scan, so the file was old enough and not yet referenced."""
    made = publish(
        lake,
        "s1",
        orphans=["a/being-written"],
        referenced=["b/kept"],
        started_at=NOON,
        last_modified=NOON + timedelta(milliseconds=500),
        settings=bucket_settings(safety={"confirmations": 1, "min_age": "0s", "allow_short_min_age": True, "max_orphan_fraction": 0.9}),
    )
    assert made.plans == {}
    assert {hold: amount.objects for hold, amount in made.holds.items()} == {"young": 1}


def test_ten_times_more_than_usual_are_orphans(lake: BucketLake) -> None:
    """Mastodon 33948: ten times more was deleted than expected. The share alone, 4 %, would have told nobody."""
    kept = [f"{prefix}/kept{n}" for prefix in "ab" for n in range(6000)]
    for n in range(3):
        publish(lake, f"s{n}", orphans=[f"a/{i}" for i in range(50 + n)], referenced=kept, started_at=NOON + n * HOUR, settings=WIDE)
    many = publish(lake, "many", orphans=[f"a/{i}" for i in range(510)], referenced=kept, started_at=NOON + DAY, settings=WIDE)
    told = said(lake, many)
    assert told.keys() == {"orphan_growth"}
    assert told["orphan_growth"].startswith(
        "510 orphans, the median of 3 sweeps is 51, and at most 300 are expected: is a source incomplete"
    )


def test_a_new_source_is_forgotten_and_shows_in_the_young_objects_first(lake: BucketLake) -> None:
    """Since a month the application keeps its keys in a new table: of all objects a few, of the newer ones most."""
    old, new = [f"a/old{n}" for n in range(2000)], [f"a/new{n}" for n in range(150)]
    take_inventory(lake.sweep("s1"), [listed(old, last_modified=NOON - 800 * DAY), listed(new, last_modified=NOON - 20 * DAY)])
    made = publish(lake, "s1", referenced=[*old, *new[:30]], started_at=NOON, settings=WIDE, inventory=False)
    told = said(lake, made)
    assert told["age_bands"].startswith("80.0% of the objects that are 7 to 30 days old are orphans, and 0.0% of the older ones: ")
    assert "is a source missing that came into use in that time, or is one read from a stale copy?" in told["age_bands"]
    assert made.tripped == ("baseline", "age_bands")
    assert made.prefixes["a/"].ages["7 to 30 days"].orphans.objects == 120
