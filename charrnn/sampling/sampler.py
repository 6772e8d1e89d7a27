"""Logits in, id out: small pure steps, in the order in which they are applied.

Logits are (..., vocabulary); a step returns new ones in which -inf marks what may not be chosen. The order
is that of the sentence "add the biases, make the recent less likely, leave out what is banned, divide by the
temperature, keep the k most probable, of these the nucleus that holds p, of these what is not much less
probable than the best": temperature comes before top-p and min-p, so that these see the distribution that is
drawn from.

Until the temperature divides them, the logits of what may be chosen stay finite, whatever the weights and
settings are. So one of them is the highest, and what is drawn is always one of them.
"""

from __future__ import annotations

import bisect
import math
import random
import sys
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.model.engine import log_softmax
from charrnn.use_config import SamplingConfig

Floats = NDArray[np.floating[Any]]

LARGEST_EXPONENT = 690.0  # of e, so that a sum over all of Unicode is a float64


def finite(logits: Floats) -> Floats:
    """Logits as they are; where weights are so large that some overflow, all within half of the range.

    NaN, which has no place in an order, becomes the lowest.
    """
    if math.isfinite(np.vdot(logits, logits)):  # the quickest test, which few finite logits fail
        return logits
    bound = _bound(logits)
    found: Floats = np.nan_to_num(logits, nan=-bound, posinf=bound, neginf=-bound).clip(-bound, bound)
    return found


def _bound(logits: Floats) -> float:
    """A magnitude such that differences of two logits do not overflow, divided by a temperature of 1e-200."""
    return min(float(np.finfo(logits.dtype).max) / 4, 1e100)


def add_bias(logits: Floats, ids: Sequence[int], values: Sequence[float]) -> Floats:
    """Logits in float64 with a value added to each of these ids'."""
    biased = logits.astype(np.float64)
    biased[..., ids] += values
    bound = _bound(biased)
    return biased.clip(-bound, bound)


def forbid(logits: Floats, ids: Sequence[int]) -> Floats:
    """Logits without these ids: the unknown symbol, say, which is read but never written."""
    logits = logits.copy()
    logits[..., ids] = -np.inf
    return logits


def penalize(logits: Floats, ids: Iterable[int], penalty: float) -> Floats:
    """Logits in which these ids' are divided by the penalty if positive, else multiplied by it.

    Each id counts once, however often it is given; a penalty of 1 changes nothing, a greater one makes
    repetition less probable (Keskar et al., 2019, section 4.1). None becomes -inf.
    """
    logits = logits.copy()
    recent = list(set(ids))
    found = logits[..., recent]  # (..., recent)
    bound = _bound(logits)
    penalty = min(penalty, bound)
    with np.errstate(over="ignore"):
        lower = np.maximum(found * penalty, -bound)
    logits[..., recent] = np.where(found > 0, found / penalty, lower)
    return logits


def apply_temperature(logits: Floats, temperature: float) -> Floats:
    """Logits of the distribution raised to the power 1 / temperature, which must be greater than 0."""
    highest = logits.max(axis=-1, keepdims=True)  # so that a small temperature overflows downwards
    if temperature < 1e-200:
        with np.errstate(over="ignore"):
            extreme: Floats = (logits - highest) / np.float64(temperature)
        return extreme
    scaled: Floats = (logits - highest) / np.float64(temperature)
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


def log_probabilities(logits: Floats) -> Floats:
    """The natural logarithm of the softmax over the last axis, in float64."""
    return log_softmax(logits.astype(np.float64, copy=False))


def draw(logits: Floats, uniform: float) -> int:
    """The id where the cumulative distribution of (vocabulary,) logits passes ``uniform`` in [0, 1)."""
    return int(draw_many(logits[None], np.array([uniform]))[0])


def draw_many(logits: Floats, uniforms: NDArray[np.float64]) -> NDArray[np.int64]:
    """The ids (N,) where each of (N, vocabulary) logits' cumulative distribution passes its uniform."""
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True), dtype=np.float64)
    cumulative = np.add.accumulate(weights, axis=-1)  # (N, vocabulary)
    # Less than the total, however rounded, which is 1 at least; so an id of probability 0 is never passed at.
    targets = uniforms * cumulative[:, -1]
    ids: NDArray[np.int64] = (cumulative <= targets[:, None]).sum(axis=-1)
    return ids


