"""A process that has imported everything once, and runs command lines in forked copies of itself.

Each case runs ``charrnn.cli.main.main`` in a child whose memory, file size and time are limited, so that a
case that exhausts memory, fills the disk, hangs or dies is a result like any other. ``Zygote`` is the side
of the tests; ``python -m tests.fuzz.zygote`` is the process, which reads and writes one JSON line a request.
"""

from __future__ import annotations

import dataclasses
import json
import os
import resource
import select
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

TRACEBACK = "traceback"
HUNG = "hung"


@dataclasses.dataclass(frozen=True)
class Case:
    """One command line to run.

    Attributes:
        args: after ``charrnn``.
        cwd: the working directory.
        stdin: what stdin holds.
        megabytes: of memory that it may allocate beyond what the imports took.
        file_bytes: the largest file, stdout included, that it may write.
        seconds: of processor time, after which it counts as hung; so does what waits for a minute.
    """

    args: tuple[str, ...]
    cwd: str
    stdin: str = ""
    megabytes: int = 600
    file_bytes: int = 64 << 20
    seconds: float = 6.0


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a case ended.

    Attributes:
        status: its exit status; TRACEBACK, HUNG, or "signal N" where it had none.
        out, err: what it wrote.
        seconds: of processor time.
    """

    status: int | str
    out: str
    err: str
    seconds: float


class Zygote:
    """Starts the process, and sends cases to it."""

    def __init__(self, directory: Path, environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.fuzz.zygote", str(directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
        )

    def __call__(self, cases: Sequence[Case]) -> list[Outcome]:
        """Runs the cases, in order and in one child as long as it lives."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([dataclasses.asdict(case) for case in cases]) + "\n")
        self._process.stdin.flush()
        return [Outcome(**outcome) for outcome in json.loads(self._process.stdout.readline())]

    def close(self) -> None:
        """Ends the process."""
        self._process.communicate("", timeout=60)


# -- the process ---------------------------------------------------------------------------------------

TEXT = "the quick brown fox jumps over the lazy dog\n" * 8
TRAIN = (
    *("train", "t.txt", "-o", "run", "--steps", "1", "--hidden-size", "4", "--num-layers", "1"),
    *("--embedding-size", "3", "--threads", "1", "--batch-size", "2", "--seq-length", "8", "-s", "1", "-q"),
)
SAMPLE = ("sample", "-m", "run", "-n", "5", "-q")
EVALUATE = ("evaluate", "t.txt", "-m", "run", "-q", "--baselines")


def serve(directory: Path) -> None:
    """Imports and uses everything once, then answers requests until stdin ends."""
    os.fsync = _no_fsync  # the disk is not what is tested here
    # One core, and so one thread: the threads of a pool do not survive a fork.
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    with os.fdopen(os.dup(1), "w") as answers, os.fdopen(os.dup(0)) as requests:
        _warm_up(directory)
        for request in requests:
            cases = [Case(**(case | {"args": tuple(case["args"])})) for case in json.loads(request)]
            outcomes: list[Outcome] = []
            while len(outcomes) < len(cases):
                outcomes += _run_in_child(cases[len(outcomes) :])
            answers.write(json.dumps([dataclasses.asdict(outcome) for outcome in outcomes]) + "\n")
            answers.flush()


def _no_fsync(fd: Any) -> None:
    """Does nothing."""


def _warm_up(directory: Path) -> None:
    """Trains, evaluates and samples in this process, so that no child has to import anything."""
    (directory / "t.txt").write_text(TEXT)
    for args in (TRAIN, SAMPLE, EVALUATE):
        outcome = _run(Case(args, str(directory), megabytes=1 << 20))
        assert outcome.status == 0, outcome
    warnings.simplefilter("error")


def _run_in_child(cases: list[Case]) -> list[Outcome]:
    """The outcomes of the cases up to and including the first that kills the child, if one does."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        with os.fdopen(writing, "w") as results:
            for case in cases:
                results.write(json.dumps(dataclasses.asdict(_run(case))) + "\n")
                results.flush()
        os._exit(0)
    os.close(writing)
    outcomes: list[Outcome] = []
    buffer = b""
    hung = False
    while len(outcomes) < len(cases):
        hung = not _wait(reading, child, cases[len(outcomes)].seconds)
        data = b"" if hung else os.read(reading, 1 << 16)
        if not data:
            break
        *lines, buffer = (buffer + data).split(b"\n")
        outcomes += [Outcome(**json.loads(line)) for line in lines]
    if hung:
        os.kill(child, signal.SIGKILL)
    os.close(reading)
    _, status = os.waitpid(child, 0)
    if len(outcomes) < len(cases):
        ended = HUNG if hung else f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else "exited"
        outcomes.append(Outcome(ended, "", "", cases[len(outcomes)].seconds))
    return outcomes


def _wait(reading: int, child: int, seconds: float) -> bool:
    """Waits for a child's next result; whether it came before the child had used its time."""
    began, used = time.monotonic(), _processor_time(child)
    while not select.select([reading], [], [], 0.2)[0]:
        if _processor_time(child) - used > seconds or time.monotonic() - began > 10 * seconds:
            return False
    return True


def _processor_time(process: int) -> float:
    """The seconds that a process has used."""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _run(case: Case) -> Outcome:
    """Runs a case in this process."""
    from charrnn.cli.main import main

    os.chdir(case.cwd)
    files = [tempfile.TemporaryFile() for _ in range(3)]  # noqa: SIM115 (closed below)
    files[0].write(case.stdin.encode("utf-8", "surrogateescape"))
    files[0].seek(0)
    for number, file in enumerate(files):
        os.dup2(file.fileno(), number)
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 (descriptors)
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(  # noqa: SIM115
        2, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False
    )
    _limit(resource.RLIMIT_DATA, _allocated() + (case.megabytes << 20))
    _limit(resource.RLIMIT_FSIZE, case.file_bytes)
    sys.argv = ["charrnn", *case.args]
    began = time.process_time()
    status: Any = None
    try:
        main()
    except SystemExit as end:
        status = 0 if end.code is None else end.code
    except BaseException:
        status = TRACEBACK
        trace = traceback.format_exc()
    seconds = time.process_time() - began
    _limit(resource.RLIMIT_FSIZE, resource.RLIM_INFINITY)
    if status == TRACEBACK:
        sys.stderr.write(trace)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    out, err = [_read(file) for file in files[1:]]
    for file in files:
        file.close()
    return Outcome(status, out, err, seconds)


def _read(file: Any) -> str:
    file.seek(0)
    data: bytes = file.read()
    return data.decode("utf-8", "backslashreplace")


def _limit(kind: int, soft: int) -> None:
    resource.setrlimit(kind, (soft, resource.getrlimit(kind)[1]))


def _allocated() -> int:
    """How many bytes RLIMIT_DATA counts now."""
    with open("/proc/self/status", encoding="ascii") as lines:  # noqa: PTH123 (quicker)
        return next(int(line.split()[1]) for line in lines if line.startswith("VmData")) << 10


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
