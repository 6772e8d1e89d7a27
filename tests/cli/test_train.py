"""``charrnn train`` as a person or a script meets it."""

from __future__ import annotations

import bz2
import dataclasses
import errno
import fcntl
import gzip
import io
import itertools
import json
import lzma
import math
import os
import pty
import re
import select
import shlex
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from charrnn.cli.main import run
from charrnn.cli.options import Duration, written_duration
from charrnn.cli.progress import duration
from charrnn.cli.verdict import remedy
from charrnn.config import CADENCE, DEFAULT_TIME, MOST_DROPOUT, SIZES, ModelConfig, TrainingConfig
from charrnn.files import MODEL_FILE
from charrnn.model.file import load_model
from charrnn.runs import OURS, find_model, summaries
from charrnn.settings import default_of
from charrnn.text.cache import MAGIC
from charrnn.training.lock import RunLock
from charrnn.training.state import load_training
from charrnn.training.step import TrainingStep
from tests.conftest import PLAY, TINY, Charrnn, command, environment
from tests.forkserver import Result

TEXT = "".join(f"{number} men went to mow, went to mow a meadow,\n" for number in range(60))
QUICK = (*TINY, "--steps", 3, "--seed", 1)
ENDLESS = (*TINY, "--steps", 10**9, "--seed", 1, "--patience", 0)


@pytest.fixture
def train(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., Result]]:
    """Runs ``charrnn train`` in this process, in a directory of its own."""
    monkeypatch.chdir(tmp_path)

    def invoke(*arguments: object, input: bytes | None = None) -> Result:
        if input is not None:
            monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(input)))
        status = run(["train", *map(str, arguments)])
        out, err = capfd.readouterr()
        return Result(status, out.encode(), err.encode())

    yield invoke
    capfd.readouterr()


@pytest.fixture
def text(tmp_path: Path) -> Path:
    """A little text in the test's directory."""
    path = tmp_path / "mow.txt"
    path.write_text(TEXT)
    return path


def vocabulary_of(directory: Path) -> str:
    """The characters that a run's model knows."""
    found = load_model(directory / "model.safetensors").tokenizer.describe()["vocabulary"]
    assert isinstance(found, str)
    return found


# -- the whole way -----------------------------------------------------------------------------------------


def test_training_makes_a_model_that_samples(trained: Path, charrnn: Charrnn) -> None:
    """A run of the play holds model, state and log, and its model writes characters of the play."""
    assert sorted(path.name for path in trained.iterdir()) == sorted(OURS)
    sampled = charrnn("sample", "-m", trained, "-n", 200, "--seed", 1)
    assert sampled.status == 0
    assert len(sampled.out) == 200
    assert set(sampled.out) <= set(PLAY.read_text())


def test_training_learns(trained: Path) -> None:
    """After a few seconds the play is predicted better than its characters' frequencies do."""
    counts = np.array([PLAY.read_text().count(character) for character in set(PLAY.read_text())])
    shares = counts / counts.sum()
    entropy = float(-(shares * np.log(shares)).sum())
    lines = [json.loads(line) for line in (trained / "log.jsonl").read_text().splitlines()]
    assert lines[-1]["val_loss"] < entropy
    quality = load_model(trained / "model.safetensors").quality
    assert quality["nats_per_character"] == min(line["val_loss"] for line in lines)
    assert quality["bits_per_character"] == pytest.approx(quality["nats_per_character"] / math.log(2))


def test_models_say_what_they_learnt(trained: Path) -> None:
    """The model file names its text, its size and its settings, and holds none of its sentences."""
    model = load_model(trained / "model.safetensors")
    assert model.corpus["name"] == "the-bell-under-the-sea"
    assert model.corpus["characters"] == len(PLAY.read_text())
    assert (model.training["seed"], model.training["steps"]) == (1, 150)
    assert b"Lend us a harbour" not in (trained / "model.safetensors").read_bytes()


def test_results_go_to_stdout_and_the_rest_to_stderr(charrnn: Charrnn, text: Path) -> None:
    """Stdout says where the model is, how good and how to sample; text, seed and progress go to stderr."""
    result = charrnn("train", text, *QUICK)
    assert result.status == 0
    lines = result.out.splitlines()
    assert lines[0].split() == ["model", "runs/mow/model.safetensors"]
    assert re.fullmatch(r"validation +\d\.\d{4} nats/char, \d\.\d{4} bits/char \(step 3 of 3\)", lines[1])
    assert lines[-1].split(maxsplit=1) == ["sample", "charrnn sample -m mow"]
    assert f"text: {len(TEXT):,} characters" in result.err
    assert "seed 1, run runs/mow" in result.err
    advised = shlex.split(lines[-1].split(maxsplit=1)[1])
    assert charrnn(*advised[1:], "-n", 5).status == 0