class Sampler:
    """Chooses ids as a config says, from a generator that belongs to it: same seed, same choices.

    The generator is Python's Mersenne Twister, whose sequence of floats for a seed is promised not to
    change between versions, as NumPy's are not.

    Args:
        config: what to choose among, and the seed.
        forbidden: ids never to choose.
        bias: by id, what is added to its logits.
        largest: what no logit's magnitude can exceed; a finite one saves finding each maximum.
        seed: of the generator, instead of the config's.
    """

    def __init__(
        self,
        config: SamplingConfig,
        forbidden: Sequence[int] = (),
        *,
        bias: Mapping[int, float] | None = None,
        largest: float = np.inf,
        seed: int | None = None,
    ) -> None:
        self._config = config
        self._forbidden = list(forbidden)
        self._uniform = random.Random(config.seed if seed is None else seed).random
        self._penalizes = config.repetition_penalty != 1
        self._recent: deque[int] = deque(maxlen=min(config.repetition_window, sys.maxsize))
        self._bias = dict(bias or {})
        filters = bool(config.top_k or config.top_p < 1 or config.min_p or self._penalizes or self._bias)
        # A smaller temperature has no finite inverse.
        self._plain = (
            not filters and config.temperature > 1e-300 and largest / config.temperature < LARGEST_EXPONENT
        )
        self._inverse = np.array(1 / (config.temperature or 1.0))  # 0-d: no conversion at every call
        self._weights = np.empty(0)
        self._allowed: Floats | None = None

    def read(self, ids: Iterable[int]) -> None:
        """Takes note of text that was not chosen here, for the repetition penalty."""
        self._recent.extend(ids)

    def filtered(self, logits: Floats, barred: Sequence[int] = ()) -> Floats:
        """The logits (..., vocabulary) that are drawn from; for temperature 0, those before it."""
        config, logits = self._config, finite(logits)
        if self._bias:
            logits = add_bias(logits, list(self._bias), list(self._bias.values()))
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

    def __call__(self, logits: Floats, barred: Sequence[int] = (), unwanted: int | None = None) -> int:
        """The next id for (vocabulary,) logits; the most probable, the first of equals, at temperature 0.

        Args:
            logits: (vocabulary,); they are not changed.
            barred: ids that may not be chosen this time; at least one must be left.
            unwanted: another such id, barred only once it was chosen, when the choice is made again. Where it
                is not chosen, the choice is the same as without it.
        """
        if self._plain and not barred:
            id = self._draw_plainly(logits)
        else:
            id = self.choose(self.filtered(logits, barred), self._uniform)
        if id == unwanted:
            return self(logits, [*barred, id])
        if self._penalizes:
            self._recent.append(id)
        return id

    def choose(self, filtered: Floats, uniform: Callable[[], float]) -> int:
        """The id for (vocabulary,) logits that are ``filtered``: drawn, or at temperature 0 the best."""
        return int(filtered.argmax()) if self._config.temperature == 0 else draw(filtered, uniform())

    def choose_many(self, logits: Floats) -> NDArray[np.int64]:
        """The next ids (N,) of N streams, for (vocabulary, N) logits; no repetition penalty applies."""
        filtered = self.filtered(logits.T)  # (N, vocabulary)
        if self._config.temperature == 0:
            best: NDArray[np.int64] = filtered.argmax(axis=-1)
            return best
        return draw_many(filtered, np.array([self._uniform() for _ in range(len(filtered))]))

    def _draw_plainly(self, logits: Floats) -> int:
        """What ``draw`` does, without an allocation and without the maximum, for which there is room."""
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
        cumulative = weights.data  # the same memory: bisecting it takes half as long as searching the array
        uniform = self._uniform()
        id = bisect.bisect_right(cumulative, uniform * cumulative[-1])
        if id < len(cumulative):
            return id
        # Extreme weights make logits of which the total is NaN: nothing passes that.
        return draw(self.filtered(logits), uniform)
