"""What may watch a training besides the screen."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from charrnn.cli.extras import SAMPLE_LENGTH
from charrnn.cli.main import run
from charrnn.model.file import load_model
from charrnn.runs import prepare_run
from tests.conftest import Charrnn

TEXT = "to be or not to be, that is the question\n" * 60
QUICK = ("--size", "small", "--hidden-size", "16", "--steps", "6", "--eval-every", "2", "-s", "1")


@pytest.fixture
def text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A text in an empty directory, which is the current one."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "text.txt"
    path.write_text(TEXT)
    return path


def samples_in(err: str) -> dict[int, str]:
    """The samples that were shown, by their step."""
    found = {}
    for part in err.split("--- sample at step ")[1:]:
        step, _, rest = part.partition("\n")
        found[int(step)] = rest.partition("\n---")[0]
    return found


def test_samples_are_shown_while_training(charrnn: Charrnn, text: Path) -> None:
    """``--sample-every`` puts samples on stderr, of the text's characters, and changes nothing else."""
    plain = charrnn("train", text, *QUICK, "-o", "plain")
    shown = charrnn("train", text, *QUICK, "-o", "shown", "--sample-every", "0.000001")
    assert plain.status == shown.status == 0
    assert samples_in(plain.err) == {}
    samples = samples_in(shown.err)
    assert list(samples) == [2, 3, 4, 5, 6]  # the first step begins to count the time
    for sample in samples.values():
        assert set(sample) <= set(TEXT)
        assert SAMPLE_LENGTH - 20 < len(sample) <= SAMPLE_LENGTH  # newlines at the ends are left out
    # Whether the n-gram is counted depends on the time that the training took.
    told = [line for line in shown.out.splitlines() if not line.startswith("n-gram")]
    expected = plain.out.replace("plain", "shown").splitlines()
    assert told == [line for line in expected if not line.startswith("n-gram")]
    first, second = (Path(name, "model.safetensors").read_bytes() for name in ("plain", "shown"))
    header = len(first) - sum(w.nbytes for w in load_model(Path("plain/model.safetensors")).weights.values())
    assert first[header:] == second[len(second) - len(first) + header :]


def test_a_sample_shows_control_characters(charrnn: Charrnn, text: Path) -> None:
    """An escape that a model has learnt reaches the screen in caret notation."""
    text.write_text("\x1b[2J" * 500)
    shown = charrnn("train", text, *QUICK, "--sample-every", "0.000001")
    assert "^[" in samples_in(shown.err)[6]
    assert "\x1b" not in shown.err


def test_quiet_shows_no_samples(charrnn: Charrnn, text: Path) -> None:
    """``-q`` is stronger than ``--sample-every``."""
    assert charrnn("train", text, *QUICK, "-q", "--sample-every", "0.000001").err == ""


@pytest.fixture
def board(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What a package in tensorboard's place is told."""
    told: list[tuple[Any, ...]] = []

    class SummaryWriter:
        def __init__(self, directory: str, purge_step: int | None) -> None:
            told.append(("open", directory, purge_step))

        def add_scalar(self, name: str, value: float, step: int) -> None:
            told.append((name, value, step))

        def flush(self) -> None:
            pass

        def close(self) -> None:
            told.append(("close",))

    package = types.ModuleType("tensorboard")
    package.__spec__ = types.SimpleNamespace()  # type: ignore[assignment]
    module = types.ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = SummaryWriter  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tensorboard", package)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    import torch.utils

    monkeypatch.setattr(torch.utils, "tensorboard", module, raising=False)
    return told


def test_tensorboard_is_told_what_the_log_says(text: Path, board: list[tuple[Any, ...]]) -> None:
    """``--tensorboard`` writes the log's figures under its steps, into the run's directory."""
    assert run(["train", str(text), *QUICK, "-q", "--tensorboard"]) == 0
    assert board[0] == ("open", str(Path("runs", "text")), None)
    assert board[-1] == ("close",)
    log = [json.loads(line) for line in Path("runs/text/log.jsonl").read_text().splitlines()]
    curves = {"loss/train": "train_loss", "loss/validation": "val_loss", "optimizer/learning rate": "lr"}
    for name, key in curves.items():
        assert [entry[1:] for entry in board if entry[0] == name] == [(e[key], e["step"]) for e in log]
    assert len(log) == 3


def test_tensorboard_that_is_not_there_is_an_error(
    text: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Without its package ``--tensorboard`` says what to install, before anything is made."""
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert run(["train", str(text), *QUICK, "--tensorboard"]) == 1
    assert list(text.parent.iterdir()) == [text]
    message = "--tensorboard: that package is not installed; pip install tensorboard"
    assert capfd.readouterr().err.splitlines() == [f"charrnn: {message}"]


def test_force_removes_curves(text: Path) -> None:
    """A former run's curves go with it."""
    run_directory = text.parent / "run"
    run_directory.mkdir()
    (run_directory / "events.out.tfevents.123.host").write_text("x")
    prepare_run(run_directory, force=True)
    assert list(run_directory.iterdir()) == []
