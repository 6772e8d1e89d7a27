"""The held-out text as training sees it: which part of it is scored, its loss, and exact targets of pairs."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from charrnn.evaluation.torch_scorer import line_pieces, score_pieces
from charrnn.model.device import Machine
from charrnn.model.network import CharRNN, Forward
from charrnn.text.corpus import Corpus
from charrnn.text.validated import validated
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
        self._start, self._scored = corpus.tokenizer.start, validated(corpus, most)
        self.ids, self.count = self._scored.ids, self._scored.count
        self._pairs: HeldOut | None = None
        if corpus.config.pairs and len(self.ids):
            self._pairs = HeldOut(self.ids, corpus.tokenizer, machine.device)

    def loss(self, model: CharRNN, evaluating: Callable[[float], bool]) -> float | None:
        """The loss in nats per symbol, in float32; None if there is nothing to score, or when stopped.

        Args:
            model: the network, in training mode before and after.
            evaluating: is told the share that is done; returns whether to stop.
        """
        if len(self.ids) == 0:
            return None
        nats, done = self._scored.unknown_nats, 0
        model.eval()
        try:
            for place, scores in self._pieces(SharedForward(model, self._replicas)):
                learnt = self._scored.learnt[place : place + len(scores)]
                nats -= float(scores[learnt].sum(dtype=np.float64))
                done += len(scores)
                if evaluating(done / len(self.ids)):
                    return None
        finally:
            model.train()
        return nats / self.count

    def _pieces(self, model: Forward) -> Iterator[tuple[int, NDArray[np.float32]]]:
        if self._scored.ends is not None:
            return line_pieces(model, self.ids, self._scored.ends, self._start, self._machine)
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
