"""Retention: what may go from the lake goes, what anything still needs stays, and a crash in between leaves nothing half there."""

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sweep_files import DAY, NOON, bucket_settings, publish

from orphan_pipeline.deletion.ledger import Answer, Ledger, LedgerPlan, Planned
from orphan_pipeline.gates.history import SWEEPS
from orphan_pipeline.lake.layout import STAGES, BucketLake
from orphan_pipeline.lake.retention import Freed
from orphan_pipeline.orphans.acceptance import history_before
from orphan_pipeline.orphans.manifest import Manifest, read_manifests
from orphan_pipeline.orphans.retention import ABANDONED_AFTER, keep_what_is_needed, what_is_needed

HOUR = timedelta(hours=1)
SETTINGS = bucket_settings()
MUCH_LATER = datetime.now(UTC) + 100 * DAY


@pytest.fixture
def lake(tmp_path: Path) -> BucketLake:
    return BucketLake(tmp_path / "media")


def sweeps(lake: BucketLake, count: int, **how: Any) -> list[Manifest]:
    return [publish(lake, f"s{n:02}", started_at=NOON + n * HOUR, **how) for n in range(count)]


def keep(lake: BucketLake, *, newest: int = 2, now: datetime = MUCH_LATER) -> Freed:
    return keep_what_is_needed(lake, SETTINGS, sweeps=newest, now=now)


def whole(lake: BucketLake) -> list[str]:
    return [sweep.sweep_id for sweep in lake.sweep_folders() if sweep.stage("inventory").exists()]


def begin(lake: BucketLake, manifest: Manifest, *, finished: bool = True) -> Ledger:
    plan = manifest.plans["a/"]
    ledger = Ledger(lake.ledger(plan.digest, dry_run=False))
    ledger.begin(LedgerPlan(bucket="media", prefix="a/", sweep_id=manifest.sweep_id, digest=plan.digest, dry_run=False))
    ledger.intend(0, run_id="run", at=NOON)
    if finished:
        ledger.record(0, [Planned("a/1", "e", 10, NOON)], [Answer("deleted", version_id="v")], at=NOON)
    return ledger


def test_old_sweeps_go_and_of_those_that_trends_go_by_the_manifest_stays(lake: BucketLake) -> None:
    made = sweeps(lake, SWEEPS + 3)
    before = history_before(lake, publish(lake, "next", started_at=NOON + DAY), read_manifests(lake))
    freed = keep(lake)
    assert freed.sweeps == ("s00", "s01", "s02", "s03")
    assert freed.emptied == tuple(f"s{n:02}" for n in range(4, SWEEPS + 2))
    assert freed.bytes > 0
    assert whole(lake) == ["next", "s16"]
    assert not lake.removed.exists()
    [last] = [manifest for manifest in read_manifests(lake) if manifest.sweep_id == "next"]
    assert history_before(lake, last, read_manifests(lake)).accepted == before.accepted[1:]
    assert [manifest for manifest in read_manifests(lake) if manifest in made] == made[4:]


def test_a_sweep_after_it_is_judged_by_the_same_past(lake: BucketLake) -> None:
    sweeps(lake, 4, referenced=[f"a/{n}" for n in range(20)])
    keep(lake)
    shrunk = publish(lake, "shrunk", started_at=NOON + DAY, referenced=[f"a/{n}" for n in range(10)])
    assert shrunk.tripped == ("source_shrink",)
    assert shrunk.confirms == "s03"


def test_doing_it_again_changes_nothing(lake: BucketLake) -> None:
    sweeps(lake, 5)
    keep(lake)
    assert keep(lake) == Freed((), (), 0)


def test_plans_that_have_not_expired_stay_begun_or_not(lake: BucketLake) -> None:
    made = sweeps(lake, 5, orphans=["a/1"])
    keep(lake, now=made[0].expires_at - timedelta(microseconds=1))
    assert whole(lake) == [manifest.sweep_id for manifest in made]
    keep(lake, now=made[-1].expires_at)
    assert whole(lake) == ["s03", "s04"]


