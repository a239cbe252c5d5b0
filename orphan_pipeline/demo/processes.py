"""Child processes that never outlive us: start, wait until they answer, stop. What is started, and how it is asked, is
servers.py's."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import SystemRandom
from time import monotonic, sleep

from orphan_pipeline.errors import Refused

# Runs in the child before the server does. It gives up root first, since that clears the death signal; a forked
# preexec_fn could do the same but may deadlock in a process that has threads.
_LAUNCHER = """
import ctypes, os, signal, sys
parent, uid, gid, program = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:]
# A shell starts what it sends to the background with SIGINT ignored: a child that inherits that is deaf to us, and to the death signal.
for asked in (signal.SIGINT, signal.SIGQUIT):
    signal.signal(asked, signal.SIG_DFL)
if uid >= 0:
    os.setgroups([]); os.setgid(gid); os.setuid(uid)
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, int(signal.SIGINT), 0, 0, 0)
    if os.getppid() != parent:
        sys.exit("the parent is gone")
os.execv(program[0], program)
"""
_START_SECONDS = 60.0
_STOP_SECONDS = 20.0


@contextmanager
def running(
    program: Sequence[str | Path], *, log: Path, cwd: Path, env: dict[str, str], user: tuple[int, int] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A child in a session of its own, output in `log`; stopped on the way out, whatever the way.

    On Linux it also stops when the thread that started it ends, were it by SIGKILL: start it from a thread that stays.
    """
    uid, gid = user or (-1, -1)
    launcher = [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(os.getpid()), str(uid), str(gid)]
    with log.open("ab") as output:
        process = subprocess.Popen(
            [*launcher, *map(str, program)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=cwd,
            env=env,
            start_new_session=True,  # a Ctrl-C on the terminal reaches us alone, and we stop it in order
        )
    try:
        yield process
    finally:
        _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    try:
        for asked in (signal.SIGINT, signal.SIGQUIT):
            if process.poll() is not None:
                return
            process.send_signal(asked)
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                continue
    finally:
        if process.poll() is None:  # deaf to both, or a second Ctrl-C fell into the wait
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def wait_until(name: str, process: subprocess.Popen[bytes], log: Path, answers: Callable[[], bool]) -> None:
    """Returns once `answers()` is true. Raises Refused when the process ends before, or after 60 s."""
    deadline = monotonic() + _START_SECONDS
    while not answers():
        if process.poll() is not None:
            raise Refused(f"{name} ended with status {process.returncode} instead of starting: {_tail(log)}")
        if monotonic() > deadline:
            raise Refused(f"{name} does not answer after {_START_SECONDS:.0f} s: {_tail(log)}")
        sleep(0.05)


def _tail(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return " | ".join(lines[-5:]) or "its log is empty"


def free_ports(count: int, *, twin_offset: int = 0) -> list[int]:
    """Loopback ports nobody listens on, below the range that outgoing connections take theirs from.

    With `twin_offset` each port p comes with a free p + twin_offset.
    """
    random = SystemRandom()
    found: list[int] = []
    while len(found) < count:
        port = random.randrange(10_240, 20_000)
        if port not in found and _is_free(port) and (not twin_offset or _is_free(port + twin_offset)):
            found.append(port)
    return found


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
