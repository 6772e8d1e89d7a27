"""Any two options of a command go together, or are refused in one line: which pairs, stands here.

An option without a value in USES fails, so that a new one is thought about.
"""

from __future__ import annotations

import io
import itertools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from charrnn.cli.main import cli, run
from charrnn.errors import CharrnnError
from charrnn.model.file import save_model
from tests.conftest import random_model

TEXT = "the quick brown fox jumps over the lazy dog\n" * 2

# For each option what stands on the command line for it, with what it needs beside it.
USES: dict[str, dict[str, str]] = {
    "train": {
        "corpus": "t.txt", "--output-dir": "-o new", "--resume": "--resume", "--force": "--force",
        "--init-from": "--init-from m", "--time": "--time 1s", "--epochs": "--epochs 1", "--steps": "--steps 1",
        "--size": "--size small", "--cell": "--cell gru", "--num-layers": "--num-layers 1",
        "--hidden-size": "--hidden-size 4", "--embedding-size": "--embedding-size 3", "--output": "--output top",
        "--dropout": "--dropout 0.2", "--lr": "--lr 0.01", "--matrix-lr": "--matrix-lr 0.01",
        "--optimizer": "--optimizer adamw", "--batch-size": "--batch-size 2", "--seq-length": "--seq-length 8",
        "--clip": "--clip 1", "--weight-decay": "--weight-decay 0", "--warmup": "--warmup 0",
        "--patience": "--patience 1", "--seed": "--seed 1", "--val-fraction": "--val-fraction 0.2",
        "--tokenizer": "--tokenizer char", "--min-count": "--min-count 2", "--lines": "--lines",
        "--encoding": "--encoding utf-8", "--newlines": "--newlines unix", "--device": "--device cpu",
        "--precision": "--precision fp32", "--threads": "--threads 1", "--eval-every": "--eval-every 1",
        "--save-every": "--save-every 1s", "--sample-every": "--sample-every 1s",
        "--tensorboard": "--tensorboard", "--quiet": "-q",
    },
    "sample": {
        "--model": "-m m", "--prompt": "-p the", "--file": "-f t.txt", "--escape": "--escape",
        "--skip-unknown": "--skip-unknown", "--length": "-n 5", "--length -1": "-n -1",
        "--temperature": "--temp 0.5", "--top-k": "--top-k 3", "--top-p": "--top-p 0.9",
        "--min-p": "--min-p 0.01", "--repetition-penalty": "--repetition-penalty 1.5",
        "--repetition-window": "--repetition-window 9", "--ban": "--ban x", "--best-of": "--best-of 2",
        "--seed": "--seed 1", "--stop": "--stop x", "--num-samples": "--num-samples 2",
        "--separator": "--separator x", "--lines": "--lines 0", "--distinct": "--distinct",
        "--novel": "--novel --against t.txt", "--novel-span": "--novel-span 30 --against t.txt",
        "--against": "--against t.txt", "--copied": "--copied --against t.txt",
        "--display-prompt": "--display-prompt", "--no-display-prompt": "--no-display-prompt",
        "--json": "--json", "--logprobs": "--json --logprobs 1", "--color": "--color never",
        "--interactive": "--interactive", "--device": "--device cpu", "--quiet": "-q",
    },
    "evaluate": {
        "text": "t.txt", "--model": "-m m", "--json": "--json", "--per-line": "--per-line",
        "--heatmap": "--heatmap", "--html": "--html page.html", "--force": "--force",
        "--baselines": "--baselines --train t.txt", "--dynamic": "--dynamic --train t.txt",
        "--train": "--train t.txt --baselines", "--reset": "--reset none", "--precision": "--precision fp32",
        "--streams": "--streams 1", "--device": "--device cpu", "--dynamic-lr": "--dynamic-lr 0.001",
        "--dynamic-decay": "--dynamic-decay 0.1", "--dynamic-segment": "--dynamic-segment 50",
        "--encoding": "--encoding utf-8", "--color": "--color never", "--quiet": "-q",
    },
    "list": {"--json": "--json"},
    "export": {
        "page": "page.html", "--model": "-m m", "--int8": "--int8", "--float32": "--float32",
        "--title": "--title x", "--force": "--force", "--quiet": "-q",
    },
}  # fmt: skip