def test_a_sweep_stays_as_long_as_what_its_plan_deleted_can_be_taken_back(lake: BucketLake) -> None:
    made = sweeps(lake, 5, orphans=["a/1"])
    ledger = begin(lake, made[1])
    undo = SETTINGS.deletion.undo_window
    keep(lake, now=made[1].expires_at + undo - timedelta(microseconds=1))
    assert whole(lake) == ["s01", "s03", "s04"]
    keep(lake, now=made[1].expires_at + undo)
    assert whole(lake) == ["s03", "s04"]
    assert ledger.parquet(), "ledgers are never touched"


def test_a_chunk_that_was_broken_off_keeps_its_plan_for_ever(lake: BucketLake) -> None:
    made = sweeps(lake, 5, orphans=["a/1"])
    begin(lake, made[0], finished=False)
    keep(lake)
    assert whole(lake) == ["s00", "s03", "s04"]
    assert (lake.sweep("s00").root / made[0].plans["a/"].file).is_file()


def test_the_last_accepted_sweep_stays_behind_any_number_that_failed(lake: BucketLake) -> None:
    publish(lake, "good", started_at=NOON)
    for n in range(5):
        publish(lake, f"bad{n}", started_at=NOON + (n + 1) * HOUR, gone=["a/gone"])
    freed = keep(lake)
    assert whole(lake) == ["bad3", "bad4", "good"]
    assert (freed.sweeps, freed.emptied) == (("bad0", "bad1", "bad2"), ())
    assert publish(lake, "next", started_at=NOON + DAY).confirms == "good"


def test_the_reasons_are_told(lake: BucketLake) -> None:
    made = sweeps(lake, 5, orphans=["a/1"])
    begin(lake, made[0], finished=False)
    keeping = what_is_needed(lake, SETTINGS, made, sweeps=2, now=MUCH_LATER)
    assert keeping.whole == {"s04": "one of the newest", "s03": "one of the newest", "s00": "a ledger needs its plan"}


def test_an_unfinished_sweep_may_go_on_until_nobody_has_written_to_it_for_a_week(lake: BucketLake) -> None:
    sweeps(lake, 2)
    unfinished = lake.sweep("unfinished").stage("inventory")
    unfinished.mkdir(parents=True)
    (unfinished / "part-00000.parquet").write_bytes(b"x")
    now = datetime.now(UTC)
    assert keep(lake, now=now + ABANDONED_AFTER - HOUR) == Freed((), (), 0)
    assert keep(lake, now=now + ABANDONED_AFTER + HOUR) == Freed(("unfinished",), (), 1)


def test_a_crash_after_the_rename_leaves_whole_sweeps_only_and_the_next_time_cleans_up(
    lake: BucketLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(6):
        publish(lake, f"bad{n}", started_at=NOON + n * HOUR, gone=["a/gone"], baseline=False)
    publish(lake, "good", started_at=NOON + DAY)

    def killed(path: Path) -> None:
        raise KeyboardInterrupt(path)

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            keep(lake)
    assert whole(lake) == ["bad5", "good"]
    assert [m.sweep_id for m in read_manifests(lake)] == ["bad5", "good"]
    assert len(list(lake.removed.iterdir())) == 5
    freed = keep(lake)
    assert freed.sweeps == ()
    assert freed.bytes > 0
    assert not lake.removed.exists()


def test_a_crash_between_two_renames_leaves_a_manifest_with_fewer_stages(lake: BucketLake, monkeypatch: pytest.MonkeyPatch) -> None:
    sweeps(lake, 4)
    renamed: list[Path] = []
    rename = Path.rename

    def killed(self: Path, target: Path) -> Path:
        if len(renamed) == 2:
            raise KeyboardInterrupt(self)
        renamed.append(self)
        return rename(self, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", killed)
        with pytest.raises(KeyboardInterrupt):
            keep(lake)
    assert [path.name for path in renamed] == list(STAGES[:2])
    assert len(read_manifests(lake)) == 4
    assert keep(lake).emptied == ("s00", "s01")
    assert len(read_manifests(lake)) == 4
