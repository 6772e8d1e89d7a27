"""Dynamic evaluation: the model keeps learning from the text that it is scored on.

Krause, Kahembwe, Murray & Renals (2018), "Dynamic Evaluation of Neural Sequence Models". The text is cut
into segments s_1, s_2, ...; each is scored with the weights as the segments before it left them, then
updates them:

    theta <- theta + d * min(R, 1 / d) (theta_g - theta) - lr * grad L(s_i) / (sqrt(MS) + eps)     (eq. 6-8)

theta_g are the trained weights, MS is the mean squared gradient over segments of the training text, and R
is sqrt(MS) over the mean of sqrt(MS), so that important weights are pulled back more. No character is
predicted by weights that have seen it, so the figure is a valid code length. But the weights at the end of
the text are not those at its beginning: report the figure next to the static one, and do not mix the two.

Where static evaluation resets the state at each line, this does, too; segments stay as long as they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from charrnn.errors import CorpusError
from charrnn.evaluation.evaluator import section_ends
from charrnn.evaluation.measure import Score
from charrnn.model.device import sharing_cores
from charrnn.model.file import ModelFile
from charrnn.model.network import CharRNN, State, build_model, detach
from charrnn.text.items import shift_right
from charrnn.text.scored import ScoredText, unknown_nats
from charrnn.text.tokenizer import Ids, Places
from charrnn.use_config import EvaluationConfig

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
        with sharing_cores() as look:
            self._squares = self._mean_squares(train, look)
        roots = [square.sqrt() for square in self._squares]
        mean = sum(float(root.sum()) for root in roots) / sum(root.numel() for root in roots)
        decay = self._config.dynamic_decay
        limit = 1 / decay if decay else math.inf
        self._pull = [(root / mean).clamp(max=limit) * decay for root in roots]
        self._step = [self._config.dynamic_lr / (root + EPSILON) for root in roots]

    def _mean_squares(self, train: ScoredText, look: Callable[[], None]) -> list[Tensor]:
        """MS of each parameter: the squared gradient of a segment's loss, averaged over segments.

        ``look`` is called before each of them.
        """
        if len(train.ids) == 0:
            raise CorpusError(f"{train.name}: holds no character that the model knows; name another --train")
        network = build_model(self._model.config, self._model.weights)
        parameters = list(network.parameters())
        squares = [torch.zeros_like(parameter) for parameter in parameters]
        size = self._config.dynamic_segment
        warm = 4 * size  # symbols that are read before each segment, for its state
        places = np.unique(np.linspace(0, max(0, len(train.ids) - size - warm), SEGMENTS).astype(np.int64))
        ends = self._ends(train)
        for first in places.tolist():
            look()
            place, begin = first, first + warm
            if begin >= len(train.ids):  # the text's beginning is the only segment
                place = begin = 0
            passed = ends[: np.searchsorted(ends, begin, side="right")][-1:]  # which the state begins after
            reader = self._reader(network, train, ends, max(place, *passed.tolist(), 0))
            with torch.no_grad():
                reader.read(begin - reader.place)
            loss, count = reader.read(size)
            gradients = torch.autograd.grad(loss / count, parameters)
            for square, gradient in zip(squares, gradients, strict=True):
                square.addcmul_(gradient, gradient, value=1 / len(places))
        return squares

    def score(self, text: ScoredText) -> Score:
        """The score of a text; unknown characters cost what they cost in static evaluation."""
        network = build_model(self._model.config, self._model.weights)
        parameters = list(network.parameters())
        trained = [parameter.detach().clone() for parameter in parameters]
        reader = self._reader(network, text, self._ends(text))
        nats = float(unknown_nats(text.unknown, text.tokenizer).sum())
        with sharing_cores() as look:
            while reader.place < len(text.ids):
                look()
                loss, count = reader.read(self._config.dynamic_segment)
                gradients = torch.autograd.grad(loss / count, parameters)
                nats += float(loss.detach())
                self._update(parameters, gradients, trained)
                self._on_piece(count)
        return Score(text.characters, text.bytes, len(text.unknown), nats)

    def _ends(self, text: ScoredText) -> Places:
        """The positions in a text's ids at which the state begins anew, ascending, each once."""
        ends = section_ends(self._model, self._config, text)
        return np.empty(0, np.int64) if ends is None else np.unique(ends)

    def _reader(self, network: CharRNN, text: ScoredText, ends: Places, place: int = 0) -> Reader:
        start = text.tokenizer.start
        return Reader(network, text.ids, ends, start, place, at_lines=not self._config.window)

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


class Reader:
    """A network that reads a text, its state carried on, and zeroed where a line or a window begins.

    Args:
        network: the model; its weights may change between two calls of ``read``.
        ids: (time,) the text.
        ends: (sections,) the positions at which the state begins anew, ascending, each once.
        start: the id that is read before the text.
        place: where to begin.
        at_lines: whether ``start`` is read where the state begins anew, or the symbol before.

    Attributes:
        place: the position of the next symbol.
    """

    def __init__(
        self, network: CharRNN, ids: Ids, ends: Places, start: int, place: int = 0, *, at_lines: bool = True
    ) -> None:
        self._network, self._ids, self._ends, self._start = network, ids, ends, start
        self._at_lines = at_lines
        self.place, self._previous = place, start
        self._state: State | None = None

    def read(self, count: int) -> tuple[Tensor, int]:
        """Reads up to ``count`` symbols; returns their summed loss in nats, and how many there were."""
        begin, end = self.place, min(self.place + count, len(self._ids))
        loss = torch.zeros(())
        if begin == end:
            return loss, 0
        between = self._ends[np.searchsorted(self._ends, begin, side="right") :]
        for cut in [*between[: np.searchsorted(between, end, side="left")].tolist(), end]:
            loss = loss + self._read_to(cut)
        return loss, end - begin

    def _read_to(self, end: int) -> Tensor:
        """The loss of the symbols up to ``end``, before which no line ends."""
        targets = self._ids[self.place : end]  # (time,)
        inputs = _column(shift_right(targets, self._previous))
        logits, state = self._network(inputs, self._state)  # (time, 1, vocabulary)
        self._state, self._previous, self.place = detach(state), int(targets[-1]), end
        found = np.searchsorted(self._ends, end)
        if found < len(self._ends) and self._ends[found] == end:
            self._state = None
            if self._at_lines:
                self._previous = self._start
        return functional.cross_entropy(logits.flatten(0, 1), _column(targets).flatten(), reduction="sum")
