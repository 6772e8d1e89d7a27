"""Interpolated Kneser-Ney character n-grams, of all orders at once, exact.

With s a symbol, h the k - 1 symbols before it and h' the last k - 2 of those, order n predicts
(Kneser & Ney, 1995, interpolated as by Chen & Goodman, 1999, section 4.1.6)

    p_k(s | h) = max(c_k(h s) - D_k, 0) / c_k(h .)  +  D_k N_k(h) / c_k(h .) * p_(k-1)(s | h')

for k = n down to 1, with p_0 = 1 / V. At k = n, c_n(h s) is how often h s stands in the training text;
below it is how many different symbols stand before h s there. c_k(h .) is the sum of c_k(h s) over all s,
and N_k(h) the number of s for which it is not 0. A context never met passes everything on to the shorter
one, and one cut short by the text's beginning begins at its own order. D_k = n1 / (n1 + 2 n2), of n1 and n2
grams with counts 1 and 2 (Ney, Essen & Kneser, 1994), and 1/2 where one of them is 0.

Every probability is positive, and they sum to one at every context.

Grams are numbered by order: a gram of k symbols is the number of its first k - 1 symbols times V plus its
last symbol, and is numbered by its rank among those that occur. So no order and no vocabulary overflows 64
bits.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

HIGHEST = 8
BLOCK = 1 << 20  # symbols scored at once

Numbers = NDArray[np.int64]
Doubles = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Counts:
    """What p_k needs beside p_(k-1): counts of grams and of their contexts, and the discount.

    Attributes:
        gram: (grams of k symbols + 1,) c_k(h s).
        total: (grams of k - 1 symbols + 1,) c_k(h .).
        different: (grams of k - 1 symbols + 1,) N_k(h).
        discount: D_k.

    Each array ends with a 0, which is what the number -1 of a gram never met finds there.
    """

    gram: Numbers
    total: Numbers
    different: Numbers
    discount: float


class NGrams:
    """Kneser-Ney models of orders 1 to ``highest`` of one training text.

    Attributes:
        vocabulary: V, how many symbols there are.
        highest: the highest order.

    >>> model = NGrams(np.array([0, 1, 0, 1, 0, 2]), vocabulary=3, start=2, highest=2)
    >>> model.distributions(np.array([0]), [1])[2].round(4).tolist()
    [[0.1111, 0.6111, 0.2778]]
    """

    def __init__(
        self, ids: NDArray[np.integer[Any]], vocabulary: int, start: int, highest: int = HIGHEST
    ) -> None:
        """Counts the grams of ids (time,), before which ``start`` stands."""
        self.vocabulary, self.highest, self._start = vocabulary, highest, start
        symbols = self._with_start(ids)
        self._codes: list[Numbers] = []  # for each k the sorted codes of the grams of k symbols
        self._continued: list[Counts] = []  # for each k below the highest, counts of left neighbours
        self._raw: list[Counts] = []  # for each k, counts of occurrences
        prefixes = np.zeros(1, np.int64)  # contexts of no symbols: one
        numbers = np.zeros(len(symbols) + 1, np.int64)  # of the gram that ends before each place
        for k in range(1, highest + 1):
            grams = numbers[: max(0, len(symbols) - k + 1)] * vocabulary + symbols[k - 1 :]
            codes, first, found, count = np.unique(
                grams, return_index=True, return_inverse=True, return_counts=True
            )
            if k > 1:
                # The suffix of the gram at i is the gram of k - 1 symbols at i + 1, and its left
                # neighbours are as many as the different grams that end in it.
                left = np.bincount(numbers[first + 1], minlength=len(prefixes)).astype(np.int64)
                self._continued.append(_counts(self._codes[-1], left, vocabulary, self._contexts(k - 1)))
            self._codes.append(codes)
            self._raw.append(_counts(codes, count.astype(np.int64), vocabulary, len(prefixes)))
            numbers, prefixes = found.astype(np.int64).ravel(), codes

    def _contexts(self, k: int) -> int:
        """How many different contexts grams of k symbols have."""
        return len(self._codes[k - 2]) if k > 1 else 1

    def _with_start(self, ids: NDArray[Any]) -> Numbers:
        return np.concatenate([np.array([self._start], np.int64), ids.astype(np.int64)])

    def log_probabilities(self, ids: NDArray[np.integer[Any]]) -> Iterator[tuple[int, NDArray[np.float64]]]:
        """The natural-log probability of each symbol under each order, block by block.

        Args:
            ids: (time,) of ids below V; ``start`` stands before the first.

        Yields:
            the place of a block in ids, and its (orders, time) float64; row k - 1 is order k.
        """
        for begin in range(0, len(ids), BLOCK):
            block = ids[begin : begin + BLOCK]
            before = ids[max(0, begin - self.highest + 1) : begin]  # what the first contexts need
            symbols = np.concatenate([before, block]).astype(np.int64)
            if begin < self.highest:
                symbols = self._with_start(symbols)
            contexts = self._context_numbers(symbols)  # (orders, time)
            known = contexts[:, -len(block) :]
            yield begin, np.log(self._mix(known, symbols[-len(block) :]))

    def distributions(self, ids: NDArray[np.integer[Any]], places: Any) -> Doubles:
        """The probability of every symbol at some places of a text.

        Args:
            ids: (time,) of ids.
            places: (places,) each from 0 to time; a place is predicted from what stands before it.

        Returns:
            (orders + 1, places, V) float64; index k is order k, and 0 is uniform.
        """
        contexts = self._context_numbers(np.append(self._with_start(ids), 0))[:, 1:]  # (orders, time + 1)
        rows = [np.full((len(places), self.vocabulary), 1 / self.vocabulary)]
        chosen = np.repeat(contexts[:, np.asarray(places)], self.vocabulary, axis=1)  # (orders, places * V)
        every = np.tile(np.arange(self.vocabulary), len(places))  # (places * V,)
        mixed = self._mix(chosen, every).reshape(self.highest, len(places), self.vocabulary)
        return np.stack([*rows, *mixed])

    def _context_numbers(self, symbols: Numbers) -> Numbers:
        """For each order k, the number of the k - 1 symbols before each place; -1 where never met.

        Args:
            symbols: (time,), the start symbol among them.

        Returns:
            (orders, time).
        """
        contexts = np.full((self.highest, len(symbols)), -1, np.int64)
        contexts[0] = 0
        for k in range(1, self.highest):
            found = self._find(k, contexts[k - 1], symbols)  # of the gram of k symbols that ends here
            contexts[k, 1:] = found[:-1]
            contexts[k, :k] = -1  # before the text's beginning there is nothing
        return contexts

    def _find(self, k: int, contexts: Numbers, symbols: Numbers) -> Numbers:
        """The numbers of grams of k symbols, -1 for those that never occurred; all (time,)."""
        codes = self._codes[k - 1]
        wanted = contexts * self.vocabulary + symbols
        if len(codes) == 0:  # a training text shorter than k
            return np.full(len(symbols), -1, np.int64)
        places = np.minimum(np.searchsorted(codes, wanted), len(codes) - 1)
        return np.where((contexts >= 0) & (codes[places] == wanted), places, -1)

    def _mix(self, contexts: Numbers, symbols: Numbers) -> Doubles:
        """p_1 to p_highest of symbols (time,) in contexts (orders, time); (orders, time) float64."""
        lower = np.full(len(symbols), 1 / self.vocabulary)
        orders = []
        for k in range(1, self.highest + 1):
            grams = self._find(k, contexts[k - 1], symbols)
            orders.append(_interpolate(self._raw[k - 1], contexts[k - 1], grams, lower))
            if k < self.highest:
                lower = _interpolate(self._continued[k - 1], contexts[k - 1], grams, lower)
        return np.stack(orders)


def _counts(codes: Numbers, gram: Numbers, vocabulary: int, contexts: int) -> Counts:
    """Sums the counts of grams by context, which is what their codes begin with."""
    context = codes // vocabulary
    total = np.bincount(context, gram, minlength=contexts + 1).astype(np.int64)
    different = np.bincount(context[gram > 0], minlength=contexts + 1).astype(np.int64)
    once, twice = int((gram == 1).sum()), int((gram == 2).sum())
    discount = once / (once + 2 * twice) if once and twice else 0.5
    return Counts(np.append(gram, 0), total, different, discount)


def _interpolate(counts: Counts, contexts: Numbers, grams: Numbers, lower: Doubles) -> Doubles:
    """p_k from p_(k-1): numbers of contexts and grams (time,), -1 for those never met."""
    total = counts.total[contexts]  # (time,)
    kept = np.maximum(counts.gram[grams] - counts.discount, 0)
    shared = counts.discount * counts.different[contexts] * lower
    return np.where(total > 0, (kept + shared) / np.maximum(total, 1), lower)
