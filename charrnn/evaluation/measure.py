"""How well a model predicts a text: cross-entropy, bits per character and per byte, perplexity.

A text is scored as one sequence: the state starts at zero, the model reads the tokenizer's start symbol
(the newline if the vocabulary has one), and the state is carried from the first character to the last. So
every character is scored, the first one given the start symbol alone. With ``reset="lines"``, and for
models trained with ``--lines``, each line is such a sequence, its newline included. With ``reset="256"`` the
state begins at zero at every 256 characters, and the model reads the character before.

Unknown characters, which the vocabulary lacks, count too. Identifying one among the U characters of Unicode
that the vocabulary lacks costs ln U nats. Its occurrence costs -ln p(unknown symbol) if there is an unknown
symbol. Otherwise the model does not read it, and its occurrence costs ln g(g + 1), where g is the distance
from the previous unknown character (or from the beginning), since the sum of 1 / g(g + 1) over all g is 1.
This is a valid code: given the length of a text and its number of unknown characters, the probabilities of
all such texts sum to at most 1, and known characters cost what the model assigns to them.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.errors import counted
from charrnn.text.scored import ScoredText

Floats = NDArray[np.float32]
# A position in a text's ids, and the log probabilities (n,) of the ids from there, in float32 or float64.
Piece = tuple[int, NDArray[np.floating[Any]]]


@dataclasses.dataclass(frozen=True)
class Score:
    """Sums over a text; the score of several texts is the sum of their scores.

    Attributes:
        characters: the number of characters, or of bytes for a byte model.
        bytes: the size of the text as UTF-8.
        unknown: the number of characters that the vocabulary lacks.
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
        """The cross-entropy in nats; NaN for an empty text."""
        return self.nats / self.characters if self.characters else math.nan

    @property
    def bits_per_character(self) -> float:
        """The cross-entropy in bits."""
        return self.nats_per_character / math.log(2)

    @property
    def bits_per_byte(self) -> float:
        """All bits over all bytes, which is comparable between vocabularies."""
        return self.nats / math.log(2) / self.bytes if self.bytes else math.nan

    @property
    def perplexity(self) -> float:
        """Per character: e to the power of the cross-entropy in nats."""
        return math.exp(min(self.nats_per_character, 700.0))

    def __str__(self) -> str:
        """The most important figures, in one line.

        >>> print(Score(characters=1, bytes=1, unknown=0, nats=math.log(2)))
        1 character, 0 unknown, 1.0000 bits/char, perplexity 2.0000
        """
        return (
            f"{counted(self.characters, 'character')}, {self.unknown:,} unknown, "
            f"{self.bits_per_character:.4f} bits/char, perplexity {self.shown_perplexity}"
        )

    @property
    def shown_perplexity(self) -> str:
        """The perplexity with four decimals, or in exponential notation from a million."""
        return f"{self.perplexity:.4f}" if self.perplexity < 1e6 else f"{self.perplexity:.3e}"


def line_scores(text: ScoredText, scores: Floats) -> Iterator[tuple[int, int, float]]:
    """For each line, newline included, its characters, unknown characters and natural-log probability.

    Args:
        text: with the lines.
        scores: (characters,) from ``Evaluator.log_probabilities``.
    """
    ends = text.line_ends  # (lines,)
    begins = np.concatenate([np.zeros(1, np.int64), ends[:-1]])
    unknown = np.searchsorted(text.unknown, ends) - np.searchsorted(text.unknown, begins)
    sums = np.add.reduceat(scores, begins, dtype=np.float64)  # (lines,)
    yield from zip((ends - begins).tolist(), unknown.tolist(), sums.tolist(), strict=True)


def sum_of(text: ScoredText, scores: Floats) -> Score:
    """A text's score from the log probabilities of its characters (characters,)."""
    return Score(text.characters, text.bytes, len(text.unknown), -float(scores.sum(dtype=np.float64)))


def total(scores: Iterable[Score]) -> Score:
    """The sum of scores."""
    return sum(scores, Score(0, 0, 0, 0.0))
