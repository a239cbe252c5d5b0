"""`orphan-pipeline demo`: the whole thing on servers of its own, from an empty bucket to a restored prefix."""

import json
import signal
import tempfile
from contextlib import ExitStack
from pathlib import Path
from types import FrameType

import click

from orphan_pipeline.errors import Refused
from orphan_pipeline.lake.files import written_whole


@click.command("demo")
@click.option("--keep", is_flag=True, help="Leave the servers and the Dagster UI up until Ctrl-C.")
@click.option("--objects", type=click.IntRange(min=200), default=20_000, show_default=True, help="How many objects.")
@click.option("--json", "json_file", type=click.Path(path_type=Path, dir_okay=False), help="Write the summary to this file.")
def command(keep: bool, objects: int, json_file: Path | None) -> None:
    """Start real servers, fill them, sweep, delete, prove, restore."""
    try:
        from orphan_pipeline.demo.run import run_demo
    except ModuleNotFoundError as error:
        raise Refused(f"the demo needs the extra `demo` ({error.name} is missing): pip install 'orphan_pipeline[demo]'") from error
    signal.signal(signal.SIGTERM, _stop_in_order)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="orphan_pipeline-demo-", ignore_cleanup_errors=True)))
        summary = run_demo(folder, objects=objects, keep=keep)
    if json_file is not None:
        with written_whole(json_file) as unfinished:
            unfinished.write_text(json.dumps(summary, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _stop_in_order(signum: int, frame: FrameType | None) -> None:
    """SIGTERM unwinds like Ctrl-C, so that every server that was started is stopped."""
    raise KeyboardInterrupt
