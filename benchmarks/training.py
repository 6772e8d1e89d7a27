"""Characters a second in training, ours beside the plain loops of tutorials, in turns in one run.

    python -m benchmarks.training TEXT

Every contestant trains the same network (embedding, LSTM, output; of the size that --size names) on the same
text in the same batches, in a process of its own, so that what one of them sets in the C library or leaves
in memory does not affect the others. The plain loop is what a tutorial writes: one ``nn.LSTM`` in float32,
with oneDNN, Adam, clipping. The slow one calls ``nn.LSTM`` once a character, as char-rnn.pytorch does.

A second table says where a step's time goes: everything that the trainer does from one step to the next,
its clock and its listener included, against its calls of forward (with the loss), backward and optimizers.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import itertools
import multiprocessing
import statistics
import tempfile
import time
import unittest.mock
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.report import machine, median_ratio, table
from charrnn.config import SIZES, CorpusConfig, ModelConfig, TrainingConfig
from charrnn.model.device import Machine, choose_machine, prepare_torch
from charrnn.text.corpus import read_corpus
from charrnn.training.listener import Listener
from charrnn.training.step import TrainingStep, build_step
from charrnn.training.trainer import Interrupted, Trainer

PLAIN, BY_CHARACTER = "plain nn.LSTM loop (fp32)", "nn.LSTM once a character (fp32)"
SHARED_STEPS = 100  # whose time is divided into shares

Step = Callable[[], None]


class PlainNetwork(nn.Module):
    """The network as a tutorial writes it."""

    def __init__(self, config: ModelConfig, vocabulary: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, config.embedding_size)
        self.lstm = nn.LSTM(
            config.embedding_size, config.hidden_size, config.num_layers, dropout=config.dropout
        )
        self.output = nn.Linear(config.hidden_size, vocabulary)

    def forward(
        self, ids: Tensor, state: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Logits (time, batch, vocabulary) and the state after ids (time, batch)."""
        hidden, state = self.lstm(self.embedding(ids), state)
        return self.output(hidden), state


def plain_step(ours: TrainingStep, *, by_character: bool) -> Step:
    """A step of the plain loop on our batches, the state carried; the LSTM called a window or a character."""
    network = PlainNetwork(ours.model.config, ours.model.output.out_features)
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    carried: list[tuple[Tensor, Tensor] | None] = [None]
    steps = iter(range(10**9))

    def step() -> None:
        inputs, targets = ours.batches.window(next(steps))  # (time, batch)
        state = carried[0]
        if by_character:
            loss = torch.zeros(())
            for now, then in zip(inputs, targets, strict=True):  # (batch,)
                logits, state = network(now[None], state)
                loss = loss + functional.cross_entropy(logits[0], then)
            loss = loss / len(inputs)
        else:
            logits, state = network(inputs, state)
            loss = functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
        assert state is not None
        carried[0] = (state[0].detach(), state[1].detach())
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()

    return step


def steps_per_second(step: Step, seconds: float) -> float:
    """How often a step runs in about so many seconds."""
    count, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        step()
        count += 1
    return count / (time.perf_counter() - began)


class Clock:
    """Sums up the time that is spent in functions which it wraps."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def wrap(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, whose time counts under the name."""

        def timed(*arguments: Any, **keywords: Any) -> Any:
            began = time.perf_counter()
            result = function(*arguments, **keywords)
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - began
            return result

        return timed


class Shares(Listener):
    """Stops a training after SHARED_STEPS to warm up and SHARED_STEPS whose time it divides.

    Attributes:
        clock: sums up the parts of the time that are measured by themselves.
        total: the seconds of the steps that count.
    """

    def __init__(self, trainer: Trainer) -> None:
        self._trainer, self.clock, self.total = trainer, Clock(), 0.0
        self._steps, self._began = 0, 0.0

    def stepped(self, _: object) -> None:
        """Counts a step."""
        self._steps += 1
        if self._steps == SHARED_STEPS:
            self.clock.seconds.clear()
            self._began = time.perf_counter()
        elif self._steps == 2 * SHARED_STEPS:
            self.total = time.perf_counter() - self._began
            self._trainer.stopping = True


