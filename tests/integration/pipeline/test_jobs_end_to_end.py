"""The jobs themselves, in this process, on a real store and a real database: sweep, gates, deletion, restore."""

import shutil
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from small_world import MakeWorld, World

from orphan_pipeline.deletion.lease.lease import Lease, leased
from orphan_pipeline.deletion.ledger import Answer, Planned
from orphan_pipeline.deletion.recheck.guard import Recheck
from orphan_pipeline.errors import Refused
from orphan_pipeline.lake.files import write_document
from orphan_pipeline.orphans.approvals import approved
from orphan_pipeline.orphans.approving import approvable, record_approval
from orphan_pipeline.orphans.pauses import PAUSE, Pause
from pipeline.conftest import Graph, MakeGraph

REFERENCED = {f"files/in-use-{i}.bin" for i in range(8)}
ORPHANS = {f"files/orphan-{i}.bin" for i in range(3)}
KEPT = {"kept/a.bin", "kept/b.bin"}
ALL = REFERENCED | ORPHANS | KEPT


@pytest.fixture
def fresh(
    make_world: MakeWorld, tmp_path: Path, database_url: str, make_graph: MakeGraph, monkeypatch: pytest.MonkeyPatch
) -> tuple[World, Graph]:
    """A bucket that was never swept."""
    world = make_world(tmp_path, database_url, baseline=False)
    for name, secret in world.secrets.items():
        monkeypatch.setenv(name, secret)
    return world, make_graph(world.file)


def test_the_first_sweep_fails_and_says_how_to_approve_it_and_the_next_is_held_against_it(fresh: tuple[World, Graph]) -> None:
    world, graph = fresh
    first = graph.sweep()
    assert not first.success
    manifest = graph.manifest(first)
    checks = {check.check_name: check for check in first.get_asset_check_evaluations()}
    assert [name for name, check in checks.items() if not check.passed] == ["baseline"]
    assert checks["baseline"].severity is dg.AssetCheckSeverity.ERROR
    said = checks["baseline"].description
    assert said is not None
    assert said.endswith(f"Nothing is deleted; if this is right: `orphan-pipeline approve {manifest.digest[:16]}`")
    assert _failure(graph.delete("files/")).startswith("gate baseline is tripped: ")

    second = graph.sweep(approve=manifest.digest[:16], approved_by="anna")
    assert second.success, "approved by the configuration of the next sweep, as it can be done in the UI"
    assert graph.manifest(second).confirms == manifest.sweep_id
    assert graph.delete("files/").success
    assert world.listed() == ALL - ORPHANS


def _failure(run: dg.ExecuteInProcessResult) -> str:
    """The one line that the failed step gives."""
    [event] = [event for event in run.all_events if event.is_step_failure]
    told = event.step_failure_data.user_failure_data
    assert told is not None, event.step_failure_data.error
    assert told.description is not None
    assert "\n" not in told.description
    return told.description


def _metadata(run: dg.ExecuteInProcessResult, asset: str) -> dict[str, Any]:
    [event] = run.get_asset_materialization_events()
    assert event.materialization.asset_key == dg.AssetKey(["media", asset])
    return {name: value.value for name, value in event.materialization.metadata.items()}


def test_from_sweep_to_deletion_to_restore(world: World, graph: Graph) -> None:
    assert graph.sweep().success
    second = graph.sweep()
    manifest = graph.manifest(second)
    assert {prefix: plan.amount.objects for prefix, plan in manifest.plans.items()} == {"files/": 3}
    assert set(graph.instance.get_dynamic_partitions("media_prefixes")) == {"files/", "kept/"}

    deletion = graph.delete("files/", plan=manifest.plans["files/"].digest)
    assert deletion.success
    assert world.listed() == ALL - ORPHANS
    assert _metadata(deletion, "deleted_objects")["dagster/partition_row_count"] == 3
    again = graph.delete("files/")
    assert again.success, "a finished plan may be run again"
    assert _metadata(again, "deleted_objects")["dagster/partition_row_count"] == 3
    assert len(world.client.list_object_versions(Bucket=world.bucket)["DeleteMarkers"]) == 3, "nothing is deleted twice"

    assert graph.restore(prefix="files/").success
    assert world.listed() == ALL
    third = graph.manifest(graph.sweep())
    assert third.plans == {}
    assert {hold: amount.objects for hold, amount in third.holds.items()} == {"restored": 3}


def test_a_prefix_with_an_empty_plan_materializes_with_zero_rows(world: World, graph: Graph) -> None:
    assert graph.sweep().success
    run = graph.delete("kept/")
    assert run.success
    assert _metadata(run, "deleted_objects") == {"dagster/partition_row_count": 0, "mode": "versioned"}
    assert world.listed() == ALL


