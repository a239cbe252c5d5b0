"""The clock by which ages and deadlines inside one process are measured: it never jumps, and it goes on while the machine sleeps (an
answer is not fresh, nor a lease held, because a laptop was shut in between)."""

import time

CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def elapsed() -> float:
    """Seconds since some fixed moment."""
    return time.clock_gettime(CLOCK)
