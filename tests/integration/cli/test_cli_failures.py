"""What the world refuses: an unreachable store or database, credentials that are wrong. One line, exit status 1, no secret in it."""

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from time import monotonic, sleep, time
from typing import Any

import dagster as dg
import psutil
import psycopg
import pytest
from dagster._daemon.controller import DEFAULT_HEARTBEAT_INTERVAL_SECONDS
from dagster._daemon.types import DaemonHeartbeat
from small_world import MakeWorld, World

from cli.conftest import Say
from orphan_pipeline.demo.servers import PostgresServer
from orphan_pipeline.resources.runs import HEARTBEAT_SECONDS, QUEUE_DAEMON

COMMAND = Path(sys.executable).with_name("orphan-pipeline")
NOWHERE = "127.0.0.1:1"


@pytest.fixture(scope="module")
def shared(make_world: MakeWorld, postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("failures"), postgres.create_database("failures"), baseline=False)


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"WORLD_DATABASE_URL": f"postgresql://someone:hunter2-secret@{NOWHERE}/app"}, "database app"),
        ({"WORLD_SECRET_ACCESS_KEY": "hunter2-secret"}, "these credentials are wrong, or may not look at it (the store answered 403)"),
        ({"WORLD_ACCESS_KEY_ID": "hunter2-secret"}, "these credentials are wrong, or may not look at it (the store answered 403)"),
    ],
    ids=["database", "secret key", "access key"],
)
def test_check_is_refused_in_one_line_without_the_secret(shared: World, say: Say, variables: dict[str, str], says: str) -> None:
    said = say(shared, "check", **variables)
    assert (said.status, said.out) == (1, "")
    assert len(said.err.splitlines()) == 1, said.err
    assert says in said.err
    assert "hunter2-secret" not in said.err


def test_check_of_a_store_that_is_not_there(shared: World, say: Say) -> None:
    endpoint = shared.settings["buckets"]["media"]["endpoint"]
    shared.change(endpoint=f"http://{NOWHERE}")
    said = say(shared, "check")
    shared.change(endpoint=endpoint)
    assert (said.status, len(said.err.splitlines())) == (1, 1), said.err
    assert f'Could not connect to the endpoint URL: "http://{NOWHERE}/' in said.err


def test_check_of_a_bucket_that_is_not_there(shared: World, say: Say) -> None:
    bucket = shared.settings["buckets"]["media"]["bucket"]
    shared.change(bucket="nobody-made-this-one")
    said = say(shared, "check")
    shared.change(bucket=bucket)
    assert (said.status, said.err) == (1, "refused: bucket nobody-made-this-one: there is no such bucket (the store answered 404)\n")


def test_a_sweep_whose_database_is_not_there_is_one_line(shared: World, say: Say) -> None:
    said = say(shared, "sweep", "--json", WORLD_DATABASE_URL=f"postgresql://someone:hunter2-secret@{NOWHERE}/app")
    assert said.status == 1
    [line] = [line for line in said.err.splitlines() if line.startswith("sweep of media failed: ")]
    assert line == f"sweep of media failed: {said.json['media']['failure']}"
    assert "database app" in line
    assert "hunter2-secret" not in said.out + said.err


@pytest.mark.parametrize("whom", ["everybody", "the run first"])
def test_ctrl_c_stops_a_sweep_and_everything_it_started(shared: World, whom: str) -> None:
    """SIGINT to the whole process group, as a terminal sends it, while the sweep waits for a table that somebody has locked; and to the
    processes that it started, which may end before the command hears of it."""
    with psycopg.connect(shared.database_url) as connection, connection.cursor() as cursor:
        cursor.execute("LOCK TABLE documents IN ACCESS EXCLUSIVE MODE")
        process = subprocess.Popen(
            [COMMAND, "sweep"],
            env=shared.environment,
            cwd=shared.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # ignored where the tests run in the background of a shell
        )
        _until(lambda: _waits_for_a_lock(shared.database_url), 60)
        started = psutil.Process(process.pid).children(recursive=True)
        if whom == "everybody":
            os.killpg(process.pid, signal.SIGINT)
        else:
            for child in started:
                with suppress(psutil.NoSuchProcess):  # it ended with one that heard of it before
                    child.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert started
    assert (process.returncode, out) == (1, "")
    assert err.splitlines()[-1] == "stopped"
    assert "Traceback" not in err
    _until(lambda: not any(child.is_running() for child in started), 30)
    assert not list((shared.lake / "sweeps").glob("*/manifest.json"))


INTERRUPTED = """
import sys
from pathlib import Path
import dagster as dg
from orphan_pipeline.resources.runs import opened_runs

where, folder = sys.argv[1:]
create = dg.DagsterInstance.create_run

def interrupted(self, *args, **options):
    if where == "create_run":
        create(self, *args, **options)
    raise KeyboardInterrupt

setattr(dg.DagsterInstance, where, interrupted)
with opened_runs(Path(folder)) as runs:
    before = {run.run_id for run in runs.instance.get_runs()}
    try:
        runs.run("media_sweep_job", told=lambda said: None)
    except KeyboardInterrupt:
        print(*(run.status.value for run in runs.instance.get_runs() if run.run_id not in before))
"""


@pytest.mark.parametrize("where", ["create_run", "launch_run"])
def test_ctrl_c_before_a_run_has_started_leaves_none_that_waits_for_ever(shared: World, where: str) -> None:
    """Right before the run is launched, or right after it was made. In a process of its own: Dagster changes what a process does at
    signals."""
    program = [sys.executable, "-c", INTERRUPTED, where, str(shared.folder)]
    ran = subprocess.run(program, env=shared.environment, capture_output=True, text=True, check=False)
    assert ran.stdout.split() == ["CANCELED"], ran.stderr


def test_a_daemon_that_is_gone_does_not_keep_the_command_waiting_for_ever(shared: World, say: Say) -> None:
    """It dies when the run lies in its queue."""
    home = Path(shared.environment["DAGSTER_HOME"])
    home.mkdir(exist_ok=True)
    queued = dg.RunsFilter(statuses=[dg.DagsterRunStatus.QUEUED])
    with dg.DagsterInstance.from_config(str(home)) as instance, ThreadPoolExecutor(1) as pool:

        def beat(seconds_ago: float) -> None:
            instance.add_daemon_heartbeat(DaemonHeartbeat(time() - seconds_ago, QUEUE_DAEMON, "gone", []))

        beat(0)
        command = pool.submit(say, shared, "sweep", "--json")
        while not command.done() and not instance.get_runs(queued):
            beat(0)
            sleep(0.1)
        beat(HEARTBEAT_SECONDS + DEFAULT_HEARTBEAT_INTERVAL_SECONDS + 1)
        said = command.result()
    assert said.status == 1
    assert said.json["media"]["failure"] == "the daemon that was to start the run is gone, and the run with it: try again"


def _waits_for_a_lock(url: str) -> bool:
    with psycopg.connect(url, autocommit=True) as connection:
        found = connection.execute("SELECT count(*) FROM pg_locks WHERE NOT granted").fetchone()
    return found is not None and found[0] > 0


def _until(condition: Any, seconds: float) -> None:
    deadline = monotonic() + seconds
    while not condition():
        assert monotonic() < deadline, "it never came"
        sleep(0.1)
