"""A training that was stopped goes on as if it had not been."""

from __future__ import annotations

import dataclasses
import json
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from charrnn.config import Cell, ModelConfig
from charrnn.errors import CharrnnError, ConfigError, ModelFileError, RunError
from charrnn.model.file import load_model, load_state
from charrnn.training.listener import Listener, Report, Status
from charrnn.training.setup import Request, open_training
from charrnn.training.trainer import Interrupted, Trainer
from tests.conftest import TINY, Charrnn, command, environment

TEXT = "".join(
    f"{number} green bottles hanging on the wall,\nand if one green bottle should accidentally fall,\n"
    for number in range(60, 0, -1)
)
STEPS = 24
EVALUATED = [6, 12, 18, 24]

# What tells of the clock, and may differ between two runs of the same training.
CLOCKS = ("seconds", "characters_per_second")


@pytest.fixture
def text(tmp_path: Path) -> Path:
    """A text of a few thousand characters."""
    path = tmp_path / "bottles.txt"
    path.write_text(TEXT)
    return path


def request_for(text: Path, directory: Path, cell: Cell = "lstm", **changes: Any) -> Request:
    """A short training with dropout, several epochs and an evaluation every six steps."""
    settings = {
        "steps": STEPS, "eval_every": 6, "batch_size": 8, "seq_length": 32, "seed": 5, "threads": 1,
        "device": "cpu", **dataclasses.asdict(ModelConfig(cell, 2, 12, 6, dropout=0.2)),
    }  # fmt: skip
    return dataclasses.replace(Request(paths=[str(text)], directory=directory, settings=settings), **changes)


def with_settings(request: Request, **changes: Any) -> Request:
    """The request with other settings; None takes one away."""
    return dataclasses.replace(request, settings={**request.settings, **changes})


class Holder(Listener):
    """A listener that is given its trainer."""

    trainer: Trainer


class Stop(Holder):
    """Stops a training after a step, or while it is evaluated."""

    def __init__(self, step: int, *, evaluating: bool = False) -> None:
        self._step, self._evaluating = step, evaluating

    def stepped(self, status: Status) -> None:
        """Stops after the step."""
        if status.step == self._step and not self._evaluating:
            self.trainer.stopping = True

    def evaluating(self, share: float) -> None:
        """Stops during the evaluation after the step."""
        assert 0 < share <= 1
        if self.trainer.progress.step == self._step and self._evaluating:
            self.trainer.stopping = True


def train(request: Request, listener: Listener | None = None) -> Trainer:
    """Runs a training to its end."""
    trainer = open_training(request).trainer
    if isinstance(listener, Holder):
        listener.trainer = trainer
    trainer.run(listener)
    return trainer


def train_until(request: Request, listener: Listener) -> None:
    """Runs a training until the listener stops it."""
    with pytest.raises(Interrupted):
        train(request, listener)


def outcome(directory: Path) -> tuple[bytes, list[str]]:
    """A run's model file, state and log, but for what tells of the clock."""
    model = load_model(directory / "model.safetensors")
    tensors, _ = load_state(directory / "state.safetensors")  # weights, optimizers, hidden state, generators
    training = {key: value for key, value in model.training.items() if key not in CLOCKS}
    description = [model.config, model.tokenizer.describe(), model.corpus, training, model.quality]
    arrays = [*model.weights.items(), *sorted(tensors.items())]
    weights = b"".join(name.encode() + array.tobytes() for name, array in arrays)
    log = [json.loads(line) for line in (directory / "log.jsonl").read_text().splitlines()]
    shown = [json.dumps({k: v for k, v in entry.items() if k not in CLOCKS}) for entry in log]
    return weights, [str(description), *shown]


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> dict[Cell, tuple[bytes, list[str]]]:
    """What trainings give that are never stopped, by cell; on the same text in the same place each."""
    found: dict[Cell, tuple[bytes, list[str]]] = {}
    cells: list[Cell] = ["lstm", "gru", "rnn", "relu"]
    for cell in cells:
        where = tmp_path_factory.mktemp(cell)
        path = where / "bottles.txt"
        path.write_text(TEXT)
        train(request_for(path, where / "run", cell))
        found[cell] = outcome(where / "run")
    return found