def shares(trainer: Trainer) -> str:
    """Of a step's time, what goes into forward, backward, the optimizers and the rest."""
    listener, step = Shares(trainer), trainer.step
    wrap = listener.clock.wrap
    with unittest.mock.patch("torch.autograd.grad", wrap("backward", torch.autograd.grad)):
        step.model.loss = wrap("forward", step.model.loss)  # type: ignore[method-assign]
        for optimizer in step.optimizers:
            optimizer.step = wrap("optimizers", optimizer.step)  # type: ignore[method-assign]
        with contextlib.suppress(Interrupted):
            trainer.run(listener)
    total, seconds = listener.total, dict(listener.clock.seconds)
    parts = {**seconds, "the rest: windows, clipping, clocks": total - sum(seconds.values())}
    rows = [
        [name, f"{1e3 * part / SHARED_STEPS:.2f} ms", f"{part / total:.1%}"] for name, part in parts.items()
    ]
    return table(["of a step", "time", "share"], rows)


@functools.lru_cache
def make_step(name: str, text: str, size: str) -> Step:
    """A contestant's step; ours chooses device and arithmetic, the tutorials' run in float32 on the CPU."""
    corpus = read_corpus([text], CorpusConfig())
    ours = name.startswith("charrnn")
    where = choose_machine("auto", "auto") if ours else Machine(torch.device("cpu"), bf16=False)
    if ours:
        prepare_torch()
    step = build_step(corpus, SIZES[size], TrainingConfig(seed=1), where)
    if not ours:
        return plain_step(step, by_character=name == BY_CHARACTER)
    steps = itertools.count()
    return lambda: step(next(steps), rate=0.1)  # of the peak, which wants a warm-up


def run_for(seconds: float, name: str, text: str, size: str) -> float:
    """A contestant's steps a second, after one to warm up."""
    step = make_step(name, text, size)
    step()
    return steps_per_second(step, seconds)


def shares_of_ours(text: str, size: str) -> tuple[str, str, int]:
    """The table of shares, a heading that says on what it was measured, and the characters of a step."""
    prepare_torch()
    corpus = read_corpus([text], CorpusConfig())
    # No evaluation and no save may fall into what is measured.
    never = 10 * SHARED_STEPS
    config = TrainingConfig(seed=1, steps=never, eval_every=never, save_every=1e6, replicas=1)
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(corpus, SIZES[size], config, choose_machine("auto", "auto"), Path(folder))
        split = shares(trainer)
    batches, model = trainer.step.batches, trainer.model.config
    shape = f"{model.num_layers} x {model.hidden_size} LSTM, {batches.batch} lanes of {batches.time}"
    return split, f"{machine()}; {size}: {shape}", trainer.step.window


def main() -> None:
    """Measures and prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("text")
    parser.add_argument("--size", choices=tuple(SIZES), default="medium")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0)
    arguments = parser.parse_args()
    what = arguments.text, arguments.size

    names = [f"charrnn ({choose_machine('auto', 'auto').precision})", PLAIN, BY_CHARACTER]
    spawn = multiprocessing.get_context("spawn")
    measured: dict[str, list[float]] = {name: [] for name in names}
    with contextlib.ExitStack() as stack:
        pools = {name: stack.enter_context(spawn.Pool(1)) for name in names}
        split, heading, window = pools[names[0]].apply(shares_of_ours, what)
        for _ in range(arguments.rounds):
            for name, pool in pools.items():
                measured[name].append(pool.apply(run_for, (arguments.seconds, name, *what)))
    ours = measured[names[0]]
    rows = [
        [name, f"{statistics.median(speeds) * window:,.0f}", f"{median_ratio(ours, speeds):.2f}"]
        for name, speeds in measured.items()
    ]
    print(heading + "\n")
    print(table(["training loop", "char/s (median)", "charrnn is faster by"], rows) + "\n")
    print(split)


if __name__ == "__main__":
    main()
