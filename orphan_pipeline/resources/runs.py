"""The connection to Dagster's instance: submits runs of our own code location and follows them. Submitted through the workspace, so
that they show in the UI and sensors see them (a run executed in this process would have no remote origin and trigger nothing).

Where a daemon runs, it takes the runs from its queue. Where none does, they are launched from here and end before this process.
"""

import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

import dagster as dg
from dagster._core.remote_representation.code_location import CodeLocation
from dagster._core.remote_representation.external import RemoteRepository
from dagster._core.utils import make_new_run_id
from dagster._core.workspace.context import WorkspaceProcessContext, WorkspaceRequestContext
from dagster._core.workspace.load_target import ModuleTarget
from dagster._daemon.controller import get_daemon_statuses

from orphan_pipeline.errors import Refused
from orphan_pipeline.resources.home import dagster_home, home_of

LOCATION = "orphan_pipeline"
"""The name that workspace.yaml gives the code location: sensors only see runs of their own location."""

PARTITION_TAG = "dagster/partition"
QUEUE_DAEMON = "QUEUED_RUN_COORDINATOR"
HEARTBEAT_SECONDS = 60.0
"""A daemon writes a heartbeat every 30 s; Dagster's own tolerance of 30 minutes would queue runs for a daemon long dead."""

OK = 200
STDOUT, STDERR = 1, 2
POLL_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Told:
    """One thing that a run said: a line of its log, or that a step is done (then `line` is None)."""

    step: str
    line: str | None


INTERRUPTED = "the run was interrupted"


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run ended. `failure` is one line, None after success."""

    run_id: str
    failure: str | None


@dataclass(frozen=True, slots=True)
class Runs:
    """Submits and follows runs in one instance."""

    instance: dg.DagsterInstance
    workspace: WorkspaceRequestContext

    def run(
        self,
        job: str,
        *,
        told: Callable[[Told], None],
        config: Mapping[str, object] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> Ended:
        """Runs one job to its end; `told` hears of its log while it goes on. A partition is the tag `dagster/partition`."""
        run_id = make_new_run_id()
        try:
            self._create(run_id, job, config or {}, tags or {})
            if self._daemon_lives():
                self.instance.submit_run(run_id, self.workspace)
            else:
                self.instance.launch_run(run_id, self.workspace)
            ended = self._follow(run_id, told)
        except KeyboardInterrupt:
            self._cancel(run_id)
            self._follow(run_id, told)
            raise
        if ended.failure == INTERRUPTED:  # a terminal interrupts the run's process too, and that may be heard of first
            raise KeyboardInterrupt
        return ended

    def _cancel(self, run_id: str) -> None:
        run = self.instance.get_run_by_id(run_id)
        if run is not None and run.status is dg.DagsterRunStatus.NOT_STARTED:
            self.instance.report_run_canceled(run)  # nobody else knows of it: it would stay so for good
        elif run is not None:
            self.instance.run_coordinator.cancel_run(run_id)  # the launcher knows nothing of a run that still waits in the queue

    def _create(self, run_id: str, job: str, config: Mapping[str, object], tags: Mapping[str, str]) -> None:
        location, repository = self._location()
        remote_job = repository.get_full_job(job)
        plan = location.get_execution_plan(remote_job, config, step_keys_to_execute=None, known_state=None, instance=self.instance)
        self.instance.create_run(
            job_name=job,
            run_id=run_id,
            run_config=config,
            resolved_op_selection=remote_job.resolved_op_selection,
            step_keys_to_execute=plan.execution_plan_snapshot.step_keys_to_execute,
            op_selection=None,
            status=None,
            root_run_id=None,
            parent_run_id=None,
            tags={**remote_job.tags, **tags},
            job_snapshot=remote_job.job_snapshot,
            execution_plan_snapshot=plan.execution_plan_snapshot,
            parent_job_snapshot=remote_job.parent_job_snapshot,
            remote_job_origin=remote_job.get_remote_origin(),
            job_code_origin=remote_job.get_python_origin(),
            asset_selection=None,
            asset_check_selection=None,
            asset_graph=repository.asset_graph,
        )

    def _location(self) -> tuple[CodeLocation, RemoteRepository]:
        entry = self.workspace.get_location_entry(LOCATION)
        if entry is None or entry.code_location is None:
            error = entry.load_error if entry else None
            raise Refused(f"the code location does not load: {_innermost(error) if error else 'no reason given'}")
        return entry.code_location, next(iter(entry.code_location.get_repositories().values()))

    def _daemon_lives(self) -> bool:
        statuses = get_daemon_statuses(self.instance, [QUEUE_DAEMON], heartbeat_tolerance_seconds=HEARTBEAT_SECONDS, ignore_errors=True)
        return statuses[QUEUE_DAEMON].healthy is True

    def _follow(self, run_id: str, told: Callable[[Told], None]) -> Ended:
        cursor = None
        failure = None
        while True:
            run = self.instance.get_run_by_id(run_id)
            finished = run is None or run.is_finished
            page = self.instance.get_records_for_run(run_id, cursor)
            cursor = page.cursor
            for record in page.records:
                entry = record.event_log_entry
                failure = failure or _failure(entry)
                if entry.dagster_event is None:
                    told(Told(entry.step_key or "", entry.user_message))
                elif entry.dagster_event.is_step_success:
                    told(Told(entry.step_key or "", None))
            if run is not None and run.status is dg.DagsterRunStatus.QUEUED and not self._daemon_lives():
                # Not launched from here instead: a daemon that comes back could launch it a second time.
                self.instance.run_coordinator.cancel_run(run_id)
                return Ended(run_id, "the daemon that was to start the run is gone, and the run with it: try again")
            if finished and not page.has_more:
                succeeded = run is not None and run.is_success
                if run is None or run.status is dg.DagsterRunStatus.CANCELED:  # by somebody else: its own failure says no more
                    failure = None
                return Ended(run_id, None if succeeded else failure or "the run was cancelled or lost: see the Dagster UI")
            time.sleep(POLL_SECONDS)


def webserver_answers(port: int) -> bool:
    """Whether a Dagster webserver answers on this loopback port."""
    try:
        with urlopen(f"http://127.0.0.1:{port}/server_info", timeout=5) as answer:
            return bool(answer.status == OK)
    except OSError:
        return False


def turned_on(beside: Path) -> set[str]:
    """Names of the schedules and sensors that somebody has turned on in this host's instance."""
    if not home_of(beside).exists():
        return set()
    dagster_home(beside)
    with dg.DagsterInstance.get() as instance:
        return {state.instigator_name for state in instance.all_instigator_state() if state.is_running}


