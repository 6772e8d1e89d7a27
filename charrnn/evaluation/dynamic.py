"""Dynamic evaluation: a model that goes on learning from the text it is scored on.

Krause, Kahembwe, Murray & Renals (2018), "Dynamic Evaluation of Neural Sequence Models". The text is cut into
segments s_1, s_2, ...; each is scored with the weights that the ones before left, and only then changes them:

    theta <- theta + d * min(R, 1 / d) (theta_g - theta) - lr * grad L(s_i) / (sqrt(MS) + eps)     (eq. 6-8)

theta_g are the trained weights, MS the mean square of the gradient of segments of the training text, in which
the model's loss is small already, and R = sqrt(MS) over the mean of sqrt(MS): weights that matter much are
pulled back more. So no character is predicted by weights that have seen it, and the figure is a valid code
length; but the model is another one at the end of the text than at its beginning, and what it scores is to be
set beside the static figure, never mixed with it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from charrnn.config import EvaluationConfig
from charrnn.errors import CorpusError
from charrnn.evaluation.measure import Score, unknown_nats
from charrnn.model.file import ModelFile
from charrnn.model.network import CharRNN, State, build_model, detach
from charrnn.system import available_cores
from charrnn.text.scored import Text
from charrnn.text.tokenizer import Ids

SEGMENTS = 1000  # of the training text, spread over it, from which MS is taken
EPSILON = 1e-8


class DynamicEvaluator:
    """Scores texts with weights that adapt; each text begins with the trained ones."""

    def __init__(
        self,
        model: ModelFile,
        train: Text,
        config: EvaluationConfig | None = None,
        on_piece: Callable[[int], None] = lambda _: None,
    ) -> None:
        """Takes the squared gradients of the training text.

        Args:
            model: the trained weights.
            train: the text whose gradients scale the steps: that which the model learnt from.
            config: ``dynamic_lr``, ``dynamic_decay`` and ``dynamic_segment``.
            on_piece: called with the number of characters scored since the last call.

        Raises:
            CorpusError: the training text holds no character that the model knows.
        """
        torch.set_num_threads(available_cores())
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

    def _mean_squares(self, train: Text) -> list[Tensor]:
        """MS of every parameter: the mean over segments of the squared gradient of the segment's loss."""
        if len(train.ids) == 0:
            raise CorpusError(f"{train.name}: holds no character that the model knows; name another --train")
        network = build_model(self._model.config, self._model.weights)
        parameters = list(network.parameters())
        squares = [torch.zeros_like(parameter) for parameter in parameters]
        size = self._config.dynamic_segment
        warm = 4 * size  # read before each segment, so that its state has a past
        places = np.unique(np.linspace(0, max(0, len(train.ids) - size - warm), SEGMENTS).astype(np.int64))
        for place in places.tolist():
            with torch.no_grad():
                past = _inputs(train.ids[place : place + warm], train.tokenizer.start)
                _, state = network(past, None)
            segment = train.ids[place + warm : place + warm + size]
            if len(segment) == 0:  # a text shorter than the warm-up is its own segment
                segment, state, past = train.ids[place : place + size], None, past[:1]
            inputs = torch.cat([past[-1:], _ids(segment)[:-1]])  # (time, 1)
            loss, _ = _loss(network, inputs, _ids(segment), state)
            gradients = torch.autograd.grad(loss / len(segment), parameters)
            for square, gradient in zip(squares, gradients, strict=True):
                square.addcmul_(gradient, gradient, value=1 / len(places))
        return squares

    def score(self, text: Text) -> Score:
        """The sums over a text; unknown characters are charged as in static evaluation."""
        network = build_model(self._model.config, self._model.weights)
        parameters = list(network.parameters())
        trained = [parameter.detach().clone() for parameter in parameters]
        state: State | None = None
        size, previous = self._config.dynamic_segment, text.tokenizer.start
        nats = float(unknown_nats(text.unknown, text.tokenizer).sum())
        for begin in range(0, len(text.ids), size):
            segment = text.ids[begin : begin + size]
            loss, state = _loss(network, _inputs(segment, previous), _ids(segment), state)
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
        """One step away from the gradient, and one back to the trained weights."""
        rows = zip(parameters, gradients, trained, self._pull, self._step, strict=True)
        for parameter, gradient, origin, pull, step in rows:
            change = (origin - parameter).mul_(pull).addcmul_(gradient, step, value=-1)
            parameter.add_(change)


def _ids(ids: Ids) -> Tensor:
    """Ids (time,) as one stream (time, 1)."""
    return torch.from_numpy(ids.astype(np.int64)).unsqueeze(1)


def _inputs(segment: Ids, previous: int) -> Tensor:
    """What is read while a segment (time,) is predicted: (time, 1)."""
    return torch.cat([torch.tensor([[previous]]), _ids(segment)[:-1]])


def _loss(network: CharRNN, inputs: Tensor, targets: Tensor, state: State | None) -> tuple[Tensor, State]:
    """The summed loss in nats of targets (time, 1), and the state after them."""
    logits, state = network(inputs, state)  # (time, 1, vocabulary)
    loss = functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum")
    return loss, state
