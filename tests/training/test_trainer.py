"""What a training does when numbers stop being numbers, and that it learns at all."""

from __future__ import annotations

import dataclasses
import json
import math
import time
import types
from pathlib import Path
from typing import Any

import pytest
import torch

from charrnn.config import CorpusConfig, ModelConfig, TrainingConfig
from charrnn.model.device import choose_machine
from charrnn.model.file import load_model
from charrnn.model.network import parameters_by_name
from charrnn.text.corpus import Corpus, read_corpus
from charrnn.training import trainer as trainer_module
from charrnn.training import validation
from charrnn.training.listener import Listener, Status
from charrnn.training.rate import rate_at
from charrnn.training.schedule import STALL
from charrnn.training.state import load_training
from charrnn.training.step import TrainingStep
from charrnn.training.trainer import MOST_SKIPPED, SMALLEST_SCALE, Diverged, Interrupted, Trainer

TINY = ModelConfig(num_layers=1, hidden_size=12, embedding_size=6, dropout=0.0)


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    """A text in which each character follows from the two before."""
    path = tmp_path / "text.txt"
    path.write_text("abcacb\n" * 300)
    return read_corpus([str(path)], CorpusConfig())


def make_trainer(corpus: Corpus, directory: Path, **settings: object) -> Trainer:
    """A trainer in float32 on one processor."""
    directory.mkdir(exist_ok=True)
    defaults = {"steps": 60, "seed": 3, "batch_size": 4, "seq_length": 14, "precision": "fp32"}
    config = TrainingConfig(**(defaults | settings))  # type: ignore[arg-type]
    return Trainer(corpus, TINY, config, choose_machine("cpu", "fp32"), directory)


class Poison(Listener):
    """Makes a weight infinite at some steps, as a bad gradient would make it."""

    def __init__(self, trainer: Trainer, steps: range) -> None:
        self.trainer, self.steps, self.sets_back = trainer, steps, 0
        self.more = 1
        self.seconds: list[float] = []

    def stepped(self, status: Status) -> None:
        """Spoils the output's bias, or mends it."""
        self.seconds.append(status.seconds)
        with torch.no_grad():
            bias = parameters_by_name(self.trainer.model)["output.bias"]
            if status.step in self.steps:
                bias[0] = math.nan
            elif torch.isnan(bias[0]):
                bias[0] = 0.0

    def set_back(self, status: Status) -> None:
        """Counts, and poisons no more, or after the step that is returned to if there are ``more`` times."""
        self.sets_back += 1
        self.more -= 1
        self.steps = range(status.step + 1, 1000) if self.more > 0 else range(0)


def test_a_regular_text_is_learnt(corpus: Corpus, tmp_path: Path) -> None:
    """A text without surprises costs almost nothing, and the file's figure is the log's last best."""
    trainer = make_trainer(corpus, tmp_path / "run", steps=400)
    trainer.run()
    assert trainer.finished
    assert trainer.progress.best is not None
    assert trainer.progress.best < 0.1
    quality = load_model(tmp_path / "run" / "model.safetensors").quality
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert quality["nats_per_character"] == min(entry["val_loss"] for entry in log)
    assert log[-1]["step"] == 400
    assert log[-1]["bits_per_character"] == pytest.approx(log[-1]["val_loss"] / math.log(2))


def test_a_step_that_is_not_finite_is_skipped_and_counted(corpus: Corpus, tmp_path: Path) -> None:
    """Two spoilt steps move no weight, are counted, and the training goes on to its end."""
    trainer = make_trainer(corpus, tmp_path / "run")
    trainer.run(Poison(trainer, range(20, 22)))
    assert trainer.progress.skipped == 2
    assert trainer.progress.step == 60
    assert all(torch.isfinite(p).all() for p in trainer.model.parameters())
    assert trainer.progress.best is not None
    assert trainer.progress.best < 1.0


def test_lasting_divergence_goes_back_at_half_the_rate(corpus: Corpus, tmp_path: Path) -> None:
    """After MOST_SKIPPED spoilt steps the last saved state is taken up again, at half the rate."""
    trainer = make_trainer(corpus, tmp_path / "run", eval_every=15)
    poison = Poison(trainer, range(20, 20 + 2 * MOST_SKIPPED))
    trainer.run(poison)
    assert poison.sets_back == 1
    assert trainer.progress.rate_scale == 0.5
    assert trainer.progress.step == 60
    assert trainer.progress.skipped == MOST_SKIPPED


class Slow(Listener):
    """Takes its time after each step, as one that shows samples does."""

    def stepped(self, status: Status) -> None:  # noqa: ARG002
        """Waits."""
        time.sleep(0.05)


