"""The held-out text as training sees it: which part of it is scored, its loss, and exact targets of pairs."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from charrnn.evaluation.torch_scorer import line_pieces, score_pieces
from charrnn.model.device import Machine
from charrnn.model.network import CharRNN, Forward
from charrnn.text.corpus import Corpus
from charrnn.text.items import find_items, some_items
from charrnn.text.scored import unknown_nats
from charrnn.training.pairs import HeldOut
from charrnn.training.replicas import Replicas, SharedForward


class Validation:
    """What a training is validated on.

    Attributes:
        ids: those that are scored: the first of the held-out ones, or with lines some of the lines; ``most``
            at most, since an evaluation must not take longer than the training.
        count: how many symbols the loss is the mean of: for pairs those of the targets.
    """

    def __init__(self, corpus: Corpus, most: int, machine: Machine, replicas: Replicas | None = None) -> None:
        self._replicas = replicas or Replicas()  # which share the work
        self._machine = Machine(machine.device, bf16=False)
        self._start, self._lines = corpus.tokenizer.start, corpus.config.lines
        self._text = None if corpus.val is None else corpus.val.beginning(most)
        self.ids = corpus.validation[:most] if self._text is None else self._text.ids
        if self._lines and self._text is None:
            self.ids = some_items(corpus.validation, self._start, most)
        self._pairs: HeldOut | None = None
        if corpus.config.pairs and len(self.ids):
            self.ids = self.ids[: np.flatnonzero(self.ids == self._start)[-1] + 1]
            self._pairs = HeldOut(self.ids, corpus.tokenizer, machine.device)
        self.count = len(self.ids)
        if self._text is not None:
            self.count = self._text.characters
        if self._pairs is not None:
            self.count = self._pairs.count

    def loss(self, model: CharRNN, evaluating: Callable[[float], bool]) -> float | None:
        """The loss in nats per symbol, in float32; None if there is nothing to score, or when stopped.

        Args:
            model: the network, in training mode before and after.
            evaluating: is told the share that is done; returns whether to stop.
        """
        if len(self.ids) == 0:
            return None
        nats, done = 0.0, 0
        if self._text is not None:
            nats = float(unknown_nats(self._text.unknown, self._text.tokenizer).sum())
        model.eval()
        try:
            for place, scores in self._pieces(SharedForward(model, self._replicas)):
                learnt = slice(None) if self._pairs is None else self._pairs.predicted[place:][: len(scores)]
                nats -= float(scores[learnt].sum(dtype=np.float64))
                done += len(scores)
                if evaluating(done / len(self.ids)):
                    return None
        finally:
            model.train()
        return nats / self.count

    def _pieces(self, model: Forward) -> Iterator[tuple[int, NDArray[np.float32]]]:
        if self._lines or self._pairs is not None:
            ends = find_items(self.ids, self._start).ends
            if self._text is not None:
                ends = self._text.place(self._text.line_ends)
            return line_pieces(model, self.ids, ends, self._start, self._machine)
        return score_pieces(model, self.ids, self._start, self._machine)

    def exact(self, model: CharRNN) -> float | None:
        """The share of a sample of held-out targets that come out exactly right; None without pairs."""
        if self._pairs is None:
            return None
        model.eval()
        try:
            return self._pairs.exact(SharedForward(model, self._replicas), self._machine)
        finally:
            model.train()
