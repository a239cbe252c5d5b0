"""Approvals, and which sweeps count: one that tripped a gate is no baseline, no past and no confirmation until someone approves it."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sweep_files import NOON, bucket_settings, publish

from orphan_pipeline.errors import Refused
from orphan_pipeline.gates.evaluate import tripped
from orphan_pipeline.lake.layout import BucketLake
from orphan_pipeline.orphans.acceptance import accepted, gate_limits, gates_of, history_before, last_accepted
from orphan_pipeline.orphans.approvals import approve, approved, overridden
from orphan_pipeline.orphans.approving import approvable, record_approval
from orphan_pipeline.orphans.manifest import Manifest, read_manifests
from orphan_pipeline.settings.model import BucketSettings

HOUR = timedelta(hours=1)
SETTINGS = bucket_settings()
TWICE = bucket_settings(safety={"confirmations": 2, "confirmation_gap": "1h", "max_orphan_fraction": 0.5})


@pytest.fixture
def lake(tmp_path: Path) -> BucketLake:
    return BucketLake(tmp_path)


def let_pass(lake: BucketLake, digest: str, settings: BucketSettings = SETTINGS) -> None:
    record_approval(lake, approvable(lake, settings, digest), by="anna", at=NOON)


def confirming(lake: BucketLake, *, before: datetime, bucket: str = "acme-media") -> Manifest | None:
    return last_accepted(lake, gate_limits(SETTINGS), before=before, store=(bucket, None), manifests=read_manifests(lake))


def test_the_first_approval_of_a_digest_stands_and_names_what_it_overrode(lake: BucketLake) -> None:
    manifest = publish(lake, "s1", orphans=["a/1", "a/2", "a/3"], baseline=False)
    gates = tripped(gates_of(lake, manifest, SETTINGS), prefix="a/")
    first = approve(lake, manifest.digest, gates, by="anna", at=NOON)
    assert first.gates == ("baseline", "orphan_fraction", "prefix_orphan_fraction:a/")
    assert approve(lake, manifest.digest, [], by="bert", at=NOON + HOUR) == first
    assert approve(lake, manifest.digest, gates[1:], by="bert", at=NOON + HOUR) == first
    assert approved(lake, manifest.digest) == first


def test_an_approval_that_overrides_more_answers_for_all_of_it(lake: BucketLake) -> None:
    manifest = publish(lake, "s1", orphans=["a/1", "a/2", "a/3"], baseline=False)
    gates = tripped(gates_of(lake, manifest, SETTINGS), prefix="a/")
    approve(lake, manifest.digest, gates[:1], by="anna", at=NOON)
    second = approve(lake, manifest.digest, gates[1:], by="bert", at=NOON + HOUR)
    assert (second.by, second.gates) == ("bert", ("baseline", "orphan_fraction", "prefix_orphan_fraction:a/"))


def test_an_approval_is_of_one_digest_only(lake: BucketLake) -> None:
    manifest = publish(lake, "s1", orphans=["a/1", "a/2", "a/3"], baseline=False)
    gates = tripped(gates_of(lake, manifest, SETTINGS))
    assert overridden(lake, "d1", "d2") == overridden(lake) == frozenset()
    approve(lake, "d2", gates, by="anna", at=NOON)
    assert overridden(lake, "d1") == frozenset()
    assert overridden(lake, "d1", "d2") == {"baseline", "orphan_fraction"}


@pytest.mark.parametrize("digest", ["", "0123456", "0" * 64])
def test_a_digest_that_nothing_has_approves_nothing(lake: BucketLake, digest: str) -> None:
    publish(lake, "s1", orphans=["a/1", "a/2", "a/3"])
    with pytest.raises(Refused, match="expected at least 8 characters of the digest of one sweep, plan or pause"):
        approvable(lake, SETTINGS, digest)


def test_where_every_gate_passed_there_is_nothing_to_approve(lake: BucketLake) -> None:
    publish(lake, "s1")
    second = publish(lake, "s2")
    with pytest.raises(Refused, match="there is nothing to approve: no gate holds back sweep s2"):
        approvable(lake, SETTINGS, second.digest)


def test_the_approval_of_a_plan_names_the_gates_of_the_bucket_and_of_its_prefix(lake: BucketLake) -> None:
    manifest = publish(lake, "s1", orphans=["a/1", "a/2", "a/3", "b/1", "b/2", "b/3"], baseline=False)
    let_pass(lake, manifest.plans["b/"].digest)
    assert overridden(lake, manifest.plans["b/"].digest) == {"baseline", "orphan_fraction", "prefix_orphan_fraction:b/"}
    assert not accepted(lake, manifest), "one prefix is no sweep"


def test_the_latest_accepted_sweep_confirms_and_a_tripped_one_only_when_it_is_approved(lake: BucketLake) -> None:
    good = publish(lake, "z-good", started_at=NOON)
    bad = publish(lake, "a-bad", started_at=NOON + HOUR, referenced=["a/kept"], orphans=["a/1", "a/2"])
    assert confirming(lake, before=NOON + 2 * HOUR) == good
    let_pass(lake, bad.plans["a/"].digest)
    assert confirming(lake, before=NOON + 2 * HOUR) == good
    let_pass(lake, bad.digest)
    assert confirming(lake, before=NOON + 2 * HOUR) == bad


def test_a_sweep_that_began_later_or_is_not_finished_confirms_nothing(lake: BucketLake) -> None:
    assert confirming(lake, before=NOON) is None
    publish(lake, "s1", started_at=NOON)
    assert confirming(lake, before=NOON) is None
    assert confirming(lake, before=NOON - HOUR) is None
    lake.sweep("s1").manifest.unlink()
    assert confirming(lake, before=NOON + HOUR) is None


def test_a_bucket_under_the_name_of_another_one_has_no_past(lake: BucketLake) -> None:
    publish(lake, "s1", started_at=NOON)
    assert confirming(lake, before=NOON + HOUR, bucket="acme-other") is None
    other = publish(lake, "s2", started_at=NOON + HOUR, settings=bucket_settings(bucket="acme-other"), baseline=False)
    assert (other.tripped, other.confirms) == (("baseline",), None)


def test_a_baseline_survives_a_sweep_that_fails(lake: BucketLake) -> None:
    publish(lake, "s1", started_at=NOON)
    bad = publish(lake, "s2", started_at=NOON + HOUR, gone=["a/gone"], baseline=False)
    assert bad.tripped == ("match_rate",)
    third = publish(lake, "s3", started_at=NOON + 2 * HOUR, baseline=False)
    assert (third.tripped, third.confirms) == ((), "s1")


def test_a_past_is_of_the_last_fourteen_accepted_sweeps(lake: BucketLake) -> None:
    for n in range(17):
        publish(lake, f"s{n:02}", started_at=NOON + n * HOUR, gone=["a/gone"] if n == 10 else ())
    last = publish(lake, "last", started_at=NOON + 20 * HOUR)
    history = history_before(lake, last, read_manifests(lake))
    names = [f"s{n:02}" for n in range(17) if n != 10][-14:]
    assert [one.manifest.sweep_id for one in history.accepted] == names


def test_a_source_that_was_renamed_since_needs_an_approval_once(lake: BucketLake) -> None:
    """The sweep of the old settings read nothing from the source as it is now: it confirms nothing."""
    publish(lake, "s1", started_at=NOON)
    renamed = bucket_settings(references=[{"name": "papers", "database": "app", "sql": "SELECT key FROM documents"}])
    second = publish(lake, "s2", started_at=NOON + HOUR, settings=renamed, sources=["papers"])
    assert (second.confirms, second.tripped) == (None, ("references_unchanged",))
    let_pass(lake, second.digest, renamed)
    third = publish(lake, "s3", started_at=NOON + 2 * HOUR, settings=renamed, sources=["papers"])
    assert (third.confirms, third.tripped) == ("s2", ())


def test_a_source_that_was_removed_since_leaves_the_older_sweep_a_confirmation(lake: BucketLake) -> None:
    """It saw fewer orphans than there are now, and none that was referenced by what is still a source. But somebody has to say that the
    source is rightly gone."""
    both = bucket_settings(
        references=[{"name": name, "database": "app", "sql": "SELECT key FROM documents"} for name in ("documents", "papers")]
    )
    publish(lake, "s1", started_at=NOON, settings=both, sources=["documents", "papers"])
    second = publish(lake, "s2", started_at=NOON + HOUR)
    assert (second.confirms, second.tripped) == ("s1", ("references_unchanged",))


def test_an_object_seen_only_by_a_tripped_sweep_has_not_been_seen(lake: BucketLake) -> None:
    at = datetime(2026, 11, 1, tzinfo=UTC)
    publish(lake, "s1", orphans=["a/1", "a/2", "a/3"], started_at=at, settings=TWICE)
    second = publish(lake, "s2", orphans=["a/1"], started_at=at + HOUR, settings=TWICE)
    assert (second.confirms, list(second.holds), second.plans) == (None, ["unconfirmed"], {})
    third = publish(lake, "s3", orphans=["a/1"], started_at=at + 2 * HOUR, settings=TWICE)
    assert (third.confirms, third.holds, list(third.plans)) == ("s2", {}, ["a/"])


def test_a_sweep_that_failed_in_between_neither_confirms_nor_resets(lake: BucketLake) -> None:
    at = datetime(2026, 11, 1, tzinfo=UTC)
    publish(lake, "s1", orphans=["a/1"], started_at=at, settings=TWICE)
    failed = publish(lake, "s2", orphans=["a/1"], gone=["a/gone"], started_at=at + HOUR, settings=TWICE)
    assert failed.tripped == ("match_rate",)
    unfinished = lake.sweep("s3").stage("inventory")
    unfinished.mkdir(parents=True)
    fourth = publish(lake, "s4", orphans=["a/1"], started_at=at + 3 * HOUR, settings=TWICE)
    assert (fourth.confirms, fourth.holds, list(fourth.plans)) == ("s1", {}, ["a/"])