@contextmanager
def opened_runs(beside: Path) -> Iterator[Runs]:
    """The instance of this host with our code location loaded, as the environment's settings describe it."""
    home = dagster_home(beside)
    target = ModuleTarget("orphan_pipeline.definitions", attribute=None, working_directory=None, location_name=LOCATION)
    with dg.DagsterInstance.get() as instance, ExitStack() as stack:
        with _children_write_to(home / "runs.log"), warnings.catch_warnings(action="ignore", category=UserWarning):
            # A location that does not load is told in one line by _location; Dagster warns with both stack traces.
            process = stack.enter_context(WorkspaceProcessContext(instance, target, code_server_log_level="ERROR"))
        yield Runs(instance, process.create_request_context())


@contextmanager
def _children_write_to(log: Path) -> Iterator[None]:
    """The code server and its runs write their console log to a file instead of into our terminal, where progress stands; all of it
    is in the run's log as well. They inherit the descriptors of the moment in which they start."""
    sys.stdout.flush()
    sys.stderr.flush()
    terminal = {descriptor: os.dup(descriptor) for descriptor in (STDOUT, STDERR)}
    with log.open("ab") as file:
        for descriptor in terminal:
            os.dup2(file.fileno(), descriptor)
        try:
            yield
        finally:
            for descriptor, saved in terminal.items():
                os.dup2(saved, descriptor)
                os.close(saved)


def _failure(entry: dg.EventLogEntry) -> str | None:
    """The one line of a step that failed: our own where we refused, otherwise the error's; INTERRUPTED if it was."""
    event = entry.dagster_event
    if event is None or not event.is_step_failure:
        return None
    data = event.step_failure_data
    if data.error is not None and data.error.cls_name == dg.DagsterExecutionInterruptedError.__name__:
        return INTERRUPTED
    if data.user_failure_data is not None and data.user_failure_data.description:
        return data.user_failure_data.description
    return _innermost(data.error) if data.error else None


def _innermost(error: object) -> str:
    while getattr(error, "cause", None) is not None:
        error = error.cause  # type: ignore[attr-defined]
    return " ".join(str(getattr(error, "message", error)).split())