def check_same(first: tuple[bytes, list[str]], second: tuple[bytes, list[str]]) -> None:
    """Holds two outcomes to each other, but for where the text lies."""
    assert [_placeless(line) for line in first[1]] == [_placeless(line) for line in second[1]]
    assert first[0] == second[0]


def _placeless(line: str) -> str:
    before, found, after = line.partition("'paths': ['")
    return before + after.partition("'")[2] if found else line


def test_a_seed_makes_a_training_repeatable(
    text: Path, tmp_path: Path, straight: dict[Cell, tuple[bytes, list[str]]]
) -> None:
    """The same seed gives the same model and log to the bit, and another one others."""
    train(request_for(text, tmp_path / "again"))
    check_same(outcome(tmp_path / "again"), straight["lstm"])
    request = request_for(text, tmp_path / "other")
    train(with_settings(request, seed=6))
    assert outcome(tmp_path / "other")[0] != straight["lstm"][0]


def test_the_log_has_a_line_for_each_evaluation(straight: dict[Cell, tuple[bytes, list[str]]]) -> None:
    """Evaluations come every six steps, and the last after the last step."""
    assert [json.loads(line)["step"] for line in straight["lstm"][1][1:]] == EVALUATED


@pytest.mark.parametrize("step", [1, 5, 6, 7, 12, 17, 23, 24])
def test_stopped_after_any_step_it_goes_on_exactly(
    text: Path, tmp_path: Path, straight: dict[Cell, tuple[bytes, list[str]]], step: int
) -> None:
    """Stopped after a step, before an evaluation, after one or at the end, the outcome is the same."""
    request = request_for(text, tmp_path / "run")
    train_until(request, Stop(step))
    torch.manual_seed(99)  # what another process would have
    trainer = train(dataclasses.replace(request, resume=True))
    assert trainer.progress.step == STEPS
    check_same(outcome(tmp_path / "run"), straight["lstm"])


@pytest.mark.parametrize("cell", ["gru", "rnn", "relu"])
def test_every_cell_goes_on_exactly(
    text: Path, tmp_path: Path, straight: dict[Cell, tuple[bytes, list[str]]], cell: Cell
) -> None:
    """States without an LSTM's cells are restored as well."""
    request = request_for(text, tmp_path / "run", cell)
    train_until(request, Stop(9))
    train(dataclasses.replace(request, resume=True))
    check_same(outcome(tmp_path / "run"), straight[cell])


@pytest.mark.parametrize("step", [12, 24])
def test_stopped_while_evaluating_it_goes_on_exactly(
    text: Path, tmp_path: Path, straight: dict[Cell, tuple[bytes, list[str]]], step: int
) -> None:
    """An evaluation that was cut off, the last one too, is made anew."""
    request = request_for(text, tmp_path / "run")
    train_until(request, Stop(step, evaluating=True))
    train(dataclasses.replace(request, resume=True))
    check_same(outcome(tmp_path / "run"), straight["lstm"])


def test_stopped_again_and_again_it_goes_on_exactly(
    text: Path, tmp_path: Path, straight: dict[Cell, tuple[bytes, list[str]]]
) -> None:
    """Stopped after twenty of its steps, drawn at random, a training ends where the straight one does."""
    request = request_for(text, tmp_path / "run")
    for step in sorted(random.Random(1).sample(range(1, STEPS), 20)):
        train_until(request, Stop(step))
        request = dataclasses.replace(request, resume=True)
    train(request)
    check_same(outcome(tmp_path / "run"), straight["lstm"])


class Saver(Holder):
    """Keeps a copy of the run's files as they were after a step."""

    def __init__(self, step: int) -> None:
        self._step = step
        self.files: dict[str, bytes] = {}

    def stepped(self, status: Status) -> None:
        """Copies the state, saved now, and nothing that comes later."""
        if status.step == self._step:
            self.trainer.save()
            state = self.trainer.directory / "state.safetensors"
            self.files = {state.name: state.read_bytes()}


