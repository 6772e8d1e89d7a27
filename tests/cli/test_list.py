"""``charrnn list``: what there is, newest first, whatever state it is in."""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from charrnn.cli.list import age_of, table
from charrnn.errors import ModelFileError
from charrnn.files import LOCK_FILE, LOG_FILE, MODEL_FILE, STATE_FILE
from charrnn.model.file import load_model, load_state, read_header, save_model, save_state
from charrnn.runs import Summary, is_running, summaries, summarize_model
from tests.conftest import Charrnn, random_model


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test stands in an empty directory; within this process no model is shipped."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("charrnn.runs.SHIPPED", Path("nowhere"))
    return tmp_path


def make(name: str, age: float = 0, *, finished: bool | None = True, model: bool = True) -> Path:
    """A run of two little files, so many seconds old; ``finished=None`` makes no state."""
    directory = Path("runs") / name
    directory.mkdir(parents=True)
    corpus = {"name": "jigs.abc", "characters": 12345}
    if model:
        described = dataclasses.replace(
            random_model("gru"), corpus=corpus, quality={"bits_per_character": 1.9349}
        )
        save_model(directory / MODEL_FILE, described)
    if finished is not None:
        architecture = dataclasses.asdict(random_model("gru").config)
        described_state = {"finished": finished, "architecture": architecture, "corpus": corpus}
        save_state(directory / STATE_FILE, {"x": np.zeros(3)}, described_state)
    then = time.time() - age
    for path in (*directory.iterdir(), directory):
        os.utime(path, (then, then))
    return directory


def test_runs_newest_first() -> None:
    """Each run is there with what its files say, the one that changed last before the others."""
    for name, age in (("old", 7300), ("new", 10), ("middle", 130)):
        make(name, age)
    found = summaries()
    assert [summary.name for summary in found] == ["new", "middle", "old"]
    size = sum(path.stat().st_size for path in Path("runs/new").iterdir())
    expected = ("gru", 2, 8, "jigs.abc", 12345, 1.9349, "finished", size, None)
    fields = ("cell", "layers", "units", "text", "characters", "bits_per_character", "state", "size", "error")
    assert tuple(getattr(found[0], field) for field in fields) == expected


def test_states() -> None:
    """A run is finished as its state says, running while its lock is held, and a lone model neither."""
    make("finished")
    directory = make("stopped", finished=False)
    make("copied", finished=None)
    make("begun", finished=False, model=False)
    (directory / LOCK_FILE).touch()  # left behind by a process that ended

    def states() -> dict[str, Any]:
        return {summary.name: summary.state for summary in summaries()}

    expected = {"finished": "finished", "stopped": "stopped", "copied": None, "begun": "stopped"}
    assert states() == expected
    with (directory / LOCK_FILE).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert states() == expected | {"stopped": "running"}
    assert states() == expected


def test_asking_does_not_keep_the_lock() -> None:
    """After ``is_running`` a training can take the lock; without a lock file nothing runs."""
    directory = make("play")
    assert not is_running(directory)
    (directory / LOCK_FILE).touch()
    assert not is_running(directory)
    with (directory / LOCK_FILE).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_what_cannot_be_read_is_a_line() -> None:
    """A damaged run, one of another program, and a pipe for a file are each a line with the reason."""
    make("good", 100)
    (make("cut", 50) / MODEL_FILE).write_bytes(b"\x10\0\0\0\0\0\0\0{}")
    (make("empty", 40) / STATE_FILE).write_bytes(b"")
    pipe = make("pipe", 30, model=False) / MODEL_FILE
    os.mkfifo(pipe)
    (Path("runs") / "texts").mkdir()
    (Path("runs") / "file").touch()
    found = {summary.name: summary.error for summary in summaries()}
    whole = "not a whole safetensors file (it ends within its header); copy it again, or train anew"
    assert found == {
        "good": None,
        "cut": f"runs/cut/{MODEL_FILE}: {whole}",
        "empty": f"runs/empty/{STATE_FILE}: {whole}",
        "pipe": f"runs/pipe/{MODEL_FILE}: not a file but a pipe",
    }
    lines = table(summaries(), time.time()).splitlines()
    assert len(lines) == 5
    assert any(line.startswith("cut") and line.endswith(whole) for line in lines)


def test_facts_of_the_wrong_type_are_unknown() -> None:
    """What a header says of the wrong type is left out rather than shown or believed."""
    directory = make("odd", model=False, finished=None)
    save_state(directory / STATE_FILE, {"x": np.zeros(1)}, {"architecture": [], "corpus": {"name": 3}})
    (summary,) = summaries()
    assert (summary.cell, summary.text, summary.state, summary.error) == (None, None, "stopped", None)


