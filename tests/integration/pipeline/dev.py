"""A real webserver and daemon (`dagster dev`) over a small world, driven over HTTP as the UI drives them."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from time import monotonic, sleep
from typing import Any
from urllib.request import Request, urlopen

import pytest
from small_world import MakeWorld, World

from orphan_pipeline.demo.processes import free_ports, running, wait_until
from orphan_pipeline.demo.servers import PostgresServer
from orphan_pipeline.resources.home import dagster_home
from orphan_pipeline.resources.runs import webserver_answers

WORKSPACE = Path(__file__).parents[3] / "workspace.yaml"
BIN = Path(sys.executable).parent
REPOSITORY = {"repositoryLocationName": "orphan_pipeline", "repositoryName": "__repository__"}
PATIENCE_SECONDS = 120.0

LAUNCH = """mutation($given: ExecutionParams!) { launchRun(executionParams: $given) {
  __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message }
  ... on RunConfigValidationInvalid { errors { message } } } }"""
RETRY = """mutation($given: ReexecutionParams!) { launchRunReexecution(reexecutionParams: $given) {
  __typename ... on LaunchRunSuccess { run { runId rootRunId } } ... on PythonError { message } } }"""
RUNS = """query($filter: RunsFilter!) { runsOrError(filter: $filter) {
  ... on Runs { results { runId status rootRunId tags { key value } } } } }"""


@dataclass(frozen=True, slots=True)
class Dev:
    world: World
    port: int

    def ask(self, query: str, **variables: object) -> Any:
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = Request(f"http://127.0.0.1:{self.port}/graphql", data=body, headers={"Content-Type": "application/json"})
        with urlopen(request, timeout=30) as answer:
            told = json.load(answer)
        assert "errors" not in told, told["errors"]
        [value] = told["data"].values()
        return value

    def launch(self, job: str, *, tags: dict[str, str] | None = None, config: dict[str, Any] | None = None) -> str:
        launched = self.ask(
            LAUNCH,
            given={
                "selector": {**REPOSITORY, "jobName": job},
                "runConfigData": config or {},
                "executionMetadata": {"tags": [{"key": key, "value": value} for key, value in (tags or {}).items()]},
            },
        )
        assert launched["__typename"] == "LaunchRunSuccess", launched
        return str(launched["run"]["runId"])

    def runs(self, **wanted: object) -> list[dict[str, Any]]:
        found = self.ask(RUNS, filter=wanted)["results"]
        return [{**run, "tags": {tag["key"]: tag["value"] for tag in run["tags"]}} for run in found]

    def ended(self, run_id: str) -> str:
        """How a run ended, once it has."""

        def status() -> str | None:
            [run] = self.runs(runIds=[run_id])
            return run["status"] if run["status"] in ("SUCCESS", "FAILURE", "CANCELED") else None

        found = self.until(status, f"the end of run {run_id}")
        assert isinstance(found, str)
        return found

    def deletions_after(self, sweep_id: str) -> dict[str, str]:
        """The status of each deletion run that was requested for a sweep, by prefix."""
        runs = self.runs(pipelineName="media_deletion_job", tags=[{"key": "orphan_pipeline/sweep", "value": sweep_id}])
        assert len({run["tags"]["dagster/partition"] for run in runs}) == len(runs), "a prefix was requested twice"
        return {run["tags"]["dagster/partition"]: run["status"] for run in runs}

    def until(self, condition: Callable[[], object], what: str) -> object:
        deadline = monotonic() + PATIENCE_SECONDS
        while not (found := condition()):
            assert monotonic() < deadline, f"{what} never came"
            sleep(0.2)
        return found

    def command(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [BIN / arguments[0], *arguments[1:]],
            env=self.world.environment,
            cwd=self.world.folder,
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture(scope="module")
def dev(make_world: MakeWorld, postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    world = make_world(tmp_path_factory.mktemp("dev"), postgres.create_database(f"dev_{token_hex(4)}"))
    [port] = free_ports(1)
    log = world.folder / "dagster.log"
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("DAGSTER_HOME", world.environment["DAGSTER_HOME"])
        dagster_home(world.folder)
    program: list[str | Path] = [sys.executable, "-m", "dagster", "dev", "-w", WORKSPACE, "-h", "127.0.0.1", "-p", str(port)]
    with running(program, log=log, cwd=world.folder, env=world.environment) as process:
        wait_until("dagster dev", process, log, lambda: webserver_answers(port))
        yield Dev(world, port)
    assert "Traceback" not in log.read_text()
