"""The machine that charrnn runs on: its cores, and how the C library keeps memory. Needs no torch."""

from __future__ import annotations

import contextlib
import ctypes
import os

# Parameters of glibc's mallopt: how much free memory at the heap's end is kept, and from what size on a
# piece of memory is the system's own, to which it goes back when freed.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
KEPT = 1 << 30  # bytes
KEPT_BY_OLD = 1 << 25  # the most that older versions take for the second


def available_cores() -> int:
    """The cores that this process may use, which in a container are fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def keep_freed_memory() -> None:
    """Has the C library keep what a step frees for the next step, where it is glibc.

    Left alone, it gives the tens of megabytes of activations back to the system after every step, which
    hands them out again page by page, in zeros: a third of the time of a step.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):  # another C library
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_TRIM_THRESHOLD, KEPT)
        mallopt(M_MMAP_THRESHOLD, KEPT) or mallopt(M_MMAP_THRESHOLD, KEPT_BY_OLD)
