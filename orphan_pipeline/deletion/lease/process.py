"""Whether a process that wrote its name down is dead for certain, so that who comes after a crash on the same machine need not wait for
an expiry. Where that cannot be known (another machine, another container, no /proc) the answer is no."""

import os
from pathlib import Path

BOOT = Path("/proc/sys/kernel/random/boot_id")
NAMESPACE = Path("/proc/self/ns/pid")
STARTED = 19
"""Place of starttime in /proc/PID/stat behind the command's name, which may hold anything and ends in the last parenthesis."""


def this_process() -> str | None:
    """`boot:namespace:pid:start`: no two processes share it. None where this system does not say."""
    where, started = _where(), _started(os.getpid())
    return None if where is None or started is None else f"{where}:{os.getpid()}:{started}"


def is_dead(process: str | None) -> bool:
    """True only for a process of this very machine, boot and namespace that does not run any more."""
    where = _where()
    if process is None or where is None or not process.startswith(f"{where}:"):
        return False
    pid, _, started = process.removeprefix(f"{where}:").partition(":")
    return pid.isdigit() and (not _exists(int(pid)) or _started(int(pid)) not in (started, None))


def _exists(pid: int) -> bool:
    """The kernel is asked, not /proc: that may hide other users' processes."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _where() -> str | None:
    if not BOOT.is_file() or not NAMESPACE.exists():
        return None
    return f"{BOOT.read_text().strip()}:{NAMESPACE.stat().st_ino}"


def _started(pid: int) -> str | None:
    """When the process began, in ticks since boot; `over` for one that only waits to be collected; None where that is not to be seen."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    state, *rest = text.rpartition(")")[2].split()
    return "over" if state in "ZX" else rest[STARTED - 1]
