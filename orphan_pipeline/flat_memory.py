"""Memory that is given back as soon as it is free: for stages in which many threads each hold a little for a moment."""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa

M_MMAP_THRESHOLD = -3
LARGE = 128 * 2**10
"""Bytes; where glibc begins (mallopt(3)), before it raises it to the largest block that was ever given back."""


@contextmanager
def flat_memory() -> Iterator[None]:
    """Arrow's own allocator keeps what every thread once freed: 75 MB of a listing, 50 MB of a deletion; the system's gives it back. And
    glibc keeps the holes of large blocks in each thread's heap, 70 MB of a deletion, unless they are always mapped by themselves."""
    before = pa.default_memory_pool()
    pa.set_memory_pool(pa.system_memory_pool())
    _map_large_blocks()
    try:
        yield
    finally:
        pa.set_memory_pool(before)


def _map_large_blocks() -> None:
    """For the rest of the process. Other systems' libraries have no such call."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, LARGE)
