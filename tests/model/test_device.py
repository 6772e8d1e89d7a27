"""Choosing a machine, and setting up the process for it."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest
import torch

from charrnn.model.device import choose_machine, prepare_torch
from charrnn.system import available_cores

# Ninety-six megabytes allocated and freed ten times, in a process of its own, since the allocator's setting
# lasts as long as the process.
STEPS = """
import resource, sys, threading, torch
from concurrent.futures import ThreadPoolExecutor
from charrnn.model.device import prepare_torch
prepare_torch()
threads = int(sys.argv[1])
pool, meeting = ThreadPoolExecutor(threads), threading.Barrier(threads)
def work(_):
    kept = [torch.ones(6_000_000) for _ in range(4)]
    meeting.wait()
def step():
    return list(pool.map(work, range(threads)) if threads > 1 else map(work, range(1)))
for _ in range(5):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    step()
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) // 5)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries are left as they are")
@pytest.mark.parametrize("threads", ["1", "2"])
def test_a_step_uses_the_memory_of_the_last(threads: str) -> None:
    """After ``prepare_torch`` a process, or its threads, get next to no new pages for another step."""
    done = subprocess.run([sys.executable, "-c", STEPS, threads], capture_output=True, check=True)
    assert int(done.stdout) < 200  # of 23,000


def test_choosing_a_machine_sets_nothing() -> None:
    """``choose_machine`` leaves torch's number of threads alone; ``prepare_torch`` sets it."""
    before = torch.get_num_threads()
    try:
        prepare_torch(3)
        choose_machine("cpu", "fp32")
        assert torch.get_num_threads() == 3
        prepare_torch()
        assert torch.get_num_threads() == available_cores()
    finally:
        torch.set_num_threads(before)
