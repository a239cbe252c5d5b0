"""Approvals, and which sweep may confirm: one that tripped a gate counts for nothing until someone approves it."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sweep_files import NOON, bucket_settings, publish

from orphan_pipeline.gates import evaluate, tripped
from orphan_pipeline.lake.layout import BucketLake
from orphan_pipeline.orphans.approvals import approve, approved, last_accepted
from orphan_pipeline.orphans.publish import gate_limits

HOUR = timedelta(hours=1)
LIMITS = gate_limits(bucket_settings())


@pytest.fixture
def lake(tmp_path: Path) -> BucketLake:
    return BucketLake(tmp_path)


def test_the_first_approval_of_a_digest_stands_and_names_what_it_overrode(lake: BucketLake) -> None:
    manifest = publish(lake, "s1", orphans=["a/1", "a/2", "a/3"])
    gates = tripped(evaluate(manifest, LIMITS), prefix="a/")
    first = approve(lake, manifest.digest, gates, by="anna", at=NOON)
    assert first.gates == ("orphan_fraction", "prefix_orphan_fraction:a/")
    assert approve(lake, manifest.digest, [], by="bert", at=NOON + HOUR) == first
    assert approved(lake, manifest.digest) == first


def test_an_approval_is_of_one_digest_only(lake: BucketLake) -> None:
    assert approved(lake, "d1", "d2") is None
    assert approved(lake) is None
    second = approve(lake, "d2", [], by="anna", at=NOON)
    assert approved(lake, "d1") is None
    assert approved(lake, "d1", "d2") == second
    first = approve(lake, "d1", [], by="anna", at=NOON)
    assert approved(lake, "d1", "d2") == first


def test_the_latest_accepted_sweep_confirms_and_a_tripped_one_only_when_it_is_approved(lake: BucketLake) -> None:
    good = publish(lake, "z-good", started_at=NOON)
    bad = publish(lake, "a-bad", started_at=NOON + HOUR, referenced=["a/kept"], orphans=["a/1", "a/2"])
    assert last_accepted(lake, LIMITS, before=NOON + 2 * HOUR) == good
    approve(lake, bad.plans["a/"].digest, [], by="anna", at=NOON)
    assert last_accepted(lake, LIMITS, before=NOON + 2 * HOUR) == good
    approve(lake, bad.digest, [], by="anna", at=NOON)
    assert last_accepted(lake, LIMITS, before=NOON + 2 * HOUR) == bad


def test_a_sweep_that_began_later_or_is_not_finished_confirms_nothing(lake: BucketLake) -> None:
    assert last_accepted(lake, LIMITS, before=NOON) is None
    publish(lake, "s1", started_at=NOON)
    assert last_accepted(lake, LIMITS, before=NOON) is None
    assert last_accepted(lake, LIMITS, before=NOON - HOUR) is None
    lake.sweep("s1").manifest.unlink()
    assert last_accepted(lake, LIMITS, before=NOON + HOUR) is None


def test_a_source_that_was_renamed_since_does_not_stop_the_next_sweep(lake: BucketLake) -> None:
    """The sweep of the old settings read nothing from the source as it is now: it confirms nothing."""
    publish(lake, "s1", started_at=NOON)
    renamed = bucket_settings(references=[{"name": "papers", "database": "app", "sql": "SELECT key FROM documents"}])
    second = publish(lake, "s2", started_at=NOON + HOUR, settings=renamed, sources=["papers"])
    assert second.confirms is None
    third = publish(lake, "s3", started_at=NOON + 2 * HOUR, settings=renamed, sources=["papers"])
    assert third.confirms == "s2"


def test_a_source_that_was_removed_since_leaves_the_older_sweep_a_confirmation(lake: BucketLake) -> None:
    """It saw fewer orphans than there are now, and none that was referenced by what is still a source."""
    both = bucket_settings(
        references=[{"name": name, "database": "app", "sql": "SELECT key FROM documents"} for name in ("documents", "papers")]
    )
    publish(lake, "s1", started_at=NOON, settings=both, sources=["documents", "papers"])
    assert publish(lake, "s2", started_at=NOON + HOUR).confirms == "s1"


def test_an_object_seen_only_by_a_tripped_sweep_has_not_been_seen(lake: BucketLake) -> None:
    twice = bucket_settings(safety={"confirmations": 2, "confirmation_gap": "1h", "max_orphan_fraction": 0.5})
    at = datetime(2026, 11, 1, tzinfo=UTC)
    publish(lake, "s1", orphans=["a/1", "a/2", "a/3"], started_at=at, settings=twice)
    second = publish(lake, "s2", orphans=["a/1"], started_at=at + HOUR, settings=twice)
    assert (second.confirms, list(second.holds), second.plans) == (None, ["unconfirmed"], {})
    third = publish(lake, "s3", orphans=["a/1"], started_at=at + 2 * HOUR, settings=twice)
    assert (third.confirms, third.holds, list(third.plans)) == ("s2", {}, ["a/"])
