"""From logits to the next id: small pure functions, in the order in which they are applied.

Logits are (..., vocabulary); each function returns new ones, with -inf for ids that cannot be chosen. The
order is repetition penalty, banned ids, temperature, top-k, top-p, min-p: since the temperature comes before
top-p and min-p, these see the distribution that is drawn from.
"""

from __future__ import annotations

import bisect
import random
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.config import SamplingConfig

Floats = NDArray[np.floating[Any]]

LARGEST_EXPONENT = 700.0  # of e, in float64


def forbid(logits: Floats, ids: Sequence[int]) -> Floats:
    """Logits with -inf for these ids."""
    logits = logits.copy()
    logits[..., ids] = -np.inf
    return logits


def penalize(logits: Floats, ids: Iterable[int], penalty: float) -> Floats:
    """Logits with those of these ids divided by the penalty if positive, else multiplied by it.

    Each id counts once, however often it is given. A penalty of 1 changes nothing; a greater one makes
    repetition less probable (Keskar et al., 2019, section 4.1).
    """
    logits = logits.copy()
    recent = list(set(ids))
    found = logits[..., recent]  # (..., recent)
    logits[..., recent] = np.where(found > 0, found / penalty, found * penalty)
    return logits


def apply_temperature(logits: Floats, temperature: float) -> Floats:
    """Logits of the distribution raised to the power 1 / temperature, which must be greater than 0."""
    highest = logits.max(axis=-1, keepdims=True)  # with 0 as the maximum nothing overflows
    scaled: Floats = (logits - highest) / np.float64(temperature)
    return scaled


def keep_top_k(logits: Floats, k: int) -> Floats:
    """Logits of the k most probable ids, and of ids exactly as probable as the k-th; -inf elsewhere."""
    if k >= logits.shape[-1]:
        return logits
    kth = np.partition(logits, -k, axis=-1)[..., -k, None]  # (..., 1)
    return np.where(logits < kth, -np.inf, logits)


def keep_top_p(logits: Floats, p: float) -> Floats:
    """Logits of the fewest most probable ids whose probabilities reach p in sum (Holtzman et al., 2020)."""
    order = np.argsort(-logits, axis=-1, kind="stable")  # (..., vocabulary)
    sorted_probabilities = np.take_along_axis(probabilities(logits), order, axis=-1)
    before = np.cumsum(sorted_probabilities, axis=-1) - sorted_probabilities
    outside = np.empty(logits.shape, bool)
    np.put_along_axis(outside, order, before >= p, axis=-1)
    return np.where(outside, -np.inf, logits)


def keep_min_p(logits: Floats, p: float) -> Floats:
    """Logits of ids at least p times as probable as the most probable (Nguyen et al., 2024)."""
    if p == 0:
        return logits
    return np.where(logits < logits.max(axis=-1, keepdims=True) + np.log(p), -np.inf, logits)


def probabilities(logits: Floats) -> Floats:
    """The softmax over the last axis, in float64, so that small probabilities are not lost in sums."""
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True), dtype=np.float64)
    normalized: Floats = weights / weights.sum(axis=-1, keepdims=True)
    return normalized


def log_softmax(logits: Floats) -> Floats:
    """The natural logarithm of the softmax over the last axis, in float64."""
    shifted = logits - logits.max(axis=-1, keepdims=True).astype(np.float64)
    logs: Floats = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return logs


def draw(logits: Floats, uniform: float) -> int:
    """The id at which the cumulative distribution of (vocabulary,) logits exceeds ``uniform`` in [0, 1)."""
    return int(draw_many(logits[None], np.array([uniform]))[0])


def draw_many(logits: Floats, uniforms: NDArray[np.float64]) -> NDArray[np.int64]:
    """The ids (N,) at which the cumulative distributions of (N, vocabulary) logits exceed their uniforms."""
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True), dtype=np.float64)
    cumulative = np.add.accumulate(weights, axis=-1)  # (N, vocabulary)
    total = cumulative[:, -1]
    # At most just below the total, in case the product rounded up: no id of probability 0 is chosen.
    targets = np.minimum(uniforms * total, np.nextafter(total, 0.0))
    ids: NDArray[np.int64] = (cumulative <= targets[:, None]).sum(axis=-1)
    return ids


