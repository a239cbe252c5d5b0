"""Every PostgreSQL beside the demo's own whose programs stand here: what ORPHAN_PIPELINE_POSTGRES_BINARIES names (folders with
`postgres` and `initdb`, a colon between two), what the system has, and what a wheel brought."""

import os
from importlib.util import find_spec
from pathlib import Path
from subprocess import run

import pytest

NONE_HERE = "no other PostgreSQL is installed here, and ORPHAN_PIPELINE_POSTGRES_BINARIES names none"


def programs() -> list[Path]:
    named = [Path(folder) for folder in os.environ.get("ORPHAN_PIPELINE_POSTGRES_BINARIES", "").split(":") if folder]
    found = find_spec("pgserver")  # not imported: that would start to look after servers itself
    wheel = [] if found is None or found.origin is None else [Path(found.origin).parent / "pginstall" / "bin"]
    system = [*sorted(Path("/usr/lib/postgresql").glob("*/bin")), *wheel]
    return [*named, *(folder for folder in system if (folder / "postgres").exists())]


def each_installed() -> list[object]:
    """For `pytest.mark.parametrize`: each one's folder, or one test that is skipped."""
    found = [pytest.param(folder, id=str(folder)) for folder in programs()]
    return [*found] or [pytest.param(None, marks=pytest.mark.skip(reason=NONE_HERE))]


def version(folder: Path) -> str:
    """Such as `15.18`."""
    said = run([folder / "postgres", "--version"], check=True, capture_output=True, text=True).stdout
    return said.split()[2]
