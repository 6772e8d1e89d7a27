"""How well a model predicts a text, in the units of the literature.

The text is scored whole: the state starts at zero, reads the tokenizer's start symbol (a newline, where the
vocabulary has one) and is carried from the first character to the last, so every character is scored, the
first from the start symbol alone.

A character that the vocabulary lacks is charged, never dropped. Naming it among the U characters of Unicode
that the vocabulary lacks costs ln U nats; saying that one comes costs -ln p(unknown symbol) where there is
such a symbol, else ln(n + 1) for n characters of training, the estimate of an event never seen (a code
whose probabilities then sum to 1 + 1/(n + 1)). Without an unknown symbol it is not read by the model.
"""

from __future__ import annotations

import dataclasses
import math

# Below this many symbols NumPy has scored the text before torch is imported.
SHORT = 20_000
BLOCK = 4096  # symbols whose logits are in memory at once


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
