"""How many cores are ours; not in ``device``, because the engine asks too, and does without torch."""

from __future__ import annotations

import os


def available_cores() -> int:
    """The cores that this process may use, which in a container are fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
