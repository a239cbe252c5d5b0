"""The real webserver and daemon (`dagster dev`), driven over HTTP as the UI drives them, and from the command line beside them.

One server set and one world for the whole module; the tests build on one another, in order.
"""

import json
import os
from pathlib import Path

from small_world import BASELINE

from pipeline.dev import REPOSITORY, RETRY, WORKSPACE, Dev, dev

__all__ = ["dev"]

START_SENSOR = """mutation($given: SensorSelector!) { startSensor(sensorSelector: $given) { __typename ... on PythonError { message } } }"""
BACKFILLS = """query { partitionBackfillsOrError { ... on PartitionBackfills { results { id status numPartitions } } } }"""
PARTITIONS = """query($key: AssetKeyInput!) { assetNodeOrError(assetKey: $key) { ... on AssetNode {
  partitionKeys assetPartitionStatuses { ... on DefaultPartitionStatuses { materializedPartitions } } } } }"""


def test_a_retry_from_failure_goes_on_with_the_same_sweep(dev: Dev) -> None:
    dev.world.run_sql("ALTER TABLE documents RENAME TO elsewhere")
    run_id = dev.launch("media_sweep_job")
    assert dev.ended(run_id) == "FAILURE"
    inventory = dev.world.lake / "sweeps" / run_id / "inventory"
    listed = sorted((path.name, path.stat().st_mtime_ns) for path in inventory.iterdir())
    dev.world.run_sql("ALTER TABLE elsewhere RENAME TO documents")

    written = dev.world.file.read_text()
    assert written.count("- kept/") == 1
    dev.world.file.write_text(written.replace("- kept/", "- other/"))
    edited = dev.ask(RETRY, given={"parentRunId": run_id, "strategy": "FROM_FAILURE"})
    assert dev.ended(edited["run"]["runId"]) == "FAILURE", "what was listed by other prefixes comes into no plan"
    assert _swept(dev) == [inventory.parent]
    assert not (inventory.parent / "manifest.json").exists()
    dev.world.file.write_text(written)

    retry = dev.ask(RETRY, given={"parentRunId": run_id, "strategy": "FROM_FAILURE"})
    assert retry["run"]["rootRunId"] == run_id
    assert dev.ended(retry["run"]["runId"]) == "SUCCESS"
    assert [path.name for path in _swept(dev)] == [run_id], "the retry began no sweep of its own"
    assert json.loads((dev.world.lake / "sweeps" / run_id / "manifest.json").read_text())["sweep_id"] == run_id
    assert sorted((path.name, path.stat().st_mtime_ns) for path in inventory.iterdir()) == listed, "what was done stays as it was"


def _swept(dev: Dev) -> list[Path]:
    return [path for path in (dev.world.lake / "sweeps").iterdir() if path.name != BASELINE]


def test_a_published_sweep_cannot_be_run_again(dev: Dev) -> None:
    [sweep] = _swept(dev)
    before = (sweep / "manifest.json").read_bytes()
    again = dev.ask(RETRY, given={"parentRunId": sweep.name, "strategy": "ALL_STEPS"})
    assert dev.ended(again["run"]["runId"]) == "FAILURE"
    assert (sweep / "manifest.json").read_bytes() == before


def test_a_partition_is_materialized_from_the_ui(dev: Dev) -> None:
    key = {"path": ["media", "deleted_objects"]}
    assert sorted(dev.ask(PARTITIONS, key=key)["partitionKeys"]) == ["files/", "kept/"], "registered with every sensor off"
    run_id = dev.launch("media_deletion_job", tags={"dagster/partition": "kept/"})
    assert dev.ended(run_id) == "SUCCESS"
    assert dev.ask(PARTITIONS, key=key)["assetPartitionStatuses"]["materializedPartitions"] == ["kept/"]


def test_a_backfill_of_two_prefixes_from_the_command_line_is_finished_by_the_daemon(dev: Dev) -> None:
    orphans = {key for key in dev.world.listed() if "orphan" in key}
    assert orphans
    done = dev.command(
        "dagster", "job", "backfill", "-w", WORKSPACE, "-j", "media_deletion_job", "--partitions", "files/,kept/", "--noprompt"
    )
    assert done.returncode == 0, done.stderr
    [backfill] = dev.ask(BACKFILLS)["results"]
    assert backfill["numPartitions"] == 2
    dev.until(lambda: dev.ask(BACKFILLS)["results"][0]["status"] not in ("REQUESTED", "COMPLETED_FAILED"), "the end of the backfill")
    runs = dev.runs(tags=[{"key": "dagster/backfill", "value": backfill["id"]}])
    assert {run["tags"]["dagster/partition"]: dev.ended(run["runId"]) for run in runs} == {"files/": "SUCCESS", "kept/": "SUCCESS"}
    assert not orphans & dev.world.listed()
    assert len(dev.world.listed()) == 10


def test_the_sensor_deletes_after_a_sweep_launched_from_the_ui(dev: Dev) -> None:
    started = dev.ask(START_SENSOR, given={**REPOSITORY, "sensorName": "media_deletion_sensor"})
    assert started["__typename"] == "Sensor", started
    dev.world.put("files/new-orphan.bin")
    sweep_id = dev.launch("media_sweep_job")
    assert dev.ended(sweep_id) == "SUCCESS"
    dev.until(lambda: dev.deletions_after(sweep_id) == {"files/": "SUCCESS"}, "the deletion that the sensor requests")
    assert "files/new-orphan.bin" not in dev.world.listed()
    assert len(dev.world.listed()) == 10


def test_the_sensor_deletes_after_a_sweep_of_the_command_line(dev: Dev) -> None:
    dev.world.put("files/newer-orphan.bin", "kept/orphan.bin")
    swept = dev.command("orphan-pipeline", "sweep", "--json")
    assert swept.returncode == 0, swept.stderr
    sweep_id = json.loads(swept.stdout)["media"]["sweep"]
    wanted = {"files/": "SUCCESS", "kept/": "SUCCESS"}
    dev.until(lambda: dev.deletions_after(sweep_id) == wanted, "the deletions that the sensor requests")
    assert len(dev.world.listed()) == 10
    [run] = dev.runs(runIds=[sweep_id])
    assert run["status"] == "SUCCESS", "the run shows in the UI"


def test_check_tells_that_the_sensor_is_on(dev: Dev) -> None:
    said = dev.command("orphan-pipeline", "check")
    assert said.stdout.splitlines()[-1] == (
        "Deletion is ON: media.deletion.mode is versioned; schedule is stopped; sensor is running "
        "(so after every sweep that passes its gates)."
    )


def test_no_secret_stands_in_what_dagster_keeps(dev: Dev) -> None:
    kept = [path for path in dev.world.folder.rglob("*") if path.is_file() and not path.is_symlink()]
    password = dev.world.database_url.split(":")[2].partition("@")[0]
    for secret in (password, dev.world.store.access_key_id, dev.world.store.secret_access_key):
        assert [path for path in kept if secret.encode() in path.read_bytes()] == []
    assert os.environ.get("WORLD_DATABASE_URL") is None
