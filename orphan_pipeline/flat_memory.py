"""Memory that is given back, or used again, as soon as it is free: for stages in which many threads each hold a little for a moment."""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import pyarrow as pa

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
MIB = 2**20

MALLOPT = {
    # As glibc begins, before it raises the threshold to the largest block that was ever given back.
    "mapped": {M_MMAP_THRESHOLD: MIB // 8},
    "one heap": {M_ARENA_MAX: 1, M_MMAP_THRESHOLD: 64 * MIB, M_TRIM_THRESHOLD: 64 * MIB},
}
"""Parameters of mallopt(3), by what becomes of large blocks."""


@contextmanager
def flat_memory(large_blocks: Literal["mapped", "one heap"]) -> Iterator[None]:
    """Arrow's own allocator keeps what every thread once freed: 75 MB of a listing, 50 MB of a deletion or of references; the system's
    gives it back. And glibc keeps the holes of large blocks in a heap for each thread, 70 MB of a deletion: unless they are mapped, each by
    itself, or all threads share one heap and fill each other's holes. To map a block costs its pages anew each time, a third of the speed
    of a listing or of references, where an answer is a few of them; one heap keeps 40 MB more of a deletion, where blocks are of all sizes.
    """
    before = pa.default_memory_pool()
    pa.set_memory_pool(pa.system_memory_pool())
    _tell_glibc(MALLOPT[large_blocks])
    try:
        yield
    finally:
        pa.set_memory_pool(before)


def _tell_glibc(parameters: dict[int, int]) -> None:
    """For the rest of the process. Other systems' libraries have no such call."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for parameter, value in parameters.items():
            mallopt(parameter, value)
