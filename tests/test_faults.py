"""Whatever write fails, and whenever the power goes: the old file or the new one, never neither.

Each operation on the disk that a command makes is made to fail in turn.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from charrnn.cli.main import run
from charrnn.files import LOCK_FILE, LOG_FILE, MODEL_FILE, STATE_FILE
from charrnn.model.file import load_model, load_state, save_model
from tests.conftest import random_model
from tests.faults import Disk, PowerCutError

pytestmark = pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc")

TEXT = "the quick brown fox jumps over the lazy dog\n" * 8
TRAIN = (
    *(
        "--steps",
        "4",
        "--eval-every",
        "2",
        "--hidden-size",
        "4",
        "--num-layers",
        "1",
        "--embedding-size",
        "3",
    ),
    *("--threads", "1", "--batch-size", "2", "--seq-length", "8", "--seed", "1", "--device", "cpu", "-q"),
)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a text and a model, in which the commands run; ``disk`` in it is what can fail."""
    (tmp_path / "t.txt").write_text(TEXT)
    save_model(tmp_path / "m", random_model(vocabulary="".join(sorted(set(TEXT)))))
    (tmp_path / "disk").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def train(directory: Path, *more: str) -> int:
    """Trains in the directory."""
    return run(["train", "t.txt", "-o", str(directory), *TRAIN, *more])


def resume(directory: Path) -> int:
    """Goes on in the directory."""
    return run(["train", "--resume", "-o", str(directory), "-q", "--threads", "1"])


def weights(directory: Path) -> bytes:
    """The weights of a run's model, which are equal for equal trainings."""
    return b"".join(
        array.tobytes() for _, array in sorted(load_model(directory / MODEL_FILE).weights.items())
    )


def steps_logged(directory: Path) -> list[int]:
    """The steps of a run's evaluations."""
    return [json.loads(line)["step"] for line in (directory / LOG_FILE).read_text().splitlines()]


def check_files(directory: Path) -> None:
    """Holds a run's model and state to be whole, where they are there."""
    if (directory / MODEL_FILE).exists():
        load_model(directory / MODEL_FILE)
    if (directory / STATE_FILE).exists():
        load_state(directory / STATE_FILE)


def check_end(directory: Path, expected: bytes, message: str) -> None:
    """Goes on with a run, or begins it anew where nothing was saved, and holds the result to the expected."""
    check_files(directory)
    status = resume(directory) if (directory / STATE_FILE).exists() else train(directory, "--force")
    assert status == 0, message
    assert weights(directory) == expected, message
    assert steps_logged(directory) == [2, 4], message


def assert_said(status: int, said: str, operation: tuple[str, str]) -> None:
    """Holds a failure to one line, and lets pass what does no harm.

    To create a directory that is there already, or to remove the lock at the end, or an empty directory,
    may fail.
    """
    kind, path = operation
    harmless = kind in ("mkdir", "rmdir") or (kind == "unlink" and path.endswith("/lock"))
    assert (status, said.count("\n")) == (1, 1) or (harmless and (status, said) == (0, "")), (operation, said)


def operations(place: Path, action: Callable[[Path], int]) -> list[tuple[str, str]]:
    """What the action does to the disk when nothing fails."""
    with Disk(place / "disk").watching() as disk:
        assert action(place / "disk") == 0
    return disk.operations


def firsts(done: list[tuple[str, str]]) -> list[int]:
    """The numbers of the first operation of each kind on each file: later ones differ in their data."""
    found: dict[tuple[str, str], int] = {}
    for number, (kind, path) in enumerate(done):
        found.setdefault((kind, re.sub("[0-9]+", "", Path(path).name)), number)
    return list(found.values())


def fresh(place: Path, prepare: Callable[[Path], object]) -> Path:
    """A new directory on which an operation can fail, prepared."""
    number = len(list(place.iterdir()))
    folder = place / f"disk{number}"
    folder.mkdir()
    prepare(folder)
    return folder


def nothing(_: Path) -> None:
    """Prepares nothing."""


