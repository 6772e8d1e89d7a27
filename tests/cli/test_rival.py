"""What a training says of the n-gram of its own text."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from charrnn.cli.rival import rival, rival_lines
from charrnn.config import CorpusConfig, ModelConfig, TrainingConfig
from charrnn.model.device import Machine
from charrnn.model.file import load_model
from charrnn.text.corpus import read_corpus
from charrnn.training.trainer import Trainer
from tests.cli.test_ngram import Run, run
from tests.conftest import PLAY

__all__ = ["run"]  # the fixture


def trained(text: Path, directory: Path, best: float, seconds: float = 1e6) -> Trainer:
    """A training that took so long and found a network so good."""
    import torch

    corpus = read_corpus([str(text)], CorpusConfig())
    config = TrainingConfig(steps=1, seed=1)
    trainer = Trainer(
        corpus, ModelConfig("lstm", 1, 4, 3), config, Machine(torch.device("cpu"), bf16=False), directory
    )
    trainer.progress.best, trainer.progress.seconds = best, seconds
    return trainer


def test_a_network_that_is_better_is_told_nothing(tmp_path: Path) -> None:
    """Where the network is clearly better, there is nothing to say; nor where counting would take long."""
    assert list(rival_lines(trained(PLAY, tmp_path / "run", best=1.0), (str(PLAY),), None)) == []
    assert list(rival_lines(trained(PLAY, tmp_path / "run", best=9.0, seconds=1.0), (str(PLAY),), None)) == []


@pytest.mark.parametrize(
    ("best", "verdict"),
    [(1.5, "better than the network"), (1.36, "as good as the"), (1.25, "not far behind the network")],
)
def test_how_good_it_is(best: float, verdict: str, tmp_path: Path) -> None:
    """What is said depends on how far the network is ahead; the loss is that of the n-gram."""
    trainer = trained(PLAY, tmp_path / "run", best)
    found = rival(trainer)
    assert found is not None
    nats = found.model.quality["nats_per_character"]
    (line,) = rival_lines(trainer, (str(PLAY),), None)
    assert line.startswith(f"n-gram      {nats:.4f} nats/char, {verdict}")


def test_the_command_works(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loss is that of --cell ngram, and the line's command writes both into the run's file."""
    monkeypatch.setattr("charrnn.cli.rival.LARGEST_SHARE", 1e9)
    settings = ("--hidden-size", 4, "--num-layers", 1, "--embedding-size", 3, "--threads", 1, "--steps", 2)
    (line,) = (line for line in run("train", PLAY, *settings).out.splitlines() if line.startswith("n-gram"))
    assert " ".join(line.split()[1:3]) in run("train", PLAY, "--cell", "ngram", "-o", "ngram").out
    run(*shlex.split(line.split("mixed: ")[1])[1:])
    mixed = load_model(Path("runs", PLAY.stem, "model.safetensors"))
    assert [part.grams is None for part in mixed.parts] == [True, False]


def test_it_is_a_result_of_a_training(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A training that learnt little prints the line before the command that samples, which stays last."""
    monkeypatch.setattr("charrnn.cli.rival.LARGEST_SHARE", 1e9)
    settings = ("--hidden-size", 4, "--num-layers", 1, "--embedding-size", 3, "--threads", 1, "--steps", 2)
    out = run("train", PLAY, *settings, "-o", "run", "-q").out.splitlines()
    assert [line.split()[0] for line in out][-2:] == ["n-gram", "sample"]
