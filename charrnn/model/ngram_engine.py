"""Stepping an n-gram: the interface of ``charrnn.model.engine``, with counts in place of weights.

The state of a text is the contexts of the place that was reached (see ``ngram``). Logits are natural-log
probabilities, in float64.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.model.counts import Doubles, Numbers
from charrnn.model.engine import ALL
from charrnn.model.ngram import KneserNey

READ = 1 << 20  # probabilities that are computed at once
FEW = 3  # grams of a context up to which they are added one by one, sooner than as an array
LOW = 3  # orders whose probabilities are remembered by their contexts, of which there are few
REMEMBERED = 1 << 25  # bytes of them


class NGramEngine:
    """An n-gram, laid out for stepping; shared by any number of streams.

    Attributes:
        vocabulary: the number of symbols.
        largest: what the magnitude of the highest logit cannot exceed.
    """

    def __init__(self, model: KneserNey) -> None:
        self.model = model
        self.vocabulary = model.vocabulary
        self.largest = math.log(model.vocabulary) + 1e-6
        self._low: dict[tuple[int, ...], Doubles] = {}

    def low(self, contexts: tuple[int, ...]) -> Doubles:
        """The probabilities (vocabulary,) under the lowest orders, of these contexts; not to be changed."""
        found = self._low.get(contexts)
        if found is not None:
            return found
        if not contexts:
            return np.full(self.vocabulary, 1 / self.vocabulary)
        *lower, context = contexts
        found = self.low(tuple(lower))
        if context >= 0:
            at = len(lower)
            symbols, counts = self.model.symbols[at], self.model.counts[at]
            begin, end = counts.begins[context], counts.begins[context + 1]
            found = found * counts.shared[context]
            found[symbols[begin:end]] += counts.kept[begin:end]
        if 8 * self.vocabulary * len(self._low) > REMEMBERED:
            self._low.clear()
        self._low[contexts] = found
        return found

    def stream(self, count: int | None = None) -> Any:
        """A new stream at the beginning of a text; ``count`` streams in lockstep if given."""
        return NGramStream(self) if count is None else NGramStreams(self, count)


class NGramStream:
    """One text that is being read or written.

    Python's own numbers and bisection: arrays of one element would take many times as long.

    Attributes:
        contexts: the contexts of the place that was reached, one for each order.
    """

    def __init__(self, engine: NGramEngine) -> None:
        model = self._model = engine.model
        self._low = engine.low
        self.contexts: list[int] = model.fresh().tolist()
        self._logits = np.empty(engine.vocabulary)
        # Memory views: an element of them is a number of Python's, without a detour.
        self._symbols = [symbols.data for symbols in model.symbols]
        self._begins = [counts.begins.data for counts in model.counts]
        self._kept = [counts.kept.data for counts in model.counts]
        self._shared = [counts.shared.data for counts in model.counts]

    def step(self, id: int) -> Doubles:
        """Reads one symbol and returns the logits (vocabulary,) of the next one, a buffer of the stream's."""
        return np.log(self.probabilities(id), self._logits)

    def advance(self, id: int) -> None:
        """Reads one symbol."""
        contexts, found = self.contexts, [0]
        for at in range(len(contexts) - 1):
            context, number = contexts[at], -1
            if context >= 0:
                begins, symbols = self._begins[at], self._symbols[at]
                end = begins[context + 1]
                place = bisect.bisect_left(symbols, id, begins[context], end)
                if place < end and symbols[place] == id:
                    number = place
            found.append(number)
        self.contexts = found

    def probabilities(self, id: int, weight: float = 1.0) -> Doubles:
        """Reads one symbol and returns the probabilities (vocabulary,) of the next one, times a weight.

        What order k adds to the lower ones, kept_k, is multiplied by the shares of all orders above it.
        """
        self.advance(id)
        contexts, scale, added = self.contexts, weight, []
        for at in range(len(contexts) - 1, LOW - 1, -1):
            context = contexts[at]
            if context >= 0:
                begins = self._begins[at]
                added.append((at, begins[context], begins[context + 1], scale))
                scale *= self._shared[at][context]
        found = self._low(tuple(contexts[:LOW])) * scale
        for at, begin, end, scale in added:
            if end - begin <= FEW:
                symbols, kept = self._symbols[at], self._kept[at]
                for gram in range(begin, end):
                    found[symbols[gram]] += scale * kept[gram]
            else:
                found[self._model.symbols[at][begin:end]] += scale * self._model.counts[at].kept[begin:end]
        return found

    def read(self, ids: NDArray[Any]) -> Doubles:
        """Reads a text (time,) and returns the logits (time, vocabulary) after each symbol."""
        logits = np.empty((len(ids), self._model.vocabulary))
        block = max(1, READ // self._model.vocabulary)
        for begin in range(0, len(ids), block):
            contexts = self._model.follow(self.save(), ids[begin : begin + block].astype(np.int64))
            self.restore(contexts[:, -1])
            np.log(self._model.distributions(contexts), logits[begin : begin + block])
        return logits

    def save(self) -> Numbers:
        """The state, for ``restore``."""
        return np.array(self.contexts)

    def restore(self, saved: Numbers) -> None:
        """Restores a saved state."""
        self.contexts = saved.tolist()


class NGramStreams:
    """N texts in lockstep.

    Attributes:
        contexts: (orders, N).
    """

    def __init__(self, engine: NGramEngine, count: int) -> None:
        self._model = engine.model
        self.contexts = np.repeat(engine.model.fresh()[:, None], count, axis=1)

    def step(self, ids: Any) -> Doubles:
        """Reads one symbol (N,) per stream and returns the logits (vocabulary, N) of the next ones."""
        return np.log(self.probabilities(ids))

    def probabilities(self, ids: Any, weight: float = 1.0) -> Doubles:
        """Reads one symbol (N,) per stream and returns the probabilities (vocabulary, N), times a weight."""
        self.advance(ids)
        return weight * self._model.distributions(self.contexts).T

    def advance(self, ids: Any) -> None:
        """Reads one symbol per stream."""
        self.contexts = self._model.advance(self.contexts, np.asarray(ids, np.int64))

    def save(self, columns: Any = ALL) -> Numbers:
        """The states, for ``restore``: of all streams, or of some ``columns``."""
        return self.contexts[:, columns].copy()

    def restore(self, saved: Numbers, columns: Any = ALL, places: Any = ALL) -> None:
        """Restores saved states; ``columns`` take that of a single stream, or those at ``places``."""
        self.contexts[:, columns] = saved[:, places] if saved.ndim > 1 else saved[:, None]

    @staticmethod
    def gather(saved: Sequence[Numbers], places: Any = ALL) -> Numbers:
        """The saved states of several times N streams as one: all of them, or those at ``places``."""
        return np.concatenate(saved, axis=1)[:, places]

    def select(self, columns: NDArray[np.int64]) -> None:
        """Gives each stream the state of another one: stream i that of ``columns[i]`` (N,)."""
        self.contexts = self.contexts[:, columns]