def test_a_model_outside_a_run() -> None:
    """A single file is described as a run is, without a state; one that is missing says so."""
    directory = make("play")
    found = summarize_model("shipped", directory / MODEL_FILE)
    assert (found.name, found.cell, found.characters, found.state) == ("shipped", "gru", 12345, None)
    assert found.size == (directory / MODEL_FILE).stat().st_size
    assert "cannot be read" in (summarize_model("x", Path("none")).error or "")


def test_table() -> None:
    """Columns are aligned, numbers to the right; unknown is a dash, and no name can break a line."""
    rows = [
        Summary("play", "runs/play", 940.0, 10_767_227, "lstm", 2, 256, "a.txt", 1115394, 2.4131, "stopped"),
        Summary("a\nb\x1b", "runs/x", 0.0, 0, text="t" * 50),
    ]
    header, first, second = table(rows, 1000.0).splitlines()
    text = "a.txt".ljust(40)
    assert header == f"name      age  model       {'text'.ljust(40)}      chars  bits/char  state       size"
    assert first == f"play       1m  lstm 2x256  {text}  1,115,394      2.413  stopped  10.8 MB"
    assert (
        second
        == f"a\\nb\\x1b    -  -           {'t' * 25}...{'t' * 12}          -          -  -         0.0 MB"
    )
    assert table([], 0.0) == ""


@pytest.mark.parametrize(("seconds", "age"), [(0, "0s"), (3599, "59m"), (3600, "1h"), (90_000, "1d")])
def test_ages(seconds: float, age: str) -> None:
    """An age is given in its largest whole unit."""
    assert age_of(seconds) == age


def test_the_command(charrnn: Charrnn, trained: Path) -> None:
    """A trained run is listed with its own figures, as a table and as JSON, and no torch is imported."""
    shutil.copytree(trained, "runs/play")
    quality = load_model(trained / MODEL_FILE).quality
    Path("torch.py").write_text("raise SystemExit('torch was imported')\n")
    shown = charrnn("list")
    assert shown.status == 0
    header, row, shipped = shown.out.splitlines()
    assert shipped.split()[0] == "shakespeare"
    assert header.split()[0] == "name"
    assert row.startswith("play")
    assert "lstm 1x32" in row
    assert f"{quality['bits_per_character']:.3f}  finished" in row
    found = json.loads(charrnn("list", "--json").out.splitlines()[0])
    assert found["bits_per_character"] == quality["bits_per_character"]
    assert found["path"] == "runs/play"
    assert 0 <= found["age"] < 1e9
    assert found["size"] == sum(path.stat().st_size for path in Path("runs/play").iterdir())
    assert (Path("runs/play") / LOG_FILE).exists()


def test_without_runs(charrnn: Charrnn) -> None:
    """Where there are none, only the shipped model is listed, and stderr says how to get a run."""
    for flags in ([], ["--json"]):
        result = charrnn("list", *flags)
        assert result.status == 0
        assert [line.count("shakespeare") for line in result.out.splitlines()[-1:]] >= [1]
        assert result.err == "no runs under runs/; train one (charrnn train TEXT)\n"


# -- the header ------------------------------------------------------------------------------------------


def test_a_header_is_what_loading_finds(trained: Path) -> None:
    """The JSON object read from the header alone is the one that loading the file gives."""
    header = read_header(trained / MODEL_FILE, "model")
    model = load_model(trained / MODEL_FILE)
    assert (header["quality"], header["corpus"]) == (model.quality, model.corpus)
    assert read_header(trained / STATE_FILE, "state") == load_state(trained / STATE_FILE)[1]
    with pytest.raises(ModelFileError, match="expected a state file, found a model file"):
        read_header(trained / MODEL_FILE, "state")


@pytest.mark.parametrize(
    "data",
    [
        b"", b"\1", b"\0" * 8, b"\xff" * 20, b"\2\0\0\0\0\0\0\0[]", b"\4\0\0\0\0\0\0\0null",
        b"\2\0\0\0\0\0\0\0{}", b"\x15\0\0\0\0\0\0\0" + b'{"__metadata__": 123 }',
        b"\x28\0\0\0\0\0\0\0" + b'{"__metadata__": {"charrnn": "[1, 2]"}}  ',
    ],
)  # fmt: skip
def test_damaged_headers(data: bytes) -> None:
    """Whatever a file holds, its header is read or refused in one line that names the file."""
    Path("x.safetensors").write_bytes(data)
    with pytest.raises(ModelFileError, match=r"^x\.safetensors: [^\n]+$"):
        read_header(Path("x.safetensors"), "model")
