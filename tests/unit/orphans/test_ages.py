"""Ages and storage classes are counted as a plain loop counts them."""

from datetime import datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sweep_files import DAY, NOON, bucket_settings, hold_limits, put_references, take_inventory

from orphan_pipeline.inventory.columns import LISTED
from orphan_pipeline.inventory.snapshot import Amount
from orphan_pipeline.lake.layout import BucketLake
from orphan_pipeline.orphans.ages import BANDS, YOUNG, measure_ages
from orphan_pipeline.orphans.snapshot import write_orphan_set

CUTOFF = NOON - 7 * DAY
PREFIXES = ["a/", "b/", "c=d/é/"]
EDGES = sorted({timedelta(0), timedelta(days=7), *(timedelta(days=band.days) for band in BANDS if band.days)})
ages = st.builds(lambda edge, microseconds: edge + timedelta(microseconds=microseconds), st.sampled_from(EDGES), st.integers(-1, 1))
objects = st.tuples(
    st.sampled_from([*PREFIXES, "unowned/"]), ages, st.integers(0, 10**6), st.sampled_from(["STANDARD", "GLACIER"]), st.booleans()
)


def band_of(modified: datetime) -> str:
    if modified >= CUTOFF:
        return YOUNG
    age = NOON - modified
    return next(band.name for band in BANDS if band.days is None or age < timedelta(days=band.days))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.lists(objects, max_size=12))
def test_a_plain_loop_counts_the_same(tmp_path_factory: pytest.TempPathFactory, found: list[tuple[str, timedelta, int, str, bool]]) -> None:
    lake = BucketLake(tmp_path_factory.mktemp("ages"))
    sweep = lake.sweep("s1")
    rows = [
        {"key": f"{prefix}{n}", "size": size, "last_modified": NOON - age, "etag": "e", "storage_class": storage_class}
        for n, (prefix, age, size, storage_class, _) in enumerate(found)
    ]
    bucket = bucket_settings(prefixes=PREFIXES)
    take_inventory(sweep, [pa.RecordBatch.from_pylist(rows, schema=LISTED)], settings=bucket)
    put_references(sweep, [(f"{prefix}{n}", "documents", False) for n, (prefix, *_, kept) in enumerate(found) if kept])
    with sweep.writing("orphans") as folder:
        write_orphan_set(sweep, previous=None, restored=[], sweep_at=NOON, cutoff=CUTOFF, limits=hold_limits(), folder=folder)
        measured = measure_ages(sweep, folder, prefixes=PREFIXES, cutoff=CUTOFF, sweep_at=NOON)

    whole: dict[tuple[str, str], list[int]] = {}
    orphans: dict[tuple[str, str], list[int]] = {}
    by_class: dict[str, list[int]] = {}
    for prefix, age, size, storage_class, kept in found:
        if prefix not in PREFIXES:
            continue
        place = (prefix, band_of(NOON - age))
        whole.setdefault(place, []).append(size)
        if not kept:
            orphans.setdefault(place, []).append(size)
            by_class.setdefault(storage_class, []).append(size)
    counted = {(prefix, name): band for prefix, bands in measured.by_prefix.items() for name, band in bands.items()}
    assert {place: band.inventory for place, band in counted.items()} == {place: Amount(len(s), sum(s)) for place, s in whole.items()}
    assert {place: band.orphans for place, band in counted.items() if band.orphans.objects} == {
        place: Amount(len(s), sum(s)) for place, s in orphans.items()
    }
    assert measured.storage_classes == {name: Amount(len(s), sum(s)) for name, s in by_class.items()}


def test_a_bucket_without_an_orphan_has_ages_all_the_same(tmp_path: Path) -> None:
    sweep = BucketLake(tmp_path).sweep("s1")
    row = {"key": "a/1", "size": 5, "last_modified": NOON - 400 * DAY, "etag": "e", "storage_class": "STANDARD"}
    take_inventory(sweep, [pa.RecordBatch.from_pylist([row], schema=LISTED)])
    folder = sweep.stage("orphans")
    folder.mkdir()
    measured = measure_ages(sweep, folder, prefixes=["a/"], cutoff=CUTOFF, sweep_at=NOON)
    assert measured.storage_classes == {}
    assert {name: (band.inventory, band.orphans) for name, band in measured.by_prefix["a/"].items()} == {
        "1 to 2 years": (Amount(1, 5), Amount(0, 0))
    }
