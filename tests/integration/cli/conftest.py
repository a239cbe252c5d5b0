"""The command line as a process of its own, in a small world."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from small_world import World, make_world, world

__all__ = ["Said", "Say", "World", "make_world", "say", "world"]

COMMAND = Path(sys.executable).with_name("orphan-pipeline")


@dataclass(frozen=True, slots=True)
class Said:
    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Raises where standard output holds anything but one JSON document."""
        return json.loads(self.out)


Say = Callable[..., Said]


@pytest.fixture(scope="session")
def say() -> Say:
    """`say(world, *arguments, **variables)`: runs the command to its end; a variable that is None is taken out."""

    def run(world: World, *arguments: str, **variables: str | None) -> Said:
        environment = {name: value for name, value in {**world.environment, **variables}.items() if value is not None}
        done = subprocess.run(
            [COMMAND, *arguments], env=environment, cwd=world.folder, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
        )
        assert "Traceback" not in done.stdout + done.stderr, done.stderr
        return Said(done.returncode, done.stdout, done.stderr)

    return run
