"""The held-out text as training sees it: which part of it is scored, its loss, and exact targets of pairs.

Each of torchrun's processes scores its own sections, lines or pairs. Several times a second they add up what
they have, from which all know what is done and whether the first of them has stopped.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from charrnn.evaluation.torch_scorer import line_pieces, score_pieces
from charrnn.model.device import Machine
from charrnn.model.network import CharRNN, Forward
from charrnn.text.corpus import Corpus
from charrnn.text.validated import Validated
from charrnn.training.group import Group
from charrnn.training.pairs import HeldOut
from charrnn.training.replicas import Replicas, SharedForward

MEETING_EVERY = 0.1  # seconds


class Score(NamedTuple):
    """What an evaluation found.

    Attributes:
        loss: in nats per symbol; None if there is nothing to score.
        exact: the share of a sample of held-out targets that come out exactly right; None without pairs.
    """

    loss: float | None
    exact: float | None


class Validation:
    """What a training is validated on.

    Args:
        corpus: what is learnt; of one that was sent, the ids are not needed.
        scored: the part of the held-out text that is scored.
        machine: the device; the arithmetic is float32.
        replicas: which share the work of this process.
        group: the processes that share all of it.

    Attributes:
        ids: those that are scored.
        count: how many symbols the loss is the mean of: for pairs those of the targets.
        logs: (symbols,) the natural-log probabilities of ids, as last scored.
    """

    def __init__(
        self,
        corpus: Corpus,
        scored: Validated,
        machine: Machine,
        replicas: Replicas | None = None,
        group: Group | None = None,
    ) -> None:
        self._replicas, self._group = replicas or Replicas(), group or Group()
        self._machine = Machine(machine.device, bf16=False)
        self._start, self._scored = corpus.tokenizer.start, scored
        self.ids, self.count = scored.ids, scored.count
        self.logs = np.zeros(len(self.ids), np.float32)
        self._pairs: HeldOut | None = None
        if corpus.config.pairs and len(self.ids):
            self._pairs = HeldOut(self.ids, corpus.tokenizer, machine.device)

    def score(self, model: CharRNN, evaluating: Callable[[float], bool]) -> Score | None:
        """Scores the held-out text together with the other processes; None if one of them has stopped it.

        Args:
            model: the network, in training mode before and after.
            evaluating: is told the share that is done, several times a second; returns whether to stop.
        """
        if len(self.ids) == 0:
            return Score(None, None)
        shared = SharedForward(model, self._replicas)
        model.eval()
        try:
            loss = self._loss(shared, evaluating)
            return None if loss is None else Score(loss, self._exact(shared))
        finally:
            model.train()

    def _loss(self, model: Forward, evaluating: Callable[[float], bool]) -> float | None:
        """The loss in nats per symbol; None if a process has stopped."""
        nats, done, others, pieces = 0.0, 0, 0.0, self._pieces(model)
        self.logs[:] = 0  # what others score is added in the end
        while True:
            due = time.monotonic() + MEETING_EVERY
            for place, scores in pieces:
                learnt = self._scored.learnt[place : place + len(scores)]
                nats -= float(scores[learnt].sum(dtype=np.float64))
                self.logs[place : place + len(scores)] = scores
                done += len(scores)
                if time.monotonic() >= due:
                    finished = False
                    break
            else:
                finished = True
            stop = evaluating((done + others) / len(self.ids))
            # All that each has found so far: the last sum does not depend on when they have met before.
            message = torch.tensor([nats, done, finished, stop], dtype=torch.float64)
            self._group.sum(message)
            total, all_done, processes, stops = message.tolist()
            others = all_done - done
            if stops:
                return None
            if processes == self._group.size:
                self._group.sum(torch.from_numpy(self.logs))
                return float(total + self._scored.unknown_nats) / self.count

    def _pieces(self, model: Forward) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Scores of this process's share."""
        ids, ends, share = self.ids, self._scored.ends, self._group.share
        if ends is not None:
            return line_pieces(model, ids, ends, self._start, self._machine, share=share)
        return score_pieces(model, ids, self._start, self._machine, share=share)

    def _exact(self, model: Forward) -> float | None:
        """The share of a sample of held-out targets that come out exactly right; None without pairs."""
        if self._pairs is None:
            return None
        right, count = self._pairs.exact(model, self._machine, self._group.share)
        message = torch.tensor([right, count], dtype=torch.float64)
        self._group.sum(message)
        return float(message[0] / message[1])