def test_lines_in_a_pipe_are_plain(charrnn: Charrnn, text: Path) -> None:
    """Where nobody watches there is no carriage return, no escape and no bar."""
    result = charrnn("train", text, *QUICK, "--eval-every", 1, env={"FORCE_COLOR": "1"})
    assert result.status == 0
    assert "evaluated" in result.err
    for stream in (result.out, result.err):
        assert all(character == "\n" or character.isprintable() for character in stream)


def test_quiet_is_quiet(train: Callable[..., Result], text: Path) -> None:
    """With ``-q`` nothing goes to stderr, and the results stay on stdout."""
    result = train(text, *QUICK, "-q")
    assert (result.status, result.err) == (0, "")
    assert "runs/mow/model.safetensors" in result.out


def test_a_seed_that_was_drawn_is_shown(train: Callable[..., Result], text: Path) -> None:
    """Without ``--seed`` one is drawn, shown and kept; given again, it makes the same model."""
    first = train(text, *TINY, "--steps", 3, "-o", "first")
    found = re.search(r"seed (\d+), run first", first.err)
    assert found is not None
    train(text, *TINY, "--steps", 3, "-o", "again", "--seed", found.group(1))
    train(text, *TINY, "--steps", 3, "-o", "other")
    first_model, again, other = (load_model(Path(name, MODEL_FILE)) for name in ("first", "again", "other"))
    assert str(first_model.training["seed"]) == found.group(1)
    name = "output.bias"
    assert first_model.weights[name].tolist() == again.weights[name].tolist()
    assert first_model.weights[name].tolist() != other.weights[name].tolist()


# -- what is learnt ------------------------------------------------------------------------------------------


def test_stdin_is_learnt(train: Callable[..., Result]) -> None:
    """``-`` learns what is piped in, as a run named for it."""
    result = train("-", *QUICK, input=TEXT.encode())
    assert result.status == 0, result.err
    assert vocabulary_of(Path("runs/stdin")) == "".join(sorted(set(TEXT)))


@pytest.mark.parametrize(
    ("suffix", "compress"), [(".gz", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress)]
)
def test_compressed_texts_are_learnt(
    train: Callable[..., Result], tmp_path: Path, suffix: str, compress: Callable[[bytes], bytes]
) -> None:
    """A compressed text makes the same model as the text itself."""
    (tmp_path / f"mow.txt{suffix}").write_bytes(compress(TEXT.encode()))
    result = train(f"mow.txt{suffix}", *QUICK)
    assert result.status == 0, result.err
    assert vocabulary_of(Path("runs/mow")) == "".join(sorted(set(TEXT)))


def test_directories_are_learnt(train: Callable[..., Result], tmp_path: Path) -> None:
    """A directory's texts are learnt, and what is skipped is counted and said."""
    (tmp_path / "books" / "deep").mkdir(parents=True)
    (tmp_path / "books" / "one.txt").write_text(TEXT)
    (tmp_path / "books" / "deep" / "two.txt").write_text("Zounds! " * 9)
    (tmp_path / "books" / "cover.png").write_bytes(b"\x89PNG\0")
    (tmp_path / "books" / "none.txt").write_bytes(b"")
    result = train("books", *QUICK)
    assert result.status == 0, result.err
    assert f"text: {len(TEXT) + 72:,} characters in 2 files" in result.err
    assert "2 files skipped" in result.err
    assert "Z" in vocabulary_of(Path("runs/books"))


def test_the_run_of_a_directory_is_found_by_its_advice(charrnn: Charrnn, tmp_path: Path) -> None:
    """The command that is advised samples although the text's directory has the run's name."""
    (tmp_path / "books").mkdir()
    (tmp_path / "books" / "one.txt").write_text(TEXT)
    trained = charrnn("train", "books", *QUICK)
    advised = shlex.split(trained.out.splitlines()[-1].split(maxsplit=1)[1])
    assert charrnn(*advised[1:], "-n", 5).status == 0


def test_marks_and_line_ends_are_learnt_as_they_are(train: Callable[..., Result], tmp_path: Path) -> None:
    """A byte-order mark is no character of the model; a carriage return is one, unless told otherwise."""
    (tmp_path / "dos.txt").write_bytes(b"\xef\xbb\xbf" + TEXT.replace("\n", "\r\n").encode())
    train("dos.txt", *QUICK, "-o", "kept")
    train("dos.txt", *QUICK, "-o", "unix", "--newlines", "unix")
    assert vocabulary_of(Path("kept")) == "".join(sorted(set(TEXT) | {"\r"}))
    assert vocabulary_of(Path("unix")) == "".join(sorted(set(TEXT)))


