"""Ways to read a source, compared at equal time: the shared network, reversed, by an encoder of its own.

    python -m benchmarks.encoders PAIRS.tsv [PAIRS.tsv ...] --steps 3000

Every contestant has layers of the same size, the same optimizers, rates and batches, and one thread. What a
step of each costs is measured in turns. The shared network makes the steps that are asked for, each other one
as many as cost the same time, with a schedule that ends there. So a busy machine changes how long this takes,
but hardly what it prints: the loss of the held-out targets and the share of them that a greedy choice writes
exactly (found as in ``charrnn.training.pairs``).

- shared: one network reads the source and writes the target, as ``charrnn train --pairs`` does.
- reversed: the same, with each source written backwards (Sutskever, Vinyals & Le, 2014).
- encoder: a bidirectional LSTM, with half of the units for each direction, reads the source; its last states,
  through a linear layer for each layer of the decoder, are the first states of the LSTM that writes the
  target (Cho et al., 2014; Sutskever et al., 2014).
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.report import machine, table
from charrnn.config import CorpusConfig, ModelConfig, TrainingConfig
from charrnn.model.device import prepare_torch
from charrnn.model.network import CharRNN
from charrnn.text.corpus import Corpus, read_corpus
from charrnn.training.batches import IGNORED, PairBatches, in_source
from charrnn.training.optimizer import Muon, build_optimizers, clip_gradients, update
from charrnn.training.rate import rate_at

MEASURED = 12  # steps of each contestant, of which the median counts


class Shared(nn.Module):
    """One network for the source and the target."""

    def __init__(self, config: ModelConfig, vocabulary: int, tab: int) -> None:
        super().__init__()
        self.network, self.tab = CharRNN(config, vocabulary), tab

    def forward(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (time, batch, vocabulary), and the targets as they are, for ids (time, batch)."""
        return self.network(inputs)[0], targets

    def optimizers(self, config: TrainingConfig) -> list[torch.optim.Optimizer]:
        """As in a training."""
        return build_optimizers(self.network, config, bf16=False)


