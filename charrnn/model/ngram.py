"""Interpolated, modified Kneser-Ney n-grams of symbols: counting, and exact probabilities.

With s a symbol, h the k - 1 symbols before it and h' the last k - 2 of those, order n predicts
(Kneser & Ney, 1995, with the discounts of Chen & Goodman, 1999, section 5.3.2)

    p_k(s | h) = max(c_k(h s) - D_k(c_k(h s)), 0) / c_k(h .)  +  g_k(h) * p_(k-1)(s | h')

for k = n down to 1, with p_0 = 1 / V. For k = n, c_n(h s) is the number of occurrences of h s in the
training text; for smaller k it is the number of different symbols that precede h s there. c_k(h .) is the
sum of c_k(h s) over all s, and g_k(h) the sum of what was discounted, divided by it. For a context that never
occurred, p_k is p_(k-1); at the beginning of a text, where the context has fewer than n - 1 symbols, the
highest order is its length + 1.

With n_r the number of grams of k symbols whose count is r, and Y = n_1 / (n_1 + 2 n_2),

    D_k(r) = r - (r + 1) Y n_(r+1) / n_r    for r = 1, 2 and, for all greater counts, 3,

but at least Y and at most r. Where one of n_1 to n_4 is 0, the discount is one for all counts, Y (Ney, Essen
& Kneser, 1994), or 1/2 if n_1 or n_2 is 0.

All probabilities are positive, and those of each context sum to one.

With ``items`` each line is a text of its own. No gram crosses from one to the next, and grams that begin with
a line, which nothing precedes, count as often as they occur.

A gram of k symbols has the code (number of its first k - 1 symbols) * V + (last symbol), and its number is
the rank of its code among those of all grams that occur. So codes fit into 64 bits for any order and
vocabulary.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.config import MAX_ORDER
from charrnn.model.counts import Counts, Doubles, Numbers, begins_of

BLOCK = 1 << 20  # symbols that are scored at once
MOST_COUNTED = 1 << 24  # symbols of a text; counting more takes gigabytes


class Grams:
    """The grams that occur, and where they are found.

    The *contexts* of a place in a text are the numbers of the grams of 0, 1, ... highest - 1 symbols before
    it, -1 for those that never occurred, and for those that would begin before the text.

    Attributes:
        vocabulary: V, the number of symbols.
        highest: the highest order.
    """

    def __init__(self, vocabulary: int, highest: int) -> None:
        self.vocabulary, self.highest = vocabulary, highest

    @property
    def codes(self) -> list[Numbers]:
        """For each k the sorted codes of grams of k symbols."""
        raise NotImplementedError

    def fresh(self) -> Numbers:
        """The contexts (orders,) before a text: that of no symbols alone."""
        contexts = np.full(self.highest, -1, np.int64)
        contexts[0] = 0
        return contexts

    def find(self, k: int, contexts: Numbers, symbols: Numbers) -> Numbers:
        """The numbers of grams of k symbols, from contexts and last symbols, all (time,); -1 if new."""
        codes = self.codes[k - 1]
        wanted = contexts * self.vocabulary + symbols
        if len(codes) == 0:  # the training text is shorter than k
            return np.full(len(symbols), -1, np.int64)
        places = np.minimum(np.searchsorted(codes, wanted), len(codes) - 1)
        return np.where((contexts >= 0) & (codes[places] == wanted), places, -1)

    def advance(self, contexts: Numbers, symbols: Numbers) -> Numbers:
        """The contexts (orders, N) of N texts after one more symbol each, symbols (N,)."""
        rows = [np.zeros(len(symbols), np.int64)]
        rows += [self.find(k, contexts[k - 1], symbols) for k in range(1, self.highest)]
        return np.stack(rows)

    def follow(self, before: Numbers, symbols: Numbers, begins: NDArray[np.bool_] | None = None) -> Numbers:
        """The contexts after each symbol of a text that is read.

        Args:
            before: (orders,) the contexts before it.
            symbols: (time,).
            begins: (time,) whether a new text begins with a symbol.

        Returns:
            (orders, time).
        """
        rows = [np.zeros(len(symbols), np.int64)]
        for k in range(1, self.highest):
            previous = np.concatenate([before[k - 1 : k], rows[-1][:-1]])
            if begins is not None and k > 1:
                previous[begins] = -1
            rows.append(self.find(k, previous, symbols))
        return np.stack(rows)


class NGrams(Grams):
    """Kneser-Ney models of orders 1 to ``highest`` of one training text.

    >>> model = NGrams(np.array([0, 1, 0, 1, 0, 2]), vocabulary=3, start=2, highest=2)
    >>> [(place, logs)] = model.log_probabilities(np.array([0, 1]))
    >>> np.exp(logs[1]).round(4).tolist()
    [0.8333, 0.6111]
    """

    def __init__(
        self,
        ids: NDArray[np.integer[Any]],
        vocabulary: int,
        start: int,
        highest: int = MAX_ORDER,
        *,
        items: bool = False,
    ) -> None:
        """Counts the grams of ids (time,), which ``start`` precedes; it ends each of the ``items``."""
        super().__init__(vocabulary, highest)
        self.start, self.items = start, items
        self._codes: list[Numbers] = []
        self._continued: list[Counts] = []  # for each k below the highest, numbers of preceding symbols
        self._raw: list[Counts] = []  # for each k, numbers of occurrences
        symbols = np.concatenate([np.array([start], np.int64), ids.astype(np.int64)])
        contexts = 1  # of no symbols
        places = np.arange(len(symbols))  # of the first symbols of grams
        numbers = np.zeros(len(symbols), np.int64)  # of the grams of k - 1 symbols that begin there
        for k in range(1, highest + 1):
            places = places[: np.searchsorted(places, len(symbols) - k + 1)]  # which end in the text
            if items and k > 2:  # a gram may begin with an item, and end with its end
                places = places[symbols[places + k - 2] != start]
            grams = numbers[places] * vocabulary + symbols[places + k - 1]
            codes, first, found, count = np.unique(
                grams, return_index=True, return_inverse=True, return_counts=True
            )
            if k > 1:
                self._continue(numbers, places[first], symbols)
            self._codes.append(codes)
            self._raw.append(Counts(begins_of(codes, vocabulary, contexts), count.astype(np.int64)))
            contexts = len(codes)
            numbers = np.full(len(symbols), -1, np.int64)
            numbers[places] = found.ravel()

    @property
    def codes(self) -> list[Numbers]:
        """For each k the sorted codes of grams of k symbols."""
        return self._codes

    def _continue(self, numbers: Numbers, places: Numbers, symbols: Numbers) -> None:
        """Counts the symbols before grams of k - 1 symbols, from one place for each gram of k symbols.

        The gram at a place without its first symbol is the gram of k - 1 symbols at the next place. As many
        symbols precede a gram as there are different grams that end with it.
        """
        k = len(self.codes)
        left = np.bincount(numbers[places + 1], minlength=len(self.codes[-1])).astype(np.int64)
        if self.items and k > 1:
            begins = (symbols == self.start) & (numbers >= 0)
            left += np.bincount(numbers[begins], minlength=len(left))
        self._continued.append(Counts(self._raw[-1].begins, left))

    @property
    def longest(self) -> int:
        """The highest order of which there are grams: the text may be shorter than ``highest``."""
        return sum(len(codes) > 0 for codes in self.codes)

    def of_order(self, order: int) -> KneserNey:
        """The model of one order, of which there must be grams."""
        counts = [*self._continued[: order - 1], self._raw[order - 1]]
        return KneserNey(self.vocabulary, [codes % self.vocabulary for codes in self.codes[:order]], counts)

    def log_probabilities(
        self, ids: NDArray[np.integer[Any]], begins: NDArray[np.bool_] | None = None
    ) -> Iterator[tuple[int, Doubles]]:
        """The natural-log probability of each symbol under each order, block by block.

        Args:
            ids: (time,) ids below V; ``start`` precedes the first.
            begins: (time,) before which symbols the state is reset, and ``start`` is read.

        Yields:
            The position of a block in ids, and (orders, time) float64, in which row k - 1 is order k.
        """
        for begin, contexts, symbols in blocks(self, ids, self.start, begins):
            lower = np.full(len(symbols), 1 / self.vocabulary)
            orders = []
            for k in range(1, self.highest + 1):
                grams = self.find(k, contexts[k - 1], symbols)
                orders.append(self._raw[k - 1].interpolate(contexts[k - 1], grams, lower))
                if k < self.highest:
                    lower = self._continued[k - 1].interpolate(contexts[k - 1], grams, lower)
            yield begin, np.log(np.stack(orders))


def blocks(
    grams: Grams,
    ids: NDArray[np.integer[Any]],
    start: int,
    begins: NDArray[np.bool_] | None = None,
    *,
    keep_input: bool = False,
) -> Iterator[tuple[int, Numbers, Numbers]]:
    """The position of each block of ids, the contexts (orders, time) of its symbols, and them (time,).

    Args:
        grams: what occurs.
        ids: (time,) ids below V.
        start: what is read before the first.
        begins: (time,) before which of them the state is reset.
        keep_input: whether the symbol before is read there, and not ``start``.
    """
    before, last = grams.fresh(), start
    for begin in range(0, len(ids), BLOCK):
        symbols = ids[begin : begin + BLOCK].astype(np.int64)
        inputs = np.concatenate([np.array([last], np.int64), symbols[:-1]])
        resets = None if begins is None else begins[begin : begin + BLOCK]
        if resets is not None and not keep_input:
            inputs[resets] = start
        contexts = grams.follow(before, inputs, resets)
        yield begin, contexts, symbols
        before, last = contexts[:, -1], int(symbols[-1])


class KneserNey(Grams):
    """A Kneser-Ney model of one order, as a model file holds it.

    Args:
        vocabulary: V.
        symbols: for each k up to the order the last symbols of the grams of k symbols, by number.
        counts: likewise.

    Attributes:
        symbols, counts: as above.
    """

    def __init__(self, vocabulary: int, symbols: list[Numbers], counts: list[Counts]) -> None:
        super().__init__(vocabulary, len(symbols))
        self.symbols, self.counts = symbols, counts

    @functools.cached_property
    def codes(self) -> list[Numbers]:
        """For each k the codes of the grams."""
        return [
            np.repeat(np.arange(len(counts.begins) - 1), np.diff(counts.begins)) * self.vocabulary + symbols
            for symbols, counts in zip(self.symbols, self.counts, strict=True)
        ]

    def probabilities(self, contexts: Numbers, symbols: Numbers) -> Doubles:
        """The probability (time,) of each symbol (time,) in its contexts (orders, time)."""
        found = np.full(len(symbols), 1 / self.vocabulary)
        for k, counts in enumerate(self.counts, 1):
            found = counts.interpolate(contexts[k - 1], self.find(k, contexts[k - 1], symbols), found)
        return found

    def distributions(self, contexts: Numbers) -> Doubles:
        """The probabilities (N, vocabulary) of all symbols in each of N contexts (orders, N)."""
        found = np.full((contexts.shape[1], self.vocabulary), 1 / self.vocabulary)
        for k, counts in enumerate(self.counts, 1):
            context = contexts[k - 1]
            found *= counts.shared[context][:, None]
            begin, end = counts.begins[context], counts.begins[context + 1]
            lengths = np.where(context >= 0, end - begin, 0)  # (N,) grams of each context
            rows = np.repeat(np.arange(len(context)), lengths)
            grams = np.arange(len(rows)) + np.repeat(begin - (np.cumsum(lengths) - lengths), lengths)
            found[rows, self.symbols[k - 1][grams]] += counts.kept[grams]
        return found