@pytest.mark.parametrize("step", [4, 6, 13])
@pytest.mark.parametrize("cut", [0, 30])
def test_what_was_logged_after_the_state_is_logged_once(
    text: Path, tmp_path: Path, straight: dict[Cell, tuple[bytes, list[str]]], step: int, cut: int
) -> None:
    """After a kill, model and log may be ahead of the state, the last line cut off: all is made anew."""
    request = request_for(text, tmp_path / "run")
    saver = Saver(step)
    train(request, saver)
    for name, data in saver.files.items():
        (tmp_path / "run" / name).write_bytes(data)
    log = tmp_path / "run" / "log.jsonl"
    log.write_bytes(log.read_bytes()[: -cut or None])
    train(dataclasses.replace(request, resume=True))
    check_same(outcome(tmp_path / "run"), straight["lstm"])


def test_a_garbled_end_of_the_log_is_written_anew(
    text: Path, tmp_path: Path, straight: dict[Cell, tuple[bytes, list[str]]]
) -> None:
    """Bytes that a crash left at the log's end, no UTF-8 and no JSON, are cut off on resuming."""
    request = request_for(text, tmp_path / "run")
    train_until(request, Stop(9))
    with (tmp_path / "run" / "log.jsonl").open("ab") as log:
        log.write(b'\0\0\xff{"st\n')
    train(dataclasses.replace(request, resume=True))
    check_same(outcome(tmp_path / "run"), straight["lstm"])


def test_a_captured_state_is_a_copy(text: Path, tmp_path: Path) -> None:
    """What was captured stays as it is while training goes on, and restored it is captured again the same."""
    request = request_for(text, tmp_path / "run")
    train_until(request, Stop(9))
    trainer = open_training(dataclasses.replace(request, resume=True)).trainer
    state = trainer.capture()
    before = {name: array.tobytes() for name, array in state.tensors.items()}
    trainer.run()
    assert state.progress.step == 9
    assert {name: array.tobytes() for name, array in state.tensors.items()} == before
    assert trainer.capture().tensors["weights.output.bias"].tobytes() != before["weights.output.bias"]
    trainer.restore(state)
    again = trainer.capture()
    assert again.progress == state.progress
    assert {name: array.tobytes() for name, array in again.tensors.items()} == before


def test_a_finished_training_is_not_resumed(text: Path, tmp_path: Path) -> None:
    """A run that is done is left as it is, to the byte."""
    request = request_for(text, tmp_path / "run")
    train(request)
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    prepared = open_training(dataclasses.replace(request, resume=True))
    assert prepared.trainer.finished
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before


def test_a_finished_training_is_extended(text: Path, tmp_path: Path) -> None:
    """With more steps a finished run goes on to so many in all, warmed up again; its log stays."""
    request = request_for(text, tmp_path / "run")
    before = train(request).progress
    log = (tmp_path / "run" / "log.jsonl").read_text()
    longer = dataclasses.replace(request, resume=True, settings={"steps": 2 * STEPS})
    prepared = open_training(longer)
    assert prepared.resumed_at == STEPS
    assert not prepared.trainer.finished
    prepared.trainer.run()
    progress = prepared.trainer.progress
    assert progress.step == 2 * STEPS
    assert progress.seconds > before.seconds
    lines = (tmp_path / "run" / "log.jsonl").read_text().splitlines()
    assert lines[: len(EVALUATED)] == log.splitlines()
    logged = [json.loads(line) for line in lines]
    assert [entry["step"] for entry in logged] == [*EVALUATED, *(STEPS + step for step in EVALUATED)]
    assert logged[4]["lr"] > logged[3]["lr"]
    assert open_training(dataclasses.replace(request, paths=[], settings={}, resume=True)).trainer.finished


