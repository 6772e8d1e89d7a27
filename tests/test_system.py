"""How a process shares the cores with others."""

from __future__ import annotations

import math
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from charrnn import system
from charrnn.cli import main
from charrnn.sampling.session import SamplingSession
from charrnn.sampling.writer import TextStream
from charrnn.system import others_running, share_cores
from charrnn.use_config import SamplingConfig
from tests.conftest import environment, random_model

SET = (*system.OPENMP, *system.BLAS)


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the system says of its load, on a machine of two cores where nothing was set."""
    path = tmp_path / "loadavg"
    monkeypatch.setattr(system, "LOAD", path)
    monkeypatch.setattr(system, "available_cores", lambda: 2)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setattr(os, "environ", {name: v for name, v in os.environ.items() if name not in SET})
    return path


def chosen() -> dict[str, str]:
    """The variables that were set."""
    return {name: os.environ[name] for name in SET if name in os.environ}


@pytest.mark.parametrize(
    ("said", "others"), [("0.2 0.1 0.1 1/500 77", 0), ("9.9 9.9 9.9 4/500 77", 3), ("", 0), ("0 0 0 x", 0)]
)
def test_others_are_counted(load: Path, said: str, others: int) -> None:
    """Of the threads that run now all but one's own count, and none where the system does not say."""
    load.write_text(said)
    assert others_running() == others
    load.unlink()
    assert others_running() == 0


def test_on_a_quiet_machine_threads_spin_shortly(load: Path) -> None:
    """With all cores free both are used, and OpenMP's threads do not spin for long."""
    load.write_text("0.0 0.0 0.0 1/500 77")
    share_cores()
    assert chosen() == {"GOMP_SPINCOUNT": system.SHORT_SPIN}


@pytest.mark.parametrize("running", [2, 9])
def test_on_a_busy_machine_nobody_spins(load: Path, running: int) -> None:
    """Beside another process one thread is left to NumPy, and torch's wait without spinning."""
    load.write_text(f"0.0 0.0 0.0 {running}/500 77")
    share_cores()
    assert chosen() == {"OMP_WAIT_POLICY": "passive", "OPENBLAS_NUM_THREADS": "1"}


def test_what_the_user_set_stays(load: Path) -> None:
    """Variables that are set already are kept, and nothing is set beside them."""
    load.write_text("0.0 0.0 0.0 9/500 77")
    os.environ.update({"GOMP_SPINCOUNT": "7", "OMP_NUM_THREADS": "2"})
    share_cores()
    assert chosen() == {"GOMP_SPINCOUNT": "7", "OMP_NUM_THREADS": "2"}


def test_the_command_line_shares_before_it_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variables are set before a command runs, which imports NumPy and torch."""
    order: list[str] = []
    monkeypatch.setattr(main, "share_cores", lambda: order.append("share"))
    monkeypatch.setattr(main, "run", order.extend)
    monkeypatch.setattr("sys.argv", ["charrnn", "run"])
    with pytest.raises(SystemExit):
        main.main()
    assert order == ["share", "run"]


def test_own_threads_are_not_others(load: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the threads that run, those of this process do not count, whatever its name is."""
    monkeypatch.setattr(system, "TASKS", tmp_path / "task")
    for number, state in enumerate("RSR"):
        (tmp_path / "task" / str(number)).mkdir(parents=True)
        (tmp_path / "task" / str(number) / "stat").write_text(f"{number} (a) R (b) {state} 1 2\n")
    load.write_text("0.0 0.0 0.0 3/500 77")
    assert others_running() == 1
    assert system.free_cores() == 1


def test_threads_follow_the_load(load: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once a second at most the threads become as many as there are free cores; at the end, as they were."""
    now = [100.0]
    calls: list[int] = []
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    cores = system.SharedCores(2, calls.append)
    load.write_text("0.0 0.0 0.0 1/500 77")
    cores.look()
    assert calls == []
    load.write_text("0.0 0.0 0.0 2/500 77")
    cores.look()
    assert calls == []  # it has just looked
    now[0] += 2
    cores.look()
    assert calls == [1]
    now[0] += 2
    cores.look()
    assert calls == [1]
    cores.restore()
    cores.restore()
    assert calls == [1, 2]


def test_a_single_thread_needs_no_look(load: Path) -> None:
    """One thread stays one, and nothing is read."""
    load.unlink(missing_ok=True)
    cores = system.SharedCores(1, lambda count: pytest.fail(f"set to {count}"))
    cores.look()
    cores.restore()


def test_numpy_s_threads_can_be_set() -> None:
    """OpenBLAS, where NumPy has it, takes a number of threads, and products stay what they were."""
    set_threads = system.set_blas_threads()
    if set_threads is None:
        pytest.skip("NumPy has another library")
    generator = np.random.default_rng(0)
    matrix, vector = generator.random((1024, 768), np.float32), generator.random(768, np.float32)
    found = []
    for count in (1, 2):
        set_threads(count)
        found.append(matrix @ vector)
    set_threads(system.blas_threads())
    np.testing.assert_allclose(found[0], found[1], rtol=1e-5)


def test_a_long_text_looks_at_the_load(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sampling sets NumPy's threads to the free cores while it writes, and back; the text is the same."""
    session = SamplingSession(random_model(), SamplingConfig(length=600, seed=1))
    alone = list(TextStream(session, session.prompt("")))
    calls: list[int] = []
    monkeypatch.setattr(system, "blas_threads", lambda: 2)
    monkeypatch.setattr(system, "set_blas_threads", lambda: calls.append)
    monkeypatch.setattr(system, "free_cores", lambda: 1)
    assert list(TextStream(session, session.prompt(""))) == alone
    assert calls == [1, 2]


def test_memory_is_what_the_system_or_the_container_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The smaller of free memory and a container's limit; infinite where neither is known."""
    memory, limit = tmp_path / "meminfo", tmp_path / "max"
    monkeypatch.setattr(system, "MEMORY", memory)
    monkeypatch.setattr(system, "MEMORY_LIMIT", limit)
    assert system.available_memory() == math.inf
    memory.write_text("MemTotal:       100 kB\nMemFree:  1 kB\nMemAvailable:    50 kB\n")
    assert system.available_memory() == 50 * 1024
    limit.write_text("max\n")
    assert system.available_memory() == 50 * 1024
    limit.write_text("5000\n")
    assert system.available_memory() == 5000
    memory.write_text("nothing of the kind\n")
    assert system.available_memory() == 5000


# Prints the page faults of 20 rounds in which each of two replicas takes 80 MB and frees it.
FAULTS = """
import resource, threading
import torch
from charrnn.model.device import prepare_torch
from charrnn.training.replicas import Replicas

prepare_torch(threads=2)
replicas, meeting = Replicas(2, threads=2), threading.Barrier(2)

def take(number):
    taken = [torch.ones(1 << 20) for _ in range(20)]
    meeting.wait()  # both of them have at once the most that they will ever have
    del taken
    meeting.wait()

for number in range(25):
    if number == 5:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    replicas.map(take, range(2))
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have no such settings")
def test_freed_memory_is_taken_again_without_page_faults() -> None:
    """What replicas free they get again from the C library, not page by page from the system.

    Where only the main heap keeps what is freed, there are 12,000 page faults or more; there should be none.
    """
    done = subprocess.run(
        [sys.executable, "-c", FAULTS], capture_output=True, text=True, env=environment(), check=True
    )
    assert int(done.stdout) < 1000
