"""What the asset tells of a listing: requests and what they cost, ranges, versions where they were asked for."""

from dataclasses import replace
from datetime import UTC, datetime

from sweep_files import bucket_settings

from orphan_pipeline.assets.inventory_snapshot import _source_metadata, _version_metadata
from orphan_pipeline.inventory.listing.lister import ListingFigures
from orphan_pipeline.inventory.snapshot import Amount, InventoryFigures

AT = datetime(2026, 11, 21, 12, tzinfo=UTC)
LISTING = ListingFigures(requests=20_500, retried=3, pages=20_480, slow_pages=2, in_order=True, ranges=70, pieces=())
FIGURES = InventoryFigures(
    started_at=AT,
    store_clock=AT,
    host_clock=AT,
    seconds=1.0,
    total=Amount(20_480_000, 5),
    unowned=Amount(0, 0),
    prefixes={},
    storage_classes={},
    noncurrent=Amount(7, 70),
    delete_markers=3,
    listing=LISTING,
)


def test_requests_and_what_they_cost() -> None:
    assert _source_metadata(FIGURES) == {
        "source": "listing",
        "requests": 20_500,
        "requests_retried": 3,
        "requests_usd": 0.1025,
        "pages": 20_480,
        "pages_parsed_slowly": 2,
        "ranges": 70,
        "listed_in_utf8_order": True,
    }


def test_of_a_report_its_name() -> None:
    assert _source_metadata(replace(FIGURES, listing=None, report="daily/manifest.json")) == {
        "source": "S3 Inventory report daily/manifest.json"
    }


def test_versions_where_they_were_asked_for() -> None:
    assert _version_metadata(FIGURES, bucket_settings()) == {}
    asked = bucket_settings(inventory={"from": "listing", "versions": True})
    assert _version_metadata(FIGURES, asked) == {"noncurrent_versions": 7, "noncurrent_bytes": 70, "delete_markers": 3}


def test_all_rows_are_what_the_next_listing_expects() -> None:
    assert FIGURES.rows == 20_480_000 + 7 + 3
