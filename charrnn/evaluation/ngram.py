"""Interpolated Kneser-Ney n-grams of characters: exact probabilities of all orders at once.

With s a symbol, h the k - 1 symbols before it and h' the last k - 2 of those, order n predicts
(Kneser & Ney, 1995, interpolated as by Chen & Goodman, 1999, section 4.1.6)

    p_k(s | h) = max(c_k(h s) - D_k, 0) / c_k(h .)  +  D_k N_k(h) / c_k(h .) * p_(k-1)(s | h')

for k = n down to 1, with p_0 = 1 / V. For k = n, c_n(h s) is the number of occurrences of h s in the
training text; for smaller k it is the number of different symbols that precede h s there. c_k(h .) is the
sum of c_k(h s) over all s, and N_k(h) the number of s for which it is not 0. For a context that never
occurred, p_k is p_(k-1); at the beginning of a text, where the context has fewer than n - 1 symbols, the
highest order is its length + 1. D_k = n1 / (n1 + 2 n2), where n1 and n2 grams have counts 1 and 2 (Ney,
Essen & Kneser, 1994), and 1/2 if one of them is 0.

All probabilities are positive, and those of each context sum to one.

A gram of k symbols has the code (number of its first k - 1 symbols) * V + (last symbol), and its number is
the rank of its code among those of all grams that occur. So codes fit into 64 bits for any order and
vocabulary.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_ORDER = 8
BLOCK = 1 << 20  # symbols that are scored at once

Numbers = NDArray[np.int64]
Doubles = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Counts:
    """What p_k is computed from, besides p_(k-1): counts of grams and of their contexts, and the discount.

    Attributes:
        gram: (grams of k symbols + 1,) c_k(h s).
        total: (grams of k - 1 symbols + 1,) c_k(h .).
        different: (grams of k - 1 symbols + 1,) N_k(h).
        discount: D_k.

    Each array ends with a 0, at index -1, which is the number of grams that never occurred.
    """

    gram: Numbers
    total: Numbers
    different: Numbers
    discount: float


class NGrams:
    """Kneser-Ney models of orders 1 to ``highest`` of one training text.

    Attributes:
        vocabulary: V, the number of symbols.
        highest: the highest order.

    >>> model = NGrams(np.array([0, 1, 0, 1, 0, 2]), vocabulary=3, start=2, highest=2)
    >>> [(place, logs)] = model.log_probabilities(np.array([0, 1]))
    >>> np.exp(logs[1]).round(4).tolist()
    [0.8333, 0.6111]
    """

    def __init__(
        self, ids: NDArray[np.integer[Any]], vocabulary: int, start: int, highest: int = MAX_ORDER
    ) -> None:
        """Counts the grams of ids (time,), which ``start`` precedes."""
        self.vocabulary, self.highest, self._start = vocabulary, highest, start
        symbols = self._with_start(ids)
        self._codes: list[Numbers] = []  # for each k the sorted codes of grams of k symbols
        self._continued: list[Counts] = []  # for each k below the highest, numbers of preceding symbols
        self._raw: list[Counts] = []  # for each k, numbers of occurrences
        prefixes = np.zeros(1, np.int64)  # one context of no symbols
        numbers = np.zeros(len(symbols) + 1, np.int64)  # of the gram that ends before each position
        for k in range(1, highest + 1):
            grams = numbers[: max(0, len(symbols) - k + 1)] * vocabulary + symbols[k - 1 :]
            codes, first, found, count = np.unique(
                grams, return_index=True, return_inverse=True, return_counts=True
            )
            if k > 1:
                # The gram at i without its first symbol is the gram of k - 1 symbols at i + 1. As many
                # symbols precede a gram as there are different grams that end with it.
                left = np.bincount(numbers[first + 1], minlength=len(prefixes)).astype(np.int64)
                self._continued.append(_counts(self._codes[-1], left, vocabulary, self._contexts(k - 1)))
            self._codes.append(codes)
            self._raw.append(_counts(codes, count.astype(np.int64), vocabulary, len(prefixes)))
            numbers, prefixes = found.astype(np.int64).ravel(), codes

    def _contexts(self, k: int) -> int:
        """The number of different contexts of grams of k symbols."""
        return len(self._codes[k - 2]) if k > 1 else 1

    def _with_start(self, ids: NDArray[Any]) -> Numbers:
        return np.concatenate([np.array([self._start], np.int64), ids.astype(np.int64)])

    def log_probabilities(self, ids: NDArray[np.integer[Any]]) -> Iterator[tuple[int, NDArray[np.float64]]]:
        """The natural-log probability of each symbol under each order, block by block.

        Args:
            ids: (time,) ids below V; ``start`` precedes the first.

        Yields:
            The position of a block in ids, and (orders, time) float64, in which row k - 1 is order k.
        """
        for begin in range(0, len(ids), BLOCK):
            block = ids[begin : begin + BLOCK]
            before = ids[max(0, begin - self.highest + 1) : begin]  # the context of the first symbols
            symbols = np.concatenate([before, block]).astype(np.int64)
            if begin < self.highest:
                symbols = self._with_start(symbols)
            contexts = self._context_numbers(symbols)  # (orders, time)
            known = contexts[:, -len(block) :]
            yield begin, np.log(self._mix(known, symbols[-len(block) :]))

    def _context_numbers(self, symbols: Numbers) -> Numbers:
        """For each order k the number of the k - 1 symbols before each position, -1 if they never occurred.

        Args:
            symbols: (time,), start symbol included.

        Returns:
            (orders, time).
        """
        contexts = np.full((self.highest, len(symbols)), -1, np.int64)
        contexts[0] = 0
        for k in range(1, self.highest):
            found = self._find(k, contexts[k - 1], symbols)  # of grams of k symbols that end here
            contexts[k, 1:] = found[:-1]
            contexts[k, :k] = -1  # fewer than k symbols precede these
        return contexts

    def _find(self, k: int, contexts: Numbers, symbols: Numbers) -> Numbers:
        """The numbers of grams of k symbols, from contexts and last symbols, all (time,); -1 if new."""
        codes = self._codes[k - 1]
        wanted = contexts * self.vocabulary + symbols
        if len(codes) == 0:  # the training text is shorter than k
            return np.full(len(symbols), -1, np.int64)
        places = np.minimum(np.searchsorted(codes, wanted), len(codes) - 1)
        return np.where((contexts >= 0) & (codes[places] == wanted), places, -1)

    def _mix(self, contexts: Numbers, symbols: Numbers) -> Doubles:
        """p_1 to p_highest of symbols (time,) in contexts (orders, time), as (orders, time) float64."""
        lower = np.full(len(symbols), 1 / self.vocabulary)
        orders = []
        for k in range(1, self.highest + 1):
            grams = self._find(k, contexts[k - 1], symbols)
            orders.append(_interpolate(self._raw[k - 1], contexts[k - 1], grams, lower))
            if k < self.highest:
                lower = _interpolate(self._continued[k - 1], contexts[k - 1], grams, lower)
        return np.stack(orders)


def _counts(codes: Numbers, gram: Numbers, vocabulary: int, contexts: int) -> Counts:
    """Counts of grams with their sums by context; a gram's context is its code // V."""
    context = codes // vocabulary
    total = np.bincount(context, gram, minlength=contexts + 1).astype(np.int64)
    different = np.bincount(context[gram > 0], minlength=contexts + 1).astype(np.int64)
    once, twice = int((gram == 1).sum()), int((gram == 2).sum())
    discount = once / (once + 2 * twice) if once and twice else 0.5
    return Counts(np.append(gram, 0), total, different, discount)


def _interpolate(counts: Counts, contexts: Numbers, grams: Numbers, lower: Doubles) -> Doubles:
    """p_k from p_(k-1), for numbers of contexts and grams (time,), -1 for those that never occurred."""
    total = counts.total[contexts]  # (time,)
    kept = np.maximum(counts.gram[grams] - counts.discount, 0)
    shared = counts.discount * counts.different[contexts] * lower
    return np.where(total > 0, (kept + shared) / np.maximum(total, 1), lower)
