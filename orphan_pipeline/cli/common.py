"""What the commands share: their options, the settings they work on, tables and JSON, and a run followed in the terminal."""

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from orphan_pipeline import digests
from orphan_pipeline.errors import BadSettings, Refused
from orphan_pipeline.lake.layout import BucketLake, Lake
from orphan_pipeline.settings.load import find_settings, load_settings, missing_secrets
from orphan_pipeline.settings.model import BucketSettings, Settings

if TYPE_CHECKING:
    from orphan_pipeline.resources.runs import Ended, Runs, Told

WIDTH_OF_A_FILE = 160
"""Where there is no terminal, nothing is folded that a reader of a log wants on one line."""

out = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else WIDTH_OF_A_FILE)
err = Console(stderr=True, highlight=False, width=None if sys.stderr.isatty() else WIDTH_OF_A_FILE)

HEXADECIMAL = frozenset("0123456789abcdef")

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

settings_option: Decorator = click.option(
    "--settings",
    "settings_path",
    type=click.Path(path_type=Path),
    help="The settings file. Default: $ORPHAN_PIPELINE_SETTINGS, else ./orphan_pipeline.yaml.",
)
bucket_option: Decorator = click.option("--bucket", help="A bucket of the settings. Default: all of them.")
one_bucket_option: Decorator = click.option("--bucket", help="A bucket of the settings; must be named where there are several.")
json_option: Decorator = click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON on standard output.")
yes_option: Decorator = click.option("--yes", is_flag=True, help="Do not ask first.")


def digest_typed(value: str) -> str:
    """For `type=` of an option or argument that takes the beginning of a digest."""
    if len(value) < digests.SHORTEST or not set(value) <= HEXADECIMAL:
        raise click.BadParameter(f"found {value!r}, expected {digests.SHORTEST} or more of the digits (0-9, a-f) of a digest")
    return value


def open_settings(path: Path | None, *, secrets: bool = True) -> Settings:
    """The settings, also for every process that is started from here. Raises BadSettings; with `secrets`, also for missing ones."""
    found = find_settings(path)
    if found is None:
        raise BadSettings(
            "no settings file: expected --settings, $ORPHAN_PIPELINE_SETTINGS or ./orphan_pipeline.yaml (see `orphan-pipeline init`)"
        )
    settings = load_settings(found)
    missing = missing_secrets(settings) if secrets else ()
    if missing:
        raise BadSettings(*missing)
    os.environ["ORPHAN_PIPELINE_SETTINGS"] = str(found.absolute())
    return settings


def chosen_buckets(settings: Settings, name: str | None) -> dict[str, BucketSettings]:
    if name is None:
        return dict(settings.buckets)
    if name not in settings.buckets:
        raise BadSettings(f"--bucket: found {name!r}, expected one of {', '.join(settings.buckets)}")
    return {name: settings.buckets[name]}


def one_bucket(settings: Settings, name: str | None) -> tuple[str, BucketSettings]:
    """For commands about one bucket: with several, one must be named."""
    buckets = chosen_buckets(settings, name)
    if len(buckets) > 1:
        raise BadSettings(f"--bucket: missing, expected one of {', '.join(buckets)}")
    return next(iter(buckets.items()))


def lake_of(settings: Settings, bucket: str) -> BucketLake:
    return Lake(Path(settings.lake)).bucket(bucket)


def print_json(figures: object) -> None:
    click.echo(json.dumps(figures, indent=2, ensure_ascii=False, default=str))


def print_table(title: str, columns: Sequence[str], lines: Sequence[Sequence[object]]) -> None:
    out.print(as_table(title, columns, lines))


def as_table(title: str, columns: Sequence[str], lines: Sequence[Sequence[object]]) -> Table:
    """Numbers are set to the right and grouped by thousands."""
    table = Table(title=title, title_justify="left", title_style="bold")
    for place, column in enumerate(columns):
        numbers = bool(lines) and all(isinstance(line[place], int) for line in lines)
        table.add_column(column, justify="right" if numbers else "left", overflow="fold")
    for line in lines:
        table.add_row(*(f"{value:,}" if isinstance(value, int) else escape(str(value)) for value in line))
    return table


def confirm(question: str, *, yes: bool) -> None:
    """Asks on a terminal. Raises Refused when nobody can be asked, or says no."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise Refused("nobody to ask: this is no terminal, expected --yes")
    if not click.confirm(question, err=True):
        raise Refused("nothing was done")


def run_job(
    runs: "Runs", job: str, *, what: str, config: Mapping[str, object] | None = None, tags: Mapping[str, str] | None = None
) -> "Ended":
    """Runs one job to its end and shows its progress on stderr."""
    with err.status(f"{escape(what)}: starting") as status:

        def told(said: "Told") -> None:
            if said.line is None:
                err.print(f"[green]✓[/green] {escape(what)}: {said.step.partition('__')[2]}")
            else:
                status.update(escape(f"{what}: {said.line}"))

        return runs.run(job, told=told, config=config, tags=tags)