def test_an_interrupted_extension_goes_on_exactly(text: Path, tmp_path: Path) -> None:
    """Stopped within its extension, a run goes on without being told the length again, to the bit."""
    request = request_for(text, tmp_path / "run")
    longer = dataclasses.replace(request, settings={"steps": 2 * STEPS}, resume=True)
    train(request)
    shutil.copytree(tmp_path / "run", tmp_path / "straight")
    train_until(longer, Stop(STEPS + 9))
    train(dataclasses.replace(request, settings={}, resume=True))
    train(dataclasses.replace(longer, directory=tmp_path / "straight"))
    check_same(outcome(tmp_path / "straight"), outcome(tmp_path / "run"))


@pytest.mark.parametrize(("name", "value"), [("steps", STEPS - 1), ("time", 60.0), ("epochs", 50.0)])
def test_a_finished_training_is_not_made_shorter(text: Path, tmp_path: Path, name: str, value: float) -> None:
    """A shorter length, or one of another kind, is refused with what can be given."""
    request = request_for(text, tmp_path / "run")
    train(request)
    with pytest.raises(ConfigError, match=rf"--{name} .*a longer --steps extends a run that has finished"):
        open_training(dataclasses.replace(request, resume=True, settings={name: value}))


def test_copies_go_on_being_numbered(text: Path, tmp_path: Path) -> None:
    """A resumed training keeps copies as before it stopped, and goes on with their numbers."""
    request = with_settings(request_for(text, tmp_path / "run"), keep_every=1e-6)
    train_until(request, Stop(5))
    first = sorted(path.name for path in (tmp_path / "run").glob("model-*"))
    train(dataclasses.replace(request, settings={}, resume=True))
    kept = sorted((tmp_path / "run").glob("model-*"))
    assert [path.name for path in kept] == [f"model-{n:04}.safetensors" for n in range(1, len(kept) + 1)]
    assert 0 < len(first) < len(kept)
    steps = [load_model(path).quality["step"] for path in kept]
    assert steps == sorted(set(steps))


@pytest.mark.parametrize("named", [True, False])
def test_a_text_that_moved_is_asked_for(text: Path, tmp_path: Path, named: bool) -> None:
    """Where the text is no longer in its place, the error has the command, which with its new place works."""
    request = request_for(text, tmp_path / "run")
    train_until(request, Stop(3))
    text.rename(tmp_path / "moved.txt")
    lost = dataclasses.replace(request, paths=[str(text)] if named else [], resume=True)
    with pytest.raises(RunError) as caught:
        open_training(lost)
    command = f"charrnn train NEWPATH --resume -o {tmp_path / 'run'}"
    assert str(caught.value) == f"{text}: no such file or directory; if the text has moved, {command}"
    moved = dataclasses.replace(lost, paths=[str(tmp_path / "moved.txt")])
    assert open_training(moved).resumed_at == 3


def test_the_text_is_found_again(text: Path, tmp_path: Path) -> None:
    """Without a corpus on the command line, the run's own is read from where it was."""
    request = request_for(text, tmp_path / "run")
    train_until(request, Stop(3))
    prepared = open_training(dataclasses.replace(request, paths=[], resume=True))
    assert prepared.trainer.corpus.characters == len(TEXT)
    assert prepared.resumed_at == prepared.trainer.progress.step == 3


