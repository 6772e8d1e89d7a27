"""Several processes that torchrun starts train one model."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from charrnn.config import CorpusConfig, ModelConfig, TrainingConfig
from charrnn.errors import ConfigError
from charrnn.model.device import choose_machine
from charrnn.model.file import load_model, load_state
from charrnn.system import Launch, available_cores, launched
from charrnn.text.corpus import read_corpus
from charrnn.training.group import STEP, STOP, Group, Meeting
from charrnn.training.setup import Request, open_training
from charrnn.training.state import load_training
from charrnn.training.step import build_step
from tests.conftest import command, environment, run_charrnn

SETTINGS = (
    "--hidden-size", 24, "--num-layers", 2, "--embedding-size", 8, "--dropout", 0.2, "--batch-size", 8,
    "--seq-length", 32, "--precision", "fp32", "--device", "cpu", "--seed", 4, "--threads", 1,
)  # fmt: skip
PAUSE = 0.05  # seconds between looks
LONG = 240  # seconds, after which a test gives up on a busy machine

WORKER = {
    "RANK": "1", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2",
    "TORCHELASTIC_RESTART_COUNT": "3", "TORCHELASTIC_RUN_ID": "night",
}  # fmt: skip


@pytest.fixture
def text(tmp_path: Path) -> Path:
    """A text of some ten thousand characters."""
    path = tmp_path / "text.txt"
    path.write_text("".join(f"{n * n % 97} bottles, {n * 7919 % 1009} of beer;\n" for n in range(600)))
    return path


class Torchrun:
    """A training by several workers, in a process group of its own."""

    def __init__(self, where: Path, *arguments: object, workers: int = 2, restarts: int = 0) -> None:
        start = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(workers)]
        self._stderr = where / "stderr"
        with self._stderr.open("wb") as stderr:
            self.process = subprocess.Popen(
                [*start, "--max-restarts", str(restarts), "--no-python", *command("train", *arguments)],
                cwd=where,
                env=environment() | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"},
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                start_new_session=True,
            )
        self._seen: set[int] = set()

    def workers(self) -> dict[int, int]:
        """The processes of the workers by their rank, as far as they run."""
        found = {}
        for path in Path("/proc").glob("[0-9]*"):
            try:
                mine = int(path.joinpath("stat").read_text().rpartition(")")[2].split()[1])
                variables = path.joinpath("environ").read_bytes().split(b"\0")
            except (OSError, IndexError, ValueError):
                continue
            ranks = [int(variable[5:]) for variable in variables if variable.startswith(b"RANK=")]
            if mine == self.process.pid and ranks:
                found[ranks[0]] = int(path.name)
        self._seen |= set(found.values())
        return found

    def wait_for(self, pattern: str) -> str:
        """Waits until something stands on stderr; returns all that does."""
        end = time.monotonic() + LONG
        while time.monotonic() < end and self.process.poll() is None:
            if re.search(pattern, self.said):
                return self.said
            time.sleep(PAUSE)
        assert re.search(pattern, self.said), self.said
        return self.said

    def wait(self) -> int:
        """Waits for the end; returns torchrun's status, when no worker is left."""
        status = self.process.wait(LONG)
        assert not [process for process in self._seen if Path(f"/proc/{process}").exists()]
        return status

    @property
    def said(self) -> str:
        """What stands on stderr."""
        return self._stderr.read_text(errors="replace")

    def end(self) -> None:
        """Ends what is left."""
        if self.process.poll() is None:
            for process in [*self.workers().values(), self.process.pid]:
                os.kill(process, signal.SIGKILL)
            self.process.wait()


@pytest.fixture
def started() -> Iterator[list[Torchrun]]:
    """What a test starts, ended with it."""
    running: list[Torchrun] = []
    yield running
    for each in running:
        each.end()


def weights(directory: Path) -> NDArray[np.float32]:
    """All weights of a run's state as one vector."""
    tensors, _ = load_state(directory / "state.safetensors")
    return np.concatenate([t.ravel() for n, t in sorted(tensors.items()) if n.startswith("weights.")])