@pytest.mark.parametrize("forever", [False, True], ids=["once", "from then on"])
def test_each_write_of_a_training_fails(
    place: Path, capsys: pytest.CaptureFixture[str], forever: bool
) -> None:
    """A full disk at any operation is one line; what was saved is whole, and the training can go on.

    A disk that stays full is tried at each kind of operation on each file.
    """
    done = operations(place, lambda disk: train(disk / "run"))
    expected = weights(place / "disk" / "run")
    assert {kind for kind, _ in done} >= {"open", "write", "fsync", "rename", "mkdir"}
    capsys.readouterr()
    for number in firsts(done) if forever else range(len(done)):
        folder, operation = fresh(place, nothing), done[number]
        with Disk(folder, number, forever=forever).watching() as disk:
            status = train(folder / "run")
        assert disk.failed
        said = capsys.readouterr().err
        assert_said(status, said, operation)
        left = [path.name for path in folder.rglob("*.part*")]
        assert left == [], operation
        check_end(folder / "run", expected, str(operation))
        capsys.readouterr()


def test_each_write_of_a_resumed_training_fails(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where a model and a state were, a model and a state are, whatever kind of operation fails."""

    def begun(disk: Path) -> None:
        assert train(disk / "run", "--steps", "2") == 0
        state = disk / "run" / STATE_FILE
        _lengthen(state)

    prepared = fresh(place, begun)
    with Disk(prepared).watching() as watched:
        assert resume(prepared / "run") == 0
    expected = weights(prepared / "run")
    for number in firsts(watched.operations):
        folder, operation = fresh(place, begun), watched.operations[number]
        capsys.readouterr()
        with Disk(folder, number).watching():
            status = resume(folder / "run")
        assert_said(status, capsys.readouterr().err, operation)
        load_model(folder / "run" / MODEL_FILE)
        load_state(folder / "run" / STATE_FILE)
        assert resume(folder / "run") == 0
        assert weights(folder / "run") == expected


def _lengthen(state: Path) -> None:
    """Makes a finished state one of a training of four steps."""
    from tests.model.test_file import build, parse

    header, description, body = parse(state.read_bytes())
    description["training"]["steps"], description["finished"] = 4, False
    state.write_bytes(build(header, description, body))


@pytest.mark.parametrize("names_first", [False, True], ids=["names last", "names first"])
def test_the_power_goes_at_any_moment_of_a_training(place: Path, names_first: bool) -> None:
    """What was not flushed is lost, names included, and yet the run goes on, or had not begun."""
    done = operations(place, lambda disk: train(disk / "runs" / "run"))
    expected = weights(place / "disk" / "runs" / "run")
    seen = ""
    for number, operation in enumerate(done):
        folder = fresh(place, nothing)
        with Disk(folder, number, PowerCutError).watching() as disk, pytest.raises(PowerCutError):
            train(folder / "runs" / "run")
        disk.after_power_cut(place / f"after{number}", names_first=names_first)
        found = place / f"after{number}" / "runs" / "run"
        there = "".join(name[0] for name in (STATE_FILE, MODEL_FILE) if (found / name).exists())
        assert len(there) >= len(seen), operation  # what was there once stays
        seen = there
        check_end(found, expected, str(operation))
    assert seen == "sm"
    folder = fresh(place, nothing)
    with Disk(folder).watching() as disk:
        assert train(folder / "runs" / "run") == 0
    disk.after_power_cut(place / "after", names_first=names_first)
    assert weights(place / "after" / "runs" / "run") == expected
    assert steps_logged(place / "after" / "runs" / "run") == [2, 4]


def test_a_training_is_killed_at_any_operation(place: Path) -> None:
    """What a killed training leaves, incomplete files included, is gone on with."""
    done = operations(place, lambda disk: train(disk / "run"))
    expected = weights(place / "disk" / "run")
    for number, operation in enumerate(done):
        folder = fresh(place, nothing)
        with Disk(folder, number, PowerCutError).watching(), pytest.raises(PowerCutError):
            train(folder / "run")
        # A process that is killed gives back its lock; here it lives on.
        (folder / "run" / LOCK_FILE).unlink(missing_ok=True)
        check_end(folder / "run", expected, str(operation))


def test_ctrl_c_at_any_operation(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A signal during any save ends with 130 and a line that resumes, or with 0 after the last one."""
    done = operations(place, lambda disk: train(disk / "run"))
    expected = weights(place / "disk" / "run")
    capsys.readouterr()
    statuses = set()
    for number, operation in enumerate(done):
        folder = fresh(place, nothing)
        with Disk(folder, number, KeyboardInterrupt).watching():
            status = train(folder / "run")
        said = capsys.readouterr().err
        assert status in (0, 130), operation
        assert said in ("", "\n") or (said.startswith("saved at step ") and said.count("\n") == 1), operation
        assert [path.name for path in folder.rglob("*.part*")] == [], operation
        check_end(folder / "run", expected, str(operation))
        statuses.add(status)
        capsys.readouterr()
    assert statuses == {0, 130}


def check_pages(place: Path, capfd: pytest.CaptureFixture[str], action: Callable[[Path], int]) -> None:
    """Lets each operation fail that replaces a page; afterwards the page is the old or the new one."""

    def old(disk: Path) -> None:
        (disk / "page.html").write_text("old")

    old(place / "disk")
    done = operations(place, action)
    new = (place / "disk" / "page.html").read_bytes()
    capfd.readouterr()
    assert {kind for kind, _ in done} == {"open", "write", "fsync", "rename"}
    for number, operation in enumerate(done):
        folder = fresh(place, old)
        with Disk(folder, number).watching():
            assert action(folder) == 1, operation
        assert capfd.readouterr().err.count("\n") == 1
        synced = number == len(done) - 1  # the directory's own fsync comes after the rename
        assert (folder / "page.html").read_bytes() == (new if synced else b"old"), operation
        assert [path.name for path in folder.iterdir()] == ["page.html"], operation
        for names_first in (False, True):
            folder = fresh(place, old)
            with Disk(folder, number, PowerCutError).watching() as disk, pytest.raises(PowerCutError):
                action(folder)
            after = place / f"after{number}{names_first}"
            disk.after_power_cut(after, names_first=names_first)
            assert (after / "page.html").read_bytes() in (b"old", new)


def test_each_write_of_a_heat_map_fails(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The page of an evaluation is the old or the new one."""
    arguments = ["evaluate", "t.txt", "-m", "m", "-q", "--force", "--html"]
    check_pages(place, capfd, lambda disk: run([*arguments, str(disk / "page.html")]))


def test_each_write_of_an_export_fails(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """An exported page is the old or the new one."""
    check_pages(
        place, capfd, lambda disk: run(["export", "-m", "m", "-q", "--force", str(disk / "page.html")])
    )


def test_each_write_of_a_cache_fails(
    place: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cache of ids that could not be written is none, and the next training writes it."""
    monkeypatch.setattr("charrnn.files.IN_MEMORY", 64)
    done = operations(place, lambda disk: train(disk / "run"))
    expected = weights(place / "disk" / "run")
    cached = [number for number, (_, path) in enumerate(done) if "ids-" in path]
    assert {done[number][0] for number in cached} >= {"open", "write", "fsync", "rename"}
    capfd.readouterr()
    for number in cached:
        for error in (OSError, PowerCutError):
            folder = fresh(place, nothing)
            with Disk(folder, number, error).watching() as disk:
                if error is OSError:
                    assert train(folder / "run") == 1
                    assert capfd.readouterr().err.count("\n") == 1
                else:
                    with pytest.raises(PowerCutError):
                        train(folder / "run")
            after = place / f"after{number}{error.__name__}"
            disk.after_power_cut(after, names_first=error is PowerCutError)
            check_end(folder / "run" if error is OSError else after / "run", expected, str(done[number]))
            capfd.readouterr()