@pytest.mark.parametrize("edit", ["x" + TEXT[1:], TEXT + "!", TEXT[:-1]])
def test_another_text_is_refused(text: Path, tmp_path: Path, edit: str) -> None:
    """If the text changed by a character since, the run does not go on, and the state stays."""
    request = request_for(text, tmp_path / "run")
    train_until(request, Stop(3))
    before = (tmp_path / "run" / "state.safetensors").read_bytes()
    text.write_text(edit)
    with pytest.raises(CharrnnError, match=r"give that text back, or train anew") as caught:
        open_training(dataclasses.replace(request, resume=True))
    assert str(caught.value).startswith(f"{text}: not the text this ")
    assert (tmp_path / "run" / "state.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("lr", 0.5, "--lr 0.5: this run was begun with 0.012"),
        ("steps", 48, "--steps 48: this run was begun with 24"),
        ("seed", 6, "--seed 6: this run was begun with 5"),
        ("cell", "gru", "--cell gru: this run was begun with lstm"),
        ("hidden_size", 13, "--hidden-size 13: this run was begun with 12"),
        ("val_fraction", 0.2, "--val-fraction 0.2: this run was begun with 0.1"),
    ],
)
def test_contradicting_flags_are_refused(
    text: Path, tmp_path: Path, name: str, value: Any, message: str
) -> None:
    """A flag that contradicts the run is an error with both values; one that agrees is none."""
    request = request_for(text, tmp_path / "run")
    train_until(request, Stop(3))
    with pytest.raises(ConfigError) as caught:
        open_training(dataclasses.replace(request, resume=True, settings={name: value}))
    assert str(caught.value).startswith(message)
    begun_with = {name: {"lr": 0.012, "val_fraction": 0.1, **request.settings}[name]}
    assert open_training(dataclasses.replace(request, resume=True, settings=begun_with)).resumed_at == 3


def test_defaults_do_not_contradict(text: Path, tmp_path: Path) -> None:
    """Settings that were not given on resuming are the run's, whatever the defaults are."""
    request = request_for(text, tmp_path / "run")
    train_until(request, Stop(3))
    trainer = open_training(Request([str(text)], tmp_path / "run", resume=True)).trainer
    assert trainer.model.config == ModelConfig("lstm", 2, 12, 6, dropout=0.2)
    assert trainer.config.seed == 5
    assert trainer.config.steps == STEPS


def test_nothing_to_resume_is_an_error(text: Path, tmp_path: Path) -> None:
    """A directory without a state, or none at all, is an error that says what to do."""
    request = request_for(text, tmp_path / "none", resume=True)
    with pytest.raises(RunError, match=r"no state\.safetensors to resume from"):
        open_training(request)
    assert not (tmp_path / "none").exists()


def test_a_run_named_as_the_text_is_an_error(text: Path, tmp_path: Path) -> None:
    """``--resume RUN`` says how a run is named, and that command goes on with it."""
    request = request_for(text, tmp_path / "run")
    train_until(request, Stop(3))
    mistaken = dataclasses.replace(request, paths=[str(tmp_path / "run")], directory=None, resume=True)
    with pytest.raises(RunError, match=r"run: a run, not a text; .* charrnn train --resume -o .*run$"):
        open_training(mistaken)
    meant = dataclasses.replace(request, paths=[], directory=tmp_path / "run", resume=True)
    assert open_training(meant).resumed_at == 3


@pytest.mark.parametrize("cut", [0, 100, 5000])
def test_damaged_states_are_refused(text: Path, tmp_path: Path, cut: int) -> None:
    """A state file that was cut short is an error with its name, and nothing is overwritten."""
    request = request_for(text, tmp_path / "run")
    train_until(request, Stop(3))
    state = tmp_path / "run" / "state.safetensors"
    data = state.read_bytes()[:cut]
    state.write_bytes(data)
    with pytest.raises(ModelFileError, match="not a whole safetensors file") as caught:
        open_training(dataclasses.replace(request, resume=True))
    assert str(caught.value).startswith(str(state))
    assert state.read_bytes() == data


class Count(Listener):
    """Counts what a training reports."""

    def __init__(self) -> None:
        self.steps = 0
        self.reports: list[Report] = []

    def stepped(self, status: Status) -> None:
        """Counts."""
        self.steps += 1
        assert status.step == self.steps

    def evaluated(self, report: Report) -> None:
        """Keeps the report."""
        self.reports.append(report)


def test_listeners_hear_of_every_step_and_evaluation(text: Path, tmp_path: Path) -> None:
    """A listener is called after each step, and with what stands in the log."""
    listener = Count()
    train(request_for(text, tmp_path / "run"), listener)
    assert listener.steps == STEPS
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [dataclasses.asdict(report) for report in listener.reports] == log


