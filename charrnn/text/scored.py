"""Texts to be scored: read in bounded memory, with their unknown characters counted instead of refused.

A corpus is what a model learns from; a text is what it is held to. The two are read by the same rules
(encoding, line ends), but a text may hold characters that the vocabulary lacks, and remembers where.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.config import CorpusConfig, from_mapping
from charrnn.errors import CorpusError
from charrnn.files import SpilledArray
from charrnn.text.sources import as_utf8, find_sources, read_sources
from charrnn.text.tokenizer import Ids, Tokenizer, code_points, id_dtype

NEWLINE = 10
Places = NDArray[np.int64]
Pieces = Callable[[], Iterator[str | bytes]]


@dataclasses.dataclass(frozen=True)
class Text:
    """A text as a model sees it.

    Attributes:
        name: what tables call it.
        ids: (symbols,) what the model reads: unknown characters are its unknown symbol where it has one,
            and left out where it has none. A mapped file where they are many.
        characters: how many the text has; for a byte model, how many bytes.
        bytes: of the text as UTF-8.
        unknown: (unknown,) the places of characters that the vocabulary lacks, ascending.
        newlines: (newlines,) the places of line ends, ascending.
        tokenizer: whose ids these are.
        pieces: reads the text again, piece by piece.
    """

    name: str
    ids: Ids
    characters: int
    bytes: int
    unknown: Places
    newlines: Places
    tokenizer: Tokenizer
    pieces: Pieces

    @property
    def complete(self) -> bool:
        """Whether every character has its symbol in ``ids``."""
        return len(self.ids) == self.characters

    def place(self, character: Places) -> Places:
        """Where in ``ids`` the characters at these places (n,) are, or would be if they were known."""
        if self.complete:
            return character
        return character - np.searchsorted(self.unknown, character)

    @property
    def line_ends(self) -> Places:
        """(lines,) the place after each line, its newline included; the last line may lack one."""
        ends = self.newlines + 1
        if len(ends) == 0 or ends[-1] < self.characters:
            ends = np.append(ends, self.characters)
        return ends


def gather(name: str, pieces: Pieces, tokenizer: Tokenizer) -> Text:
    """The text that ``pieces`` reads, as the tokenizer sees it.

    Raises:
        CorpusError: there is nothing in it, or it cannot be read.
    """
    ids = SpilledArray(id_dtype(255 if tokenizer.kind == "byte" else tokenizer.size))
    unknown, newlines = SpilledArray(np.dtype(np.int64)), SpilledArray(np.dtype(np.int64))
    characters = size = 0
    for piece in pieces():
        found = tokenizer.lookup(piece)  # (chars,)
        points = code_points(piece) if isinstance(piece, str) else found
        newlines.add(np.flatnonzero(points == NEWLINE) + characters)
        if tokenizer.kind == "char" and (missing := found == tokenizer.size).any():
            unknown.add(np.flatnonzero(missing) + characters)
            if tokenizer.unknown is None:
                found = found[~missing]
            else:
                found[missing] = tokenizer.unknown
        ids.add(found)
        characters += len(piece)
        size += len(as_utf8(piece))
    if characters == 0:
        raise CorpusError(f"{name}: empty; give a text of at least one character")
    return Text(name, ids.finish(), characters, size, unknown.finish(), newlines.finish(), tokenizer, pieces)


def text_config(
    recorded: Mapping[str, Any], tokenizer: Tokenizer, encoding: str | None = None
) -> CorpusConfig:
    """How a model's texts are read: as its corpus was, unless another encoding is named.

    Args:
        recorded: what the model file says of its corpus.
        tokenizer: the model's.
        encoding: of the text, if it is not the corpus's.
    """
    known: dict[str, Any] = dict(recorded) | {"tokenizer": tokenizer.kind}
    if encoding is not None:
        known["encoding"] = encoding
    config: CorpusConfig = from_mapping(CorpusConfig, known)
    return config


def text_of(text: str, tokenizer: Tokenizer, name: str = "text") -> Text:
    """A string as the model sees it.

    Raises:
        CorpusError: it is empty.
    """
    piece = text.encode("utf-8", "surrogateescape") if tokenizer.kind == "byte" else text
    return gather(name, lambda: iter((piece,)), tokenizer)


def read_text(path: str, tokenizer: Tokenizer, config: CorpusConfig) -> Text:
    """The file, directory or stdin at ``path`` as the model sees it.

    Raises:
        CorpusError: nothing there, nothing in it, or not text.
    """
    sources = find_sources([path], config).sources
    return gather(path, lambda: read_sources(sources, config), tokenizer)
