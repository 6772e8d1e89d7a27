"""How fast a model learns here, and with how many replicas."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from charrnn.config import CorpusConfig, ModelConfig, TrainingConfig
from charrnn.model.device import choose_machine
from charrnn.settings import from_mapping
from charrnn.text.corpus import Corpus, read_corpus
from charrnn.training.batches import fit_shape
from charrnn.training.speed import fastest_replicas, measure_speed
from charrnn.training.step import TrainingStep


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    """A text of 20,000 characters, nine tenths of them to learn from."""
    path = tmp_path / "text.txt"
    path.write_text("to be or not to be\n" * 1052 + "so it is said")
    return read_corpus([str(path)], CorpusConfig())


def test_speed_is_that_of_training(corpus: Corpus) -> None:
    """A smaller model is measured to be faster, and measuring leaves no trace."""
    machine = choose_machine("cpu", "fp32")
    settings = TrainingConfig(seed=1, time=1.0)
    small, large = (
        measure_speed(ModelConfig(hidden_size=hidden), settings, corpus, machine) for hidden in (8, 320)
    )
    assert small > 2 * large > 0


def test_uneven_lines_are_measured_as_they_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where batches of lines differ, the speed is all their characters in all their time."""
    (tmp_path / "uneven.txt").write_text("abcdefg\n" * 1000 + ("x" * 3000 + "\n") * 30)
    uneven = read_corpus([str(tmp_path / "uneven.txt")], CorpusConfig(lines=True))
    now, read = [0.0], []

    def call(step: TrainingStep, number: int, rate: float) -> None:  # noqa: ARG001
        targets = step.batches.window(number)[1]
        read.append(int((targets >= 0).sum()))
        now[0] += 0.001 * len(targets)  # a step costs what its longest line costs

    monkeypatch.setattr(TrainingStep, "__call__", call)
    monkeypatch.setattr("charrnn.training.speed.time.perf_counter", lambda: now[0])
    settings = TrainingConfig(seed=1, time=1e4)
    speed = measure_speed(ModelConfig(hidden_size=8), settings, uneven, choose_machine("cpu", "fp32"))
    assert speed == pytest.approx(sum(read) / now[0], rel=1e-6)


@pytest.mark.parametrize("fastest", [1, 2, 4])
def test_the_fastest_replicas_are_taken(
    corpus: Corpus, monkeypatch: pytest.MonkeyPatch, fastest: int
) -> None:
    """Of one, half and all replicas those are taken whose steps are fastest, not counting the first step."""
    now, made = [0.0], [0]

    def call(step: TrainingStep, number: int, rate: float) -> None:  # noqa: ARG001
        count = step.replicas.count
        now[0] += 5.0 / count if number == 0 else 0.01 * (1 + abs(count - fastest))
        made[0] += 1

    monkeypatch.setattr(TrainingStep, "__call__", call)
    monkeypatch.setattr("charrnn.training.speed.time.perf_counter", lambda: now[0])
    machine, small = choose_machine("cpu", "fp32"), ModelConfig(hidden_size=8)
    settings = TrainingConfig(seed=1, time=1e4, threads=4, batch_size=16, seq_length=16)
    # The first steps take longer than measuring should: one more round shows which are fast.
    assert fastest_replicas(small, settings, corpus, machine) == fastest
    assert made[0] == 6
    asked = dataclasses.replace(settings, replicas=3)
    assert fastest_replicas(small, asked, corpus, machine) == 3
    one = dataclasses.replace(settings, threads=1)
    assert fastest_replicas(small, one, corpus, machine) is None
    for length in ({"steps": 100}, {"epochs": 100}, {"time": 3.0}):
        other: TrainingConfig = from_mapping(TrainingConfig, {"seed": 1, "threads": 4, **length})
        assert fastest_replicas(small, other, corpus, machine) is None
    assert made[0] == 6


def test_measuring_takes_a_share_of_the_time(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    """For a training of seconds the speed is measured in a small part of them."""
    now = [0.0]

    def call(*_: object, rate: float) -> None:  # noqa: ARG001
        now[0] += 0.05

    monkeypatch.setattr(TrainingStep, "__call__", call)
    monkeypatch.setattr("charrnn.training.speed.time.perf_counter", lambda: now[0])
    measure_speed(
        ModelConfig(hidden_size=8), TrainingConfig(seed=1, time=5.0), corpus, choose_machine("cpu", "fp32")
    )
    assert now[0] == pytest.approx(4 * 0.05)  # 2 % of 5 s, twice


def test_what_is_paid_once_does_not_count(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps that are slow the first time, as those of lines of a new length are, count as they are later."""
    now, seen = [0.0], set()

    def call(_: TrainingStep, number: int, rate: float) -> None:  # noqa: ARG001
        now[0] += 0.01 if number in seen else 0.11
        seen.add(number)

    monkeypatch.setattr(TrainingStep, "__call__", call)
    monkeypatch.setattr("charrnn.training.speed.time.perf_counter", lambda: now[0])
    settings = TrainingConfig(seed=1, time=1.0)
    speed = measure_speed(ModelConfig(hidden_size=8), settings, corpus, choose_machine("cpu", "fp32"))
    shape = fit_shape(corpus.train_size, settings.batch_size, settings.seq_length)
    assert speed == pytest.approx(shape.batch * shape.time / 0.01)