@pytest.mark.slow
def test_two_workers_train_the_model_of_one(text: Path, tmp_path: Path, started: list[Torchrun]) -> None:
    """After 50 steps two workers of two replicas have the weights of one process, to 1e-4 of their norm."""
    length = ("--steps", 50, "--eval-every", 20)
    started.append(Torchrun(tmp_path, text, "-o", "two", *SETTINGS, *length, "--replicas", 2))
    assert run_charrnn("train", text, "-o", "one", *SETTINGS, *length, cwd=tmp_path).status == 0
    assert started[0].wait() == 0
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    assert np.linalg.norm(one - two) < 1e-4 * np.linalg.norm(one)
    models = [load_model(tmp_path / name / "model.safetensors") for name in ("one", "two")]
    losses = [model.quality["nats_per_character"] for model in models]
    assert losses[0] == pytest.approx(losses[1], abs=1e-3)
    assert started[0].said.count("model: ") == 1  # one of them speaks
    assert len((tmp_path / "two" / "log.jsonl").read_text().splitlines()) == 3
    hidden = [load_state(tmp_path / name / "state.safetensors")[0]["hidden.1.0"] for name in ("one", "two")]
    np.testing.assert_allclose(hidden[0], hidden[1], atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_worker_that_dies_ends_the_others_and_restarts_go_on(
    text: Path, tmp_path: Path, started: list[Torchrun], rank: int
) -> None:
    """Killed, a worker takes the other with it, a restart goes on from the state, and Ctrl-C then saves."""
    length = ("--steps", 10**6, "--eval-every", 10**6, "--save-every", "0.5")
    run = Torchrun(tmp_path, text, "-o", "run", *SETTINGS, *length, restarts=1)
    started.append(run)
    run.wait_for("seed 4")
    end = time.monotonic() + LONG
    while time.monotonic() < end and not (tmp_path / "run" / "state.safetensors").exists():
        time.sleep(PAUSE)
    time.sleep(2)
    os.kill(run.workers()[rank], signal.SIGKILL)
    said = run.wait_for(r"(?s)seed 4.*resumed at step")
    run.workers()
    assert said.count("a worker of this training has ended") == 1
    saved = load_training(tmp_path / "run").progress.step
    time.sleep(3)
    run.process.send_signal(signal.SIGINT)
    assert run.wait() != 0
    assert "go on with: charrnn train" in run.said
    step = load_training(tmp_path / "run").progress.step
    assert step > saved > 0
    alone = open_training(Request([], tmp_path / "run", {"threads": 1}, resume=True)).trainer
    assert alone.progress.step == step  # one process goes on where two stopped
    alone.step(step, rate=1.0)


TEXTS = {
    "text": [f"{n * n % 97} bottles, {n * 7919 % 1009} of beer;" for n in range(600)],
    "lines": [f"{'x' * (n % 13)}{n * n}" for n in range(700)],
    "pairs": [f"{n % 30}+{n % 7}\t{n % 30 + n % 7}, or {n}" for n in range(2000)],
}


@pytest.mark.slow
@pytest.mark.parametrize(("workers", "kind"), [(2, "lines"), (3, "pairs")])
def test_workers_share_the_validation(
    tmp_path: Path, started: list[Torchrun], workers: int, kind: str
) -> None:
    """What several workers find on the held-out text is what one process finds."""
    (tmp_path / "text").write_text("".join(line + "\n" for line in TEXTS[kind]))
    training = ("text", f"--{kind}", *SETTINGS, "--steps", 2, "--eval-every", 1, "--val-fraction", 0.3)
    started.append(Torchrun(tmp_path, *training, "-o", "shared", workers=workers))
    assert run_charrnn("train", *training, "-o", "alone", cwd=tmp_path).status == 0
    assert started[0].wait() == 0
    shared, alone = (
        [json.loads(line) for line in (tmp_path / name / "log.jsonl").read_text().splitlines()]
        for name in ("shared", "alone")
    )
    assert [entry["step"] for entry in shared] == [1, 2]
    for entry, same in zip(shared, alone, strict=True):
        assert entry["val_loss"] == pytest.approx(same["val_loss"], abs=1e-5)
        assert entry["exact"] == pytest.approx(same["exact"], abs=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("signal_to", ["torchrun", "worker"])
def test_an_evaluation_is_left_at_once(tmp_path: Path, started: list[Torchrun], signal_to: str) -> None:
    """In the middle of an evaluation of seconds Ctrl-C saves and ends all, and a killed worker ends all."""
    (tmp_path / "text").write_text("".join(line + "\n" for line in TEXTS["text"]) * 40)
    training = ("text", *SETTINGS, "--hidden-size", 256, "--steps", 50, "--eval-every", 1)
    run = Torchrun(tmp_path, *training, "--val-fraction", 0.5, "-o", "run")
    started.append(run)
    run.wait_for("step 1: evaluated")
    time.sleep(1)  # a step takes less, an evaluation more
    workers = run.workers()
    if signal_to == "torchrun":
        run.process.send_signal(signal.SIGINT)
    else:
        os.kill(workers[1], signal.SIGKILL)
    began = time.monotonic()
    assert run.wait() != 0
    assert time.monotonic() - began < LONG / 4
    assert len((tmp_path / "run" / "log.jsonl").read_text().splitlines()) == 1
    if signal_to == "torchrun":
        assert "go on with: charrnn train" in run.said
        assert load_training(tmp_path / "run").progress.step == 2
    else:
        assert run.said.count("a worker of this training has ended") == 1


def test_what_torchrun_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process knows its place, its machine's cores are shared out, and a torchrun keeps its name."""
    assert launched() is None
    alone = available_cores()
    for name, value in WORKER.items():
        monkeypatch.setenv(name, value)
    assert launched() == Launch(1, 4, 1, 2, 3, "night")
    assert available_cores() == max(1, alone // 2)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    unnamed = launched()
    assert unnamed is not None
    assert str(os.getppid()) in unnamed.session
    monkeypatch.setenv("RANK", "one")
    assert launched() is None


def test_alone_nothing_is_sent() -> None:
    """A process by itself gets what it gives."""
    group = Group()
    assert (group.size, group.rank, group.first) == (1, 0, True)
    tensor = torch.ones(3)
    group.sum(tensor)
    assert tensor.tolist() == [1, 1, 1]
    assert group.send({"a": 1}) == {"a": 1}
    meeting = Meeting(group, [torch.zeros(2, 3), torch.zeros(4)], torch.device("cpu"))
    assert [tuple(gradient.shape) for gradient in meeting.gradients] == [(2, 3), (4,)]
    assert meeting.meet(STEP, 0.25) == (STEP, 0.25)
    meeting.announce(STOP)
    group.abandon()
    group.leave()


def test_more_workers_than_lanes_are_refused(text: Path) -> None:
    """Where a batch has fewer sequences than there are workers, one line says so."""
    group = Group()
    group.size = 5
    corpus = read_corpus([str(text)], CorpusConfig())
    config = TrainingConfig(seed=1, batch_size=4, seq_length=8)
    with pytest.raises(ConfigError, match="5 workers: a batch has 4 sequences"):
        build_step(corpus, ModelConfig("gru", 1, 4, 3), config, choose_machine("cpu", "fp32"), group)
