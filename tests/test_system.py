"""How a process shares the cores with others."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest

from charrnn import system
from charrnn.cli import main
from charrnn.system import others_running, share_cores

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
