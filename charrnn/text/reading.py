"""What is learnt or scored of the sources: all of their text, their lines, or a column of a table.

With ``lines``, every source ends its last item with a newline, and no item ends with a carriage return.
Models up to 0.1.0 (``rules`` 1) joined their sources as they were, and are read in that way.
"""

from __future__ import annotations

import codecs
import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from charrnn.config import CorpusConfig
from charrnn.text.pairs import checked_pairs
from charrnn.text.sources import Source
from charrnn.text.tables import read_rows

ROWS = 4096  # of a table in a piece
UTF8_MARK = codecs.BOM_UTF8.decode("latin-1")


def read_symbols(
    sources: Sequence[Source], config: CorpusConfig, digest: Any = None, *, end: bool = True
) -> Iterator[str | bytes]:
    """The pieces of all sources in order: bytes for the byte tokenizer, else decoded text.

    Args:
        sources: to read; those that have a delimiter are tables, of which the column is read.
        config: how.
        digest: a hash object, updated with the whole text of the sources as UTF-8.
        end: whether the last item of the last source is ended too, if it is not.

    Raises:
        CorpusError: a source cannot be read, has no such column, or is to hold pairs and does not.
    """
    for number, source in enumerate(sources):
        pieces = source.symbols(config)
        if digest is not None:
            pieces = _hashed(pieces, digest)
        if config.pairs:
            yield from checked_pairs(pieces, source.name)
            continue
        if not config.lines or config.rules == 1:
            yield from pieces
            continue
        text = (piece.decode("latin-1") if isinstance(piece, bytes) else piece for piece in pieces)
        if source.delimiter is not None:
            lines = _column(text, source.delimiter, config.column, source.name)
        else:
            lines = whole_lines(text, end=end or number < len(sources) - 1)
        byte = config.tokenizer == "byte"
        yield from (line.encode("latin-1") for line in lines) if byte else lines


def _hashed(pieces: Iterable[str | bytes], digest: Any) -> Iterator[str | bytes]:
    for piece in pieces:
        digest.update(as_utf8(piece))
        yield piece


def as_utf8(piece: str | bytes) -> bytes:
    """A piece as UTF-8, for sizes and hashes; bytes as they are."""
    return piece if isinstance(piece, bytes) else piece.encode("utf-8", "surrogatepass")


def whole_lines(pieces: Iterable[str], *, end: bool = True) -> Iterator[str]:
    """The text with the carriage returns before newlines left out, and a newline at its end.

    Args:
        pieces: the text.
        end: whether a newline is added if the text does not end with one.

    >>> list(whole_lines(["Ann\\r", "\\nMia"]))
    ['Ann', '\\nMia', '\\n']
    """
    held, last = "", "\n"
    for piece in pieces:
        whole = held + piece
        text = whole.rstrip("\r")
        held = whole[len(text) :]
        if text:
            last = text[-1]
            yield re.sub("\r+\n", "\n", text)
    if end and last != "\n":
        yield "\n"


def _unmarked(text: Iterable[str]) -> Iterator[str]:
    """The text without the byte-order mark of UTF-8 before it, which remains where bytes are read."""
    for number, piece in enumerate(text):
        yield piece if number else piece.removeprefix(UTF8_MARK)


def _column(text: Iterable[str], delimiter: str, columns: Sequence[str], name: str) -> Iterator[str]:
    """The cells of a column, a line each."""
    rows = read_rows(_unmarked(text), delimiter, columns, name)
    while block := list(itertools.islice(rows, ROWS)):
        yield "".join(f"{cell}\n" for (cell,) in block)
