"""Texts to be scored, read in bounded memory.

They are read by the same rules as a training corpus (encoding, line ends), but may hold characters that the
vocabulary lacks, whose positions are recorded.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.config import CorpusConfig, Newlines
from charrnn.errors import CorpusError
from charrnn.files import SpilledArray
from charrnn.text.reading import as_utf8, read_symbols
from charrnn.text.sources import Skipped, find_sources
from charrnn.text.tokenizer import Ids, Places, Tokenizer, code_points

NEWLINE = ord("\n")
Pieces = Callable[[], Iterator[str | bytes]]
NOTHING_SKIPPED = Skipped()


@dataclasses.dataclass(frozen=True)
class ScoredText:
    """A text to be scored, as the model reads it.

    Attributes:
        name: for tables and messages.
        ids: (symbols,) what the model reads; unknown characters are folded into the unknown symbol, or left
            out where there is none. Memory-mapped if large.
        characters: the number of characters, or of bytes for a byte model.
        bytes: the size of the text as UTF-8.
        unknown: (unknown,) positions of the characters that the vocabulary lacks, ascending.
        newlines: (newlines,) positions of the newlines, ascending.
        tokenizer: the model's.
        pieces: a function that reads the text again, piece by piece; CorpusError where it has changed.
        strangers: how often each of the characters occurs that the vocabulary lacks, the most frequent first.
        skipped: what was passed over in a directory.
    """

    name: str
    ids: Ids
    characters: int
    bytes: int
    unknown: Places
    newlines: Places
    tokenizer: Tokenizer
    pieces: Pieces
    strangers: dict[str, int] = dataclasses.field(default_factory=dict)
    skipped: Skipped = NOTHING_SKIPPED

    @property
    def complete(self) -> bool:
        """Whether every character has an id in ``ids``."""
        return len(self.ids) == self.characters

    def place(self, character: Places) -> Places:
        """The positions in ``ids`` of characters (n,), or of what follows those that were left out."""
        if self.complete:
            return character
        return character - np.searchsorted(self.unknown, character)

    def beginning(self, characters: int) -> ScoredText:
        """The first ``characters`` of the text, or all if it is shorter; for scoring, not reading again."""
        if characters >= self.characters:
            return self
        places = np.array([characters])
        return dataclasses.replace(
            self,
            ids=self.ids[: int(self.place(places)[0])],
            characters=characters,
            unknown=self.unknown[self.unknown < characters],
            newlines=self.newlines[self.newlines < characters],
        )

    @property
    def line_ends(self) -> Places:
        """(lines,) the position after each line and its newline, which the last line may lack."""
        ends = self.newlines + 1
        if len(ends) == 0 or ends[-1] < self.characters:
            ends = np.append(ends, self.characters)
        return ends


def unknown_nats(places: Places, tokenizer: Tokenizer) -> NDArray[np.float64]:
    """The cost in nats of each unknown character, without that of the unknown symbol under the model.

    ``charrnn.evaluation.measure`` explains it.

    Args:
        places: (unknown,) positions in the text, ascending.
        tokenizer: of the text.

    Returns:
        (unknown,) float64.
    """
    naming = math.log(max(1, tokenizer.unseen))
    if tokenizer.unknown is not None:
        return np.full(len(places), naming)
    gaps = np.diff(places, prepend=-1).astype(np.float64)
    return naming + np.log(gaps) + np.log1p(gaps)


def gather(name: str, pieces: Pieces, tokenizer: Tokenizer, skipped: Skipped = NOTHING_SKIPPED) -> ScoredText:
    """The text that ``pieces`` reads, encoded.

    Raises:
        CorpusError: it is empty, or cannot be read.
    """
    ids = SpilledArray(tokenizer.id_dtype)
    unknown, newlines = SpilledArray(np.dtype(np.int64)), SpilledArray(np.dtype(np.int64))
    characters = size = 0
    strangers: Counter[str] = Counter()
    digests = []
    for piece in pieces():
        digests.append(_digest(piece))
        found, missing = tokenizer.fold(piece)
        points = code_points(piece) if isinstance(piece, str) else found  # (characters,)
        newlines.add(np.flatnonzero(points == NEWLINE) + characters)
        unknown.add(missing + characters)
        kinds, counts = np.unique(points[missing], return_counts=True)
        strangers.update(dict(zip(map(chr, kinds.tolist()), counts.tolist(), strict=True)))
        ids.add(found)
        characters += len(piece)
        size += len(as_utf8(piece))
    if characters == 0:
        raise CorpusError(f"{name}: empty; give a text of at least one character")
    places = unknown.finish(), newlines.finish()
    frequent = dict(strangers.most_common())
    again = _same_again(name, pieces, digests)
    return ScoredText(name, ids.finish(), characters, size, *places, tokenizer, again, frequent, skipped)


def _digest(piece: str | bytes) -> bytes:
    return hashlib.blake2b(as_utf8(piece), digest_size=16).digest()


def _same_again(name: str, pieces: Pieces, digests: list[bytes]) -> Pieces:
    """The same pieces, each compared with what it was when the text was encoded."""

    def again() -> Iterator[str | bytes]:
        for piece, digest in itertools.zip_longest(pieces(), digests):
            if piece is None or _digest(piece) != digest:
                raise CorpusError(f"{name}: changed while it was read; try again when nothing writes to it")
            yield piece

    return again


def text_config(
    recorded: Mapping[str, Any],
    tokenizer: Tokenizer,
    encoding: str | None = None,
    newlines: Newlines | None = None,
) -> CorpusConfig:
    """How to read a text for a model: as its corpus was read, unless something else is given.

    Args:
        recorded: the corpus as the model file describes it.
        tokenizer: the model's.
        encoding: of the text, if it differs from the corpus's.
        newlines: whether its line endings are converted, if not as those of the corpus.
    """
    changed = {"tokenizer": tokenizer.kind, "encoding": encoding, "newlines": newlines}
    given: dict[str, Any] = {name: value for name, value in changed.items() if value is not None}
    if newlines == "unix":
        given["rules"] = 2  # by the first ones, bytes were never converted
    return CorpusConfig.recorded(recorded, **given)


def text_of(text: str, tokenizer: Tokenizer, name: str = "text") -> ScoredText:
    """A str as a text to be scored.

    Raises:
        CorpusError: it is empty.
    """
    piece = tokenizer.to_symbols(text)
    return gather(name, lambda: iter((piece,)), tokenizer)


def read_text(path: str, tokenizer: Tokenizer, config: CorpusConfig) -> ScoredText:
    """The file or directory at ``path``, or stdin ("-"), as a text to be scored.

    Raises:
        CorpusError: it is missing, empty, or cannot be decoded.
    """
    found = find_sources([path], config)
    return gather(
        path, lambda: read_symbols(found.sources, config, end=False), tokenizer, skipped=found.skipped
    )
