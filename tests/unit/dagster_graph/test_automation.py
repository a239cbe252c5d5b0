"""Ticks of the schedule and of the deletion sensor: what they request, and when they request nothing."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from orphan_pipeline.assets.names import Names
from orphan_pipeline.automation import deletion_job, deletion_request, deletion_sensor, sweep_job
from orphan_pipeline.inventory.snapshot import Amount, InventoryFigures
from orphan_pipeline.lake.files import write_document
from orphan_pipeline.lake.layout import BucketLake, Lake
from orphan_pipeline.orphans.manifest import MANIFEST_VERSION, DanglingFigures, Manifest, PlanEntry, PrefixFigures
from orphan_pipeline.references.snapshot import ReferenceFigures

NOW = datetime(2026, 11, 21, 2, 0, tzinfo=UTC)


def _plan(prefix: str) -> PlanEntry:
    return PlanEntry(prefix=prefix, digest=f"digest of {prefix}", file="x", sha256="0" * 64, chunks=1, amount=Amount(3, 30))


def _manifest(sweep_id: str, plans: tuple[str, ...]) -> Manifest:
    amount = Amount(10, 100)
    return Manifest(
        version=MANIFEST_VERSION,
        sweep_id=sweep_id,
        bucket="media",
        cutoff=NOW - timedelta(days=7),
        published_at=NOW,
        expires_at=NOW + timedelta(days=3),
        inventory=InventoryFigures(
            started_at=NOW,
            store_clock=NOW,
            host_clock=NOW,
            seconds=1.0,
            total=amount,
            unowned=Amount(0, 0),
            prefixes=dict.fromkeys((*plans, "kept/"), amount),
            storage_classes={},
        ),
        references=ReferenceFigures(inventory_started_at=NOW, snapshot_at=NOW, sources=(), cuts=()),
        dangling=DanglingFigures(sources={}),
        prefixes={prefix: PrefixFigures(inventory=amount, holds={}, deletable=Amount(3, 30)) for prefix in plans},
        unowned=Amount(0, 0),
        plans={prefix: _plan(prefix) for prefix in plans},
        earliest=None,
        tripped=(),
        confirms=None,
        binding={},
        digest="d" * 64,
    )


@pytest.fixture
def lake(tmp_path: Path) -> BucketLake:
    return Lake(tmp_path).bucket("media")


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def _publish(lake: BucketLake, manifest: Manifest) -> None:
    write_document(lake.sweep(manifest.sweep_id).manifest, Manifest, manifest)


def _sensor(lake: BucketLake) -> dg.SensorDefinition:
    return deletion_sensor("media", lake, after=sweep_job("media"), request=deletion_job("media"))


def _tick(lake: BucketLake, instance: dg.DagsterInstance, run: dg.DagsterRun) -> list[object]:
    context = dg.build_run_status_sensor_context(
        sensor_name=Names("media").sensor,
        dagster_event=dg.DagsterEvent(event_type_value=dg.DagsterEventType.RUN_SUCCESS.value, job_name=run.job_name),
        dagster_instance=instance,
        dagster_run=run,
    )
    answered = _sensor(lake)(context)
    assert isinstance(answered, Iterator)
    return list(answered)


def _run(run_id: str, root_run_id: str | None = None) -> dg.DagsterRun:
    return dg.DagsterRun(job_name="media_sweep_job", run_id=run_id, root_run_id=root_run_id, parent_run_id=root_run_id)


def test_one_deletion_is_requested_for_each_prefix_with_a_plan(lake: BucketLake, instance: dg.DagsterInstance) -> None:
    _publish(lake, _manifest("sweep-1", ("a/", "b c/é/")))
    requests = _tick(lake, instance, _run("sweep-1"))
    assert [(r.run_key, r.partition_key, r.run_config, r.tags) for r in requests if isinstance(r, dg.RunRequest)] == [
        (
            f"sweep-1:{prefix}",
            prefix,
            {"ops": {"media__deleted_objects": {"config": {"plan": f"digest of {prefix}"}}}},
            {"orphan_pipeline/sweep": "sweep-1"},
        )
        for prefix in ("a/", "b c/é/")
    ]
    assert len(requests) == 2


def test_asked_twice_it_gives_the_same_run_keys(lake: BucketLake, instance: dg.DagsterInstance) -> None:
    _publish(lake, _manifest("sweep-1", ("a/", "b/")))
    assert _tick(lake, instance, _run("sweep-1")) == _tick(lake, instance, _run("sweep-1"))


def test_a_retry_from_failure_stands_for_the_sweep_of_its_root_run(lake: BucketLake, instance: dg.DagsterInstance) -> None:
    _publish(lake, _manifest("root", ("a/",)))
    [request] = _tick(lake, instance, _run("retry", root_run_id="root"))
    assert isinstance(request, dg.RunRequest)
    assert request.run_key == "root:a/"


def test_a_run_that_left_no_manifest_requests_nothing(lake: BucketLake, instance: dg.DagsterInstance) -> None:
    _publish(lake, _manifest("another", ("a/",)))
    [skip] = _tick(lake, instance, _run("part-of-a-sweep"))
    assert skip == dg.SkipReason("run part-of-a-sweep left no manifest: it was no whole sweep")


def test_a_sweep_without_plans_requests_nothing(lake: BucketLake, instance: dg.DagsterInstance) -> None:
    _publish(lake, _manifest("sweep-1", ()))
    assert _tick(lake, instance, _run("sweep-1")) == [dg.SkipReason("sweep sweep-1 has nothing to delete")]


def test_the_request_fits_the_deletion_job(definitions: dg.Definitions) -> None:
    request = deletion_request("media", _manifest("sweep-1", ("a/",)), "a/")
    job = definitions.resolve_job_def("media_deletion_job")
    assert dg.validate_run_config(job, request.run_config)


def test_the_nightly_tick_requests_one_sweep(definitions: dg.Definitions, instance: dg.DagsterInstance) -> None:
    schedule = definitions.get_repository_def().get_schedule_def("media_nightly")
    with dg.build_schedule_context(instance=instance, scheduled_execution_time=NOW) as context:
        [request] = schedule.evaluate_tick(context).run_requests or []
    assert (request.partition_key, dict(request.run_config)) == (None, {})
