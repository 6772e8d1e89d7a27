"""The counts of grams of one length, and what Kneser-Ney smoothing makes of them (see ``ngram``)."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.int64]
Doubles = NDArray[np.float64]


class Counts:
    """What p_k is computed from, besides p_(k-1): counts of grams and of their contexts.

    Args:
        begins: (grams of k - 1 symbols + 1,) the number of the first gram of each context.
        gram: (grams of k symbols,) c_k(h s).

    Attributes:
        begins: as above.
        gram: (grams of k symbols + 1,) c_k(h s).

    This array, and those that are computed when they are first asked for, end with an element for grams that
    never occurred, whose number is -1.
    """

    def __init__(self, begins: Numbers, gram: Numbers) -> None:
        self.begins, self.gram = begins, np.append(gram, 0)

    @functools.cached_property
    def discounts(self) -> Doubles:
        """D(0), D(1), D(2) and D(3)."""
        return discounts(self.gram[:-1])

    @functools.cached_property
    def total(self) -> Numbers:
        """(grams of k - 1 symbols + 1,) c_k(h .)."""
        return self._sums(self.gram[:-1])

    @property
    def _discount(self) -> Doubles:
        """(grams of k symbols,) D_k(c_k(h s))."""
        found: Doubles = self.discounts[np.minimum(self.gram[:-1], 3)]
        return found

    @functools.cached_property
    def kept(self) -> Doubles:
        """(grams of k symbols + 1,) c_k(h s) after the discount, divided by c_k(h .)."""
        divisor = np.repeat(np.maximum(self.total[:-1], 1), np.diff(self.begins))
        return np.append((self.gram[:-1] - self._discount) / divisor, 0.0)

    @functools.cached_property
    def shared(self) -> Doubles:
        """(grams of k - 1 symbols + 1,) g_k(h), or 1 where c_k(h .) is 0."""
        return np.where(self.total > 0, self._sums(self._discount) / np.maximum(self.total, 1), 1.0)

    def _sums(self, values: NDArray[Any]) -> NDArray[Any]:
        """The sum of values (grams of k symbols,) over the grams of each context, and 0 after the last."""
        sums = np.zeros(len(self.begins), values.dtype)
        full = np.flatnonzero(self.begins[1:] > self.begins[:-1])
        if len(full):
            sums[full] = np.add.reduceat(values, self.begins[full])
        return sums

    def interpolate(self, contexts: Numbers, grams: Numbers, lower: Doubles) -> Doubles:
        """p_k from p_(k-1), for numbers of contexts and grams (time,), -1 for those that never occurred."""
        probability: Doubles = self.kept[grams] + self.shared[contexts] * lower
        return probability


def discounts(gram: Numbers) -> Doubles:
    """D(0), D(1), D(2) and D(3) from the counts of all grams of one length.

    >>> discounts(np.array([1, 1, 1, 2])).tolist()
    [0.0, 0.6, 0.6, 0.6]
    """
    once, twice, thrice, often = (int((gram == r).sum()) for r in range(1, 5))
    if not (once and twice):
        return np.array([0, 0.5, 0.5, 0.5])
    share = once / (once + 2 * twice)
    if not (thrice and often):
        return np.array([0, share, share, share])
    modified = [1 - 2 * share * twice / once, 2 - 3 * share * thrice / twice, 3 - 4 * share * often / thrice]
    return np.array([0, *np.clip(modified, share, [1, 2, 3])])


def begins_of(codes: Numbers, vocabulary: int, contexts: int) -> Numbers:
    """The number of the first gram of each context (contexts + 1,), from the sorted codes of grams."""
    found: Numbers = np.searchsorted(codes, np.arange(contexts + 1) * vocabulary)
    return found
