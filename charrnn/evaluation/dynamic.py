"""Dynamic evaluation: the model keeps learning from the text that it is scored on.

Krause, Kahembwe, Murray & Renals (2018), "Dynamic Evaluation of Neural Sequence Models". The text is cut
into segments s_1, s_2, ...; each is scored with the weights as the segments before it left them, then
updates them:

    theta <- theta + d * min(R, 1 / d) (theta_g - theta) - lr * grad L(s_i) / (sqrt(MS) + eps)     (eq. 6-8)

theta_g are the trained weights, MS is the mean squared gradient over segments of the training text, and R
is sqrt(MS) over the mean of sqrt(MS), so that important weights are pulled back more. No character is
predicted by weights that have seen it, so the figure is a valid code length. But the weights at the end of
the text are not those at its beginning: report the figure next to the static one, and do not mix the two.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from charrnn.config import EvaluationConfig
from charrnn.errors import CorpusError
from charrnn.evaluation.evaluator import section_ends
from charrnn.evaluation.measure import Score, unknown_nats
from charrnn.model.file import ModelFile
from charrnn.model.network import CharRNN, State, build_model, detach
from charrnn.text.items import shift_right
from charrnn.text.scored import ScoredText
from charrnn.text.tokenizer import Ids

SEGMENTS = 1000  # evenly spaced in the training text, for MS
EPSILON = 1e-8


class DynamicEvaluator:
    """Scores texts with weights that adapt; for each text they start as the trained ones."""

    def __init__(
        self,
        model: ModelFile,
        train: ScoredText,
        config: EvaluationConfig | None = None,
        on_piece: Callable[[int], None] = lambda _: None,
    ) -> None:
        """Computes the mean squared gradients of the training text.

        Args:
            model: the trained weights.
            train: the text whose gradients scale the updates, normally the model's training split.
            config: ``dynamic_lr``, ``dynamic_decay`` and ``dynamic_segment``.
            on_piece: called with the number of characters scored since the last call.

        Raises:
            CorpusError: all characters of the training text are unknown to the model.
        """
        self._model, self._config = model, config or EvaluationConfig()
        self._on_piece = on_piece
        self.used = f"dynamic fp32 lr {self._config.dynamic_lr:g} segment {self._config.dynamic_segment}"
        self._squares = self._mean_squares(train)
        roots = [square.sqrt() for square in self._squares]
        mean = sum(float(root.sum()) for root in roots) / sum(root.numel() for root in roots)
        decay = self._config.dynamic_decay
        limit = 1 / decay if decay else math.inf
        self._pull = [(root / mean).clamp(max=limit) * decay for root in roots]
        self._step = [self._config.dynamic_lr / (root + EPSILON) for root in roots]

    def _mean_squares(self, train: ScoredText) -> list[Tensor]:
        """MS of each parameter: the squared gradient of a segment's loss, averaged over segments."""
        if len(train.ids) == 0:
            raise CorpusError(f"{train.name}: holds no character that the model knows; name another --train")
        network = build_model(self._model.config, self._model.weights)
        parameters = list(network.parameters())
        squares = [torch.zeros_like(parameter) for parameter in parameters]
        size = self._config.dynamic_segment
        warm = 4 * size  # symbols that are read before each segment, for its state
        places = np.unique(np.linspace(0, max(0, len(train.ids) - size - warm), SEGMENTS).astype(np.int64))
        for place in places.tolist():
            past = shift_right(train.ids[place : place + warm], train.tokenizer.start)  # (time,)
            with torch.no_grad():
                _, state = network(_column(past), None)
            segment = train.ids[place + warm : place + warm + size]
            if len(segment) == 0:  # a text that is shorter than the warm-up is the only segment
                segment, state, past = train.ids[place : place + size], None, past[:1]
            loss, _ = _loss(network, segment, int(past[-1]), state)
            gradients = torch.autograd.grad(loss / len(segment), parameters)
            for square, gradient in zip(squares, gradients, strict=True):
                square.addcmul_(gradient, gradient, value=1 / len(places))
        return squares

    def score(self, text: ScoredText) -> Score:
        """The score of a text; unknown characters cost what they cost in static evaluation."""
        network = build_model(self._model.config, self._model.weights)
        parameters = list(network.parameters())
        trained = [parameter.detach().clone() for parameter in parameters]
        state: State | None = None
        size, previous = self._config.dynamic_segment, text.tokenizer.start
        nats = float(unknown_nats(text.unknown, text.tokenizer).sum())
        ends = section_ends(self._model, self._config, text) if self._config.window else None
        windows = [0, *([len(text.ids)] if ends is None else ends.tolist())]
        segments = [
            (begin, min(begin + size, last), begin == first)
            for first, last in itertools.pairwise(windows)
            for begin in range(first, last, size)
        ]
        for begin, end, anew in segments:
            segment, state = text.ids[begin:end], None if anew else state
            loss, state = _loss(network, segment, previous, state)
            gradients = torch.autograd.grad(loss / len(segment), parameters)
            nats += float(loss.detach())
            self._update(parameters, gradients, trained)
            state, previous = detach(state), int(segment[-1])
            self._on_piece(len(segment))
        return Score(text.characters, text.bytes, len(text.unknown), nats)

    @torch.no_grad()
    def _update(
        self, parameters: Sequence[Tensor], gradients: Sequence[Tensor], trained: Sequence[Tensor]
    ) -> None:
        """Moves the parameters against the gradient, and back towards the trained weights."""
        rows = zip(parameters, gradients, trained, self._pull, self._step, strict=True)
        for parameter, gradient, origin, pull, step in rows:
            change = (origin - parameter).mul_(pull).addcmul_(gradient, step, value=-1)
            parameter.add_(change)


def _column(ids: NDArray[Any]) -> Tensor:
    """Ids (time,) as a batch of one (time, 1)."""
    return torch.from_numpy(ids.astype(np.int64)).unsqueeze(1)


def _loss(network: CharRNN, segment: Ids, previous: int, state: State | None) -> tuple[Tensor, State]:
    """The summed loss in nats of a segment (time,) after the id ``previous``, and the new state."""
    logits, state = network(_column(shift_right(segment, previous)), state)  # (time, 1, vocabulary)
    loss = functional.cross_entropy(logits.flatten(0, 1), _column(segment).flatten(), reduction="sum")
    return loss, state
