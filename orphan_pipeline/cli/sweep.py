"""`orphan-pipeline sweep`: one sweep of each bucket, as a run that the UI and the sensors see. Deletes nothing by itself: a sensor
that somebody has turned on requests deletion after this sweep as after any other."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orphan_pipeline.cli.common import (
    bucket_option,
    chosen_buckets,
    err,
    json_option,
    lake_of,
    open_settings,
    print_json,
    run_job,
    settings_option,
)
from orphan_pipeline.cli.main import REFUSED
from orphan_pipeline.cli.plan import show_sweep, sweep_figures
from orphan_pipeline.gates.gate import Gate
from orphan_pipeline.lake.files import read_document
from orphan_pipeline.orphans.acceptance import gates_of
from orphan_pipeline.orphans.manifest import Manifest
from orphan_pipeline.orphans.summary import approval_command
from orphan_pipeline.settings.model import Settings
from orphan_pipeline.wording import counted

if TYPE_CHECKING:
    from orphan_pipeline.resources.runs import Runs


@dataclass(frozen=True, slots=True)
class Swept:
    """How a sweep ended. A tripped gate fails the run and still leaves a manifest, so that it can be looked at and approved."""

    run_id: str
    failure: str | None
    manifest: Manifest | None


@click.command("sweep")
@settings_option
@bucket_option
@json_option
@click.pass_context
def command(ctx: click.Context, settings_path: Path | None, bucket: str | None, as_json: bool) -> None:
    """Run a sweep: inventory, references, orphan set, gates. Deletes nothing; a deletion sensor that is on does, after it."""
    settings = open_settings(settings_path)
    buckets = chosen_buckets(settings, bucket)
    from orphan_pipeline.resources.runs import opened_runs  # takes a second: after whatever can be refused without it

    with opened_runs(settings.file.parent) as runs:
        swept = {name: sweep_bucket(runs, settings, name) for name in buckets}
    if as_json:
        print_json({name: _figures(settings, name, one) for name, one in swept.items()})
    for name, one in swept.items():
        if one.manifest is not None and not as_json:
            show_sweep(settings, buckets[name], one.manifest)
        if one.failure is not None:
            err.print(f"sweep of {name} failed: {one.failure}", markup=False, soft_wrap=True)
    if any(one.failure is not None for one in swept.values()):
        ctx.exit(REFUSED)


def sweep_bucket(runs: "Runs", settings: Settings, name: str) -> Swept:
    """Runs one sweep to its end."""
    from orphan_pipeline.assets.names import Names

    ended = run_job(runs, Names(name).sweep_job, what=f"sweep of {name}")
    sweep = lake_of(settings, name).sweep(ended.run_id)
    if ended.failure is None and not sweep.published:
        elsewhere = f"it left no manifest in {sweep.root}: does the process that executes runs have the same settings file?"
        return Swept(ended.run_id, elsewhere, None)
    manifest = read_document(sweep.manifest, Manifest) if sweep.published else None
    if ended.failure is not None and manifest is not None and manifest.tripped:  # in our words, and with what to do about it
        gates = gates_of(lake_of(settings, name), manifest, settings.buckets[name])
        return Swept(ended.run_id, f"{tripped_words(manifest, gates)}; if all is right: {approval_command(manifest.digest)}", manifest)
    return Swept(ended.run_id, ended.failure, manifest)


def tripped_words(manifest: Manifest, gates: Sequence[Gate]) -> str:
    """Everything that the sweep's digest would approve: the bucket's gates that tripped when it was published, and those of prefixes."""
    said = f"gate {manifest.tripped[0]} is" if len(manifest.tripped) == 1 else f"gates {', '.join(manifest.tripped)} are"
    of_prefixes = Counter(gate.name for gate in gates if gate.prefix is not None and not gate.passed)
    also = " and ".join(f"{name} in {counted(times, 'prefix', 'prefixes')}" for name, times in of_prefixes.items())
    return f"{said} tripped" + (f", and {also}" if also else "")


def _figures(settings: Settings, name: str, swept: Swept) -> dict[str, object]:
    found = sweep_figures(settings, settings.buckets[name], swept.manifest) if swept.manifest else {}
    return {"run": swept.run_id, "failure": swept.failure, **found}
