"""Rule 15: what we deleted and a row points at pauses deletion of the bucket, until it is back or somebody lets it be."""

import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sweep_files import DATABASES, DAY, NOON, bucket_settings, publish

from orphan_pipeline.deletion.authorise import Authorised, authorise
from orphan_pipeline.deletion.execute import Pretending, execute_plan
from orphan_pipeline.deletion.ledger import LEDGER, Answer, Ledger, LedgerPlan, Outcome, Planned
from orphan_pipeline.deletion.stopping import Limits
from orphan_pipeline.errors import Refused
from orphan_pipeline.lake.files import make_folder
from orphan_pipeline.lake.layout import BucketLake
from orphan_pipeline.orphans.acceptance import closed_gates, gates_of
from orphan_pipeline.orphans.approvals import approved
from orphan_pipeline.orphans.approving import approvable, record_approval
from orphan_pipeline.orphans.manifest import Manifest, read_manifests
from orphan_pipeline.orphans.pauses import MISSED, MISSED_FILE, PauseWatch, refuse_if_paused, standing_pause
from orphan_pipeline.orphans.summary import closing_line

HOUR = timedelta(hours=1)
SETTINGS = bucket_settings(deletion={"mode": "versioned"}, safety={"confirmations": 1, "max_orphan_fraction": 0.9, "min_match_rate": 0.0})
KEPT = ["a/kept", "b/kept"]


@pytest.fixture
def lake(tmp_path: Path) -> BucketLake:
    return BucketLake(tmp_path / "media")


def sweep(lake: BucketLake, sweep_id: str, hours: int, **how: Any) -> Manifest:
    return publish(lake, sweep_id, **{"referenced": KEPT, "started_at": NOON + hours * HOUR, "settings": SETTINGS, **how})


def delete(lake: BucketLake, manifest: Manifest, *keys: str, hours: int, outcome: Outcome = "deleted", code: str | None = None) -> None:
    plan = manifest.plans["a/"]
    ledger = Ledger(lake.ledger(plan.digest, dry_run=False))
    ledger.begin(LedgerPlan(bucket="media", prefix="a/", sweep_id=manifest.sweep_id, digest=plan.digest, dry_run=False))
    ledger.intend(0, run_id="run", at=NOON)
    gone = [Planned(key, "e", 10, NOON) for key in keys]
    ledger.record(0, gone, [Answer(outcome, version_id="v", code=code)] * len(gone), at=NOON + hours * HOUR)


def bring_back(lake: BucketLake, *keys: str, hours: int, outcome: str = "restored") -> None:
    row = {"etag": "e", "size": 10, "last_modified": NOON, "version_id": "v", "code": None, "at": NOON + hours * HOUR, "outcome": outcome}
    folder = lake.restore(f"r{hours}")
    make_folder(folder)
    pq.write_table(pa.Table.from_pylist([{**row, "key": key} for key in keys], schema=LEDGER), folder / "00000000.parquet")


def ask(lake: BucketLake) -> Authorised | None:
    return authorise(lake, "a/", digest=None, settings=SETTINGS, databases=DATABASES, now=NOON + DAY)


def deleted(lake: BucketLake) -> Manifest:
    first = sweep(lake, "s1", 0, orphans=["a/1", "a/2", "a/3"])
    delete(lake, first, "a/1", "a/2", hours=1)
    return first


def test_without_a_ledger_a_dangling_reference_is_no_more_than_that(lake: BucketLake) -> None:
    made = sweep(lake, "s1", 0, gone=["a/1"])
    assert (made.dangling.sources, made.dangling.missed, made.dangling.pause) == ({"documents": 1}, 0, None)
    assert standing_pause(lake) is None
    assert not (lake.root / "pauses").exists()


def test_what_we_deleted_and_nobody_points_at_pauses_nothing(lake: BucketLake) -> None:
    deleted(lake)
    made = sweep(lake, "s2", 2, orphans=["a/3"], gone=["a/other"])
    assert (made.dangling.missed, made.tripped) == (0, ())
    assert not (lake.root / "pauses").exists()
    assert ask(lake) is not None


