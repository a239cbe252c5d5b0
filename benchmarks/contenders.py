"""Runs what a benchmark compares, each contender a process of its own, so that its time, CPU and memory are its own. A small launcher
stands between: what a process held before it became another program would count as that program's peak (getrusage, ru_maxrss)."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

KIB = 1024
LAUNCHER = """
import json, os, sys, time
began = time.perf_counter()
process = os.posix_spawnp(sys.argv[2], sys.argv[2:], os.environ)
_, status, usage = os.wait4(process, 0)
told = {"seconds": time.perf_counter() - began, "cpu": usage.ru_utime + usage.ru_stime, "peak": usage.ru_maxrss}
os.write(int(sys.argv[1]), json.dumps(told).encode())
sys.exit(os.waitstatus_to_exitcode(status) != 0)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """`text` is what it printed (or how many lines, where they were only counted); `seconds` of the whole process."""

    text: str
    seconds: float
    cpu_seconds: float
    peak_mb: float


def python(program: str, *arguments: str, environment: Mapping[str, str] | None = None) -> Ran:
    return run([sys.executable, "-c", program, *arguments], environment=environment)


def run(command: Sequence[str], *, environment: Mapping[str, str] | None = None, count_lines: bool = False) -> Ran:
    """Raises RuntimeError when it fails; what it said of it has gone to standard error."""
    reading, writing = os.pipe()
    with tempfile.TemporaryFile() as output:
        launcher = [sys.executable, "-S", "-c", LAUNCHER, str(writing), *command]
        done = subprocess.run(launcher, env={**os.environ, **(environment or {})}, stdout=output, pass_fds=[writing], check=False)
        os.close(writing)
        with os.fdopen(reading) as told:
            usage = json.loads(told.read())
        output.seek(0)
        text = str(sum(1 for _ in output)) if count_lines else output.read().decode()
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]} failed")
    return Ran(text=text, seconds=usage["seconds"], cpu_seconds=usage["cpu"], peak_mb=usage["peak"] / KIB)


def program(name: str) -> str | None:
    """A peer's program, from the path or from its wheel."""
    beside = Path(sys.executable).with_name(name)
    return shutil.which(name) or (str(beside) if beside.exists() else None)


@contextmanager
def endpoint(module: str, *options: str) -> Iterator[str]:
    """The URL of a synthetic endpoint, which prints its port."""
    with subprocess.Popen([sys.executable, "-m", module, *options], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.kill()  # whoever began this may have been told to ignore SIGTERM, and so its children
