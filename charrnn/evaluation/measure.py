"""How well a model predicts a text, in the units of the literature.

The text is scored whole: the state starts at zero, reads the tokenizer's start symbol (a newline, where the
vocabulary has one) and is carried from the first character to the last, so every character is scored, the
first from the start symbol alone. With ``reset="lines"``, and for models that learnt single lines, the same
happens anew at each line; a line's end belongs to its line.

A character that the vocabulary lacks is charged, never dropped. Naming it among the U characters of Unicode
that the vocabulary lacks costs ln U nats. Saying that one comes costs -ln p(unknown symbol) where there is
such a symbol. Where there is none the model does not read it, and it costs ln g(g + 1), where g is its
distance from the unknown character before (from the beginning, for the first), since the sum of 1 / g(g + 1)
over all g is 1. That is a code: given a text's length and how many unknown characters it holds, the
probabilities of all such texts sum to at most 1, and known characters cost exactly what the model says.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from charrnn.text.scored import Places, Text
from charrnn.text.tokenizer import Tokenizer

Floats = NDArray[np.float32]


@dataclasses.dataclass(frozen=True)
class Score:
    """The sums over a text; figures for several texts are the sum of their scores.

    Attributes:
        characters: symbols scored (bytes, for a byte model).
        bytes: of the text as UTF-8.
        unknown: how many characters the vocabulary lacks.
        nats: the negative natural-log probability of the text.
    """

    characters: int
    bytes: int
    unknown: int
    nats: float

    def __add__(self, other: Score) -> Score:
        return Score(
            self.characters + other.characters,
            self.bytes + other.bytes,
            self.unknown + other.unknown,
            self.nats + other.nats,
        )

    @property
    def nats_per_character(self) -> float:
        """The cross-entropy in nats; nan for an empty text."""
        return self.nats / self.characters if self.characters else math.nan

    @property
    def bits_per_character(self) -> float:
        """The cross-entropy in bits."""
        return self.nats_per_character / math.log(2)

    @property
    def bits_per_byte(self) -> float:
        """The bits in all over the bytes in all: comparable between vocabularies."""
        return self.nats / math.log(2) / self.bytes if self.bytes else math.nan

    @property
    def perplexity(self) -> float:
        """Of a character: e to the cross-entropy in nats."""
        return math.exp(min(self.nats_per_character, 700.0))


def unknown_nats(places: Places, tokenizer: Tokenizer) -> NDArray[np.float64]:
    """What each unknown character costs beside what the model says of its unknown symbol, in nats.

    Args:
        places: (unknown,) where they stand in the text, ascending.
        tokenizer: says how many characters the vocabulary lacks, and whether it has an unknown symbol.
    """
    naming = math.log(max(1, tokenizer.unseen))
    if tokenizer.unknown is not None:
        return np.full(len(places), naming)
    gaps = np.diff(places, prepend=-1).astype(np.float64)
    return naming + np.log(gaps) + np.log1p(gaps)


def line_scores(text: Text, scores: Floats) -> Iterator[tuple[int, int, float]]:
    """For each line its characters, unknown characters, and natural-log probability.

    Args:
        text: whose lines are meant; the newline belongs to its line.
        scores: (characters,) as ``Evaluator.log_probabilities`` gives them.
    """
    ends = text.line_ends  # (lines,)
    begins = np.concatenate([np.zeros(1, np.int64), ends[:-1]])
    unknown = np.searchsorted(text.unknown, ends) - np.searchsorted(text.unknown, begins)
    sums = np.add.reduceat(scores, begins, dtype=np.float64)  # (lines,)
    yield from zip((ends - begins).tolist(), unknown.tolist(), sums.tolist(), strict=True)


def sum_of(text: Text, scores: Floats) -> Score:
    """The sums over a text of its characters' scores (characters,)."""
    return Score(text.characters, text.bytes, len(text.unknown), -float(scores.sum(dtype=np.float64)))


def total(scores: Iterable[Score]) -> Score:
    """The sum of several texts' scores."""
    return sum(scores, Score(0, 0, 0, 0.0))
