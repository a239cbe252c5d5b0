"""A run that was cancelled in a chunk is restored whole or says what is missing, and never beside or before its own plan."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from deletion_helpers import NEVER, Restorable, client_of, delete_now, pace_of, put, recorded, standing, write_plan
from sweep_files import publish

from orphan_pipeline.deletion.deleter import VersionedDeleter
from orphan_pipeline.deletion.execute import execute_plan
from orphan_pipeline.deletion.ledger import Ledger, LedgerPlan
from orphan_pipeline.deletion.requests import remove
from orphan_pipeline.deletion.stopping import Limits
from orphan_pipeline.deletion.undo.notes import refuse_if_restored
from orphan_pipeline.deletion.undo.outcomes import RestoreTotals
from orphan_pipeline.demo.servers import ObjectStore
from orphan_pipeline.errors import Refused
from orphan_pipeline.lake.files import sha256_of, write_document
from orphan_pipeline.lake.layout import BucketLake
from orphan_pipeline.orphans.manifest import Manifest

MakeBucket = Callable[..., str]
KEYS = [f"a/{i:02d}" for i in range(12)]
FIRST, KNOWN, LOST, LATER = KEYS[:4], KEYS[4:8], KEYS[8:10], KEYS[10:]
"""A finished chunk; of the next, in which the run was cancelled: what was answered, what was done unanswered, what the store had not
come to."""


class Cancelled(Restorable):
    """A plan of two chunks whose run was cancelled in the second, and the lake with the sweep that it came from."""

    def __init__(self, store: ObjectStore, bucket: str, folder: Path) -> None:
        self.client, self.bucket, self.lake = client_of(store), bucket, BucketLake(folder / "lake")
        self.planned = put(self.client, bucket, {key: key.encode() for key in KEYS})
        self.manifest = self._published()
        self.plan = self.manifest.plans["a/"]
        self.ledger = Ledger(self.lake.ledger(self.plan.digest, dry_run=False))
        with pytest.raises(KeyboardInterrupt):
            execute_plan(
                self.lake.sweep("s1").root / self.plan.file,
                ledger=self.ledger,
                of=LedgerPlan(bucket="media", prefix="a/", sweep_id="s1", digest=self.plan.digest, dry_run=False),
                run_id="run",
                deleter=self._cancelled_deleter(store),
                keys=len(KEYS),
                limits=Limits(expires_at=NEVER),
                report=lambda _: None,
            )

    def _published(self) -> Manifest:
        """A sweep whose plan holds the objects as the store has them."""
        published = publish(self.lake, "s1", orphans=KEYS, referenced=["a/kept", "b/kept"])
        sweep = self.lake.sweep("s1")
        entry = published.plans["a/"]
        file = write_plan(sweep.root / entry.file, self.planned, canary=len(FIRST))
        manifest = replace(published, plans={"a/": replace(entry, sha256=sha256_of(file))})
        write_document(sweep.manifest, Manifest, manifest)
        return manifest

    def _cancelled_deleter(self, store: ObjectStore) -> VersionedDeleter:
        once: Any = client_of(store, attempts=1)
        requests: list[Any] = []

        def lose_some_then_cancel(parsed: Any, **_: Any) -> None:
            requests.append(parsed)
            if len(requests) == 2:
                parsed["Deleted"] = [line for line in parsed["Deleted"] if line["Key"] not in LOST]

        def cancel(**_: Any) -> None:
            raise KeyboardInterrupt

        once.meta.events.register("before-parameter-build.s3.DeleteObjects", leave_later)
        once.meta.events.register("after-call.s3.DeleteObjects", lose_some_then_cancel)
        looking: Any = client_of(store)
        looking.meta.events.register("before-send.s3.HeadObject", cancel)
        return VersionedDeleter(client=looking, once=once, bucket=self.bucket, pace=pace_of(self.bucket))

    def standing(self) -> set[str]:
        return {key for key, one in standing(self.client, self.bucket).items() if one.current}


def leave_later(params: Any, **_: Any) -> None:
    params["Delete"]["Objects"] = [one for one in params["Delete"]["Objects"] if one["Key"] not in LATER]


@pytest.fixture
def cancelled(seaweedfs: ObjectStore, make_bucket: MakeBucket, tmp_path: Path) -> Cancelled:
    return Cancelled(seaweedfs, make_bucket(seaweedfs, versioned=True), tmp_path)


def totals(**counts: int) -> RestoreTotals:
    return RestoreTotals(**{**dict.fromkeys(("restored", "newer", "deleted_again", "lost", "refused", "unknown"), 0), **counts})


@pytest.mark.parametrize("by", ["plan", "prefix"])
def test_what_was_answered_comes_back_and_what_was_not_is_counted_until_asked_for(cancelled: Cancelled, by: str) -> None:
    plan, prefix = (cancelled.plan.digest[:8], "") if by == "plan" else ("", "a/")
    assert cancelled.standing() == set(LATER)
    assert cancelled.restore("r1", plan=plan, prefix=prefix) == totals(restored=8, unknown=2, standing=2)
    assert cancelled.standing() == {*FIRST, *KNOWN, *LATER}
    assert {line["key"]: (line["outcome"], line["code"]) for line in recorded(cancelled.ledger)} == (
        dict.fromkeys([*FIRST, *KNOWN], ("deleted", None))
        | dict.fromkeys(LOST, ("unknown", "SettledByLooking"))
        | dict.fromkeys(LATER, ("failed", "NotSent"))
    )
    assert (cancelled.ledger.unfinished(), cancelled.ledger.kept(1)) == ([], {})
    assert cancelled.restore("r2", plan=plan, prefix=prefix, include_unknown=True) == totals(restored=10, standing=2)
    assert cancelled.standing() == set(KEYS)


def test_what_the_store_carries_out_after_a_restore_comes_back(cancelled: Cancelled) -> None:
    """Regression: the cancelled run's request was on its way while a restore looked, and `NotSent` was taken for certain."""
    plan = cancelled.plan.digest
    cancelled.restore("r1", plan=plan)
    delete_now(cancelled.client, cancelled.bucket, [one for one in cancelled.planned if one.key in LATER])
    assert cancelled.restore("r2", plan=plan) == totals(restored=8, unknown=4)
    assert cancelled.standing() == {*FIRST, *KNOWN}
    assert cancelled.restore("r3", key=LATER[0]) == totals(restored=1)
    assert cancelled.restore("r4", plan=plan, include_unknown=True) == totals(restored=11, standing=1), (
        "what was left standing and stands is not named"
    )
    assert cancelled.standing() == set(KEYS)


