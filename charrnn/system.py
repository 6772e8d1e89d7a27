"""The number of cores, and how the C library manages memory. Needs no torch."""

from __future__ import annotations

import contextlib
import ctypes
import os

# Parameters of glibc's mallopt: how much free memory at the end of the heap is kept, and the size from which
# an allocation is mapped separately, and so returned to the system when freed.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
KEPT = 1 << 30  # bytes
KEPT_BY_OLD = 1 << 25  # bytes; the maximum for the second parameter in older versions


def available_cores() -> int:
    """The number of cores that this process may use; in a container fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def keep_freed_memory() -> None:
    """Makes glibc keep freed memory for the next step; does nothing with other C libraries.

    By default it returns the tens of megabytes of activations to the system after every step, which then
    provides them again as zeroed pages: a third of the time of a step.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):  # another C library
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_TRIM_THRESHOLD, KEPT)
        mallopt(M_MMAP_THRESHOLD, KEPT) or mallopt(M_MMAP_THRESHOLD, KEPT_BY_OLD)
