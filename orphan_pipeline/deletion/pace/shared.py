"""The rate that all runs of one bucket on this host share: a few numbers in a file of this host's temporary folder, read and written
under its lock. `monotonic` is one clock for all processes of a host; what was written before the last boot, or long ago, is forgotten.

Hosts do not see one another: the setting `hosts` divides the ceiling among them."""

import fcntl
import os
import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from threading import Lock
from time import monotonic

from orphan_pipeline.deletion.pace.control import Rate
from orphan_pipeline.errors import Refused

NUMBERS = struct.Struct("<5d")
FORGOTTEN_SECONDS = 600.0


@dataclass(slots=True)
class Shared:
    """`free_at`: when the next keys may go."""

    rate: Rate
    free_at: float


class SharedFile:
    """Thread-safe, and safe between processes."""

    def __init__(self, path: Path) -> None:
        self._lock = Lock()  # flock tells processes apart, not threads
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)

    @contextmanager
    def held(self) -> Iterator[tuple[Shared, float]]:
        """What stands in the file, to be changed, and the time now."""
        with self._lock:
            fcntl.flock(self._file, fcntl.LOCK_EX)
            try:
                now = monotonic()
                shared = _read(os.pread(self._file, NUMBERS.size, 0), now)
                yield shared, now
                rate = shared.rate
                os.pwrite(self._file, NUMBERS.pack(rate.keys, rate.refused, rate.since, rate.at, shared.free_at), 0)
            finally:
                fcntl.flock(self._file, fcntl.LOCK_UN)

    def close(self) -> None:
        os.close(self._file)


def file_of(endpoint: str, bucket: str) -> Path:
    """Where the runs of this bucket of this store meet: one folder a user, which nobody else can write to.

    Raises Refused when somebody else has made that folder first."""
    folder = Path(tempfile.gettempdir()) / f"orphan_pipeline-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if found.st_uid != os.getuid() or folder.is_symlink():
        raise Refused(f"{folder}: found a folder of another user, expected one's own: the rate of deletion is kept there")
    return folder / f"pace-{sha256(f'{endpoint} {bucket}'.encode()).hexdigest()[:16]}"


def _read(found: bytes, now: float) -> Shared:
    if len(found) == NUMBERS.size:
        keys, refused, since, at, free_at = NUMBERS.unpack(found)
        if now - FORGOTTEN_SECONDS < at <= now:
            return Shared(rate=Rate(keys=keys, refused=refused, since=since, at=at), free_at=free_at)
    return Shared(rate=Rate(at=now), free_at=now)
