"""The demo: real servers, a filled bucket, two sweeps, deletion by prefix, a comparison of the bucket with what it should be, a restore,
and the comparison again. Every step goes through the same jobs that an operator uses; nothing here knows how they work."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import yaml

from orphan_pipeline.cli.approve import approve_as_operator
from orphan_pipeline.cli.common import err, lake_of, out, print_table
from orphan_pipeline.cli.delete import delete_plans
from orphan_pipeline.cli.plan import show_sweep, sweep_figures
from orphan_pipeline.cli.restore import restore_what
from orphan_pipeline.cli.sweep import sweep_bucket
from orphan_pipeline.demo.data import BUCKET, DemoData, demo_data
from orphan_pipeline.demo.fill import create_bucket, fill_bucket, fill_database, old_enough_at, upload_young
from orphan_pipeline.demo.judge import Verdict, judge
from orphan_pipeline.demo.processes import free_ports, running, wait_until
from orphan_pipeline.demo.servers import Servers, running_servers
from orphan_pipeline.demo.settings_file import MIN_AGE, render_settings, settings_environment
from orphan_pipeline.digests import shown
from orphan_pipeline.errors import Refused
from orphan_pipeline.lake.layout import BucketLake
from orphan_pipeline.orphans.approving import approvable
from orphan_pipeline.orphans.manifest import Manifest
from orphan_pipeline.progress import Progress
from orphan_pipeline.resources.runs import LOCATION, Runs, opened_runs, webserver_answers
from orphan_pipeline.settings.load import VARIABLE, load_settings
from orphan_pipeline.settings.model import BucketSettings, Settings

NAME = "media"
RESTORED_PREFIX = "avatars/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Demo:
    """What the steps work on."""

    folder: Path
    servers: Servers
    data: DemoData
    settings: Settings
    filled_at: datetime
    seconds: dict[str, float]

    @property
    def bucket(self) -> BucketSettings:
        return self.settings.buckets[NAME]

    @property
    def lake(self) -> BucketLake:
        return lake_of(self.settings, NAME)

    @contextmanager
    def step(self, name: str, command: str = "") -> Iterator[None]:
        began = monotonic()
        out.print(f"\n[bold]{name}[/bold]" + (f"  [dim]$ orphan-pipeline {command}[/dim]" if command else ""))
        yield
        self.seconds[name] = round(monotonic() - began, 1)


def run_demo(folder: Path, *, objects: int, keep: bool) -> dict[str, Any]:
    """Runs the demo below `folder` and gives its summary. Raises Refused when the bucket is not what it should be.

    With `keep`, servers and the Dagster UI stay up until Ctrl-C once all is proven.
    """
    began = monotonic()
    with running_servers(folder) as servers:
        demo = _filled(folder, servers, objects)
        with opened_runs(folder) as runs:
            summary = _shown(demo, runs)
        summary |= {"seconds": {**demo.seconds, "total": round(monotonic() - began, 1)}}
        print_table("the demo", ["what", "found"], _summary_lines(summary))
        if keep:
            _keep(demo)
    return summary


def _filled(folder: Path, servers: Servers, objects: int) -> Demo:
    began = monotonic()
    data = demo_data(objects)
    out.print(f"[bold]Fill[/bold] a versioned bucket with {objects:,} objects and a database with two tables")
    create_bucket(servers.store)
    with err.status("fill: starting") as status:
        progress = Progress("fill", "objects", status.update, total=objects, every_seconds=1.0)
        filled_at = fill_bucket(servers.store, data, progress.add)
    url = servers.postgres.create_database("demo")
    fill_database(url, data)
    seconds = {"Fill": round(monotonic() - began, 1)}
    environment = settings_environment(servers.store, url)
    file = folder / "orphan_pipeline.yaml"
    file.write_text(render_settings(servers.store), encoding="utf-8")
    os.environ |= {**environment, VARIABLE: str(file), "DAGSTER_HOME": str(folder / "dagster")}
    _write_secrets(folder / "demo.env", {**environment, VARIABLE: str(file), "DAGSTER_HOME": str(folder / "dagster")})
    return Demo(folder=folder, servers=servers, data=data, settings=load_settings(file), filled_at=filled_at, seconds=seconds)


def _shown(demo: Demo, runs: Runs) -> dict[str, Any]:
    client = demo.servers.store.client()
    with demo.step("First sweep: every orphan is still too young, or seen only once", "sweep"):
        first = _first_sweep(demo, runs)
    with demo.step("Approve it as the bucket's baseline: later sweeps are held against it", f"approve {shown(first.digest)}"):
        approved = approve_as_operator(demo.lake, approvable(demo.lake, demo.bucket, first.digest))
        out.print(f"  gates overridden, once, by {approved.by}: {', '.join(approved.gates)}", markup=False)
    with demo.step("Wait until the objects are of age"):
        _wait_until(old_enough_at(demo.filled_at, MIN_AGE))
    with demo.step("Second sweep: gates and plans", "sweep"):
        manifest = _sweep(demo, runs)
        show_sweep(demo.settings, demo.bucket, manifest)
    with demo.step("Delete, prefix by prefix", "delete --all"):
        deleted = delete_plans(runs, demo.settings, NAME, manifest, list(manifest.plans.values()))
        if deleted.failure is not None:
            raise Refused(f"demo: the deletion failed: {deleted.failure}")
    with demo.step("Compare the bucket, object by object, with what it should be"):
        after_deletion = _proven(judge(client, BUCKET, demo.data, deleted=True, sample=2_000))
    with demo.step(f"Restore one prefix, {RESTORED_PREFIX}", f"restore --prefix {RESTORED_PREFIX}"):
        restored = restore_what(runs, demo.settings, NAME, prefix=RESTORED_PREFIX)
        if restored.failure is not None:
            raise Refused(f"demo: the restore failed: {restored.failure}")
    with demo.step("Compare again: what was restored is back, content and all"):
        after_restore = _proven(judge(client, BUCKET, demo.data, deleted=True, restored_prefix=RESTORED_PREFIX))
    return {
        "sweep": sweep_figures(demo.settings, demo.bucket, manifest),
        "deleted": {prefix: {o: amount.objects for o, amount in t.items()} for prefix, t in deleted.totals.items()},
        "restored": restored.outcomes,
        "after_deletion": _verdict_figures(after_deletion),
        "after_restore": _verdict_figures(after_restore),
    }


def _first_sweep(demo: Demo, runs: Runs) -> Manifest:
    """Nothing was accepted before it, so the gate `baseline` fails its run, and must."""
    upload_young(demo.servers.store, demo.data)
    swept = sweep_bucket(runs, demo.settings, NAME)
    if swept.manifest is None or swept.manifest.tripped != ("baseline",):
        raise Refused(f"demo: the first sweep should have tripped the gate `baseline` and no other: {swept.failure}")
    return swept.manifest


def _sweep(demo: Demo, runs: Runs) -> Manifest:
    upload_young(demo.servers.store, demo.data)
    swept = sweep_bucket(runs, demo.settings, NAME)
    if swept.failure is not None or swept.manifest is None:
        raise Refused(f"demo: the sweep failed: {swept.failure}")
    return swept.manifest


def _wait_until(moment: datetime) -> None:
    with err.status("waiting") as status:
        while (left := moment - datetime.now(UTC)) > timedelta(0):
            status.update(f"waiting: {left.total_seconds():.0f} s until min_age ({MIN_AGE.total_seconds():.0f} s here) is over")
            sleep(min(1.0, left.total_seconds()))


def _proven(verdict: Verdict) -> Verdict:
    if not verdict.ok:
        kinds = "; ".join(f"{len(keys):,} {kind} (such as {keys[0]!r})" for kind, keys in verdict.failures().items())
        raise Refused(f"demo: THE BUCKET IS NOT WHAT IT SHOULD BE: {kinds}")
    out.print(
        f"  {verdict.listed:,} objects, {verdict.markers:,} delete markers, {verdict.contents_read:,} contents read: all as it should be"
    )
    return verdict


def _verdict_figures(verdict: Verdict) -> dict[str, Any]:
    figures = asdict(verdict)
    return {name: len(value) if isinstance(value, tuple) else value for name, value in figures.items()}


def _summary_lines(summary: dict[str, Any]) -> list[list[object]]:
    sweep, after = summary["sweep"], summary["after_deletion"]
    deleted = sum(outcomes.get("deleted", 0) for outcomes in summary["deleted"].values())
    return [
        ["objects in the bucket", f"{sweep['objects']:,}"],
        ["orphans under the declared prefixes", f"{sweep['orphans']:,}"],
        ["held", ", ".join(f"{count:,} {hold}" for hold, count in sweep["holds"].items())],
        ["unowned, left alone", f"{sweep['unowned']:,}"],
        ["dangling references", f"{sum(source['dangling'] for source in sweep['sources'].values()):,}"],
        ["deleted", f"{deleted:,}"],
        ["referenced objects lost", f"{after['lost']:,}"],
        ["expected orphans left", f"{after['left']:,}"],
        ["restored, and proven", f"{summary['restored'].get('restored', 0):,}"],
        ["seconds", f"{summary['seconds']['total']:,}"],
    ]


def _keep(demo: Demo) -> None:
    """Leaves all of it up, with the Dagster UI and its daemon, until Ctrl-C."""
    [port] = free_ports(1)
    workspace = demo.folder / "workspace.yaml"
    location = {"python_module": {"module_name": "orphan_pipeline.definitions", "location_name": LOCATION}}
    workspace.write_text(yaml.safe_dump({"load_from": [location]}), encoding="utf-8")
    program: list[str | Path] = [sys.executable, "-m", "dagster", "dev", "-w", workspace, "-h", "127.0.0.1", "-p", str(port)]
    log = demo.folder / "dagster.log"
    with running(program, log=log, cwd=demo.folder, env=dict(os.environ)) as process:
        wait_until("the Dagster UI", process, log, lambda: webserver_answers(port))
        out.print(f"\nThe Dagster UI: http://127.0.0.1:{port}")
        out.print(f"Commands in another terminal: set -a; . {demo.folder}/demo.env; orphan-pipeline plan")
        out.print("Ctrl-C stops all of it.")
        with suppress(KeyboardInterrupt):  # the way in which this ends, not a failure: the summary is still to be written
            raise Refused(f"the Dagster UI ended by itself, with status {process.wait()}: see {log}")


def _write_secrets(path: Path, variables: dict[str, str]) -> None:
    """For the operator's own shell; nobody else may read it."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.writelines(f"{name}='{value}'\n" for name, value in variables.items())
