"""Ctrl-C while modules are imported ends the program quietly with 130."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from charrnn.model.file import save_model
from tests.conftest import environment, random_model

TEXT = "the quick brown fox jumps over the lazy dog\n" * 8

# Runs the command line, and sends itself SIGINT when the n-th module is looked for (argv[1]), or prints how
# many were.
PROGRAM = """
import os, signal, sys

number, sys.argv = int(sys.argv[1]), ["charrnn", *sys.argv[2:]]
from charrnn.__main__ import main

class Finder:
    count = 0

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        cls.count += 1
        if cls.count == number:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Finder)
try:
    main()
finally:
    sys.stderr.write(f"{Finder.count} modules\\n")
"""

COMMANDS = {
    "sample": ("sample", "-m", "m", "-n", "20", "-s", "1", "-q"),
    "evaluate": ("evaluate", "-m", "m", "t.txt", "--baselines", "--train", "t.txt", "-q"),
    "train": ("train", "t.txt", "--steps", "1", "--hidden-size", "4", "--threads", "1", "-q"),
}


def interrupted(folder: Path, number: int, command: str) -> tuple[int, str, str]:
    """How the command ends that gets a signal at its n-th import: status, stdout, stderr."""
    more = ("-o", f"run{number}") if command == "train" else ()
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(number), *COMMANDS[command], *more],
        capture_output=True, text=True, cwd=folder, env=environment(), check=False,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(("command", "times"), [("sample", 12), ("evaluate", 12), ("train", 5)])
def test_ctrl_c_during_imports(tmp_path: Path, command: str, times: int) -> None:
    """Wherever in its imports a command is interrupted, it says nothing and ends with 130."""
    (tmp_path / "t.txt").write_text(TEXT)
    save_model(tmp_path / "m", random_model(vocabulary="".join(sorted(set(TEXT)))))
    status, _, err = interrupted(tmp_path, 0, command)
    assert status == 0
    count = int(err.split()[-2])
    for turn in range(times):
        number = 1 + (count - 1) * turn // times
        status, out, err = interrupted(tmp_path, number, command)
        assert (status, out) == (130, ""), number
        # Some modules are imported only by the first step of a training, which then is saved.
        assert err == "" or (command == "train" and err.startswith("saved at step ")), number


def test_an_ignored_ctrl_c_stays_ignored(tmp_path: Path) -> None:
    """In the background of a shell without job control SIGINT is ignored, and no handler changes that."""
    save_model(tmp_path / "m", random_model())
    program = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n" + PROGRAM
    done = subprocess.run(
        [sys.executable, "-c", program, "20", *COMMANDS["sample"]],
        capture_output=True, cwd=tmp_path, env=environment(), check=False,
    )  # fmt: skip
    assert done.returncode == 0
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler  # this process's own


LOST = """
import os, signal, types
from charrnn.cli.train import run
from charrnn.training.group import WorkerLost
from charrnn.training.listener import Listener

def lose(listener):
    raise WorkerLost("gone")

try:
    run(types.SimpleNamespace(run=lose), Listener())
except WorkerLost as error:
    os.kill(os.getpid(), signal.SIGTERM)
    print(error)
"""


def test_a_lost_worker_is_reported_before_torchrun_ends_the_rest() -> None:
    """SIGTERM right after another worker was lost does not come before the message; a second one does."""
    done = subprocess.run([sys.executable, "-c", LOST], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "gone\n"), done.stderr
    twice = LOST.replace("    print", "    os.kill(os.getpid(), signal.SIGTERM)\n    print")
    done = subprocess.run([sys.executable, "-c", twice], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (128 + signal.SIGTERM, "")