@pytest.mark.parametrize("what", ["kill switch", "window", "cap"])
def test_a_run_that_is_stopped_is_no_failure_and_says_why(world: World, graph: Graph, what: str) -> None:
    """A backfill goes on with its other partitions, and the rest goes next time."""
    assert graph.sweep().success
    hour_ago = datetime.now(UTC) - timedelta(hours=1)
    if what == "kill switch":
        graph.lake.kill_switch.write_text("wait for Ana")
    else:
        world.change(deletion={"not_after": f"{hour_ago:%H:%M}"} if what == "window" else {"max_deletions": 2})
    run = graph.delete("files/")
    assert run.success
    found = _metadata(run, "deleted_objects")
    assert found["ended"].startswith(f"stopped ({what}): ")
    assert found["dagster/partition_row_count"] == 0
    assert world.listed() == ALL
    graph.lake.kill_switch.unlink(missing_ok=True)
    world.change(deletion={"not_after": None, "max_deletions": 3})
    again = graph.delete("files/")
    assert _metadata(again, "deleted_objects")["ended"] == "completed: every chunk of the plan has an outcome"
    assert world.listed() == ALL - ORPHANS


def test_a_run_under_way_stops_when_a_pause_is_declared(world: World, graph: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rule 15. Chunk 0 is ten keys, the rest would be chunk 1."""
    world.put(*(f"files/more-{i}.bin" for i in range(10)))
    world.change(deletion={"before_chunk": ["small_world:meanwhile"]}, safety={"max_orphan_fraction": 0.9})
    assert graph.sweep().success

    def declare(_: object) -> dict[str, str]:
        folder = graph.lake.pause("another sweep")
        pause = Pause(sweep_id="s", at=datetime.now(UTC), keys=1, sample=("k",), sources=("documents",), plans=("p" * 64,), digest="d" * 64)
        write_document(folder / PAUSE, Pause, pause)
        return {}

    monkeypatch.setattr("small_world.meanwhile", declare, raising=False)
    run = graph.delete("files/")
    assert run.success
    found = _metadata(run, "deleted_objects")
    assert found["ended"].startswith("stopped (paused): deletion is paused since ")
    assert found["dagster/partition_row_count"] == 10
    assert _failure(graph.delete("files/")).startswith("deletion is paused since ")


def test_a_dry_run_sends_nothing_and_keeps_its_own_ledger(world: World, graph: Graph) -> None:
    world.change(deletion={"mode": "dry_run"})
    digest = graph.manifest(graph.sweep()).plans["files/"].digest
    run = graph.delete("files/")
    assert _metadata(run, "deleted_objects")["mode"] == "dry_run"
    assert world.listed() == ALL
    assert (world.lake / "dry_runs" / digest).is_dir()
    assert not (world.lake / "ledger").exists()
    world.change(deletion={"mode": "versioned"})
    assert graph.delete("files/").success
    assert world.listed() == ALL - ORPHANS, "the mode is not bound: what was tried dry is then done"


def test_a_tripped_gate_fails_the_run_publishes_the_sweep_and_refuses_deletion_until_it_is_approved(world: World, graph: Graph) -> None:
    world.change(safety={"max_orphan_fraction": 0.1})
    sweep = graph.sweep()
    assert not sweep.success
    manifest = graph.manifest(sweep)
    checks = {check.check_name: check for check in sweep.get_asset_check_evaluations()}
    assert {name for name, check in checks.items() if not check.passed} == {"orphan_fraction", "prefix_orphan_fraction"}
    assert checks["orphan_fraction"].severity is dg.AssetCheckSeverity.ERROR
    assert checks["prefix_orphan_fraction"].severity is dg.AssetCheckSeverity.WARN

    refused = graph.delete("files/", plan=manifest.plans["files/"].digest)
    assert not refused.success
    line = _failure(refused)
    assert line.startswith("gate orphan_fraction is tripped: 23.1% of the owned objects")
    assert line.endswith(f"orphan-pipeline approve {manifest.digest[:16]}")
    assert world.listed() == ALL

    record_approval(graph.lake, approvable(graph.lake, graph.settings, manifest.digest), by="tester", at=datetime.now(UTC))
    assert graph.delete("files/").success
    assert world.listed() == ALL - ORPHANS


def test_a_tripped_gate_of_one_prefix_fails_no_sweep_but_that_prefix(world: World, graph: Graph) -> None:
    world.put(*(f"kept/more-{i}.bin" for i in range(9)))  # orphans: 12 of 22, and most of `kept/`
    world.change(safety={"max_orphan_fraction": 0.6})
    assert graph.sweep().success
    assert graph.delete("files/").success
    refused = graph.delete("kept/")
    assert _failure(refused).startswith("gate prefix_orphan_fraction is tripped: ")
    assert world.listed() == (ALL - ORPHANS) | {f"kept/more-{i}.bin" for i in range(9)}


def test_an_approval_of_another_sweep_approves_nothing(world: World, graph: Graph) -> None:
    world.change(safety={"max_orphan_fraction": 0.1})
    first = graph.manifest(graph.sweep())
    record_approval(graph.lake, approvable(graph.lake, graph.settings, first.digest), by="tester", at=datetime.now(UTC))
    graph.sweep()
    assert not graph.delete("files/").success
    assert world.listed() == ALL


def test_a_deletion_run_approves_by_its_configuration(world: World, graph: Graph) -> None:
    world.change(safety={"max_orphan_fraction": 0.1})
    manifest = graph.manifest(graph.sweep())
    assert not graph.delete("files/").success
    assert graph.delete("files/", approve=manifest.plans["files/"].digest[:16], approved_by="anna").success
    assert world.listed() == ALL - ORPHANS
    approval = approved(graph.lake, manifest.plans["files/"].digest)
    assert approval is not None
    assert (approval.by, approval.gates) == ("anna", ("orphan_fraction", "prefix_orphan_fraction:files/"))


def test_what_the_references_of_a_sweep_tell(world: World, graph: Graph) -> None:
    assert graph.sweep().success
    rows = """'{"attachments": ["files/missing.bin", "elsewhere/a.bin"]}', '{"attachments": ["files/missing.bin"]}'"""
    world.run_sql(f"INSERT INTO documents (data) SELECT unnest(ARRAY[{rows}])::jsonb")
    told: dict[str, dict[str, Any]] = {
        event.asset_key.path[-1]: {name: value.value for name, value in event.materialization.metadata.items()}
        for event in graph.sweep().get_asset_materialization_events()
        if event.asset_key is not None
    }
    references, dangling = told["referenced_keys"], told["dangling_references"]
    [source] = [record.data for record in references["by_source"].records]
    count = references["references_documents"]
    assert (source["references"], source["since_last_sweep"], source["outside_prefixes"]) == (count, 3, 1)
    assert abs(source["distinct_keys_about"] - (count - 1)) <= 2
    assert source["seconds"] > 0
    assert source["received_bytes"] > 0
    assert dangling["match_rate_documents"] == pytest.approx((count - 3) / count, abs=1e-6)
    keys = source["distinct_keys_about"]
    assert dangling["match_rate_of_keys_documents"] == pytest.approx((keys - 2) / keys, abs=1e-6)


def test_a_row_that_points_at_what_was_deleted_pauses_deletion_until_it_is_back(world: World, graph: Graph) -> None:
    """Rule 15, the after-check."""
    assert graph.sweep().success
    assert graph.delete("files/").success
    world.run_sql("""INSERT INTO documents (data) VALUES ('{"attachments": ["files/orphan-1.bin"]}')""")
    world.put("kept/new-orphan.bin")
    sweep = graph.sweep()
    assert not sweep.success
    checks = {check.check_name: check for check in sweep.get_asset_check_evaluations()}
    assert not checks["nothing_missed"].passed
    assert "such as 'files/orphan-1.bin': deletion is paused" in (checks["nothing_missed"].description or "")
    [dangling] = [
        e.materialization for e in sweep.get_asset_materialization_events() if e.asset_key == dg.AssetKey(["media", "dangling_references"])
    ]
    assert dangling.metadata["missed"].value == 1
    assert _failure(graph.delete("kept/")).startswith("deletion is paused since ")

    assert graph.restore(key="files/orphan-1.bin").success
    assert graph.sweep().success
    assert graph.delete("kept/").success
    assert world.listed() == ALL - ORPHANS | {"files/orphan-1.bin"}


@pytest.mark.parametrize("stage", ["referenced_keys", "orphan_set", "dangling_references"])
def test_a_stage_alone_never_borrows_another_sweeps_snapshot(world: World, graph: Graph, stage: str) -> None:
    assert graph.sweep().success
    assert "run the whole sweep job" in _failure(graph.sweep(stage))


def test_an_empty_bucket_trips_the_gate_instead_of_failing_on_nothing(world: World, graph: Graph) -> None:
    for key in ALL:
        world.client.delete_object(Bucket=world.bucket, Key=key)
    run = graph.sweep()
    assert not run.success
    failed = {check.check_name for check in run.get_asset_check_evaluations() if not check.passed}
    assert failed == {"inventory_not_empty", "match_rate"}
    assert graph.manifest(run).plans == {}


def test_the_inventory_alone_succeeds_and_publishes_nothing(world: World, graph: Graph) -> None:
    run = graph.sweep("inventory_snapshot")
    assert run.success
    assert not graph.lake.sweep(run.run_id).published


def test_a_database_that_is_gone_fails_the_sweep_and_publishes_nothing(world: World, graph: Graph) -> None:
    world.run_sql("DROP TABLE documents")
    run = graph.sweep()
    assert "documents" in _failure(run)
    assert not graph.lake.sweep(run.run_id).published


def test_deletion_without_a_sweep_is_refused(fresh: tuple[World, Graph]) -> None:
    _, graph = fresh
    graph.instance.add_dynamic_partitions("media_prefixes", ["files/"])
    assert _failure(graph.delete("files/")) == "there is no finished sweep yet: run the sweep job first"


def test_a_plan_of_another_prefix_is_refused(world: World, graph: Graph) -> None:
    digest = graph.manifest(graph.sweep()).plans["files/"].digest
    assert _failure(graph.delete("kept/", plan=digest)) == f"plan {digest[:12]} is of files/, not of kept/"
    assert world.listed() == ALL


def test_a_plan_that_is_superseded_while_it_waits_for_the_lease_is_refused(
    world: World, graph: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Regression: superseding was looked at before the lease, which may be waited for as long as `lease_wait`."""
    digest = graph.manifest(graph.sweep()).plans["files/"].digest
    lease = leased

    def leased_late(*register: Any, **how: Any) -> AbstractContextManager[Lease]:
        assert graph.sweep().success
        return lease(*register, **how)

    monkeypatch.setattr("orphan_pipeline.assets.guards.leased", leased_late)
    assert "was superseded by sweep" in _failure(graph.delete("files/", plan=digest))
    assert world.listed() == ALL


def test_the_lease_is_looked_at_after_the_databases_answered(world: World, graph: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    """Regression: a pass over a source takes minutes, in which a lease can be lost, and the request went out all the same."""
    assert graph.sweep().success
    asked = Recheck.before
    lost: list[int] = []

    def asked_for_long(recheck: Recheck, chunk: int, planned: Sequence[Planned]) -> Mapping[str, Answer]:
        held = asked(recheck, chunk, planned)
        lost.append(chunk)
        return held

    def check(lease: Lease) -> None:
        if lost:
            raise Refused("the lease was lost meanwhile")

    monkeypatch.setattr(Recheck, "before_request", asked_for_long)
    monkeypatch.setattr(Lease, "check", check)
    assert _failure(graph.delete("files/")) == "the lease was lost meanwhile"
    assert lost
    assert world.listed() == ALL


def test_a_superseded_plan_is_refused_before_it_began(world: World, graph: Graph) -> None:
    digest = graph.manifest(graph.sweep()).plans["files/"].digest
    assert graph.sweep().success
    assert "was superseded by sweep" in _failure(graph.delete("files/", plan=digest))
    assert world.listed() == ALL


def test_a_missing_secret_fails_the_run_in_one_line(world: World, graph: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_DATABASE_URL")
    assert _failure(graph.sweep()) == "environment variable WORLD_DATABASE_URL is not set; the settings name it for a secret"


def test_prefixes_are_registered_even_when_the_last_stage_fails(world: World, graph: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that is lost right after the manifest leaves a sweep that no later run may redo: its prefixes must be known by then."""
    known: list[list[str]] = []

    def lost(*args: object, **kwargs: object) -> None:
        known.append(list(graph.instance.get_dynamic_partitions("media_prefixes")))
        raise KeyError("lost")

    monkeypatch.setattr("orphan_pipeline.assets.orphan_set.publish_sweep", lost)
    assert not graph.sweep().success
    assert [sorted(prefixes) for prefixes in known] == [["files/", "kept/"]]


def test_secrets_stand_in_nothing_that_is_kept(world: World, graph: Graph, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    password = world.database_url.split(":")[2].partition("@")[0]
    assert graph.sweep().success
    assert graph.delete("files/").success
    assert graph.restore(prefix="files/").success
    world.change(safety={"max_orphan_fraction": 0.1})
    assert not graph.sweep().success
    world.run_sql("ALTER TABLE documents RENAME TO gone")
    assert not graph.sweep().success
    world.change(endpoint="http://127.0.0.1:1")
    assert not graph.sweep().success

    said = capfd.readouterr()
    kept = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [path for path in kept if path.suffix == ".db"], "the instance's storage is looked at too"
    for secret in (password, world.store.access_key_id, world.store.secret_access_key):
        assert [path for path in kept if secret.encode() in path.read_bytes()] == []
        assert secret not in said.out + said.err


def test_the_lake_of_a_sweep_can_go_without_breaking_the_next(world: World, graph: Graph) -> None:
    first = graph.sweep()
    shutil.rmtree(graph.lake.sweep(first.run_id).root)
    assert graph.sweep().success