class Reversed(Shared):
    """The same, with each source reversed."""

    def forward(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """As ``Shared``; the start symbol stays first, and the tab last."""
        return self.network(reverse(inputs, self.tab))[0], targets


def reverse(inputs: Tensor, tab: int) -> Tensor:
    """Inputs (time, batch) with the source between the start symbol and the tab backwards.

    >>> reverse(torch.tensor([[0, 5, 6, 7, 1, 8, 9]]).T, tab=1).T.tolist()
    [[0, 7, 6, 5, 1, 8, 9]]
    """
    places = torch.arange(len(inputs))[:, None].expand_as(inputs)
    inside = in_source(inputs, tab) & (places > 0)
    length = inside.sum(0)  # (batch,)
    return inputs.gather(0, torch.where(inside, length + 1 - places, places))


class EncoderDecoder(nn.Module):
    """A bidirectional encoder of the source, and a decoder that writes the target from its last states."""

    def __init__(self, config: ModelConfig, vocabulary: int, tab: int) -> None:
        super().__init__()
        self.tab, self.config = tab, config
        hidden = config.hidden_size
        self.embedding = nn.Embedding(vocabulary, config.embedding_size)
        # Layers of networks as they are elsewhere, so that all weights begin alike.
        self.ahead, self.back = (_layers(config, vocabulary) for _ in range(2))
        self.bridges = nn.ModuleList([nn.Linear(hidden, 2 * hidden) for _ in range(config.num_layers)])
        self.decoder = CharRNN(config, vocabulary)
        nn.init.normal_(self.embedding.weight, std=1 / math.sqrt(config.embedding_size))

    def forward(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (longest target, batch, vocabulary) and the targets beside them, for ids (time, batch)."""
        lengths = in_source(inputs, self.tab).sum(0)  # (batch,), the start symbol included
        longest = int(lengths.max())
        state = self._encode(inputs[:longest], lengths)
        # From the tab on: what the decoder reads, and what it is to write.
        steps = len(inputs) - int(lengths.min())
        places = (lengths + torch.arange(steps)[:, None]).clamp(max=len(inputs) - 1)  # (steps, batch)
        beyond = lengths + torch.arange(steps)[:, None] >= len(inputs)
        logits, _ = self.decoder(inputs.gather(0, places), state)
        return logits, targets.gather(0, places).masked_fill(beyond, IGNORED)

    def _encode(self, source: Tensor, lengths: Tensor) -> list[tuple[Tensor, Tensor]]:
        """The decoder's first state, from a source (time, batch) of these lengths."""
        times = torch.arange(len(source))[:, None]  # (time, 1)
        flipped = torch.where(times < lengths, lengths - 1 - times, times)  # (time, batch)
        activations, state = self.embedding(source), []
        for ahead, back, bridge in zip(self.ahead, self.back, self.bridges, strict=True):
            forwards = ahead(activations)[0]  # (time, batch, hidden / 2)
            backwards = back(_gather(activations, flipped))[0]
            ends = torch.cat([_gather(part, lengths[None] - 1) for part in (forwards, backwards)], -1)
            hidden, cell = bridge(ends).chunk(2, -1)  # (1, batch, hidden) each
            state.append((torch.tanh(hidden).contiguous(), cell.contiguous()))
            activations = torch.cat([forwards, _gather(backwards, flipped)], -1)  # (time, batch, hidden)
        return state

    def optimizers(self, config: TrainingConfig) -> list[torch.optim.Optimizer]:
        """As in a training, with the encoder's matrices beside the decoder's."""
        muon, rest = build_optimizers(self.decoder, config, bf16=False)
        recurrent: list[Tensor] = [*self.ahead.parameters(), *self.back.parameters()]
        matrices = [parameter for parameter in recurrent if parameter.ndim == 2]
        half = self.config.hidden_size // 2
        more = Muon(matrices, half, lr=config.matrix_rate, weight_decay=config.weight_decay)
        others: list[Tensor] = [*self.embedding.parameters(), *self.bridges.parameters()]
        others += [parameter for parameter in recurrent if parameter.ndim == 1]
        rest.add_param_group({"params": others, "weight_decay": 0.0, "peak": config.lr})
        for group in more.param_groups:
            group["peak"] = group["lr"]
        return [muon, more, rest]


def _gather(values: Tensor, places: Tensor) -> Tensor:
    """Values (time, batch, features) at the times ``places`` (times, batch)."""
    return values.gather(0, places[..., None].expand(-1, -1, values.shape[-1]))


def _layers(config: ModelConfig, vocabulary: int) -> nn.ModuleList:
    """One direction's layers, of half the size, each above the first with both directions as its input."""
    half = config.hidden_size // 2
    layers = [CharRNN(ModelConfig("lstm", 1, half, config.embedding_size), vocabulary).layers[0]]
    for _ in range(config.num_layers - 1):
        layers.append(CharRNN(ModelConfig("lstm", 1, half, 2 * half), vocabulary).layers[0])
    return nn.ModuleList(layers)


CONTESTANTS = {"shared": Shared, "reversed": Reversed, "encoder": EncoderDecoder}


class Training:
    """One contestant, its batches and optimizers."""

    def __init__(self, name: str, corpus: Corpus, model: ModelConfig, config: TrainingConfig) -> None:
        torch.manual_seed(config.seed or 0)
        newline, self.tab = corpus.tokenizer.start, int(corpus.tokenizer.lookup("\t")[0])
        contestant: Any = CONTESTANTS[name]
        self.network = contestant(model, corpus.tokenizer.size, self.tab)
        self.optimizers = self.network.optimizers(config)
        self.config, self.parameters = config, list(self.network.parameters())
        device = torch.device("cpu")
        batch = config.batch_size
        self.batches = PairBatches(corpus.train, newline, self.tab, batch, config.seed or 0, device)
        self.held_out = PairBatches(corpus.validation, newline, self.tab, batch, 0, device)

    def step(self, number: int, rate: float) -> None:
        """One update, at a share of the peak rates."""
        logits, targets = self.network(*self.batches.window(number))
        loss = functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED)
        for parameter in self.parameters:
            parameter.grad = None
        loss.backward()  # type: ignore[no-untyped-call]
        clip_gradients(self.parameters, self.config.clip)
        update(self.optimizers, number, rate)

    def train(self, steps: int) -> None:
        """All steps, with a schedule that ends with them."""
        for number in range(steps):
            self.step(number, rate_at(number / steps, self.config))

    @torch.inference_mode()
    def score(self) -> tuple[float, float]:
        """Nats a held-out target symbol, and the share of targets that come out exactly."""
        nats, count, right = 0.0, 0, 0
        for number in range(self.held_out.steps_per_epoch):
            logits, targets = self.network(*self.held_out.window(number))
            nats += float(functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum"))
            count += int((targets != IGNORED).sum())
            logits[..., self.tab] = -torch.inf
            right += int(((logits.argmax(-1) == targets) | (targets == IGNORED)).all(0).sum())
        return nats / count, right / (self.held_out.steps_per_epoch * self.held_out.batch)


def costs(trainings: dict[str, Training]) -> dict[str, float]:
    """Seconds of a step of each, the medians of steps made in turns at a rate of 0."""
    found: dict[str, list[float]] = {name: [] for name in trainings}
    for number in range(MEASURED + 2):
        for name, training in trainings.items():
            began = time.thread_time()
            training.step(number, 0.0)
            found[name].append(time.thread_time() - began)
    return {name: statistics.median(times[2:]) for name, times in found.items()}


def rows(
    path: Path, model: ModelConfig, config: TrainingConfig, steps: int, ways: list[str]
) -> Iterator[list[str]]:
    """The outcome of every contestant on a file of pairs."""
    corpus = read_corpus([str(path)], CorpusConfig(pairs=True))
    cost = costs({name: Training(name, corpus, model, config) for name in {"shared", *ways}})
    for name in ways:
        training, fitting = Training(name, corpus, model, config), round(steps * cost["shared"] / cost[name])
        training.train(fitting)
        loss, exact = training.score()
        size = sum(parameter.numel() for parameter in training.parameters)
        relative = f"{cost[name] / cost['shared']:.2f}"
        yield [path.stem, name, f"{size:,}", relative, f"{fitting:,}", f"{loss:.4f}", f"{exact:.2%}"]


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("pairs", nargs="+", type=Path, metavar="PAIRS.tsv")
    parser.add_argument("--steps", type=int, default=3000, help="of the shared network")
    parser.add_argument("--ways", nargs="+", choices=list(CONTESTANTS), default=list(CONTESTANTS))
    parser.add_argument("--hidden-size", type=int, default=128)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    prepare_torch(threads=1)
    model = ModelConfig(hidden_size=options.hidden_size, dropout=0.0)
    config = TrainingConfig(batch_size=options.batch_size, seed=options.seed)
    print(
        machine(), f"2 x {options.hidden_size}, batches of {options.batch_size}, fp32, one thread", sep="\n"
    )
    header = ["pairs", "source read by", "parameters", "cost of a step", "steps", "nats/char", "exact"]
    found = []
    for path in options.pairs:
        for row in rows(path, model, config, options.steps, options.ways):
            sys.stderr.write(" ".join(row) + "\n")
            found.append(row)
    print(table(header, found))


if __name__ == "__main__":
    main()
