"""Trainings that are killed or interrupted at random: what is lost, what hangs, what stays behind.

    python -m benchmarks.kills TEXT [--times 20] [--only torchrun] [--seed 1]

Four rows: torchrun with two workers, of which one is killed (kill -9) and torchrun's restart has to go on;
torchrun that gets Ctrl-C; one process with two replicas that is killed, or gets Ctrl-C. The moment is drawn
from the time that an undisturbed training takes, its start included. Afterwards everything must have ended,
no process may be left, model and state must load, and what had stopped must go on to its last step.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from benchmarks.report import machine, table
from charrnn.errors import CharrnnError
from charrnn.files import MODEL_FILE, STATE_FILE
from charrnn.model.file import load_model
from charrnn.training.state import load_training

STEPS = 400
TRAINING = (  # about half of it is evaluation
    "--hidden-size", "64", "--num-layers", "1", "--batch-size", "8", "--seq-length", "32", "--threads", "1",
    "--steps", str(STEPS), "--eval-every", "20", "--save-every", "0.2", "--val-fraction", "0.3",
    "--patience", "0", "--seed", "1",
)  # fmt: skip
CHARRNN = (sys.executable, "-m", "charrnn", "train")
TORCHRUN = (
    sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--max-restarts", "1",
    "--no-python",
)  # fmt: skip
MARK = "CHARRNN_KILLS"  # a variable by which a training's processes are found
HANGS = 120  # seconds, after which a training that should have ended or finished hangs
LEAVES = 5  # seconds that its processes may take to be gone after it
LOOK = 0.02  # seconds between looks


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of training, and what happens to it.

    Attributes:
        name: for the table.
        workers: of torchrun; 1 is a process without it.
        kill: whether a worker is killed; else there is Ctrl-C.
    """

    name: str
    workers: int
    kill: bool

    def command(self, text: str, directory: Path) -> list[str]:
        """The command line of the training."""
        training = [*CHARRNN, text, "-o", str(directory), *TRAINING]
        if self.workers == 1:
            return [*training, "--threads", "2", "--replicas", "2"]
        return [*TORCHRUN, *training]


KINDS = {
    "torchrun-kill": Kind("torchrun, 2 workers: kill -9 of one", 2, kill=True),
    "torchrun-ctrl-c": Kind("torchrun, 2 workers: Ctrl-C", 2, kill=False),
    "replicas-kill": Kind("--replicas 2: kill -9", 1, kill=True),
    "replicas-ctrl-c": Kind("--replicas 2: Ctrl-C", 1, kill=False),
}


class Fault(Exception):
    """What must not happen."""