@pytest.mark.parametrize(
    ("outcome", "code", "missed"),
    [("failed", "MayStillGo", 1), ("failed", "NoAnswer", 1), ("failed", "NotSent", 1), ("failed", "AccessDenied", 0)],
)
def test_a_request_that_nobody_knows_the_end_of_counts_as_carried_out(lake: BucketLake, outcome: Outcome, code: str, missed: int) -> None:
    first = sweep(lake, "s1", 0, orphans=["a/1", "a/2"])
    delete(lake, first, "a/1", hours=1, outcome=outcome, code=code)
    assert sweep(lake, "s2", 2, gone=["a/1"]).dangling.missed == missed


def test_a_reference_to_what_we_deleted_pauses_deletion_and_trips_its_gate(lake: BucketLake) -> None:
    first = deleted(lake)
    made = sweep(lake, "s2", 2, orphans=["a/3"], gone=["a/1", "a/other"])
    assert (made.dangling.missed, made.dangling.missed_sample, made.tripped) == (1, ("a/1",), ("nothing_missed",))
    pause = standing_pause(lake)
    assert pause is not None
    assert (pause.keys, pause.sources, pause.plans) == (1, ("documents",), (first.plans["a/"].digest,))
    assert pause.digest == made.dangling.pause
    missed = pq.read_table(lake.pause("s2") / MISSED_FILE)
    assert missed.select(["key", "source", "plan"]).to_pylist() == [{"key": "a/1", "source": "documents", "plan": pause.plans[0]}]
    assert [(field.name, field.type) for field in missed.schema] == [(field.name, field.type) for field in MISSED]
    with pytest.raises(Refused) as refused:
        ask(lake)
    assert str(refused.value) == (
        f"deletion is paused since {pause.at:%Y-%m-%d %H:%M} UTC: 1 keys that were deleted from here are referenced by source documents, "
        f"such as 'a/1'. Bring them back (orphan-pipeline restore --key KEY, or --plan {pause.plans[0][:16]}) and find out why they were "
        f"orphans; or let it be: orphan-pipeline approve {pause.digest[:16]}"
    )


def test_an_older_plan_that_has_begun_is_paused_too(lake: BucketLake) -> None:
    first = deleted(lake)
    sweep(lake, "s2", 2, orphans=["a/3"], gone=["a/1"])
    with pytest.raises(Refused, match="deletion is paused since"):
        authorise(lake, "a/", digest=first.plans["a/"].digest, settings=SETTINGS, databases=DATABASES, now=NOON + DAY)


def test_a_later_sweep_that_misses_nothing_does_not_lift_the_pause(lake: BucketLake) -> None:
    """The row is gone again; somebody should still look at why it came."""
    deleted(lake)
    sweep(lake, "s2", 2, gone=["a/1"])
    assert sweep(lake, "s3", 3, orphans=["a/3"]).tripped == ()
    with pytest.raises(Refused, match="deletion is paused since") as refused:
        refuse_if_paused(lake)
    [made] = [manifest for manifest in read_manifests(lake) if manifest.sweep_id == "s3"]
    line = closing_line(made, closed_gates(lake, made, gates_of(lake, made, SETTINGS)))
    assert line == f"1 object, 10 bytes wait; {refused.value}", "and not that it is deletable now"


@pytest.mark.parametrize("outcome", ["restored", "newer"])
def test_when_all_of_it_is_back_the_pause_is_over(lake: BucketLake, outcome: str) -> None:
    deleted(lake)
    sweep(lake, "s2", 2, gone=["a/1", "a/2"])
    bring_back(lake, "a/1", hours=3, outcome=outcome)
    assert standing_pause(lake) is not None, "one is still missed"
    bring_back(lake, "a/2", hours=4, outcome=outcome)
    assert standing_pause(lake) is None
    made = sweep(lake, "s3", 5, referenced=[*KEPT, "a/1", "a/2"], orphans=["a/3"])
    assert (made.dangling.missed, made.tripped) == (0, ())
    assert ask(lake) is not None


@pytest.mark.parametrize("outcome", ["lost", "refused", "unknown", "deleted_again", "asked"])
def test_what_was_not_brought_back_is_still_missed(lake: BucketLake, outcome: str) -> None:
    deleted(lake)
    sweep(lake, "s2", 2, gone=["a/1"])
    bring_back(lake, "a/1", hours=3, outcome=outcome)
    assert standing_pause(lake) is not None


