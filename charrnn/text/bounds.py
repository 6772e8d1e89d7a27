"""How much may be read of what a file names, where that may come from anywhere: a model, or a run's state."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from charrnn.errors import CorpusError

# Of directories is looked at so much at most: beside as many files as the text has, and as many characters.
MOST_FILES = 100_000  # by name
MOST_OPENED = 16_384
BESIDE = 64 << 20  # characters
# As many times as large as the text may its files be, since carriage returns are left out; and a table may be
# as many times as large as the column that was learnt.
LARGER, COLUMN = 2, 100
UNKNOWN = 256 << 20  # bytes of a text whose size is not recorded


class TooMuch(CorpusError):
    """There is more in a directory than there may be."""


@dataclasses.dataclass
class Bound:
    """How much may be read of paths that somebody else named.

    Attributes:
        files: how many files of directories, whatever they are.
        opened: how many of these are opened.
        characters: that are read of these, as far as they are known.
        learnt: bytes of what is learnt, as UTF-8.
    """

    files: float = math.inf
    opened: float = math.inf
    characters: float = math.inf
    learnt: float = math.inf

    def spend(self, *, files: int = 0, opened: int = 0, characters: int = 0) -> None:
        """Counts what was looked at in directories.

        Raises:
            TooMuch: it is more than there may be.
        """
        self.files -= files
        self.opened -= opened
        self.characters -= characters
        if min(self.files, self.opened, self.characters) < 0:
            raise TooMuch("more is in its directory than in the text")

    def learn(self, size: int) -> None:
        """Counts bytes of what is learnt.

        Raises:
            TooMuch: they are more than the text had.
        """
        self.learnt -= size
        if self.learnt < 0:
            raise TooMuch("larger than the text")


def bound_of(recorded: Mapping[str, Any]) -> Bound:
    """The bound for a text, from its description in a model or state file."""
    size, files = recorded.get("bytes"), recorded.get("files")
    known = size if isinstance(size, int) else UNKNOWN
    beside = files if isinstance(files, int) else 0
    larger = COLUMN if recorded.get("column") else LARGER
    return Bound(MOST_FILES + beside, MOST_OPENED + beside, BESIDE + known * larger, known)