def test_time_is_kept_whoever_watches(corpus: Corpus, tmp_path: Path) -> None:
    """With --time, what listeners take is part of the time, and is counted as not spent on steps."""
    trainer = make_trainer(corpus, tmp_path / "run", steps=None, time=2.0, patience=0)
    began = time.monotonic()
    trainer.run(Slow())
    assert time.monotonic() - began == pytest.approx(trainer.progress.seconds, abs=0.3)
    assert trainer.progress.aside >= 0.05 * trainer.progress.step
    assert trainer.progress.step <= 40


def test_a_stop_counts_nowhere(corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a stopped step and a stopped evaluation count is all that is counted; the rest is ``stalled``."""
    clock = [0.0]
    frozen = types.SimpleNamespace(perf_counter=lambda: clock[0], monotonic=lambda: clock[0])
    monkeypatch.setattr(trainer_module, "time", frozen)
    trainer = make_trainer(corpus, tmp_path / "run", eval_every=15)
    step, score = TrainingStep.__call__, trainer.validation.score

    class Timed(Listener):
        """Lets time pass as a training does: a tenth of a second a step, and a second after it."""

        def stepped(self, status: Status) -> None:  # noqa: ARG002
            clock[0] += 1.0

    def timed_step(self: TrainingStep, number: int, rate: float) -> None:
        step(self, number, rate)
        clock[0] += 500.0 if number == 40 else 0.1

    def timed_score(*arguments: Any) -> Any:
        clock[0] += 800.0 if trainer.progress.step == 45 else 0.5
        return score(*arguments)

    monkeypatch.setattr(TrainingStep, "__call__", timed_step)
    monkeypatch.setattr(trainer.validation, "score", timed_score)
    trainer.run(Timed())
    progress, schedule = trainer.progress, trainer.schedule
    counted = (59 * 0.1 + STALL * 0.1) + (3 * 0.5 + STALL * 0.5) + 60 * 1.0
    assert progress.seconds == pytest.approx(counted)
    assert schedule.stalled == pytest.approx(clock[0] - counted)
    assert progress.aside == pytest.approx(counted - (59 * 0.1 + STALL * 0.1))


def test_an_evaluation_stops_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked to stop, an evaluation scores no further piece, and counts for nothing."""
    monkeypatch.setattr(validation, "MEETING_EVERY", 0.0)  # after each piece
    (tmp_path / "long.txt").write_text("abcacb\n" * 20_000)
    long = read_corpus([str(tmp_path / "long.txt")], CorpusConfig(val_fraction=0.5))
    trainer = make_trainer(long, tmp_path / "run", eval_every=5)
    heard: dict[int, list[float]] = {5: [], 10: []}  # by step

    class Stop(Listener):
        """Asks to stop in the middle of the second evaluation."""

        def evaluating(self, share: float) -> None:
            heard[trainer.progress.step].append(share)
            if trainer.progress.step == 10 and share > 0.1:
                trainer.stopping = True

    with pytest.raises(Interrupted):
        trainer.run(Stop())
    assert len(heard[5]) > 20
    assert [share > 0.1 for share in heard[10]].count(True) == 1
    state = load_training(tmp_path / "run")
    assert (state.progress.step, state.progress.evaluated, state.progress.best_step) == (10, 5, 5)
    assert state.progress.loss_count == 5
    assert len((tmp_path / "run" / "log.jsonl").read_text().splitlines()) == 1


@pytest.mark.parametrize("most", [1, 100, 10**6])
def test_part_of_the_lines_is_validated(tmp_path: Path, most: int) -> None:
    """Of more held-out lines than an evaluation may score, whole ones from all over them are scored."""
    (tmp_path / "lines.txt").write_text("".join(f"{number:06}\n" for number in range(400)))
    lines = read_corpus([str(tmp_path / "lines.txt")], CorpusConfig(lines=True))
    trainer = make_trainer(lines, tmp_path / "run", validate=most)
    assert min(most, 7) <= len(trainer.validation.ids) <= min(most + 7, len(lines.validation))
    assert len(trainer.validation.ids) % 7 == 0


def test_copies_are_kept(corpus: Corpus, tmp_path: Path) -> None:
    """``keep_every`` writes numbered models of ascending steps; best model and log stay as they are."""
    plain = make_trainer(corpus, tmp_path / "plain", eval_every=15)
    plain.run()
    trainer = make_trainer(corpus, tmp_path / "run", eval_every=15, keep_every=1e-6)
    trainer.run()
    kept = sorted((tmp_path / "run").glob("model-*.safetensors"))
    assert [path.name for path in kept[:2]] == ["model-0001.safetensors", "model-0002.safetensors"]
    steps = [load_model(path).quality["step"] for path in kept]
    assert steps == sorted(set(steps))
    assert len(steps) == trainer.progress.kept > 10
    best, same = (load_model(tmp_path / name / "model.safetensors") for name in ("plain", "run"))
    assert all((same.weights[name] == weight).all() for name, weight in best.weights.items())
    logs = [(tmp_path / name / "log.jsonl").read_text().splitlines() for name in ("plain", "run")]
    assert [json.loads(line)["val_loss"] for line in logs[0]] == [
        json.loads(line)["val_loss"] for line in logs[1]
    ]


def test_hopeless_divergence_is_one_error(corpus: Corpus, tmp_path: Path) -> None:
    """A training that never gets a finite loss ends with the flags to try, its model unharmed."""

    class Always(Poison):
        def set_back(self, status: Status) -> None:  # noqa: ARG002
            self.sets_back += 1

    trainer = make_trainer(corpus, tmp_path / "run", steps=1000, eval_every=15)
    always = Always(trainer, range(20, 100_000))
    with pytest.raises(Diverged, match="--matrix-lr"):
        trainer.run(always)
    assert (always.sets_back, trainer.progress.rate_scale) == (7, SMALLEST_SCALE / 2)
    quality = load_model(tmp_path / "run" / "model.safetensors").quality
    assert quality["step"] == 15


def test_each_return_halves_the_rate(corpus: Corpus, tmp_path: Path) -> None:
    """A second divergence from the same saved state is met with a quarter of the rate, not half again."""
    trainer = make_trainer(corpus, tmp_path / "run", eval_every=15)
    poison = Poison(trainer, range(20, 1000))
    poison.more = 3
    trainer.run(poison)
    assert poison.sets_back == 3
    assert trainer.progress.rate_scale == 1 / 8
    assert trainer.progress.step == 60
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in log] == [15, 30, 45, 60]  # each once, though some were made again
    assert poison.seconds == sorted(poison.seconds)  # what was spent on steps that are made again counts


