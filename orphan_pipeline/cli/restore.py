"""`orphan-pipeline restore`: takes back what a plan, a prefix, a key or a stretch of time lost, as a run of its own; or releases what was
taken back."""

from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orphan_pipeline.cli.common import (
    as_table,
    confirm,
    digest_typed,
    err,
    json_option,
    lake_of,
    one_bucket,
    one_bucket_option,
    open_settings,
    print_json,
    run_job,
    settings_option,
    yes_option,
)
from orphan_pipeline.deletion.undo.restore import restore_totals
from orphan_pipeline.deletion.undo.sample import SAMPLE, Sample
from orphan_pipeline.deletion.undo.selection import Selection, ledgers_to_restore, selected
from orphan_pipeline.errors import Refused
from orphan_pipeline.lake.files import read_document
from orphan_pipeline.settings.model import Settings

if TYPE_CHECKING:
    from orphan_pipeline.resources.runs import Runs


@dataclass(frozen=True, slots=True)
class Restored:
    """How a restore ended: keys by outcome, and what was read of them if that was asked for."""

    run_id: str
    failure: str | None
    outcomes: dict[str, int]
    sample: Sample | None


@click.command("restore")
@settings_option
@one_bucket_option
@click.option("--plan", type=digest_typed, metavar="DIGEST", help="What the plan with this digest deleted.")
@click.option("--prefix", help="What was deleted under this prefix.")
@click.option("--key", help="One key.")
@click.option("--since", help="What was deleted since then: 2026-11-20, 2026-11-20T14:30 (UTC), or so long ago: 36h.")
@click.option("--until", help="What was deleted before then.")
@click.option("--include-unknown", is_flag=True, help="Also what went with a delete marker that may be the application's own.")
@click.option("--sample", default=0, type=click.IntRange(min=0), help="Read so many restored objects and compare their content.")
@click.option("--release", is_flag=True, help="Bring back nothing: let later sweeps plan again what was restored.")
@click.option("--all", "everything", is_flag=True, help="For --release: all that was ever restored.")
@yes_option
@json_option
def command(
    settings_path: Path | None,
    bucket: str | None,
    plan: str | None,
    prefix: str | None,
    key: str | None,
    since: str | None,
    until: str | None,
    include_unknown: bool,
    sample: int,
    release: bool,
    everything: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Undo deletions, never over a newer object."""
    asked = _asked(plan=plan, prefix=prefix, key=key, since=since, until=until)
    settings = open_settings(settings_path)
    name, own = one_bucket(settings, bucket)
    if release:
        if since or until or sum(map(bool, (plan, prefix, key, everything))) != 1:
            raise click.UsageError("--release: expected exactly one of --plan, --prefix, --key and --all, and no --since or --until")
        confirm(f"Let later sweeps delete again what was restored of {plan or prefix or key or 'everything'} in {own.bucket}?", yes=yes)
    else:
        if everything:
            raise click.UsageError("--all is for --release: restore by --plan, --prefix, --key, --since or --until")
        selection = _selected(asked, own.deletion.undo_window)
        ledgers_to_restore(lake_of(settings, name), selection)
        confirm(f"Bring back what was deleted in {own.bucket} of {selection.options}?", yes=yes)
    from orphan_pipeline.resources.runs import opened_runs  # takes a second: after whatever can be refused without it

    with opened_runs(settings.file.parent) as runs:
        how: dict[str, object] = {"include_unknown": include_unknown, "sample": sample, "release": release, "everything": everything}
        restored = restore_what(runs, settings, name, **asked, **how)
    if as_json:
        print_json(
            {
                "restore": restored.run_id,
                "failure": restored.failure,
                "outcomes": restored.outcomes,
                "sample": restored.sample and asdict(restored.sample),
            }
        )
    if restored.failure is not None:
        raise Refused(restored.failure)


def _asked(**options: str | None) -> dict[str, str]:
    """Raises UsageError for an option that was given with nothing in it: without `--plan "$PLAN"`, `--since` would mean every plan."""
    for option, value in options.items():
        if value == "":
            raise click.UsageError(f"--{option}: found nothing, expected a value")
    return {option: value or "" for option, value in options.items()}


def _selected(asked: dict[str, str], undo_window: timedelta) -> Selection:
    """Raises UsageError: whatever is wrong here was typed so."""
    try:
        return selected(**asked, now=datetime.now(UTC), undo_window=undo_window)
    except Refused as wrong:
        raise click.UsageError(str(wrong)) from wrong


def restore_what(runs: "Runs", settings: Settings, name: str, **asked: object) -> Restored:
    """Runs one restore, or one release, to its end. `asked`: as the fields of assets.restore.RestoreConfig."""
    from orphan_pipeline.assets.names import Names

    said = {option: value for option, value in asked.items() if value}
    ended = run_job(
        runs,
        Names(name).restore_job,
        what="release" if "release" in said else "restore",
        config={"ops": {Names(name).restore_step: {"config": said}}},
    )
    outcomes = restore_totals(lake_of(settings, name), ended.run_id)
    if "release" not in said:
        err.print(as_table("restore", ["outcome", "objects"], list(outcomes.items())))
    read = lake_of(settings, name).restore(ended.run_id) / SAMPLE
    sample = read_document(read, Sample) if read.is_file() else None
    if sample is not None:
        err.print(str(sample), markup=False)
    return Restored(ended.run_id, ended.failure, outcomes, sample)