def test_bytes_are_learnt(train: Callable[..., Result], tmp_path: Path) -> None:
    """With ``--tokenizer byte`` a binary file is learnt."""
    (tmp_path / "data.bin").write_bytes(bytes(range(256)) * 8)
    result = train("data.bin", *QUICK, "--tokenizer", "byte")
    assert result.status == 0, result.err
    assert "text: 2,048 bytes, 256 different" in result.err
    assert load_model(Path("runs/data.bin/model.safetensors")).tokenizer.kind == "byte"


@pytest.mark.parametrize("size", [4, 5, 7, 12, 40, 100])
def test_short_texts_are_learnt(train: Callable[..., Result], tmp_path: Path, size: int) -> None:
    """A text of a few characters trains, however little that means, and says that it is short."""
    (tmp_path / "short.txt").write_text(("ab\n" * size)[:size])
    result = train("short.txt", *QUICK)
    assert result.status == 0, result.err
    assert "a short text" in result.err


@pytest.mark.parametrize("size", ["small", "medium", "large"])
def test_sizes_are_shapes(train: Callable[..., Result], text: Path, size: str) -> None:
    """``--size`` gives that shape, says so, and is remembered; another one on resuming is refused."""
    result = train(text, "--size", size, "--steps", 2, "--seed", 1, "--threads", 1)
    assert result.status == 0, result.err
    assert f"plan: {size}; the text will be read about" in result.err
    model = load_model(Path("runs/mow/model.safetensors"))
    assert model.config.hidden_size == SIZES[size].hidden_size
    assert model.training["size"] == size
    assert train(text, "--resume", "--size", size).status == 0
    other = train(text, "--resume", "--size", "auto")
    assert other.status == 2
    assert f"--size auto: this run was begun with {size}" in other.err


def test_a_size_is_chosen_and_explained(train: Callable[..., Result], text: Path) -> None:
    """Without a shape the line that says what was chosen says of what it was chosen, too."""
    result = train(text, "--steps", 2, "--seed", 1, "--threads", 1)
    assert re.search(
        r"^plan: tiny \(auto: a medium one would read [\d.]+ thousand characters\);", result.err, re.M
    )
    assert load_model(Path("runs/mow/model.safetensors")).training["size"] == "tiny"


def test_a_model_to_start_from_has_its_size(train: Callable[..., Result], text: Path) -> None:
    """``--size`` beside ``--init-from`` is an error that says which one to leave out, and makes nothing."""
    assert train(text, *QUICK, "-o", "first").status == 0
    result = train(text, "--steps", 2, "--init-from", "first", "--size", "small", "-o", "second")
    assert (result.status, Path("second").exists()) == (2, False)
    assert "--size small: the model to start from has a size; leave it out" in result.err


@pytest.mark.parametrize(
    ("flags", "grows"),
    [
        ((), True), (("--size", "tiny"), False), (("--hidden-size", 32), False),
        (("--init-from", "first"), False), (("--resume", "-o", "first"), False),
    ],
)  # fmt: skip
def test_more_time_enlarges_only_what_was_chosen(
    train: Callable[..., Result], text: Path, flags: tuple[object, ...], grows: bool
) -> None:
    """That a larger model comes with more time is said where the size was chosen for the time."""
    text.write_text(TEXT * 40)
    if "first" in flags:
        assert train(text, *QUICK, "-o", "first").status == 0
    result = train(text, "--steps", 6, "--threads", 1, *flags)
    assert result.status == 0, result.err
    advice = "still improving: give it more time (--steps or --epochs)"
    assert f"verdict     {advice}{', and a larger model comes with it' * grows}\n" in result.out


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn", "relu"])
def test_every_cell_trains_and_samples(train: Callable[..., Result], text: Path, cell: str) -> None:
    """Each cell goes the whole way, tied where sizes agree."""
    result = train(text, *QUICK, "--cell", cell, "--num_layers", 2, "--embedding-size", 32)
    assert result.status == 0, result.err
    model = load_model(Path("runs/mow/model.safetensors"))
    assert (model.config.cell, model.config.num_layers, model.config.tied) == (cell, 2, True)
    assert run(["sample", "-m", "mow", "-n", "5", "-q"]) == 0


def test_nothing_held_out_is_nothing_validated(train: Callable[..., Result], text: Path) -> None:
    """With ``--val-fraction 0`` the training loss stands in for the validation's, and is called so."""
    result = train(text, *QUICK, "--val-fraction", 0)
    assert result.status == 0, result.err
    assert re.search(r"^training +\d\.\d{4} nats/char", result.out, re.MULTILINE)