@pytest.mark.parametrize("key", [FIRST[0], KNOWN[0], LOST[0]])
def test_a_key_that_is_named_comes_back_alone(cancelled: Cancelled, key: str) -> None:
    assert cancelled.restore(key=key) == totals(restored=1)
    assert cancelled.standing() == {key, *LATER}


def test_an_unknown_delete_of_a_newer_object_is_not_brought_back(cancelled: Cancelled) -> None:
    put(cancelled.client, cancelled.bucket, {LOST[0]: b"newer"})
    cancelled.client.delete_object(Bucket=cancelled.bucket, Key=LOST[0])
    assert cancelled.restore(prefix="a/", include_unknown=True) == totals(restored=9, lost=1, standing=2)
    assert LOST[0] not in cancelled.standing()


def test_nothing_is_restored_while_the_plan_is_carried_out(cancelled: Cancelled) -> None:
    with cancelled.ledger.exclusively(), pytest.raises(Refused, match="this plan is being executed or restored by process"):
        cancelled.restore(prefix="a/")
    assert cancelled.standing() == set(LATER)
    assert cancelled.lake.restores() == []


@pytest.mark.parametrize(("edited", "line"), [(False, "its file is gone from sweep s1"), (True, "its file in sweep s1 was edited")])
def test_without_its_plan_an_unfinished_chunk_is_not_passed_over(cancelled: Cancelled, edited: bool, line: str) -> None:
    file = cancelled.lake.sweep("s1").root / cancelled.plan.file
    if edited:
        write_plan(file, cancelled.planned[:5], canary=len(FIRST))
    else:
        file.unlink()
    with pytest.raises(Refused, match=f"plan {cancelled.plan.digest[:12]} was broken off in a chunk.*{line}"):
        cancelled.restore(prefix="a/")
    assert cancelled.standing() == set(LATER)


@pytest.mark.parametrize("by", ["plan", "prefix", "key", "nothing"])
def test_a_plan_that_was_restored_goes_no_further(cancelled: Cancelled, by: str) -> None:
    refuse_if_restored(cancelled.lake, cancelled.manifest, cancelled.plan)
    if by == "nothing":  # even a restore that then failed: what it had brought back is not known
        file = cancelled.lake.sweep("s1").root / cancelled.plan.file
        away = file.rename(file.with_suffix(".away"))
        with pytest.raises(Refused, match="its file is gone"):
            cancelled.restore(prefix="a/")
        with pytest.raises(Refused, match="its file is gone"):  # a sweep cannot tell either which of its keys are gone
            publish(cancelled.lake, "s2", orphans=["a/1", "b/1"], referenced=["a/kept", "b/kept"])
        away.rename(file)
    else:
        cancelled.restore(
            plan=cancelled.plan.digest if by == "plan" else "", prefix="a/" if by == "prefix" else "", key=KNOWN[0] if by == "key" else ""
        )
    with pytest.raises(Refused, match=f"plan {cancelled.plan.digest[:12]} of a/ was restored at .* UTC: run a new sweep"):
        refuse_if_restored(cancelled.lake, cancelled.manifest, cancelled.plan)
    later = publish(cancelled.lake, "s3", orphans=["a/1", "b/1"], referenced=["a/kept", "b/kept"])
    for plan in later.plans.values():
        refuse_if_restored(cancelled.lake, later, plan)


def test_a_marker_of_an_odd_key_that_may_not_be_removed_is_an_answer_too(seaweedfs: ObjectStore, make_bucket: MakeBucket) -> None:
    bucket = make_bucket(seaweedfs, versioned=True)
    client: Any = client_of(seaweedfs)
    planned = put(client, bucket, {"new\nline": b"1", "plain": b"2"})
    markers = {key: answer.version_id or "" for key, answer in delete_now(client, bucket, planned).items() if answer is not None}
    client.meta.events.register("after-call.s3.DeleteObject", refuse)
    assert remove(client, bucket, markers) == {"new\nline": "AccessDenied"}


def refuse(http_response: Any, parsed: Any, **_: Any) -> None:
    http_response.status_code = 403
    parsed["Error"] = {"Code": "AccessDenied"}