class Sampler:
    """Chooses ids by the settings, with a random generator of its own: the same seed, the same choices.

    The generator is Python's Mersenne Twister, whose floats for a seed are guaranteed not to change between
    versions, unlike those of NumPy's generators.

    Args:
        config: the settings.
        forbidden: ids that are never chosen.
        largest: an upper bound of every logit's magnitude; if it is finite, maxima need not be computed.
        seed: of the generator, instead of the config's.
    """

    def __init__(
        self,
        config: SamplingConfig,
        forbidden: Sequence[int] = (),
        *,
        largest: float = np.inf,
        seed: int | None = None,
    ) -> None:
        self._config = config
        self._forbidden = list(forbidden)
        self._uniform = random.Random(config.seed if seed is None else seed).random
        self._penalizes = config.repetition_penalty != 1
        self._recent: deque[int] = deque(maxlen=config.repetition_window)
        filters = bool(config.top_k or config.top_p < 1 or config.min_p or self._penalizes)
        self._plain = (
            not filters and config.temperature > 0 and largest / config.temperature < LARGEST_EXPONENT
        )
        self._inverse = np.array(1 / (config.temperature or 1.0))  # 0-d: no conversion at every call
        self._weights = np.empty(0)
        self._allowed: Floats | None = None

    def read(self, ids: Iterable[int]) -> None:
        """Adds ids that were not chosen here, such as the prompt's, to those that the penalty applies to."""
        self._recent.extend(ids)

    def filtered(self, logits: Floats, barred: Sequence[int] = ()) -> Floats:
        """Logits (..., vocabulary) after all filters; at temperature 0, after the penalty and the bans."""
        config = self._config
        if self._penalizes and self._recent:
            logits = penalize(logits, self._recent, config.repetition_penalty)
        if self._forbidden or barred:
            logits = forbid(logits, [*self._forbidden, *barred])
        if config.temperature == 0:
            return logits
        if config.temperature != 1:
            logits = apply_temperature(logits, config.temperature)
        if config.top_k:
            logits = keep_top_k(logits, config.top_k)
        if config.top_p < 1:
            logits = keep_top_p(logits, config.top_p)
        if config.min_p:
            logits = keep_min_p(logits, config.min_p)
        return logits

    def __call__(self, logits: Floats, barred: Sequence[int] = ()) -> int:
        """The next id for (vocabulary,) logits; at temperature 0 the most probable, the lowest of equals.

        Args:
            logits: (vocabulary,), which is not modified.
            barred: ids that may not be chosen this time; at least one must be left.
        """
        if self._plain and not barred:
            return self._draw_plainly(logits)
        filtered = self.filtered(logits, barred)
        greedy = self._config.temperature == 0
        id = int(filtered.argmax()) if greedy else draw(filtered, self._uniform())
        if self._penalizes:
            self._recent.append(id)
        return id

    def choose_many(self, logits: Floats) -> NDArray[np.int64]:
        """The next ids (N,) of N streams, for (vocabulary, N) logits; without repetition penalty."""
        filtered = self.filtered(logits.T)  # (N, vocabulary)
        if self._config.temperature == 0:
            best: NDArray[np.int64] = filtered.argmax(axis=-1)
            return best
        return draw_many(filtered, np.array([self._uniform() for _ in range(len(filtered))]))

    def _draw_plainly(self, logits: Floats) -> int:
        """What ``draw`` does, without allocating and, as nothing can overflow, without the maximum."""
        weights = self._weights  # (vocabulary,) float64
        if len(weights) != len(logits):
            weights = self._weights = np.empty(len(logits))
            if self._forbidden:
                self._allowed = np.ones(len(logits))
                self._allowed[self._forbidden] = 0
        np.multiply(logits, self._inverse, weights)
        np.exp(weights, weights)
        if self._allowed is not None:
            np.multiply(weights, self._allowed, weights)
        np.add.accumulate(weights, 0, None, weights)
        cumulative = weights.data  # the same memory; bisecting it takes half the time of searching the array
        total = cumulative[-1]
        id = bisect.bisect_right(cumulative, self._uniform() * total)
        # In one of 2^53 draws the product rounds up to the total, which no cumulative weight exceeds.
        return id if id < len(cumulative) else bisect.bisect_left(cumulative, total)