def test_a_finished_run_names_the_ways_to_go_on(train: Callable[..., Result], text: Path) -> None:
    """Each of the commands that a finished run prints goes on, with more steps or from its model."""
    assert train(text, *QUICK, "--lines").status == 0
    again = train(text, "--resume")
    assert (again.status, again.out) == (0, "")
    commands = [line.split(": ", 1)[1] for line in again.err.splitlines() if line.startswith("  ")]
    assert [shlex.split(command)[1:] for command in commands] == [
        ["train", str(text), "--resume", "--steps", "6"],
        f"train {text} --lines --num-layers 1 --embedding-size 16 --steps 6 -o runs/mow-2".split(),
        ["train", str(text), "--lines", "--init-from", "mow", "-o", "runs/mow-2"],
    ]  # fmt: skip
    for shown in (commands[2], commands[0], commands[1].replace("mow-2", "mow-3")):
        steps = [] if "--steps" in shown else ["--steps", 3]
        done = train(*shlex.split(shown)[2:], *steps, "-q")
        assert done.status == 0, done.err
    assert load_model(Path("runs/mow/model.safetensors")).training["steps"] in (3, 6)
    assert "runs/mow: finished already" in train(text, "--resume", "--steps", 6).err


def test_copies_do_not_show_in_the_list(train: Callable[..., Result], text: Path) -> None:
    """``--keep-every`` copies sample like any model, and the run is one run still; --force removes them."""
    assert train(text, *QUICK, "--keep-every", "0.000001s").status == 0
    kept = sorted(path.name for path in Path("runs/mow").glob("model-*"))
    assert kept[0] == "model-0001.safetensors"
    assert run(["sample", "-m", "runs/mow/model-0001.safetensors", "-n", "5", "-q"]) == 0
    assert [summary.name for summary in summaries()] == ["mow", "shakespeare"]
    assert find_model("mow") == Path("runs/mow/model.safetensors")
    assert train(text, *QUICK, "--force").status == 0
    assert not list(Path("runs/mow").glob("model-*"))


def test_time_is_accounted_for(train: Callable[..., Result], text: Path) -> None:
    """A training says what was spent before the first step and after, and --time is the sum."""
    began = time.monotonic()
    result = train(text, *TINY, "--time", "6s", "-s", 1, "--patience", 0, "--sample-every", "0.2s")
    wall = time.monotonic() - began
    assert result.status == 0, result.err
    assert re.search(r"before the first step: [\d.]+ s \(loading torch [\d.]+, reading the text ", result.err)
    found = re.search(
        r"^time: ([\d.]+) s, ([\d.]+) s before .* ([\d.]+) s in .* ([\d.]+) s eval", result.err, re.M
    )
    assert found is not None
    total, before, steps, aside = map(float, found.groups())
    assert total == pytest.approx(before + steps + aside, abs=0.2)
    assert total == pytest.approx(wall, abs=0.5)
    assert total < 7 or before > 4.5


# -- what is refused -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "x.txt: no such file or directory"),
        (b"", "x.txt: empty; a corpus needs at least a few characters"),
        (b"a", "x.txt: 1 character to learn from is too few; give more text"),
        (b"abc", "x.txt: 3 characters to learn from is too few; give more text"),
        (
            b"\x89PNG\r\n\x1a\n",
            "x.txt: byte 0x89 is not utf-8, at offset 0; "
            "name the text's --encoding, or learn bytes with --tokenizer byte",
        ),
        (
            b"ELF\0\1\2",
            "x.txt: a NUL byte, at offset 3; "
            "name the text's --encoding, or learn bytes with --tokenizer byte",
        ),
    ],
)
def test_what_is_no_text_is_refused(
    train: Callable[..., Result], tmp_path: Path, content: bytes | None, message: str
) -> None:
    """A missing, empty, tiny or binary file is one line naming it and the remedy; nothing is made."""
    if content is not None:
        (tmp_path / "x.txt").write_bytes(content)
    before = sorted(tmp_path.rglob("*"))
    result = train("x.txt", *QUICK)
    assert (result.status, result.out) == (1, "")
    assert result.err.replace(f"{tmp_path}/", "") == f"charrnn: {message}\n"
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("flags", [[], ["--force"]])
def test_a_text_that_cannot_be_read_costs_no_run(
    train: Callable[..., Result], text: Path, flags: list[str]
) -> None:
    """Even with ``--force`` the former run stands until the new one's text has been read."""
    train(text, *QUICK, "-o", "run")
    before = {path.name: path.read_bytes() for path in Path("run").iterdir()}
    text.write_bytes(b"\0")
    result = train(text, *QUICK, "-o", "run", *flags)
    assert result.status == 1
    assert {path.name: path.read_bytes() for path in Path("run").iterdir()} == before


