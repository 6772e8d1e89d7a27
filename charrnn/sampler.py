"""Logits in, id out: small pure steps, in the order in which they are applied.

Logits are (..., vocabulary); a step returns new ones in which -inf marks what may not be chosen. The order
is that of the sentence "divide by the temperature, keep the k most probable, of these the nucleus that
holds p, of these what is not much less probable than the best": temperature comes first, so that top-p and
min-p see the distribution that is drawn from.
"""

from __future__ import annotations

import random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.config import SamplingConfig

Floats = NDArray[np.floating[Any]]


def forbid(logits: Floats, ids: list[int]) -> Floats:
    """Logits without these ids: the unknown symbol, say, which is read but never written."""
    logits = logits.copy()
    logits[..., ids] = -np.inf
    return logits


def apply_temperature(logits: Floats, temperature: float) -> Floats:
    """Logits of the distribution raised to the power 1 / temperature, which must be greater than 0."""
    highest = logits.max(axis=-1, keepdims=True)  # so that a small temperature overflows downwards
    scaled: Floats = (logits - highest) / np.float32(temperature)
    return scaled


def keep_top_k(logits: Floats, k: int) -> Floats:
    """Logits of the k most probable ids, and of those as probable as the k-th."""
    if k >= logits.shape[-1]:
        return logits
    kth = np.partition(logits, -k, axis=-1)[..., -k, None]  # (..., 1)
    return np.where(logits < kth, -np.inf, logits)


def keep_top_p(logits: Floats, p: float) -> Floats:
    """Logits of the nucleus: the fewest most probable ids that hold p together (Holtzman et al., 2020)."""
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


def draw(logits: Floats, uniform: float) -> int:
    """The id where the cumulative distribution of (vocabulary,) logits passes ``uniform`` in [0, 1)."""
    weights = np.exp(logits - logits.max(), dtype=np.float64)
    cumulative = np.add.accumulate(weights, out=weights)
    # "right": an id of probability 0 is never where the distribution passes.
    return int(cumulative.searchsorted(uniform * cumulative[-1], side="right"))


class Sampler:
    """Chooses ids as a config says, from a generator that belongs to it: same seed, same choices.

    The generator is Python's Mersenne Twister, whose sequence of floats for a seed is promised not to
    change between versions, as NumPy's are not.
    """

    def __init__(self, config: SamplingConfig, forbidden: list[int] | None = None) -> None:
        self._config = config
        self._forbidden = forbidden or []
        self._uniform = random.Random(config.seed).random

    def filtered(self, logits: Floats) -> Floats:
        """The logits (..., vocabulary) that are drawn from, for a temperature above 0."""
        config = self._config
        if self._forbidden:
            logits = forbid(logits, self._forbidden)
        if config.temperature != 1:
            logits = apply_temperature(logits, config.temperature)
        if config.top_k:
            logits = keep_top_k(logits, config.top_k)
        if config.top_p < 1:
            logits = keep_top_p(logits, config.top_p)
        if config.min_p:
            logits = keep_min_p(logits, config.min_p)
        return logits

    def __call__(self, logits: Floats) -> int:
        """The next id for (vocabulary,) logits; the most probable, the first of equals, at temperature 0."""
        if self._config.temperature == 0:
            allowed = forbid(logits, self._forbidden) if self._forbidden else logits
            return int(allowed.argmax())
        return draw(self.filtered(logits), self._uniform())
