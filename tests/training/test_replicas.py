"""Replicas: the result does not depend on how a batch is shared out."""

from __future__ import annotations

import dataclasses
import math
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from charrnn.config import Cell, CorpusConfig, ModelConfig, TrainingConfig
from charrnn.model.device import choose_machine
from charrnn.model.file import Tensors, load_model
from charrnn.text.corpus import Corpus, read_corpus
from charrnn.text.validated import validated
from charrnn.training.listener import Listener, Status
from charrnn.training.replicas import LEAST_LANES, Replicas, default_replicas, split
from charrnn.training.setup import Request, open_training
from charrnn.training.step import TrainingStep, build_step
from charrnn.training.trainer import Interrupted, Trainer
from charrnn.training.validation import Validation

MACHINE = choose_machine("cpu", "fp32")


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    """A regular text with some chance in it."""
    path = tmp_path / "text.txt"
    path.write_text("".join(f"{n * n % 97} bottles, {n * 7919 % 1009} of beer;\n" for n in range(400)))
    return read_corpus([str(path)], CorpusConfig())


@pytest.fixture
def lines(tmp_path: Path) -> Corpus:
    """Lines of many lengths."""
    path = tmp_path / "lines.txt"
    path.write_text("".join(f"{'x' * (n % 13)}{n * n}\n" for n in range(500)))
    return read_corpus([str(path)], CorpusConfig(lines=True))


@pytest.fixture
def pairs(tmp_path: Path) -> Corpus:
    """Sums."""
    path = tmp_path / "sums.tsv"
    path.write_text("".join(f"{n}+{n % 7}\t{n + n % 7}\n" for n in range(400)))
    return read_corpus([str(path)], CorpusConfig(pairs=True))


def make_step(corpus: Corpus, replicas: int, cell: Cell = "lstm", **changes: Any) -> TrainingStep:
    """A step of a small network with dropout, shared by so many replicas of a thread each."""
    config = TrainingConfig(
        seed=3, batch_size=9, seq_length=16, replicas=replicas, **({"threads": replicas} | changes)
    )
    return build_step(corpus, ModelConfig(cell, 2, 16, 6, dropout=0.2, output="all"), config, MACHINE)


@pytest.mark.parametrize("name", ["corpus", "lines", "pairs"])
def test_their_number_may_change_between_steps(name: str, request: pytest.FixtureRequest) -> None:
    """Resized again and again, a training has weights and state of one that always had one replica."""
    text = request.getfixturevalue(name)
    alone, changing = make_step(text, 1), make_step(text, 1)
    for number, replicas in enumerate((1, 2, 2, 3, 1, 4, 1, 9, 2)):
        changing.resize(replicas)
        assert changing.replicas.count == replicas
        for step in (alone, changing):
            step(number, rate=0.5)
    one, other = alone.capture(), changing.capture()
    assert one.keys() == other.keys()
    for key, value in one.items():
        assert math.dist(value.ravel(), other[key].ravel()) <= 1e-4 * (
            1e-3 + float((value**2).sum() ** 0.5)
        ), key


def advance(step: TrainingStep, begin: int, end: int) -> None:
    """Makes the steps from ``begin`` to ``end``, at half the rates."""
    for number in range(begin, end):
        step(number, rate=0.5)


def weights(tensors: Tensors) -> torch.Tensor:
    """All weights as one vector."""
    return torch.cat(
        [torch.from_numpy(array).flatten() for name, array in tensors.items() if name.startswith("weights.")]
    )


def distance(first: TrainingStep, second: TrainingStep) -> float:
    """The norm of the difference of two models' weights, relative to that of the weights."""
    one, other = weights(first.capture()), weights(second.capture())
    return float((one - other).norm() / one.norm())


def in_bytes(tensors: Tensors) -> dict[str, bytes]:
    """The arrays' bytes by name, so that they compare to the bit."""
    return {name: array.tobytes() for name, array in tensors.items()}


def test_weights_do_not_depend_on_the_number(corpus: Corpus) -> None:
    """After 50 steps with 1, 2, 4 or 9 replicas the weights agree to 1e-4 of their norm."""
    alone = make_step(corpus, 1)
    start = weights(alone.capture())
    advance(alone, 0, 50)
    moved = float((weights(alone.capture()) - start).norm() / start.norm())
    for count in (2, 4, 9):
        shared = make_step(corpus, count)
        advance(shared, 0, 50)
        assert distance(alone, shared) < 1e-4 < 0.1 * moved
        assert float(shared.loss) == pytest.approx(float(alone.loss), rel=1e-4)
        assert float(shared.gradient_norm) == pytest.approx(float(alone.gradient_norm), rel=1e-3)


