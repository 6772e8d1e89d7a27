"""How much of directories may be looked at, where a model file from anywhere names them."""

from __future__ import annotations

import dataclasses
import math

from charrnn.errors import CorpusError

# Of the directories that a model names is looked at so much at most: in files, and in characters beside as
# many as its text has. Where a column was learnt, the table may be many times as large.
MOST_FILES = 100_000
BESIDE = 256 << 20
COLUMN = 100
UNKNOWN = 4 << 30  # characters of a text whose size the model does not say


class TooMuch(CorpusError):
    """There is more in a directory than there may be."""


@dataclasses.dataclass
class Bound:
    """How much of directories may be looked at, where somebody else named them.

    Attributes:
        files: how many files, whatever they are.
        characters: of texts, where a file that is none counts as a piece of one.
    """

    files: float = math.inf
    characters: float = math.inf

    def spend(self, characters: int = 0, files: int = 0) -> None:
        """Counts what was looked at.

        Raises:
            TooMuch: it is more than there may be.
        """
        self.files -= files
        self.characters -= characters
        if self.files < 0 or self.characters < 0:
            raise TooMuch("more is in its directory than in the text")


def bound_of(size: object, *, column: bool) -> Bound:
    """The bound for a text of which this size, in bytes as UTF-8, was learnt."""
    known = size if isinstance(size, int) else UNKNOWN
    return Bound(MOST_FILES, BESIDE + known * (COLUMN if column else 1))