def test_what_the_application_deleted_after_we_gave_it_back_is_its_own_affair(lake: BucketLake) -> None:
    deleted(lake)
    bring_back(lake, "a/1", hours=2)
    made = sweep(lake, "s2", 3, gone=["a/1"])
    assert (made.dangling.missed, made.dangling.sources) == (0, {"documents": 1})


def test_a_folder_above_the_lake_is_not_taken_for_a_column(tmp_path: Path) -> None:
    """Regression: below a folder `outcome=lost` every restore counted as lost, and what was back was missed."""
    lake = BucketLake(tmp_path / "outcome=lost" / "key=x" / "media")
    deleted(lake)
    bring_back(lake, "a/1", hours=2)
    assert sweep(lake, "s2", 3, gone=["a/1"]).dangling.missed == 0


@pytest.mark.parametrize("outcome", ["changed", "missing", "failed", "referenced_again", "held"])
def test_what_we_did_not_delete_is_not_missed(lake: BucketLake, outcome: Outcome) -> None:
    delete(lake, sweep(lake, "s1", 0, orphans=["a/1"]), "a/1", hours=1, outcome=outcome)
    assert sweep(lake, "s2", 2, gone=["a/1"]).dangling.missed == 0


def test_whoever_lets_the_pause_be_lets_these_keys_be_for_good(lake: BucketLake) -> None:
    deleted(lake)
    second = sweep(lake, "s2", 2, orphans=["a/3"], gone=["a/1"])
    assert second.dangling.pause is not None
    record_approval(lake, approvable(lake, SETTINGS, second.dangling.pause[:16]), by="anna", at=NOON)
    refuse_if_paused(lake)
    third = sweep(lake, "s3", 3, orphans=["a/3"], gone=["a/1"])
    assert (third.dangling.missed, third.tripped) == (0, ())
    assert ask(lake) is not None
    fourth = sweep(lake, "s4", 4, orphans=["a/3"], gone=["a/1", "a/2"])
    assert (fourth.dangling.missed, fourth.dangling.missed_sample) == (1, ("a/2",))
    with pytest.raises(Refused, match="deletion is paused since"):
        ask(lake)


def test_what_was_let_be_once_is_missed_when_it_is_deleted_again(lake: BucketLake) -> None:
    """Regression: the key was never missed again, whatever was uploaded under it and deleted since."""
    deleted(lake)
    second = sweep(lake, "s2", 2, orphans=["a/3"], gone=["a/1"])
    assert second.dangling.pause is not None
    record_approval(lake, approvable(lake, SETTINGS, second.dangling.pause[:16]), by="anna", at=NOON)
    third = sweep(lake, "s3", 3, orphans=["a/1", "a/3"])
    delete(lake, third, "a/1", hours=4)
    fourth = sweep(lake, "s4", 5, orphans=["a/3"], gone=["a/1"])
    assert (fourth.dangling.missed, fourth.dangling.missed_sample) == (1, ("a/1",))


def test_what_a_killed_run_left_unsettled_is_taken_for_deleted(lake: BucketLake) -> None:
    """Regression: the keys of a chunk without an outcome were unknown to the after-check for as long as nobody ran the plan again."""
    first = sweep(lake, "s1", 0, orphans=["a/1", "a/2", "b/1"])
    plan = first.plans["a/"]
    ledger = Ledger(lake.ledger(plan.digest, dry_run=False))
    ledger.begin(LedgerPlan(bucket="media", prefix="a/", sweep_id="s1", digest=plan.digest, dry_run=False))
    ledger.intend(0, run_id="killed", at=NOON + HOUR)
    second = sweep(lake, "s2", 2, orphans=["a/2"], gone=["a/1", "b/1"])
    assert (second.dangling.missed, second.dangling.missed_sample) == (1, ("a/1",))
    with pytest.raises(Refused, match=rf"'a/1'.*restore --key KEY, or --plan {plan.digest[:16]}"):
        refuse_if_paused(lake)


