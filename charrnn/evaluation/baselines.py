"""Scores of simpler predictors, to compare a model with.

uniform     all symbols of the vocabulary are equally probable: ln V nats
unigram     the frequency of a symbol in the training text, plus one: (c + 1) / (N + V) (Laplace)
n-grams     modified Kneser-Ney of orders 2 to 8, trained on the same text (see ``charrnn.model.ngram``)
gzip, bzip2, xz
            the compressed size of the evaluated text as UTF-8, headers included, at 8 bits per byte; they
            know nothing of the training text

The first three predict the model's symbols; unknown characters cost what they cost the model, and the context
is carried from the first character of the text to the last; for a model of lines, to the end of each line.
"""

from __future__ import annotations

import bz2
import lzma
import math
import zlib
from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np

from charrnn.config import MAX_ORDER
from charrnn.errors import CorpusError
from charrnn.evaluation.measure import Score
from charrnn.model.ngram import MOST_COUNTED, NGrams
from charrnn.text.items import begins_of
from charrnn.text.reading import as_utf8
from charrnn.text.scored import ScoredText, unknown_nats

GZIP = 16 + zlib.MAX_WBITS  # makes zlib write a gzip header


class Compressor(Protocol):
    """The interface of the compressors of zlib, bz2 and lzma."""

    def compress(self, data: bytes, /) -> bytes:
        """Takes a piece of data, returns a piece of output."""

    def flush(self) -> bytes:
        """Returns the rest of the output."""


COMPRESSORS: dict[str, Callable[[], Compressor]] = {
    "gzip -9": lambda: zlib.compressobj(9, zlib.DEFLATED, GZIP),
    "bzip2 -9": lambda: bz2.BZ2Compressor(9),
    "xz -9e": lambda: lzma.LZMACompressor(preset=9 | lzma.PRESET_EXTREME),
}


class Baselines:
    """Predictors trained on one text, which score others.

    Args:
        train: the training text.
        items: whether each line is a text of its own, in this text and in those that are scored.

    Attributes:
        trained_on: the number of symbols that were counted: at most MOST_COUNTED, from the text's end.
    """

    def __init__(self, train: ScoredText, *, items: bool = False) -> None:
        """Counts the symbols and n-grams of the training text.

        Raises:
            CorpusError: all its characters are unknown to the model.
        """
        ids = train.ids[-MOST_COUNTED:]
        if len(ids) == 0:
            raise CorpusError(f"{train.name}: holds no character that the model knows; name another --train")
        self._tokenizer = train.tokenizer
        size = train.tokenizer.size
        self.trained_on = len(ids)
        counts = np.bincount(ids, minlength=size)  # (vocabulary,)
        self._unigram = -np.log((counts + 1) / (len(ids) + size))  # (vocabulary,), nats
        self._items = items
        self._ngrams = NGrams(ids, size, train.tokenizer.start, items=items)

    def scores(self, text: ScoredText) -> Iterator[tuple[str, Score]]:
        """The name and the score of each baseline, in the order of the module's docstring."""
        tokenizer = self._tokenizer
        charge = float(unknown_nats(text.unknown, tokenizer).sum())

        def score(nats: float) -> Score:
            return Score(text.characters, text.bytes, len(text.unknown), nats + charge)

        yield "uniform", score(len(text.ids) * math.log(tokenizer.size))
        counts = np.bincount(text.ids, minlength=tokenizer.size)  # (vocabulary,)
        yield "unigram", score(float(counts @ self._unigram))
        sums = np.zeros(MAX_ORDER)
        begins = begins_of(text.place(text.line_ends), len(text.ids)) if self._items else None
        for _, found in self._ngrams.log_probabilities(text.ids, begins):  # (orders, time)
            sums -= found.sum(axis=1)
        for order in range(2, MAX_ORDER + 1):
            yield f"{order}-gram", score(float(sums[order - 1]))
        yield from compressed(text)


def compressed(text: ScoredText) -> Iterator[tuple[str, Score]]:
    """The name and the score of each compressor, to which no character is unknown."""
    for name, make in COMPRESSORS.items():
        compressor = make()
        size = 0
        for piece in text.pieces():
            size += len(compressor.compress(as_utf8(piece)))
        size += len(compressor.flush())
        yield name, Score(text.characters, text.bytes, 0, 8 * size * math.log(2))
