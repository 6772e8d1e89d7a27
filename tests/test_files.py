"""Names of files in a run, atomic writes, what counts as an input, and arrays on disk."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from charrnn import files
from charrnn.files import (
    SpilledArray,
    create_directories,
    is_input,
    is_run_file,
    part_of,
    require_space,
    write_atomically,
)
from tests.faults import Disk


@pytest.fixture
def gone() -> int:
    """The number of a process that was and is no more."""
    with subprocess.Popen(["true"]) as process:
        process.wait()
    return process.pid


def part_by(path: Path, process: int) -> Path:
    """What a process calls a file that it has not completed."""
    return path.with_name(part_of(path).name.replace(f"-{os.getpid()}.", f"-{process}."))


def test_processes_have_names_of_their_own(tmp_path: Path, gone: int) -> None:
    """The name of an incomplete file has the process's number, and is as long as names may be."""
    path = tmp_path / ("x" * 255)
    assert part_of(path) != part_by(path, gone)
    part_of(path).touch()
    assert is_run_file(part_of(tmp_path / "log.jsonl").name)
    assert not is_run_file(part_of(tmp_path / "notes").name)


def test_only_what_the_dead_left_is_removed(
    tmp_path: Path, gone: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Incomplete files of the same file go with their process; those of living ones and of others stay."""
    path = tmp_path / "a"
    left, living, other = part_by(path, gone), part_by(path, os.getppid()), part_by(tmp_path / "b", gone)
    for part in (left, living, other, part_of(path)):
        part.write_text("half")
    write_atomically(path, b"whole")
    assert sorted(tmp_path.iterdir()) == sorted([path, living, other])

    def forbidden(*_: int) -> None:
        raise PermissionError  # it is another user's

    monkeypatch.setattr(os, "kill", forbidden)
    left.write_text("half")
    write_atomically(path, b"again")
    assert left.exists()


def test_a_file_is_on_the_disk_before_its_name_and_both_at_the_end(tmp_path: Path) -> None:
    """Written, flushed, renamed, and the directory flushed, in this order."""
    path = tmp_path / "a"
    with Disk(tmp_path).watching() as disk:
        flushed = disk.operations
        write_atomically(path, b"data")
    kinds = [kind for kind, _ in flushed]
    assert kinds == ["open", "write", "fsync", "rename", "fsync"]
    assert [name for kind, name in flushed if kind == "fsync"] == [str(part_of(path)), str(tmp_path)]


def test_new_directories_are_on_the_disk(tmp_path: Path) -> None:
    """Each directory that gets a new one in it is flushed; an old one is left alone."""
    with Disk(tmp_path).watching() as disk:
        create_directories(tmp_path / "a" / "b")
    flushed = {name for kind, name in disk.operations if kind == "fsync"}
    assert flushed == {str(tmp_path), str(tmp_path / "a")}
    with Disk(tmp_path).watching() as disk:
        create_directories(tmp_path / "a" / "b")
    assert not [name for kind, name in disk.operations if kind == "fsync"]


def test_an_input_is_one_under_any_name(tmp_path: Path) -> None:
    """A link, a hard link and a file in a directory that is read are inputs; what is not there is none."""
    text, folder = tmp_path / "text", tmp_path / "folder"
    text.touch()
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "page").touch()
    (tmp_path / "link").symlink_to(text)
    (tmp_path / "hard").hardlink_to(text)
    for path in (text, tmp_path / "link", tmp_path / "hard"):
        assert is_input(path, [text])
        assert is_input(path, ["missing", str(text)])
        assert not is_input(path, [folder, "missing"])
    assert is_input(folder / "deep" / "page", [folder])
    assert not is_input(folder / "new", [folder])


def test_space_is_refused_to_the_byte(tmp_path: Path) -> None:
    """As much as there is room for may be written, and no byte more."""
    require_space(1000, 1000, tmp_path)
    with pytest.raises(OSError, match="too little free space"):
        require_space(1001, 1000, tmp_path)


def test_blocks_of_an_array_share_the_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each block that is spilled fits, but the second one no longer beside the first."""
    monkeypatch.setattr(files, "IN_MEMORY", 50)
    monkeypatch.setattr(files, "free_space", lambda _: 150)
    array = SpilledArray(np.dtype(np.uint8))
    array.add(np.ones(100, np.uint8))
    with pytest.raises(OSError, match="too little free space"):
        array.add(np.ones(100, np.uint8))


def test_a_spilled_array_is_the_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """In memory or from the file, an array is its blocks one after the other."""
    blocks = [np.arange(5), np.arange(7), np.arange(0), np.arange(100)]
    for bound in (1, 20, 10_000):
        monkeypatch.setattr(files, "IN_MEMORY", bound)
        array = SpilledArray(np.dtype(np.int16))
        for block in blocks:
            array.add(block)
        assert array.finish().tolist() == np.concatenate(blocks).tolist()