@pytest.mark.parametrize("cell", ["gru", "rnn", "relu"])
def test_so_it_is_with_every_cell(corpus: Corpus, cell: Cell) -> None:
    """After ten steps the weights of the other cells agree as well; ReLUs multiply differences later on."""
    alone, shared = make_step(corpus, 1, cell), make_step(corpus, 3, cell)
    for step in (alone, shared):
        advance(step, 0, 10)
    assert distance(alone, shared) < 1e-4


@pytest.mark.parametrize("text", ["lines", "pairs"])
def test_items_are_weighted_by_what_is_learnt_of_them(text: str, request: pytest.FixtureRequest) -> None:
    """Replicas that learn from different numbers of symbols, of lines or pairs, give the same weights."""
    items = request.getfixturevalue(text)
    alone = make_step(items, 1)
    advance(alone, 0, 30)
    for count in (2, 3):
        shared = make_step(items, count)
        advance(shared, 0, 30)
        assert distance(alone, shared) < 1e-4
        assert float(shared.loss) == pytest.approx(float(alone.loss), rel=1e-4)


@pytest.mark.parametrize("count", [2, 4])
def test_the_same_number_twice_is_identical(corpus: Corpus, count: int) -> None:
    """Gradients are summed in a fixed order: two trainings agree to the last bit."""
    outcomes = []
    for _ in range(2):
        step = make_step(corpus, count)
        advance(step, 0, 20)
        outcomes.append(in_bytes(step.capture()))
    assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize(("first", "second"), [(4, 1), (1, 4), (4, 2), (3, 3)])
def test_hidden_states_belong_to_lanes(corpus: Corpus, first: int, second: int) -> None:
    """What one number of replicas captured another goes on from; the same number does to the bit."""
    step, other = make_step(corpus, first), make_step(corpus, second)
    advance(step, 0, 7)
    captured = step.capture()
    assert captured["hidden.0.0"].shape == (1, 9, 16)
    other.restore(captured)
    assert in_bytes(other.capture()) == in_bytes(captured)
    advance(step, 7, 20)
    advance(other, 7, 20)
    assert distance(step, other) < 1e-4
    if first == second:
        assert in_bytes(other.capture()) == in_bytes(step.capture())


def test_a_step_is_skipped_by_all(corpus: Corpus) -> None:
    """A loss that is not finite in one replica alone moves no weight, and zeroes every lane's state."""
    step = make_step(corpus, 3)
    advance(step, 0, 3)
    before = in_bytes(step.capture())
    hidden = step.hidden
    assert hidden is not None
    hidden[0][0][:, 7] = math.nan  # a lane of the last replica
    step.set_hidden(hidden)
    step(3, rate=1.0)
    after = in_bytes(step.capture())
    assert math.isnan(step.loss)
    assert step.hidden is None
    names = [name for name in before if name.startswith(("weights.", "optimizer."))]
    assert [after[name] for name in names] == [before[name] for name in names]
    advance(step, 3, 5)
    assert math.isfinite(step.loss)


def test_replicas_work_at_once() -> None:
    """All replicas are in the function at once, each in a thread of its own, with its share of threads."""
    replicas = Replicas(3, threads=7)
    meeting = threading.Barrier(3, timeout=30)

    def meet(number: int) -> tuple[int, int, int]:
        meeting.wait()
        return number, threading.get_ident(), torch.get_num_threads()

    before = torch.get_num_threads()
    found = replicas.map(meet, range(3))
    assert [number for number, _, _ in found] == [0, 1, 2]
    assert len({thread for _, thread, _ in found}) == 3
    assert {threads for _, _, threads in found} == {2}
    assert torch.get_num_threads() == before


def test_an_error_waits_for_the_others() -> None:
    """What a replica raises comes out of ``map``, when no replica works any more."""
    ended = []

    def fail(number: int) -> None:
        if number == 0:
            raise ValueError("lost")
        threading.Event().wait(0.1)
        ended.append(number)

    with pytest.raises(ValueError, match="lost"):
        Replicas(2).map(fail, range(2))
    assert ended == [1]


def test_a_single_replica_is_the_caller() -> None:
    """Without others there is no thread beside the caller's."""
    assert Replicas(1).map(lambda number: (number, threading.get_ident()), range(1)) == [
        (0, threading.get_ident())
    ]


