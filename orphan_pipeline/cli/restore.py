"""`orphan-pipeline restore`: takes back what a plan, a prefix or a key lost, as a run of its own."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orphan_pipeline.cli.common import (
    as_table,
    bucket_option,
    confirm,
    err,
    json_option,
    lake_of,
    one_bucket,
    open_settings,
    print_json,
    run_job,
    settings_option,
    yes_option,
)
from orphan_pipeline.deletion.restore import restore_totals
from orphan_pipeline.deletion.selection import ledgers_to_restore
from orphan_pipeline.errors import Refused
from orphan_pipeline.settings.model import Settings

if TYPE_CHECKING:
    from orphan_pipeline.resources.runs import Runs


@dataclass(frozen=True, slots=True)
class Restored:
    """How a restore ended: keys by outcome."""

    run_id: str
    failure: str | None
    outcomes: dict[str, int]


@click.command("restore")
@settings_option
@bucket_option
@click.option("--plan", default="", help="What the plan with this digest deleted.")
@click.option("--prefix", default="", help="What was deleted under this prefix.")
@click.option("--key", default="", help="One key.")
@click.option("--include-unknown", is_flag=True, help="Also what went with a delete marker that may be the application's own.")
@yes_option
@json_option
def command(
    settings_path: Path | None,
    bucket: str | None,
    plan: str,
    prefix: str,
    key: str,
    include_unknown: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Undo deletions, never over a newer object."""
    from orphan_pipeline.resources.runs import opened_runs

    settings = open_settings(settings_path)
    name, own = one_bucket(settings, bucket)
    ledgers_to_restore(lake_of(settings, name), plan=plan, prefix=prefix, key=key)
    confirm(f"Bring back what was deleted of {plan or prefix or key} in {own.bucket}?", yes=yes)
    with opened_runs(settings.file.parent) as runs:
        restored = restore_what(runs, settings, name, plan=plan, prefix=prefix, key=key, include_unknown=include_unknown)
    if as_json:
        print_json({"restore": restored.run_id, "failure": restored.failure, "outcomes": restored.outcomes})
    if restored.failure is not None:
        raise Refused(restored.failure)


def restore_what(
    runs: "Runs",
    settings: Settings,
    name: str,
    *,
    plan: str = "",
    prefix: str = "",
    key: str = "",
    include_unknown: bool = False,
) -> Restored:
    """Runs one restore to its end."""
    from orphan_pipeline.assets.names import Names

    asked = {"plan": plan, "prefix": prefix, "key": key, "include_unknown": include_unknown}
    ended = run_job(
        runs,
        Names(name).restore_job,
        what=f"restore of {plan or prefix or key}",
        config={"ops": {Names(name).restore_step: {"config": asked}}},
    )
    outcomes = restore_totals(lake_of(settings, name), ended.run_id)
    err.print(as_table("restore", ["outcome", "objects"], list(outcomes.items())))
    return Restored(ended.run_id, ended.failure, outcomes)