LONG = ("--steps", 800, "--eval-every", 200, "--batch-size", 4, "--seq-length", 16, "--seed", 3)


@pytest.mark.slow
def test_killed_at_any_moment_it_goes_on_exactly(charrnn: Charrnn, tmp_path: Path, text: Path) -> None:
    """A process killed without warning, resumed, ends with the model and log of one that was not."""
    arguments = ("train", text, *TINY, *LONG, "--save-every", "0.05s")
    assert charrnn(*arguments, "-o", "straight").status == 0
    with subprocess.Popen(
        command(*arguments, "-o", "killed"), cwd=tmp_path, env=environment(), stderr=subprocess.PIPE
    ) as process:
        state = tmp_path / "killed" / "state.safetensors"
        limit = time.monotonic() + 60
        saves: set[int] = set()
        while len(saves) < 3 and process.poll() is None and time.monotonic() < limit:
            time.sleep(0.005)
            if state.exists():
                saves.add(state.stat().st_mtime_ns)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert process.returncode == -signal.SIGKILL
    resumed = charrnn("train", text, "--resume", "-o", "killed", "--threads", 1, "--save-every", "0.05s")
    assert resumed.status == 0, resumed.err
    assert "resumed at step" in resumed.err
    check_same(outcome(tmp_path / "killed"), outcome(tmp_path / "straight"))


class Losses(Holder):
    """Keeps the loss of every step."""

    def __init__(self) -> None:
        self.losses: list[float] = []

    def stepped(self, status: Status) -> None:  # noqa: ARG002
        """Keeps the last step's loss."""
        self.losses.append(float(self.trainer.step.loss))


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_the_state_is_carried_through_an_epoch(text: Path, tmp_path: Path, cell: Cell) -> None:
    """While nothing is learnt, each step's loss is that of its window within lanes read from end to end."""
    still = {"lr": 1e-30, "matrix_lr": 1e-30, "weight_decay": 0.0, "dropout": 0.0}
    exact = {"steps": 80, "precision": "fp32", "patience": 0}
    request = with_settings(request_for(text, tmp_path / "run", cell), **still, **exact)
    trainer = open_training(request).trainer
    model, batches = trainer.model, trainer.step.batches
    with torch.no_grad():  # sharper than a model begins, so that a state matters
        for parameter in model.parameters():
            parameter.mul_(2.0)
    expected = []
    for epoch in range(80 // batches.steps_per_epoch):
        first = epoch * batches.steps_per_epoch
        pairs = [batches.window(first + step) for step in range(batches.steps_per_epoch)]
        with torch.no_grad():
            logits, _ = model(torch.cat([inputs for inputs, _ in pairs]))
        targets = torch.cat([targets for _, targets in pairs])
        nats = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none")
        expected += nats.view(batches.steps_per_epoch, -1).mean(1).tolist()
    listener = Losses()
    listener.trainer = trainer
    trainer.run(listener)
    assert len(expected) >= 2 * batches.steps_per_epoch
    assert listener.losses[: len(expected)] == pytest.approx(expected, rel=1e-4)


def test_a_large_text_is_not_encoded_again(
    text: Path, tmp_path: Path, straight: dict[Cell, tuple[bytes, list[str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run whose ids are kept beside it goes on from the map, exactly; lost, they are made anew."""
    monkeypatch.setattr("charrnn.files.IN_MEMORY", 0)
    request = request_for(text, tmp_path / "run")
    train_until(request, Stop(7))
    resumed = dataclasses.replace(request, resume=True)
    with monkeypatch.context() as patch:
        patch.setattr("charrnn.text.cache.CachedIds.write", None)  # encoding would be an error
        train_until(resumed, Stop(13))
    [cache] = (tmp_path / "run").glob("ids-*.bin")
    cache.unlink()
    train(resumed)
    assert cache.exists()
    check_same(outcome(tmp_path / "run"), straight["lstm"])
