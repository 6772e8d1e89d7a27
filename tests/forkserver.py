"""A process that has imported everything once, and runs command lines in forked copies of itself.

Importing torch takes seconds, so a test that starts a process for each command would spend most of its time
on imports. A copy has its own memory, files, directory, environment and exit status, as a process that is
started anew has. ``ForkServer`` is the side of the tests; ``python -m tests.forkserver`` is the process.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import json
import os
import select
import signal
import subprocess
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

# Variables by how their names begin that are read while Python, NumPy or torch start.
EARLY = ("PYTHON", "OMP_", "GOMP_", "OPENBLAS_", "GOTO_", "MKL_", "LC_", "LANG", "LD_", "MALLOC_", "TORCH")
TRAINING = (
    *("train", "text", "-o", "run", "--steps", "1", "--hidden-size", "4", "--num-layers", "1"),
    *("--embedding-size", "3", "--threads", "1", "--batch-size", "2", "--seq-length", "8", "-s", "1", "-q"),
)
WRITING = ("sample", "-m", "shakespeare", "-n", "5", "-q")  # of the shipped model
# What imports torch, by the words on the command line, and what shows which modules that takes.
HEAVY = {"train", "--dynamic", "--gradients"}
USES = (TRAINING, ("evaluate", "text", "-m", "run", "--baselines"))


@dataclasses.dataclass(frozen=True)
class Result:
    """How a process ended and what it wrote."""

    status: int
    stdout: bytes
    stderr: bytes

    @property
    def out(self) -> str:
        """The stdout as text."""
        return self.stdout.decode()

    @property
    def err(self) -> str:
        """The stderr as text."""
        return self.stderr.decode()


def can_fork(extra: Mapping[str, str]) -> bool:
    """Whether a copy heeds these variables, none of which is read only when a process starts."""
    return not any(name.startswith(EARLY) for name in extra)


class ForkServer:
    """Starts the process when it is first needed, and sends it command lines.

    Args:
        directory: for the files of the copies.
        environment: of the process.
    """

    def __init__(self, directory: Path, environment: Mapping[str, str]) -> None:
        self._directory, self._environment = directory, environment
        self._process: subprocess.Popen[str] | None = None
        self._count = 0

    def run(
        self, args: Sequence[str], cwd: Path, environment: Mapping[str, str], data: bytes, timeout: float
    ) -> Result:
        """Runs ``charrnn ARGS`` to its end.

        Raises:
            subprocess.TimeoutExpired: it took longer than ``timeout`` seconds, and was ended.
        """
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.forkserver", str(self._directory)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                cwd=Path(__file__).parent.parent,  # a test may be somewhere else by now
                env=dict(self._environment),
                text=True,
            )
        self._count += 1
        files = [self._directory / f"{self._count}.{name}" for name in ("in", "out", "err")]
        files[0].write_bytes(data)
        request = {
            "args": list(args),
            "cwd": str(cwd),
            "environment": dict(environment),
            "files": list(map(str, files)),
            "timeout": timeout,
        }
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        status = json.loads(self._process.stdout.readline())
        if status is None:
            raise subprocess.TimeoutExpired(["charrnn", *args], timeout)
        found = Result(status, files[1].read_bytes(), files[2].read_bytes())
        for file in files:
            file.unlink()
        return found

    def close(self) -> None:
        """Ends the process."""
        if self._process is not None:
            self._process.communicate("", timeout=60)


# -- the process ---------------------------------------------------------------------------------------


def serve(directory: Path) -> None:
    """Imports what the commands need, torch only once it is needed, and answers requests until stdin ends."""
    from charrnn.__main__ import main

    requests, answers = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_RDWR), 0)
    os.dup2(2, 1)
    import_for(main, [WRITING], directory)
    ready = False
    for line in requests:
        request = json.loads(line)
        if not ready and HEAVY & set(request["args"]):
            import_for(main, USES, directory)
            ready = True
        answers.write(json.dumps(answer(main, request)) + "\n")
        answers.flush()


def import_for(main: Any, uses: Sequence[Sequence[str]], directory: Path) -> None:
    """Imports what some commands import while they work, which is found by running them in a copy."""
    reading, writing = os.pipe()
    copy = os.fork()
    if copy == 0:
        os.chdir(directory)
        Path("text").write_text("the quick brown fox jumps over the lazy dog\n" * 8, encoding="utf-8")
        log = os.open("log", os.O_RDWR | os.O_CREAT)
        os.dup2(log, 1)
        os.dup2(log, 2)
        for args in uses:
            run(main, args)
        os.write(writing, "\n".join(sys.modules).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        names = pipe.read().decode().split("\n")
    os.waitpid(copy, 0)
    for name in names:
        with contextlib.suppress(Exception):
            importlib.import_module(name)


def answer(main: Any, request: dict[str, Any]) -> int | None:
    """The exit status of a command in a copy of this process; None if it took too long."""
    copy = os.fork()
    if copy == 0:
        os.setpgid(0, 0)
        os.chdir(request["cwd"])
        os.environ.clear()
        os.environ.update(request["environment"])
        for number, name in enumerate(request["files"]):
            os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT if number else os.O_RDONLY), number)
        os._exit(run(main, request["args"]))
    done = os.pidfd_open(copy)
    if not select.select([done], [], [], request["timeout"])[0]:
        os.killpg(copy, signal.SIGKILL)
        os.waitpid(copy, 0)
        os.close(done)
        return None
    os.close(done)
    return os.waitstatus_to_exitcode(os.waitpid(copy, 0)[1])


def run(main: Any, args: Sequence[str]) -> int:
    """Runs a command line on the descriptors 0, 1 and 2, and returns its status."""
    encoding, errors = sys.stdout.encoding, sys.stdout.errors
    sys.stdin = open(0, encoding=encoding, errors=errors, closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", encoding=encoding, errors=errors, closefd=False)  # noqa: SIM115
    sys.stderr = open(  # noqa: SIM115
        2, "w", encoding=encoding, errors="backslashreplace", buffering=1, closefd=False
    )
    sys.argv = ["charrnn", *args]
    try:
        main()
    except SystemExit as end:
        status = 0 if end.code is None else end.code
    except BaseException:
        traceback.print_exc()
        status = 1
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    return int(status)


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
