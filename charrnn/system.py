"""Cores, the processes of a training, and how the C library manages memory. Needs no torch."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

# Parameters of glibc's mallopt: how much free memory at the end of the heap is kept, the size from which an
# allocation is mapped separately, and so returned to the system when freed, and the most heaps of threads.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
KEPT = 1 << 30  # bytes
KEPT_BY_OLD = 1 << 25  # bytes; the maximum for the second parameter in older versions


@dataclasses.dataclass(frozen=True)
class Launch:
    """A process of those that ``torchrun`` started to train one model.

    Attributes:
        rank: its number among all; 0 is the one that decides, speaks and writes.
        size: how many there are, on all machines.
        local_rank, local_size: the same on this machine.
        restarts: how often torchrun has started them anew, since one of them died.
        session: names this very torchrun, after a restart, too.
    """

    rank: int
    size: int
    local_rank: int
    local_size: int
    restarts: int
    session: str


def launched() -> Launch | None:
    """What torchrun says of this process; None if it was not started by torchrun."""
    named = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "TORCHELASTIC_RESTART_COUNT")
    try:
        numbers = [int(os.environ[name]) for name in named]
    except (KeyError, ValueError):
        return None
    session = os.environ.get("TORCHELASTIC_RUN_ID", "none")
    if session == "none":  # as it is without --standalone or --rdzv-id
        session = f"process {os.getppid()} {_start_of(os.getppid())}"
    rank, size, local_rank, local_size, restarts = numbers
    return Launch(rank, size, local_rank, local_size, restarts, session)


def _start_of(process: int) -> str:
    """When a process was started, in ticks since the machine was; "" where the system does not say."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def available_cores() -> int:
    """The number of cores that this process may use; in a container fewer than the machine has.

    Processes that torchrun started share them.
    """
    launch = launched()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // launch.local_size) if launch else cores


MEMORY = Path("/proc/meminfo")
MEMORY_LIMIT = Path("/sys/fs/cgroup/memory.max")  # of a container: bytes, or "max"


def available_memory() -> float:
    """The bytes of memory that programs could have now, at most; infinite where the system does not say."""
    found = math.inf
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = MEMORY.read_text(encoding="ascii").splitlines()
        found = 1024 * int(next(line for line in lines if line.startswith("MemAvailable:")).split()[1])
    with contextlib.suppress(OSError, ValueError):
        found = min(found, int(MEMORY_LIMIT.read_text(encoding="ascii")))
    return found


LOAD = Path("/proc/loadavg")  # "0.20 0.18 0.12 3/511 4242": three are running now
LOOKS = 3  # at who else is running, of which the least counts: what runs for a moment only is no matter
BETWEEN_LOOKS = 0.002  # seconds
TASKS = Path("/proc/self/task")  # this process's threads
LOOK_EVERY = 1.0  # seconds, while something is computed

# Where a thread waits for another one by spinning, and that one waits for the core, both are lost.
SHORT_SPIN = "2000"  # rounds of OpenMP's threads, a few microseconds; costs a quiet machine 4 %
OPENMP = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
# In NumPy's wheels, and elsewhere.
BLAS_SETTERS = (
    "scipy_openblas_set_num_threads64_",
    "openblas_set_num_threads64_",
    "openblas_set_num_threads",
)
BLAS = ("OPENBLAS_NUM_THREADS", "GOTO_NUM_THREADS", "OMP_NUM_THREADS")


def others_running() -> int:
    """How many threads of other processes want a core now; 0 where the system does not say."""
    found = []
    for look in range(LOOKS):
        if look:
            time.sleep(BETWEEN_LOOKS)
        try:
            found.append(int(LOAD.read_text().split()[3].split("/")[0]) - _own_running())
        except (OSError, ValueError, IndexError):
            return 0
    return max(0, min(found))


def _own_running() -> int:
    """How many of this process's threads run or want to: this one, and others that spin while they wait."""
    running = 0
    for task in TASKS.glob("*/stat"):
        with contextlib.suppress(OSError, IndexError):  # a thread that has just ended
            running += task.read_text().rpartition(")")[2].split()[0] == "R"
    return max(1, running)


