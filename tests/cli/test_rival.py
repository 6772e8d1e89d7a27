"""What a training says of the n-gram of its own text."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from charrnn.cli.rival import rival, rival_lines
from charrnn.config import CorpusConfig, ModelConfig, TrainingConfig
from charrnn.model.device import Machine
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
    assert list(rival_lines(trained(PLAY, tmp_path / "run", best=1.0), (str(PLAY),))) == []
    assert list(rival_lines(trained(PLAY, tmp_path / "run", best=9.0, seconds=1.0), (str(PLAY),))) == []


@pytest.mark.parametrize(
    ("best", "verdict"),
    [(1.5, "better than the network"), (1.36, "as good as the"), (1.25, "not far behind the network")],
)
def test_the_commands_work(best: float, verdict: str, run: Run, tmp_path: Path) -> None:
    """The loss is that of the n-gram, and the commands that the line names make it, and mix it."""
    trainer = trained(PLAY, Path("runs/play"), best)
    found = rival(trainer)
    assert found is not None
    (line,) = rival_lines(trainer, (str(PLAY),))
    nats = found.model.quality["nats_per_character"]
    assert line.startswith(f"n-gram      {nats:.4f} nats/char, {verdict}")
    count, mix = (shlex.split(command)[1:] for command in line.split("mixed: ")[1].split(" && "))
    assert f"{nats:.4f} nats/char" in run(*count).out
    from charrnn.model.file import save_model

    (tmp_path / "runs/play").mkdir(exist_ok=True)
    save_model(tmp_path / "runs/play/model.safetensors", trainer.model_file())
    assert len(run(*mix, "-n", 20, "--no-display-prompt").out) >= 20


def test_it_is_a_result_of_a_training(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A training that learnt little prints the line before the command that samples, which stays last."""
    monkeypatch.setattr("charrnn.cli.rival.LARGEST_SHARE", 1e9)
    settings = ("--hidden-size", 4, "--num-layers", 1, "--embedding-size", 3, "--threads", 1, "--steps", 2)
    out = run("train", PLAY, *settings, "-o", "run", "-q").out.splitlines()
    assert [line.split()[0] for line in out][-2:] == ["n-gram", "sample"]
