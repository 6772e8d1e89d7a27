"""What a generated text has in common with the training text: whole lines, and runs of characters.

Texts are str with one character per symbol (``Tokenizer.symbols``). Runs are found by a 64-bit rolling hash,
polynomial in an odd base over mixed symbol values, and then compared character by character, so that results
are exact.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from charrnn.model.file import ModelFile
from charrnn.text.items import mix64
from charrnn.text.tokenizer import code_points

Hashes = NDArray[np.uint64]

BASE = 0x9E3779B97F4A7C15  # odd, hence with an inverse modulo 2^64
BASE_INVERSE = pow(BASE, -1, 1 << 64)


def training_text(model: ModelFile, against: Sequence[str] = ()) -> str:
    """The model's whole training text, or that of the files ``against``, one character per symbol.

    Raises:
        CorpusError: the recorded text is not where it was, or its sha256 differs; or a file of ``against``
            cannot be read.
    """
    # Imported here, so that sampling without it starts faster.
    from charrnn.text.recorded import whole_text

    return whole_text(model.corpus, model.tokenizer, against)


def lines_of(text: str) -> frozenset[str]:
    """The lines of a text, which end at newlines and nowhere else, as ``bare`` makes them.

    >>> sorted(lines_of("one\\ntwo\\r\\none"))
    ['one', 'two']
    """
    return frozenset(map(bare, text.split("\n")))


def bare(line: str) -> str:
    """A line without the carriage returns at its end, to compare texts with different line ends."""
    return line.rstrip("\r")


class RunHashes:
    """Hashes of all runs of a given length in a text, computed in a few passes over arrays.

    With symbols s and base B, the hash of the run at i is the sum of s_(i+j) B^j over j, modulo 2^64: the
    difference of two prefix sums times B^-i.
    """

    def __init__(self, text: str) -> None:
        self.length = len(text)
        powers = _powers(BASE, self.length)
        self._inverses = _powers(BASE_INVERSE, self.length)
        self._sums: Hashes = np.zeros(self.length + 1, np.uint64)
        np.add.accumulate(mix64(code_points(text).astype(np.uint64)) * powers, out=self._sums[1:])

    def of(self, run: int) -> Hashes:
        """The hashes of all runs of this many characters: (length - run + 1,), or (0,) if there are none."""
        if run > self.length:
            return np.zeros(0, np.uint64)
        count = self.length - run + 1
        inverses = self._inverses[:count] if run else np.ones(count, np.uint64)
        return (self._sums[run:] - self._sums[:count]) * inverses


def _powers(base: int, count: int) -> Hashes:
    powers = np.full(count, base, np.uint64)
    powers[:1] = 1
    return np.multiply.accumulate(powers)


def longest_copy(text: str, source: str) -> str:
    """The longest run of characters of ``text`` that also occurs in ``source``, the first of equals.

    >>> longest_copy("the cat sat", "a cat saw the dog")
    ' cat sa'
    """
    ours, theirs = RunHashes(text), RunHashes(source)
    best, low, high = "", 0, min(len(text), len(source))
    while low < high:  # a run of ``low`` characters is shared, none longer than ``high`` is
        run = (low + high + 1) // 2
        shared = _found_in(ours.of(run), theirs.of(run))
        found = next((text[i : i + run] for i in shared.tolist() if text[i : i + run] in source), None)
        if found is None:
            high = run - 1
        else:
            best, low = found, run
    return best


def _found_in(few: Hashes, many: Hashes) -> NDArray[np.intp]:
    """The places of ``few`` whose values occur in ``many``, which may be long and is not sorted."""
    values = np.unique(few)
    places = np.minimum(values.searchsorted(many), len(values) - 1)
    shared = values[np.unique(places[values[places] == many])]
    # Sorting, since the table that NumPy 2.0 may take instead overflows for hashes from 2^63 on.
    return np.flatnonzero(np.isin(few, shared, kind="sort"))


class SpanIndex:
    """Finds which characters would complete a run of ``span`` characters of a text.

    >>> sorted(SpanIndex("abcabd", 3).completions("xab"))
    ['c', 'd']
    """

    def __init__(self, source: str, span: int) -> None:
        self._source, self.context = source, span - 1
        hashes = RunHashes(source).of(span - 1)[: max(0, len(source) - span + 1)]
        self._order = np.argsort(hashes, kind="stable")
        self._sorted = hashes[self._order]

    def completions(self, written: str) -> set[str]:
        """The characters that, written next, would complete a run of the text."""
        if len(written) < self.context:
            return set()
        context = written[-self.context :]
        key = RunHashes(context).of(self.context)[0]
        begin = int(self._sorted.searchsorted(key, "left"))
        end = int(self._sorted.searchsorted(key, "right"))
        places = self._order[begin:end].tolist()
        source, size = self._source, self.context
        return {source[i + size] for i in places if source.startswith(context, i)}