@pytest.mark.parametrize("order", [(2, 1), (1, 2), (4, 1, 2, 1)])
def test_each_number_has_all_threads(corpus: Corpus, order: tuple[int, ...]) -> None:
    """Whatever ran before, a single replica computes with all threads, and more of them share these out."""
    before, seen = torch.get_num_threads(), []
    try:
        for replicas in order:
            step = make_step(corpus, 1, threads=4)
            step.resize(replicas)
            step(0, rate=0.1)
            seen.append(
                (torch.get_num_threads(), set(step.replicas.map(lambda _: torch.get_num_threads(), range(9))))
            )
    finally:
        torch.set_num_threads(before)
    assert seen == [(4 // replicas, {4 // replicas}) for replicas in order]


def test_the_default_is_a_replica_for_each_thread() -> None:
    """As many as threads, but with 16 lanes each at least, four if measured; one on an accelerator."""
    cuda = dataclasses.replace(MACHINE, device=torch.device("cuda"))
    assert default_replicas(TrainingConfig(threads=2), 32, MACHINE) == 2
    assert default_replicas(TrainingConfig(threads=64), 64, MACHINE) == 4
    assert default_replicas(TrainingConfig(threads=64), 32, MACHINE, LEAST_LANES) == 8
    assert default_replicas(TrainingConfig(threads=2), 31, MACHINE) == 1
    assert default_replicas(TrainingConfig(threads=2), 32, cuda) == 1


def test_there_is_no_more_than_one_for_each_lane(corpus: Corpus) -> None:
    """More replicas than lanes would have nothing to do."""
    assert make_step(corpus, 50).replicas.count == 9


def test_shares_cover_the_range() -> None:
    """Shares are consecutive and differ by one in length at most."""
    for begin, end, count in ((0, 32, 5), (3, 4, 2), (0, 0, 3), (5, 105, 7)):
        shares = split(begin, end, count)
        assert [n for share in shares for n in range(*share)] == list(range(begin, end))
        sizes = [last - first for first, last in shares]
        assert len(sizes) == count
        assert max(sizes) - min(sizes) <= 1


def request_for(corpus: Corpus, directory: Path, **changes: Any) -> Request:
    """A short training in several epochs."""
    settings = {
        "steps": 24, "eval_every": 6, "batch_size": 8, "seq_length": 32, "seed": 5, "threads": 1,
        "precision": "fp32", **dataclasses.asdict(ModelConfig("lstm", 2, 12, 6, dropout=0.2)),
    }  # fmt: skip
    return Request(paths=list(corpus.paths), directory=directory, settings=settings | changes)


def test_a_run_goes_on_with_another_number(corpus: Corpus, tmp_path: Path) -> None:
    """Begun with 4 replicas and resumed with 2, a run ends with the loss of one that was not stopped."""
    whole = open_training(request_for(corpus, tmp_path / "whole", replicas=4)).trainer
    whole.run()
    request = request_for(corpus, tmp_path / "run", replicas=4)
    stop_at(open_training(request).trainer, 12)
    for wanted, found in ((None, 4), (1, 1), (2, 2)):
        copy = shutil.copytree(tmp_path / "run", tmp_path / f"run {wanted}")
        again = request_for(corpus, copy, replicas=wanted, threads=4)
        resumed = open_training(dataclasses.replace(again, resume=True)).trainer
        assert resumed.step.replicas.count == found
        assert resumed.progress.step == 12
    resumed.run()
    losses = [load_model(tmp_path / name / "model.safetensors").quality for name in ("whole", "run 2")]
    assert losses[0]["nats_per_character"] == pytest.approx(losses[1]["nats_per_character"], abs=0.002)
    assert losses[0]["step"] == losses[1]["step"] == 24


def stop_at(trainer: Trainer, step: int) -> None:
    """Trains to a step, then stops as after Ctrl-C."""

    class Stop(Listener):
        """Stops after the step."""

        def stepped(self, status: Status) -> None:
            """Stops after the step."""
            trainer.stopping = status.step == step

    with pytest.raises(Interrupted):
        trainer.run(Stop())


@pytest.mark.parametrize("text", ["corpus", "lines", "pairs"])
def test_validation_is_shared_out(text: str, request: pytest.FixtureRequest) -> None:
    """The validation loss, and how many targets are exact, do not depend on the number of replicas."""
    read: Corpus = request.getfixturevalue(text)
    model = make_step(read, 1).model
    found = []
    for count in (1, 3):
        validation = Validation(read, validated(read, 10**6), MACHINE, Replicas(count))
        found.append(validation.score(model, lambda _: False))
    one, three = found
    assert one is not None
    assert three is not None
    assert one.loss == pytest.approx(three.loss, rel=1e-6)
    assert one.exact == three.exact
    assert model.training