def test_the_approval_of_the_sweep_lifts_its_pause_as_well(lake: BucketLake) -> None:
    deleted(lake)
    second = sweep(lake, "s2", 2, orphans=["a/3"], gone=["a/1"])
    record_approval(lake, approvable(lake, SETTINGS, second.digest), by="anna", at=NOON)
    assert second.dangling.pause is not None
    lifted = approved(lake, second.dangling.pause)
    assert lifted is not None
    assert (lifted.by, lifted.gates) == ("anna", ("nothing_missed",))
    assert ask(lake) is not None


def test_a_derived_key_is_missed_too(lake: BucketLake) -> None:
    """It is no dangling reference when a thumbnail does not exist; it is one when we took it away."""
    deleted(lake)
    made = sweep(lake, "s2", 2, gone=["a/1"], derived=True)
    assert (made.dangling.sources, made.dangling.missed) == ({}, 1)


def test_what_cannot_be_brought_back_any_more_is_a_dangling_reference_like_any_other(lake: BucketLake) -> None:
    deleted(lake)
    [ledger] = lake.ledger_parquet(since=NOON)
    long_ago = NOON - SETTINGS.deletion.undo_window - HOUR
    os.utime(ledger, (long_ago.timestamp(), long_ago.timestamp()))
    assert sweep(lake, "s2", 0, gone=["a/1"]).dangling.missed == 0
    os.utime(ledger, (NOON.timestamp(), NOON.timestamp()))
    assert sweep(lake, "s3", 1, gone=["a/1"]).dangling.missed == 1


def test_a_pause_that_was_lifted_has_nothing_left_to_approve(lake: BucketLake) -> None:
    deleted(lake)
    made = sweep(lake, "s2", 2, gone=["a/1"])
    bring_back(lake, "a/1", hours=3)
    assert made.dangling.pause is not None
    with pytest.raises(Refused, match="there is nothing to approve: no gate holds back the pause of sweep s2"):
        approvable(lake, SETTINGS, made.dangling.pause)


def test_a_run_under_way_stops_at_its_next_chunk_and_says_why(lake: BucketLake, tmp_path: Path) -> None:
    """A begun plan of an earlier sweep is being carried out when the next sweep finds what was missed."""
    deleted(lake)
    plan = tmp_path / "plan.parquet"
    lines = [{"chunk": n, "key": f"b/{n}", "etag": "e", "size": 10, "last_modified": NOON} for n in range(6)]
    pq.write_table(pa.Table.from_pylist(lines), plan)

    class Meanwhile(Pretending):
        def __call__(self, planned: Sequence[Planned], **how: Any) -> list[Answer]:
            if planned[0].key == "b/2":
                sweep(lake, "s2", 2, orphans=["a/3"], gone=["a/1"])
            return super().__call__(planned, **how)

    watch, of = PauseWatch(lake), LedgerPlan(bucket="media", prefix="b/", sweep_id="s1", digest="d", dry_run=True)
    ledger = Ledger(tmp_path / "ledger")

    def carry_out() -> Any:
        limits = Limits(expires_at=datetime(9999, 1, 1, tzinfo=UTC), paused=watch.words)
        how: dict[str, Any] = {"keys": 6, "limits": limits, "report": lambda _: None}
        return execute_plan(plan, ledger=ledger, of=of, run_id="run", deleter=Meanwhile(), **how)

    ended = carry_out()
    assert (ended.reason, ended.chunks) == ("paused", 3)
    assert "1 keys that were deleted from here are referenced by source documents, such as 'a/1'" in ended.words
    assert carry_out().keys == 0, "it stands"
    bring_back(lake, "a/1", hours=3)
    assert str(carry_out()) == "completed: every chunk of the plan has an outcome"


def test_a_pause_that_was_let_be_is_not_read_again_at_each_chunk(lake: BucketLake, monkeypatch: pytest.MonkeyPatch) -> None:
    deleted(lake)
    sweep(lake, "s2", 2, orphans=["a/3"], gone=["a/1"])
    watch = PauseWatch(lake)
    assert watch.words() is not None
    bring_back(lake, "a/1", hours=3)
    assert watch.words() is None
    monkeypatch.setattr("orphan_pipeline.orphans.pauses.standing_pause", lambda lake: pytest.fail("looked again"))
    assert watch.words() is None
    monkeypatch.undo()
    sweep(lake, "s3", 4, orphans=["a/3"], gone=["a/2"])
    assert "'a/2'" in (watch.words() or "")
