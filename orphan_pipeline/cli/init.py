"""`orphan-pipeline init`: a commented settings file to start from."""

from pathlib import Path

import click

from orphan_pipeline.errors import Refused
from orphan_pipeline.lake.files import written_whole
from orphan_pipeline.settings.load import template


@click.command("init")
@click.argument("path", type=click.Path(path_type=Path), default=Path("orphan_pipeline.yaml"))
def command(path: Path) -> None:
    """Write a commented settings file (default ./orphan_pipeline.yaml)."""
    if path.exists():
        raise Refused(f"{path} exists already: it is left as it is")
    with written_whole(path) as unfinished:
        unfinished.write_text(template(), encoding="utf-8")
    click.echo(f"Wrote {path}. Fill it in, then: orphan-pipeline check")