# What stands on every command line of the command, before the pair.
USUAL = {
    "train": "t.txt",
    "sample": "-m m -n 5 -s 1",
    "evaluate": "t.txt -m m",
    "list": "",
    "export": "page -m m",
}

# The pairs that are refused, each in the order of USES.
CONTRADICTIONS: dict[str, set[tuple[str, str]]] = {
    "train": {
        ("--resume", "--force"), ("--resume", "--init-from"), ("--init-from", "--size"),
        ("--time", "--epochs"), ("--time", "--steps"), ("--epochs", "--steps"),
    },
    "evaluate": {
        *itertools.product(("--per-line", "--heatmap", "--html"), ("--baselines", "--dynamic", "--train")),
        *itertools.product(("--json",), ("--per-line", "--heatmap", "--html")),
        ("--per-line", "--heatmap"), ("--per-line", "--html"),
    },
    "sample": {
        ("--prompt", "--file"), ("--num-samples", "--lines"), ("--best-of", "--lines"), ("--stop", "--lines"),
        *itertools.product(("--best-of",), ("--distinct", "--novel", "--novel-span")),
        *itertools.product(("--stop",), ("--distinct", "--novel")),
        *itertools.product(("--length -1",), ("--best-of", "--copied", "--distinct", "--json", "--logprobs")),
        *itertools.product(("--lines", "--copied", "--json", "--logprobs"), ("--interactive",)),
    },
    "export": {("--int8", "--float32")},
}  # fmt: skip


def names(command: str) -> Iterator[str]:
    """The options of a command by their long names, and its arguments."""
    for param in cli.commands[command].params:
        if isinstance(param, click.Argument):
            yield str(param.name)
        else:
            yield next(name for name in param.opts if name.startswith("--"))
            yield from param.secondary_opts


def test_every_option_has_a_use() -> None:
    """A command or option that is new, or gone, fails here."""
    assert set(USES) == set(USUAL) == set(cli.commands)
    for command, uses in USES.items():
        assert sorted({name.split()[0] for name in uses}) == sorted(names(command)), command


class EnoughError(CharrnnError):
    """The options were accepted; the training itself is not needed."""

    status = 0


@pytest.fixture
def try_pair(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[[str, str, str], tuple[int, str]]:
    """A function that runs a command with two of its options, and returns status and message."""
    monkeypatch.chdir(tmp_path)
    Path("t.txt").write_text(TEXT)
    save_model(Path("m"), random_model("gru", 1, 4, 3, "".join(sorted(set(TEXT)))))
    everything = {path.name for path in Path().iterdir()}

    def enough(*_: Any, **__: Any) -> None:
        raise EnoughError

    monkeypatch.setattr("charrnn.training.choices.characters_read", lambda *_: 1e6)
    monkeypatch.setattr("charrnn.training.setup.Trainer", enough)
    monkeypatch.setattr("charrnn.training.setup._resume", enough)
    monkeypatch.setattr("charrnn.cli.extras.require_tensorboard", lambda: None)

    def attempt(command: str, first: str, second: str) -> tuple[int, str]:
        line = f"{USUAL[command]} {USES[command][first]} {USES[command][second]}".split()
        if "text" in (first, second) or "page" in (first, second) or "corpus" in (first, second):
            line = line[1:]  # instead of the usual one
        monkeypatch.setattr(sys, "stdin", io.StringIO("\n"))
        with pytest.MonkeyPatch.context() as patch:
            if "--length -1" in (first, second):
                patch.setattr("charrnn.cli.writing.TextDisplay.as_text", enough)
                patch.setattr("charrnn.cli.writing.TextDisplay.as_json", enough)
            status = run([command, *line])
        for path in Path().iterdir():
            if path.name not in everything and path.is_file():
                path.unlink()
        return status, capfd.readouterr().err

    return attempt


@pytest.mark.slow
@pytest.mark.parametrize("command", sorted(USES))
def test_pairs(command: str, try_pair: Callable[[str, str, str], tuple[int, str]]) -> None:
    """Exactly the pairs of CONTRADICTIONS are refused, with status 2 and one line."""
    refused = set()
    for first, second in itertools.combinations(USES[command], 2):
        status, said = try_pair(command, first, second)
        assert status in (0, 2), (first, second, said)
        if status == 2:
            assert said.count("\n") == 1, (first, second, said)
            refused.add((first, second))
    assert refused == CONTRADICTIONS.get(command, set())
