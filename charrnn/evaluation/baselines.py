"""What simpler predictors make of a text: the figures that a model's own must be read beside.

uniform     every symbol of the model's vocabulary is as likely as any other: ln V nats
unigram     how often a symbol stands in the training text, plus one: (c + 1) / (N + V) (Laplace)
n-grams     interpolated Kneser-Ney of orders 2 to 8, trained on the same text (see ``ngram``)
gzip, bzip2, xz
            the size to which they compress the evaluated text as UTF-8, headers included, having seen
            nothing before; 8 bits a byte

The first three read the model's own symbols, with unknown characters charged as the model's are, and carry
their context from the text's first character to its last.
"""

from __future__ import annotations

import bz2
import lzma
import math
import zlib
from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np

from charrnn.errors import CorpusError
from charrnn.evaluation.measure import Score, unknown_nats
from charrnn.evaluation.ngram import HIGHEST, NGrams
from charrnn.text.scored import Text

LIMIT = 1 << 24  # symbols of training beyond which counting takes gigabytes
GZIP = 16 + zlib.MAX_WBITS  # a gzip header around what zlib makes


class Compressor(Protocol):
    """What zlib, bz2 and lzma have in common."""

    def compress(self, data: bytes, /) -> bytes:
        """Takes some bytes, gives some."""

    def flush(self) -> bytes:
        """Gives the rest."""


COMPRESSORS: dict[str, Callable[[], Compressor]] = {
    "gzip -9": lambda: zlib.compressobj(9, zlib.DEFLATED, GZIP),
    "bzip2 -9": lambda: bz2.BZ2Compressor(9),
    "xz -9e": lambda: lzma.LZMACompressor(preset=9 | lzma.PRESET_EXTREME),
}


class Baselines:
    """Predictors trained on one text, to be held to others.

    Attributes:
        trained_on: how many symbols the n-grams counted: the last LIMIT of a longer text.
    """

    def __init__(self, train: Text) -> None:
        """Counts the training text.

        Raises:
            CorpusError: none of its characters is in the vocabulary.
        """
        ids = train.ids[-LIMIT:]
        if len(ids) == 0:
            raise CorpusError(f"{train.name}: holds no character that the model knows; name another --train")
        self._tokenizer = train.tokenizer
        size = train.tokenizer.size
        self.trained_on = len(ids)
        counts = np.bincount(ids, minlength=size)  # (vocabulary,)
        self._unigram = -np.log((counts + 1) / (len(ids) + size))  # (vocabulary,), nats
        self._ngrams = NGrams(ids, size, train.tokenizer.start)

    def scores(self, text: Text) -> Iterator[tuple[str, Score]]:
        """The name and the score of each baseline, in the order of this module's table."""
        tokenizer = self._tokenizer
        charge = float(unknown_nats(text.unknown, tokenizer).sum())

        def score(nats: float) -> Score:
            return Score(text.characters, text.bytes, len(text.unknown), nats + charge)

        yield "uniform", score(len(text.ids) * math.log(tokenizer.size))
        counts = np.bincount(text.ids, minlength=tokenizer.size)  # (vocabulary,)
        yield "unigram", score(float(counts @ self._unigram))
        sums = np.zeros(HIGHEST)
        for _, found in self._ngrams.log_probabilities(text.ids):  # (orders, time)
            sums -= found.sum(axis=1)
        for order in range(2, HIGHEST + 1):
            yield f"{order}-gram", score(float(sums[order - 1]))
        yield from compressed(text)


def compressed(text: Text) -> Iterator[tuple[str, Score]]:
    """The name and the score of each compressor; they know every character."""
    for name, make in COMPRESSORS.items():
        compressor = make()
        size = 0
        for piece in text.pieces():
            data = piece if isinstance(piece, bytes) else piece.encode("utf-8", "surrogatepass")
            size += len(compressor.compress(data))
        size += len(compressor.flush())
        yield name, Score(text.characters, text.bytes, 0, 8 * size * math.log(2))