def test_a_run_that_exists_is_not_overwritten(train: Callable[..., Result], text: Path) -> None:
    """A second training of the same text is one line with the remedies, and nothing on disk changes."""
    assert train(text, *QUICK).status == 0
    before = {path.name: path.read_bytes() for path in Path("runs/mow").iterdir()}
    result = train(text, *QUICK)
    assert (result.status, result.out) == (1, "")
    assert result.err == (
        "charrnn: runs/mow: exists; go on with --resume, replace it with --force, "
        "or write elsewhere with --output-dir\n"
    )
    assert {path.name: path.read_bytes() for path in Path("runs/mow").iterdir()} == before


def test_force_replaces_a_run(train: Callable[..., Result], text: Path) -> None:
    """With ``--force`` the run is trained anew, and other files in its directory stay."""
    train(text, *QUICK)
    Path("runs/mow/notes").write_text("mine")
    result = train(text, *QUICK[:-1], 2, "--force")
    assert result.status == 0, result.err
    assert load_model(Path("runs/mow/model.safetensors")).training["seed"] == 2
    assert len(Path("runs/mow/log.jsonl").read_text().splitlines()) == 1
    assert Path("runs/mow/notes").read_text() == "mine"


def test_a_finished_run_says_so(train: Callable[..., Result], text: Path) -> None:
    """Resuming what is done does nothing, successfully."""
    train(text, *QUICK)
    result = train(text, "--resume")
    assert result.status == 0
    assert "runs/mow: finished already" in result.err


def test_contradicting_flags_are_refused(train: Callable[..., Result], text: Path) -> None:
    """On resuming, a flag of another value than the run's is one line, status 2; the same value is none."""
    train(text, *QUICK)
    refused = train(text, "--resume", "--hidden-size", 64)
    assert refused.status == 2
    assert refused.err.startswith("charrnn: --hidden-size 64: this run was begun with 32; ")
    assert refused.err.count("\n") == 1
    assert train(text, "--resume", "--hidden-size", 32).status == 0


def test_defaults_that_are_asked_for_are_asked_for(train: Callable[..., Result], text: Path) -> None:
    """A flag with the default's value contradicts a run, or a model to start from, that has another one."""
    train(text, *QUICK, "--lr", 0.5)
    default = default_of(TrainingConfig, "lr")
    refused = train(text, "--resume", "--lr", default)
    assert refused.status == 2
    assert refused.err.startswith(f"charrnn: --lr {default}: this run was begun with 0.5; ")
    assert train(text, "--resume").status == 0
    layers = default_of(ModelConfig, "num_layers")
    other = train(text, "--steps", 2, "--init-from", "mow", "--num-layers", layers, "-o", "second")
    assert (other.status, Path("second").exists()) == (2, False)
    assert other.err == (
        f"charrnn: --num-layers {layers}: the model to start from has 1; leave the flag out\n"
    )
    same = train(text, "--steps", 2, "--threads", 1, "--init-from", "mow", "--num-layers", 1, "-o", "second")
    assert same.status == 0, same.err
    assert load_model(Path("second/model.safetensors")).config.hidden_size == 32


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--dropout", 1), "--dropout 1.0: must be at least 0 and less than 1"),
        (("--hidden-size", 0), "--hidden-size 0: must be from 1 to 65536"),
        (("--lr", "0"), "--lr 0.0: must be greater than 0"),
        (("--time", "0s"), "--time 0.0: must be greater than 0 and at most 1000000000"),
        (("--time", "3m", "--steps", 3), "--time and --steps are different lengths of training; give one"),
    ],
)
def test_settings_out_of_range_are_refused(
    train: Callable[..., Result], text: Path, flags: tuple[object, ...], message: str
) -> None:
    """A flag out of range is one line with its range, status 2, for a new run and for one that goes on."""
    for more in ((), ("--resume",)):
        result = train(text, *flags, *more)
        assert (result.status, result.out, result.err) == (2, "", f"charrnn: {message}\n")
    assert not Path("runs").exists()


def test_model_files_record_the_settings_that_were_used(train: Callable[..., Result], text: Path) -> None:
    """What was chosen stands in the model file as a value, with every setting that the outcome depends on."""
    assert train(text, "--steps", 2, "--seed", 1, "--threads", 1, "--embedding-size", 8).status == 0
    model = load_model(Path("runs/mow/model.safetensors"))
    assert model.training.keys() == {
        *(field.name for field in dataclasses.fields(TrainingConfig) if field.name not in CADENCE),
        "step", "seconds", "batch", "window",
    }  # fmt: skip
    assert (model.training["batch_size"], model.training["size"], model.training["time"]) == (
        32,
        "tiny",
        None,
    )
    assert (model.config.hidden_size, model.config.embedding_size) == (SIZES["tiny"].hidden_size, 8)


