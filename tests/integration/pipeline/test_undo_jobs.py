"""Quarantine, restore, release and purge as the jobs that they are, in this process, on a real store and a real database."""

from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest
from small_world import World

from orphan_pipeline.deletion.lease.lease import leased, register_of
from orphan_pipeline.deletion.undo.renamed import refuse_if_renamed
from orphan_pipeline.errors import Refused
from orphan_pipeline.inventory.clock import StoreTime
from orphan_pipeline.lake.layout import Lake
from pipeline.conftest import Graph

ORPHANS = {f"files/orphan-{i}.bin" for i in range(3)}


def _run(graph: Graph, job: str, **config: Any) -> dg.ExecuteInProcessResult:
    return graph._run(job, **({"run_config": {"ops": {"media__restore": {"config": config}}}} if config else {}))


def test_into_quarantine_back_released_and_purged(world: World, graph: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    inside = f"s3://{world.bucket}/files/quarantine/"  # under a swept prefix: protected whatever the settings say
    world.change(deletion={"mode": "quarantine", "quarantine": inside, "undo_window": "1d"})
    before = world.listed()
    assert graph.sweep().success
    assert graph.delete("files/").success
    copies = {key for key in world.listed() if key.startswith("files/quarantine/")}
    assert {key.split("/", 3)[3] for key in copies} == ORPHANS
    assert world.listed() - copies == before - ORPHANS

    held = graph.manifest(graph.sweep())
    assert held.plans == {}
    assert {hold: amount.objects for hold, amount in held.holds.items()} == {"protected": 3}

    assert graph.restore(prefix="files/", since="1d").success
    assert world.listed() == before | copies
    held = graph.manifest(graph.sweep())
    assert {hold: amount.objects for hold, amount in held.holds.items()} == {"protected": 3, "restored": 3}

    key = "files/orphan-0.bin"
    assert _run(graph, "media_restore_job", release=True, key=key).success
    assert not _run(graph, "media_restore_job", release=True, key=key).success, "nothing is left to release"
    assert not _run(graph, "media_restore_job", release=True).success, "it is not said what"
    released = graph.manifest(graph.sweep())
    assert released.plans["files/"].amount.objects == 1

    class InTwoDays(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return datetime.now(tz or UTC) + timedelta(days=2)

    with monkeypatch.context() as wrong:  # this host's clock alone ends no undo
        wrong.setattr("orphan_pipeline.inventory.clock.datetime", InTwoDays)
        refused = _run(graph, "media_purge_job")
    [event] = [event for event in refused.all_events if event.is_step_failure]
    told = event.step_failure_data.user_failure_data
    assert told is not None
    assert (told.description or "").startswith("the clock of the store is -172,8")
    assert world.listed() == before | copies
    in_two_days = InTwoDays.now()
    monkeypatch.setattr("orphan_pipeline.assets.purged_quarantine.store_time", lambda *_: StoreTime(in_two_days, in_two_days))
    purged = _run(graph, "media_purge_job")
    assert purged.success
    [made] = purged.get_asset_materialization_events()
    assert made.materialization.metadata["dagster/row_count"].value == 1
    assert world.listed() == before | {copy for copy in copies if not copy.endswith(key)}


def test_the_purge_stands_in_the_graph_as_long_as_there_may_be_copies(world: World, graph: Graph) -> None:
    from orphan_pipeline.definitions import build_definitions
    from orphan_pipeline.settings.load import load_settings

    def jobs() -> set[str]:
        return {job.name for job in build_definitions(load_settings(world.file)).get_repository_def().get_all_jobs()}

    assert "media_purge_job" not in jobs()
    world.change(deletion={"mode": "quarantine", "quarantine": f"s3://{world.bucket}/quarantine/"})
    assert "media_purge_job" in jobs()
    assert graph.sweep().success
    assert graph.delete("files/").success
    world.settings["buckets"]["media"]["deletion"] = {"mode": "dry_run"}
    world.change()
    assert "media_purge_job" in jobs(), "the lake remembers"


def test_the_purge_waits_for_whoever_holds_the_lease_and_says_who(world: World, graph: Graph) -> None:
    """Rule 14: a restore, on whatever host, must not lose its copies under its hands."""
    world.change(deletion={"mode": "quarantine", "quarantine": f"s3://{world.bucket}/quarantine/", "lease_wait": "0s"})
    register = register_of(world.client, world.bucket, graph.lake)
    held: dict[str, Any] = {"run_id": "r1", "expiry": timedelta(minutes=2), "wait": timedelta(0), "report": lambda _: None}
    with leased(register, purpose="restore r1", part="everything", **held):
        refused = _run(graph, "media_purge_job")
    assert not refused.success
    [event] = [event for event in refused.all_events if event.is_step_failure]
    told = event.step_failure_data.user_failure_data
    assert told is not None
    assert (told.description or "").startswith(f"the lease of bucket {world.bucket} is held by restore r1 (everything) on ")
    assert _run(graph, "media_purge_job").success
    assert register.read().document is None, "it is given back"


def test_permanent_deletes_exactly_and_cannot_be_restored(world: World, graph: Graph) -> None:
    world.change(deletion={"mode": "permanent"})
    assert graph.sweep().success
    assert graph.delete("files/").success
    found = world.client.list_object_versions(Bucket=world.bucket)
    assert "DeleteMarkers" not in found
    assert not ORPHANS & {version["Key"] for version in found["Versions"]}
    assert not graph.restore(prefix="files/").success


def test_an_entry_that_was_renamed_is_noticed(world: World, graph: Graph) -> None:
    digest = graph.manifest(graph.sweep()).plans["files/"].digest
    assert graph.delete("files/", plan=digest).success
    renamed = Lake(world.folder / "lake").bucket("pictures")
    with pytest.raises(Refused, match=r"the lake has media/ for bucket .* was buckets\.media renamed to buckets\.pictures\?"):
        refuse_if_renamed(renamed, graph.settings)
    refuse_if_renamed(graph.lake, graph.settings)
    refuse_if_renamed(renamed, graph.settings.model_copy(update={"bucket": "another"}))
