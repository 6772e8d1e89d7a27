"""What asking for a machine does to the process."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

# Ninety-six megabytes taken and freed again, ten times over, in a process of its own, since what it has been
# told about memory stays with a process.
STEPS = """
import resource, torch
from charrnn.model.device import choose_machine
choose_machine("cpu", "fp32")
def step():
    return len([torch.ones(6_000_000) for _ in range(4)])
for _ in range(5):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    step()
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) // 5)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries are left as they are")
def test_a_step_uses_the_memory_of_the_last() -> None:
    """Having asked for a machine, a process gets next to no new pages from the system for another step."""
    done = subprocess.run([sys.executable, "-c", STEPS], capture_output=True, check=True)
    assert int(done.stdout) < 200  # of 23,000