def test_losses_are_averaged_and_those_not_finite_counted(corpus: Corpus, tmp_path: Path) -> None:
    """The shown loss moves by a fiftieth; the mean has only finite losses, of which one ends a series."""
    trainer = make_trainer(corpus, tmp_path / "run")
    for losses, recent, total, skipped, in_a_row in (
        ([1.0, 2.0], 1.02, (3.0, 2), 0, 0),
        ([math.nan, math.inf], 1.02, (3.0, 2), 2, 2),
        ([math.nan, 1.02, math.nan], 1.02, (4.02, 3), 4, 1),
    ):
        trainer._pending = [torch.tensor(loss) for loss in losses]
        trainer._collect_losses()
        progress = trainer.progress
        assert trainer.recent_loss == pytest.approx(recent)
        assert (progress.loss_sum, progress.loss_count) == pytest.approx(total)
        assert (progress.skipped, progress.skipped_in_a_row) == (skipped, in_a_row)


def test_no_state_is_saved_while_losses_are_not_finite(corpus: Corpus, tmp_path: Path) -> None:
    """What may be spoilt does not replace a state to go back to; with the next finite loss it is saved."""
    trainer = make_trainer(corpus, tmp_path / "run")
    path = tmp_path / "run" / "state.safetensors"
    trainer.progress.skipped_in_a_row = 1
    trainer.save()
    assert not path.exists()
    trainer.progress.skipped_in_a_row = 0
    trainer.save()
    assert path.exists()


def test_a_captured_state_stays_as_it_was(corpus: Corpus, tmp_path: Path) -> None:
    """Neither the trainer that was captured nor one that was restored changes it as it goes on."""
    trainer = make_trainer(corpus, tmp_path / "run")
    state = trainer.capture()
    before = dataclasses.asdict(state.progress)
    trainer.run()
    assert dataclasses.asdict(state.progress) == before
    again = make_trainer(corpus, tmp_path / "again")
    again.restore(state)
    again.run()
    assert dataclasses.asdict(state.progress) == before


def test_the_log_has_the_rate_as_it_was(corpus: Corpus, tmp_path: Path) -> None:
    """The learning rate of each line follows the schedule, down to its floor at the end."""
    trainer = make_trainer(corpus, tmp_path / "run", eval_every=20, lr=0.01, floor=0.05, warmup=0.5)
    trainer.run()
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    expected = [0.01 * rate_at(entry["step"] / 60, trainer.config) for entry in log]
    assert [entry["lr"] for entry in log] == pytest.approx(expected)
    assert log[-1]["lr"] == pytest.approx(0.0005)
    quality = load_model(tmp_path / "run" / "model.safetensors").quality
    assert quality["bits_per_character"] == pytest.approx(quality["nats_per_character"] / math.log(2))
