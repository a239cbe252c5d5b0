"""What `make` would run: the target's commands are printed and not carried out."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="there is no make here")


def would_run(*arguments: str) -> str:
    # Those of a `make test` around this would be taken for one's own.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE") and name != "MFLAGS"}
    done = subprocess.run(
        ["make", "-n", "--no-print-directory", *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout


@pytest.mark.parametrize(
    ("said", "keeps"), [((), False), (("KEEP=1",), True), (("KEEP=yes",), True), (("KEEP=0",), False), (("KEEP=",), False)]
)
def test_demo_keeps_its_servers_only_when_it_is_told_to(said: tuple[str, ...], keeps: bool) -> None:
    assert ("--keep" in would_run("demo", *said)) is keeps


def test_whoever_waits_for_the_first_installation_is_told_so(tmp_path: Path) -> None:
    told = would_run("test", f"VENV={tmp_path}/venv").splitlines()
    assert told[0] == f'echo "Installing into {tmp_path}/venv: a minute or two, once"'


@pytest.mark.parametrize("home", [None, "./of my own"])
def test_the_ui_takes_the_instance_that_the_commands_take(tmp_path: Path, home: str | None) -> None:
    """`.dagster` beside the settings file, wherever that is, unless $DAGSTER_HOME says otherwise."""
    assert "orphan_pipeline.resources.home" in would_run("ui")
    settings = tmp_path / "settings" / "orphan_pipeline.yaml"
    settings.parent.mkdir()
    settings.write_text("")
    environment = {**os.environ, "ORPHAN_PIPELINE_SETTINGS": str(settings), "DAGSTER_HOME": home or "", "PYTHONPATH": str(ROOT)}
    module = [sys.executable, "-m", "orphan_pipeline.resources.home"]
    done = subprocess.run(module, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    expected = tmp_path / home if home else settings.parent / ".dagster"
    assert done.stdout == f"{expected}\n"
    assert (expected / "dagster.yaml").is_file()
