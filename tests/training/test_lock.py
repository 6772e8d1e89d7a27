"""One process at a time trains in a run's directory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from charrnn.errors import RunError
from charrnn.files import LOCK_FILE, write_atomically
from charrnn.runs import is_running
from charrnn.training.lock import RunLock
from tests.conftest import environment

HOLDER = """
import os, sys
from pathlib import Path
from charrnn.training.lock import RunLock
lock = RunLock(Path("run"))
lock.acquire()
print("held", flush=True)
sys.stdin.read()
"""


def start_holder(where: Path) -> subprocess.Popen[str]:
    """A process that holds the lock of run/ until it is killed or its stdin is closed."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER],
        cwd=where,
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_process_is_told_who_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lock of another process is refused, with its number and since when; it dies with its owner."""
    monkeypatch.chdir(tmp_path)
    with start_holder(tmp_path) as process:
        assert is_running(Path("run"))
        expected = rf"^run: is being trained by process {process.pid} on \S+ since \d{{4}}-\d\d-\d\d .*; wait"
        with pytest.raises(RunError, match=expected):
            RunLock(Path("run")).acquire()
        process.kill()
        process.communicate()
    assert Path("run/lock").exists()
    lock = RunLock(Path("run"))
    lock.acquire()
    assert f"process {os.getpid()} " in Path("run/lock").read_text()
    lock.release()
    assert list(tmp_path.iterdir()) == [tmp_path / "run"]
    assert not is_running(Path("run"))


def test_a_lock_leaves_nothing_behind(tmp_path: Path) -> None:
    """Released, or forgotten, a lock is gone with the directories made for it, unless they hold something."""
    lock = RunLock(tmp_path / "deep" / "run")
    lock.acquire()
    lock.acquire()
    lock.release()
    lock.release()
    assert list(tmp_path.iterdir()) == []
    lock.acquire()
    (tmp_path / "deep" / "kept").write_text("x")
    del lock
    assert list(tmp_path.rglob("*")) == [tmp_path / "deep", tmp_path / "deep" / "kept"]


def test_a_lock_of_others_is_left_alone(tmp_path: Path) -> None:
    """A file of that name that charrnn did not write is an error, and keeps its content."""
    (tmp_path / LOCK_FILE).write_text("mine")
    with pytest.raises(RunError, match="not a lock of charrnn's"):
        RunLock(tmp_path).acquire()
    assert (tmp_path / LOCK_FILE).read_text() == "mine"


def test_the_one_who_waits_gets_a_lock_that_counts(tmp_path: Path) -> None:
    """Whoever holds a lock has the file that stands there, not one that its former owner removed."""
    first, second = RunLock(tmp_path), RunLock(tmp_path)
    first.acquire()
    unlocked = os.open(tmp_path / LOCK_FILE, os.O_RDONLY)
    first.release()
    second.acquire()
    assert os.fstat(unlocked).st_nlink == 0
    with pytest.raises(RunError, match="is being trained by"):
        first.acquire()
    os.close(unlocked)
    second.release()


WRITER = """
import os, sys
from pathlib import Path
from charrnn.files import write_atomically
for number in range(200):
    write_atomically(Path("file"), sys.argv[1].encode() * 100_000)
"""


def test_two_writers_of_one_file_do_not_mix(tmp_path: Path) -> None:
    """Whoever reads while two processes write the same file sees one of the two contents, whole."""
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, letter], cwd=tmp_path, env=environment())
        for letter in "ab"
    ]
    seen = set()
    while any(writer.poll() is None for writer in writers):
        try:
            data = (tmp_path / "file").read_bytes()
        except FileNotFoundError:
            continue
        seen.add((data[:1], len(data), len(set(data))))
    assert [writer.wait() for writer in writers] == [0, 0]
    assert seen <= {(b"a", 100_000, 1), (b"b", 100_000, 1)}
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


def test_errors_name_the_file_and_not_its_part(tmp_path: Path) -> None:
    """Where a file cannot be written, the message has its own name, not the temporary one."""
    with pytest.raises(OSError, match="No such file") as caught:
        write_atomically(tmp_path / "none" / "page.html", b"x")
    assert caught.value.filename == str(tmp_path / "none" / "page.html")
    (tmp_path / "directory").mkdir()
    with pytest.raises(OSError, match="directory") as caught:
        write_atomically(tmp_path / "directory", b"x")
    assert caught.value.filename == str(tmp_path / "directory")