def test_a_full_disk_is_one_line(
    train: Callable[..., Result], text: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the disk fills up, training ends with one line naming the file, and no half-written one stays."""

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    result = train(text, *QUICK)
    assert (result.status, result.out) == (1, "")
    assert re.fullmatch(
        r"charrnn: runs/mow(: cannot be made|/\w+\.safetensors): No space left on device.*",
        result.err.splitlines()[-1],
    )
    assert not list(Path("runs/mow").glob("*.part"))


# -- stopping ------------------------------------------------------------------------------------------------


def start(tmp_path: Path, *arguments: object) -> subprocess.Popen[bytes]:
    """A training in a process of its own, which has begun to evaluate and log."""
    process = subprocess.Popen(
        command("train", *arguments, "--eval-every", 5),
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    log = tmp_path / "runs" / "mow" / "log.jsonl"
    limit = time.monotonic() + 60
    while not log.exists() and process.poll() is None and time.monotonic() < limit:
        time.sleep(0.02)
    assert log.exists()
    return process


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_stopping_saves_and_says_how_to_go_on(
    tmp_path: Path, text: Path, number: signal.Signals, status: int
) -> None:
    """Ctrl-C, SIGTERM and SIGHUP save the state and print the command that resumes, which does."""
    with start(tmp_path, text.name, *ENDLESS) as process:
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (status, b"")
    last = err.decode().splitlines()[-1]
    found = re.fullmatch(r"saved at step (\d+); go on with: (.+)", last)
    assert found is not None, last
    assert found.group(2) == "charrnn train mow.txt --resume"
    assert sorted(path.name for path in (tmp_path / "runs" / "mow").iterdir()) == sorted(OURS)
    # The training is endless, so its going on is seen in what it says before it is stopped again.
    with subprocess.Popen(
        [sys.executable, "-m", *shlex.split(found.group(2))],
        cwd=tmp_path,
        env=environment(),
        stderr=subprocess.PIPE,
    ) as again:
        assert again.stderr is not None
        said = b""
        while b"run runs/mow" not in said and (line := again.stderr.readline()):
            said += line
        again.send_signal(signal.SIGTERM)
        again.communicate(timeout=60)
    assert f"resumed at step {found.group(1)}\n" in said.decode()


@pytest.mark.parametrize("ignored", [False, True])
def test_a_hangup_that_is_ignored_stays_so(
    train: Callable[..., Result], text: Path, monkeypatch: pytest.MonkeyPatch, ignored: bool
) -> None:
    """A closed terminal stops a training, saved; under nohup it goes on to its end."""
    step = TrainingStep.__call__

    def hang_up(self: TrainingStep, number: int, rate: float) -> None:
        step(self, number, rate)
        if number == 1:
            os.kill(os.getpid(), signal.SIGHUP)

    monkeypatch.setattr(TrainingStep, "__call__", hang_up)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN if ignored else signal.SIG_DFL)
    try:
        result = train(text, *QUICK)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert result.status == (0 if ignored else 129)
    assert ("saved at step 2; go on with" in result.err) != ignored
    assert load_training(Path("runs/mow")).progress.step == (3 if ignored else 2)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_messages_that_cannot_be_written_stop_nothing(tmp_path: Path, text: Path) -> None:
    """With stderr on a full device, or a pipe that nobody reads, a training goes on to its end."""
    reader, writer = os.pipe()
    os.close(reader)
    with Path("/dev/full").open("wb") as full:
        for number, stderr in enumerate((full.fileno(), writer)):
            arguments = ("train", text, *QUICK, "-o", f"run{number}")
            done = subprocess.run(
                command(*arguments), cwd=tmp_path, env=environment(), stdout=-1, stderr=stderr, check=False
            )
            assert (done.returncode, done.stdout[:6]) == (0, b"model ")
    os.close(writer)


def test_a_reader_that_leaves_stops_nothing(tmp_path: Path, text: Path) -> None:
    """In ``charrnn train TEXT 2>&1 | head -1`` the training goes on to its end, and then ends with 141."""
    with subprocess.Popen(
        command("train", text, *QUICK, "-o", "run"),
        cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline().startswith(b"text: ")
        process.stdout.close()
        assert process.wait(timeout=60) == 141
    assert load_training(tmp_path / "run").finished


def test_what_was_killed_before_its_first_state_is_no_dead_end(
    train: Callable[..., Result], text: Path
) -> None:
    """The lock, the ids and the parts that such a run leaves do not keep a new one from its place."""
    directory = Path("runs/mow")
    directory.mkdir(parents=True)
    (directory / "lock").write_text("charrnn: process 1 on box since 2026-01-01 00:00:00 +0000\n")
    (directory / f"ids-{'0' * 16}.bin").write_bytes(MAGIC)
    (directory / "state.safetensors.charrnn-1.part").write_bytes(b"half")
    refused = train(text, "--resume")
    assert refused.err.splitlines()[-1].endswith(
        "no state.safetensors to resume from; train without --resume, or name its run with -o"
    )
    assert train(text, *QUICK).status == 0
    assert not (directory / "lock").exists()
    assert not list(directory.glob("*.part"))


def test_what_cannot_be_resumed_is_replaced_with_force(train: Callable[..., Result], text: Path) -> None:
    """Where there is a model but no state, both ways say --force, which works."""
    assert train(text, *QUICK).status == 0
    Path("runs/mow/state.safetensors").unlink()
    assert (
        train(text, "--resume")
        .err.rstrip()
        .endswith("train without --resume, with --force, or name its run with -o")
    )
    assert "--resume" not in train(text, *QUICK).err
    assert train(text, *QUICK, "--force").status == 0


def test_two_trainings_do_not_share_a_run(train: Callable[..., Result], text: Path) -> None:
    """While one process trains, another is refused, however it asks, and nothing is changed."""
    assert train(text, *QUICK).status == 0
    lock = RunLock(Path("runs/mow"))
    lock.acquire()
    before = {path: path.read_bytes() for path in Path("runs/mow").iterdir()}
    for flags in ([], ["--force"], ["--resume"]):
        result = train(text, *flags)
        assert result.status == 1
        message = (
            rf"charrnn: runs/mow: is being trained by process {os.getpid()} on \S+ since .*; wait for it"
        )
        assert re.match(message, result.err), result.err
    assert {path: path.read_bytes() for path in Path("runs/mow").iterdir()} == before
    lock.release()
    assert "runs/mow: finished already" in train(text, "--resume").err


def test_force_does_not_remove_what_is_read(train: Callable[..., Result], text: Path) -> None:
    """--force spares a corpus, and a model to start from, that is one of the files of the run."""
    assert train(text, *QUICK).status == 0
    before = {path.name: path.read_bytes() for path in Path("runs/mow").iterdir()}
    log = train("runs/mow/log.jsonl", *QUICK, "--tokenizer", "byte", "-o", "runs/mow", "--force")
    assert log.err == (
        "charrnn: runs/mow/log.jsonl: is read, so it cannot be replaced; write elsewhere with --output-dir\n"
    )
    start = train(text, *QUICK, "--init-from", "mow", "--force")
    assert start.err.startswith("charrnn: runs/mow/model.safetensors: is read, so it cannot be replaced")
    assert {path.name: path.read_bytes() for path in Path("runs/mow").iterdir()} == before


def test_a_corpus_that_looks_like_ids_is_spared(train: Callable[..., Result]) -> None:
    """A user's ids-*.npy is neither a cache to remove nor a reason to take the directory for one's own."""
    Path("a").mkdir()
    Path("a/ids-1.npy").write_bytes(bytes(range(256)) * 20)
    arguments = ("a/ids-1.npy", *QUICK, "--tokenizer", "byte", "-o", "a")
    assert "a: exists" in train(*arguments).err
    assert train(*arguments, "--force").status == 0
    assert Path("a/ids-1.npy").read_bytes() == bytes(range(256)) * 20


def test_an_empty_output_directory_is_refused(train: Callable[..., Result], text: Path) -> None:
    """An unset variable is not the current directory, with --force least of all."""
    Path("log.jsonl").write_text("mine")
    for flags in ([], ["--force"], ["--resume"]):
        result = train(text, *QUICK, "-o", "", *flags)
        assert result.status == 2
        assert "an empty path; is a shell variable unset?" in result.err
    result = train(text, *QUICK, "--init-from", "", "-o", "run")
    assert "an empty name of a model" in result.err
    assert sorted(path.name for path in Path().iterdir()) == ["log.jsonl", text.name]


def test_a_text_that_explodes_is_told(train: Callable[..., Result]) -> None:
    """A compressed file that holds over a thousand times its size is named with both sizes."""
    Path("bomb.xz").write_bytes(lzma.compress(b"ab\n" * 500_000))
    result = train("bomb.xz", *QUICK)
    assert re.search(r"^compressed: bomb.xz, 0.00 MB, holds 1.5 MB of text$", result.err, re.MULTILINE)


def test_the_clock_may_jump(
    train: Callable[..., Result], text: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wall clock that is set back and forth changes neither the model nor the time that is counted."""
    assert train(text, *QUICK, "-o", "steady").status == 0
    jumps = itertools.cycle([0.0, 4e9, -3600.0, 3600.0, 1e9])
    monkeypatch.setattr(time, "time", lambda: next(jumps))
    assert train(text, *QUICK, "-o", "jumping", "--save-every", "0.001s").status == 0
    steady, jumping = (load_model(Path(name, "model.safetensors")) for name in ("steady", "jumping"))
    for name, weight in steady.weights.items():
        assert weight.tobytes() == jumping.weights[name].tobytes()
    assert 0 < jumping.training["seconds"] < 60


@pytest.mark.slow
def test_a_second_interrupt_quits_at_once(tmp_path: Path, text: Path) -> None:
    """While the first Ctrl-C waits for a step that does not end, a second one ends the program with 130."""
    program = f"""
import os, signal, sys
from charrnn.training.step import TrainingStep

def step(self, number, rate):
    os.kill(os.getpid(), signal.SIGINT)
    os.kill(os.getpid(), signal.SIGINT)
    print("still here", flush=True)

TrainingStep.__call__ = step
sys.argv = ["charrnn", "train", {str(text)!r}, "--steps", "5", "--threads", "1", "--hidden-size", "8"]
from charrnn.cli.main import main
main()
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment(), capture_output=True, check=False
    )
    assert done.returncode == 130
    assert b"still here" not in done.stdout


@pytest.mark.slow
def test_a_terminal_shows_a_bar(tmp_path: Path, text: Path) -> None:
    """On a terminal there is one bar, redrawn in place, and it is gone from the screen at the end."""
    parent, child = pty.openpty()
    fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))  # rows and columns
    with subprocess.Popen(
        command("train", text, *TINY, "--steps", 400, "--seed", 1),
        cwd=tmp_path,
        env=environment({"TERM": "xterm"}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=child,
    ) as process:
        os.close(child)
        shown = b"".join(read_terminal(parent))
        out, _ = process.communicate(timeout=60)
    os.close(parent)
    assert process.returncode == 0
    screen = shown.decode()
    assert re.search(r"\r +\d+%\|.*epoch \d+\.\d+ train \d\.\d{3}.* char/s", screen)
    # After its last carriage return nothing but blanks is left of the bar's line.
    assert screen.split("\n")[-1].split("\r")[-1].strip() == ""
    assert b"\r" not in out
    assert out.startswith(b"model ")


def read_terminal(descriptor: int) -> Iterator[bytes]:
    """What a program writes to a terminal, until it closes it."""
    while select.select([descriptor], [], [], 60)[0]:
        try:
            data = os.read(descriptor, 65536)
        except OSError:  # how Linux says that nobody holds the other end
            return
        if not data:
            return
        yield data


@pytest.mark.parametrize("increase", [0.1, 0.15])
def test_a_recommended_dropout_is_one_that_would_be_chosen(increase: float) -> None:
    """The verdict names more dropout than there was, never more than is chosen, or none."""
    for dropout in (0.0, 0.02, 0.1, 0.37, 0.44, 0.49, MOST_DROPOUT, 0.9):
        advice = remedy(dropout, increase)
        found = re.fullmatch(r"more text(?:, or more dropout \(--dropout (0\.\d+)\))?", advice)
        assert found is not None
        if found.group(1) is None:
            assert dropout >= MOST_DROPOUT
        else:
            assert dropout < float(found.group(1)) <= MOST_DROPOUT


def test_durations_are_read_as_they_are_written() -> None:
    """A length of time that help shows is what the flag would take for it."""
    for seconds in (0.5, 1, 59, 60, 90, 180, 3600, 5400, 86400, 90061):
        assert Duration().convert(written_duration(seconds), None, None) == seconds
    assert written_duration(DEFAULT_TIME) == "3m"


def test_help_shows_what_is_chosen(train: Callable[..., Result]) -> None:
    """Help has the defaults as the config has them, and in words what is chosen."""
    shown = " ".join(train("--help").out.split())
    for default in (
        "3m",
        "auto",
        "by --size",
        "32, fewer where the text is short for the time",
        "1m",
        "0.012",
    ):
        assert f"[default: {default}]" in shown
    assert "None" not in shown


def test_times_are_shown_as_a_clock_does() -> None:
    """Seconds and minutes have two digits below the first."""
    shown = [duration(seconds) for seconds in (0, 5.4, 59.6, 3599, 3600, 90_000)]
    assert shown == ["0:00", "0:05", "1:00", "59:59", "1:00:00", "25:00:00"]