class Training:
    """A training in a session of its own, whose processes are marked by a variable."""

    def __init__(self, command: Sequence[str], where: Path) -> None:
        self._mark = f"{MARK}={uuid.uuid4()}"
        name, value = self._mark.split("=")
        self._stderr = where / "stderr"
        with self._stderr.open("ab") as stderr:
            self.process = subprocess.Popen(
                command,
                env=os.environ | {name: value, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"},
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=stderr, start_new_session=True,
            )  # fmt: skip

    def processes(self) -> dict[int, int]:
        """The training's processes that run, with the rank that torchrun gave each; -1 for none."""
        found = {}
        for path in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                variables = path.joinpath("environ").read_bytes().decode(errors="replace").split("\0")
                if self._mark in variables:
                    ranks = [int(variable[5:]) for variable in variables if variable.startswith("RANK=")]
                    found[int(path.name)] = ranks[0] if ranks else -1
        return found

    def worker(self, rank: int) -> int | None:
        """The process of a rank, or of the training without torchrun, waited for; None if it has ended."""
        while self.process.poll() is None:
            for process, number in self.processes().items():
                if number == rank:
                    return process
            time.sleep(LOOK)
        return None

    def ended(self, seconds: float) -> int:
        """The status with which all ended.

        Raises:
            Fault: it took longer, or a process is left.
        """
        try:
            status = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise Fault(f"hangs: {self.said()}") from None
        end = time.monotonic() + LEAVES
        while self.processes():
            if time.monotonic() > end:
                raise Fault(f"left running: {self.processes()}")
            time.sleep(LOOK)
        return status

    def end(self) -> None:
        """Ends what is left of it."""
        for process in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        self.process.wait()

    def said(self) -> str:
        """The last lines on stderr."""
        return " / ".join(self._stderr.read_text(errors="replace").splitlines()[-5:])


def saved_step(directory: Path) -> int | None:
    """The step of the state in a directory, None if there is none yet; model and state must load.

    Raises:
        Fault: one of them is damaged.
    """
    try:
        if (directory / MODEL_FILE).exists():
            load_model(directory / MODEL_FILE)
        return load_training(directory).progress.step if (directory / STATE_FILE).exists() else None
    except CharrnnError as error:
        raise Fault(f"damaged: {error}") from error


def go_on(text: str, directory: Path, where: Path) -> str:
    """Goes on in one process with what was stopped, or begins anew where nothing was saved; returns which.

    Raises:
        Fault: it does not come to its last step.
    """
    step = saved_step(directory)
    how = ["--resume"] if step is not None else TRAINING
    training = Training([*CHARRNN, text, "-o", str(directory), *how], where)
    try:
        if training.ended(HANGS) != 0:
            raise Fault(f"does not go on: {training.said()}")
    finally:
        training.end()
    if saved_step(directory) != STEPS:
        raise Fault(f"ends at step {saved_step(directory)}, not {STEPS}")
    if step == STEPS:
        return "made its last step all the same"
    return "nothing was saved yet, began anew" if step is None else "went on from its state"


def attempt(kind: Kind, text: str, moment: float, rank: int) -> tuple[str, float] | None:
    """Disturbs one training after ``moment`` seconds; returns what came of it, and how long it took to end.

    None if it had ended before.

    Raises:
        Fault: what must not happen has happened.
    """
    with tempfile.TemporaryDirectory() as folder:
        where, directory = Path(folder), Path(folder) / "run"
        training = Training(kind.command(text, directory), where)
        try:
            time.sleep(moment)
            struck = rank if kind.workers > 1 else -1
            worker = training.worker(struck) if kind.kill else training.process.pid
            if worker is None or training.process.poll() is not None:
                return None
            if kind.kill:
                os.kill(worker, signal.SIGKILL)
            else:
                os.killpg(worker, signal.SIGINT)
            before, began = saved_step(directory), time.monotonic()
            status = training.ended(HANGS)
            seconds = time.monotonic() - began
            if status != 0 or kind.workers == 1 or not kind.kill:
                return go_on(text, directory, where), seconds
            if saved_step(directory) != STEPS:
                raise Fault(f"restarted, and ended at step {saved_step(directory)}")
            return "restarted " + ("anew" if before is None else "from its state"), seconds
        finally:
            training.end()


def undisturbed(kind: Kind, text: str) -> float:
    """The seconds that a training takes which nothing happens to."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        training = Training(kind.command(text, Path(folder) / "run"), Path(folder))
        if training.ended(HANGS) != 0 or saved_step(Path(folder) / "run") != STEPS:
            raise SystemExit(f"even undisturbed it fails: {training.said()}")
        return time.monotonic() - began


def measure(kind: Kind, text: str, times: int, seed: int) -> list[str]:
    """A row of the table: the kind, what came of its trainings, how long they took to end, and the faults."""
    whole, draw = undisturbed(kind, text), random.Random(seed)
    outcomes: Counter[str] = Counter()
    seconds: list[float] = []
    faults = 0
    while outcomes.total() < times:
        moment, rank = draw.uniform(0, whole), draw.randrange(kind.workers)
        number = outcomes.total() + 1
        note = f"{kind.name} {number}/{times} after {moment:.2f} of {whole:.1f} s, rank {rank}: "
        try:
            found = attempt(kind, text, moment, rank)
            if found is None:
                whole *= 0.9  # the machine was busier before
                continue
            outcome = found[0]
            outcomes[outcome] += 1
            seconds.append(found[1])
        except Fault as fault:
            outcome, faults = f"FAULT {fault}", faults + 1
            outcomes["a fault"] += 1
        print(note + outcome, file=sys.stderr, flush=True)
    said = ", ".join(f"{count} {outcome}" for outcome, count in outcomes.most_common())
    ends = f"{statistics.median(seconds):.1f} s, at most {max(seconds):.1f} s" if seconds else "-"
    return [kind.name, str(times), said, ends, str(faults)]


def main() -> None:
    """Runs the trainings and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("text")
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--only", choices=KINDS, action="append")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    # A shell's background jobs ignore Ctrl-C, and what they start inherits that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    text = str(Path(arguments.text).resolve())
    rows = [measure(KINDS[name], text, arguments.times, arguments.seed) for name in arguments.only or KINDS]
    print(machine())
    print(table(["training", "times", "what came of it", "ended after", "faults"], rows))


if __name__ == "__main__":
    main()