def free_cores() -> int:
    """How many of the cores that this process may use others leave to it; at least 1."""
    return max(1, min(available_cores(), (os.cpu_count() or 1) - others_running()))


class SharedCores:
    """Keeps a library's threads to the cores that are free, also where others come and go meanwhile.

    Args:
        most: the number of threads where all cores are free, which there are now.
        set_threads: sets their number.
    """

    def __init__(self, most: int, set_threads: Callable[[int], object]) -> None:
        self._most, self._set_threads = most, set_threads
        self._threads, self._due = most, 0.0

    def look(self) -> None:
        """Adapts the number of threads if the last look at the other processes is LOOK_EVERY ago."""
        if self._most == 1 or time.monotonic() < self._due:
            return
        self._due = time.monotonic() + LOOK_EVERY
        wanted = min(self._most, free_cores())
        if wanted != self._threads:
            self._set_threads(wanted)
            self._threads = wanted

    def restore(self) -> None:
        """Sets the number of threads to what it was."""
        if self._threads != self._most:
            self._set_threads(self._most)
            self._threads = self._most


def set_blas_threads() -> Callable[[int], object] | None:
    """The function of NumPy's OpenBLAS that sets its number of threads; None where it is another library.

    NumPy must have been imported.
    """
    import ctypes

    with contextlib.suppress(OSError):
        lines = Path("/proc/self/maps").read_text(errors="replace").splitlines()
        for path in {line.split(maxsplit=5)[-1] for line in lines if "openblas" in line}:
            library = ctypes.CDLL(path)
            for name in BLAS_SETTERS:
                if hasattr(library, name):
                    found: Callable[[int], object] = getattr(library, name)
                    return found
    return None


@contextlib.contextmanager
def sharing_blas() -> Iterator[Callable[[], None]]:
    """Yields a function to be called now and then, which keeps NumPy's threads to the cores that are free."""
    most = blas_threads()
    set_threads = None if most == 1 else set_blas_threads()
    cores = SharedCores(1 if set_threads is None else most, set_threads or bool)
    try:
        yield cores.look
    finally:
        cores.restore()


def share_cores() -> None:
    """Sets up the threads of OpenMP and OpenBLAS for a machine on which others may be running.

    To be called before NumPy and torch are imported, which read the variables then. Those that the user set
    stay. OpenMP's threads wait without spinning where cores are taken, and after a short spin elsewhere.
    OpenBLAS, whose threads always spin, gets as many as there are free cores. OpenMP's waiting changes no
    result. The number of OpenBLAS's threads changes no text of a model whose size is a multiple of 128, and
    otherwise no more than the rounding.
    """
    cores, free = available_cores(), free_cores()
    if not any(name in os.environ for name in OPENMP):
        if free < cores:
            os.environ["OMP_WAIT_POLICY"] = "passive"
        else:
            os.environ["GOMP_SPINCOUNT"] = SHORT_SPIN
    if free < cores and not any(name in os.environ for name in BLAS):
        os.environ["OPENBLAS_NUM_THREADS"] = str(free)


def keep_freed_memory() -> None:
    """Makes glibc keep freed memory for the next step; does nothing with other C libraries.

    By default it returns the tens of megabytes of activations to the system after every step, which then
    provides them again as zeroed pages: a third of the time of a step.
    """
    import ctypes  # here, since every command imports this module, and only those that use torch need it

    with contextlib.suppress(AttributeError, OSError, TypeError):  # another C library
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_TRIM_THRESHOLD, KEPT)
        mallopt(M_ARENA_MAX, 1)  # since the first of these settings holds for the main heap only
        mallopt(M_MMAP_THRESHOLD, KEPT) or mallopt(M_MMAP_THRESHOLD, KEPT_BY_OLD)


def blas_threads() -> int:
    """The number of threads of NumPy's matrix products."""
    asked = os.environ.get("OPENBLAS_NUM_THREADS") or os.environ.get("OMP_NUM_THREADS") or ""
    return int(asked) if asked.isdecimal() else available_cores()
