"""Characters to ids and back, or bytes to ids and back, exactly and without a loop over characters.

Ids count from 0. A character vocabulary stands in code-point order; where rare characters were folded
together, the unknown symbol has the last id. Every text begins, for the model, after ``start``: the id
that is read before the first character, so that the first character too has a probability.
"""

from __future__ import annotations

import codecs
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from charrnn.errors import ConfigError, ModelFileError, UnknownCharacterError

Ids = NDArray[np.unsignedinteger[Any]]

CODE_POINTS = 0x110000
SCALAR_VALUES = CODE_POINTS - 0x800  # what is left of Unicode without the surrogates


class Tokenizer(Protocol):
    """What the rest of the house knows of a vocabulary.

    Attributes:
        kind: "char" or "byte".
        size: how many ids there are, the unknown symbol included.
        start: the id that stands before every text.
        newline: the id that ends a line, or None where the vocabulary has no newline.
        unknown: the unknown symbol's id, or None where there is none.
        unseen: how many further symbols a text could hold that the vocabulary does not name.
    """

    kind: str
    size: int
    start: int
    newline: int | None
    unknown: int | None
    unseen: int

    def encode(self, text: str) -> Ids:
        """Ids of the text; raises UnknownCharacterError where it holds what cannot be expressed."""

    def lookup(self, text: str | bytes) -> Ids:
        """Ids of the text, with ``size`` wherever the vocabulary has none."""

    def decode(self, ids: Ids | list[int]) -> str:
        """The text of these ids."""

    def decode_bytes(self, ids: Ids | list[int]) -> bytes:
        """The bytes to put out for these ids: UTF-8 of characters, or the bytes themselves."""

    def text_decoder(self) -> codecs.IncrementalDecoder:
        """Decodes what ``decode_bytes`` returns, piece by piece, into the text that ``decode`` returns."""

    def symbols(self, ids: Ids | list[int]) -> str:
        """The ids as a str of exactly one character per id."""

    def text_symbols(self, text: str) -> str:
        """The text as a str of exactly one character per symbol, whether or not the vocabulary has it."""

    def describe(self) -> dict[str, Any]:
        """The JSON object that stands in a model file."""


def id_dtype(size: int) -> np.dtype[Any]:
    """The smallest unsigned type that holds the ids 0 to ``size``, the last meaning "none".

    >>> id_dtype(65), id_dtype(256), id_dtype(70_000)
    (dtype('uint8'), dtype('uint16'), dtype('uint32'))
    """
    return np.dtype(np.uint8 if size <= 0xFF else np.uint16 if size <= 0xFFFF else np.uint32)


def code_points(text: str) -> NDArray[np.uint32]:
    """The text's code points, one uint32 a character; lone surrogates pass.

    >>> code_points("aé").tolist()
    [97, 233]
    """
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")


class CharTokenizer:
    """Code points as symbols.

    >>> tokenizer = CharTokenizer("\\n abc")
    >>> tokenizer.encode("cab").tolist()
    [4, 2, 3]
    >>> tokenizer.decode([4, 2, 3])
    'cab'
    """

    kind = "char"

    def __init__(self, vocabulary: str, *, unknown: bool = False) -> None:
        """Takes the characters in code-point order, each once; ``unknown`` adds the unknown symbol.

        Raises:
            ModelFileError: the vocabulary is empty, unsorted or repeats a character.
        """
        points = code_points(vocabulary)
        if len(points) == 0 or (np.diff(points.astype(np.int64)) <= 0).any():
            raise ModelFileError("the vocabulary must hold characters in ascending order, each once")
        self.vocabulary = vocabulary
        self.size = len(points) + unknown
        self.unknown = len(points) if unknown else None
        self.unseen = SCALAR_VALUES - len(points)
        self.newline = vocabulary.index("\n") if "\n" in vocabulary else None
        self.start = self._start()
        # One slot more than the highest code point, where everything beyond it is sent.
        self._table = np.full(int(points[-1]) + 2, self.size, dtype=id_dtype(self.size))
        self._table[points] = np.arange(len(points))

    def _start(self) -> int:
        """A line's end is where most texts would begin; else a space; else the first character."""
        for character in "\n ":
            if character in self.vocabulary:
                return self.vocabulary.index(character)
        return 0

    def lookup(self, text: str | bytes) -> Ids:
        """Ids of the text (chars,), with ``size`` wherever the vocabulary has none."""
        assert isinstance(text, str)
        points = code_points(text)
        ids: Ids = self._table[np.minimum(points, len(self._table) - 1)]
        return ids

    def encode(self, text: str) -> Ids:
        """Ids of the text (chars,).

        Raises:
            UnknownCharacterError: a character is not in the vocabulary, and no unknown symbol is.
        """
        ids = self.lookup(text)
        missing = ids == self.size
        if missing.any():
            if self.unknown is None:
                position = int(missing.argmax())
                raise UnknownCharacterError(text[position], position)
            ids[missing] = self.unknown
        return ids

    def decode(self, ids: Ids | list[int]) -> str:
        """The text of these ids; the unknown symbol, which no sampler chooses, reads U+FFFD."""
        symbols = self.vocabulary if self.unknown is None else self.vocabulary + "\ufffd"
        return "".join([symbols[i] for i in ids])

    def decode_bytes(self, ids: Ids | list[int]) -> bytes:
        """The text of these ids as UTF-8, whatever the locale."""
        return self.decode(ids).encode("utf-8", "surrogatepass")

    def text_decoder(self) -> codecs.IncrementalDecoder:
        """A decoder of UTF-8 that passes lone surrogates."""
        return codecs.getincrementaldecoder("utf-8")("surrogatepass")

    def symbols(self, ids: Ids | list[int]) -> str:
        """The characters themselves."""
        return self.decode(ids)

    def text_symbols(self, text: str) -> str:
        """The text itself."""
        return text

    def describe(self) -> dict[str, Any]:
        """The JSON object that stands in a model file."""
        return {
            "kind": self.kind,
            "vocabulary": self.vocabulary,
            "unknown": self.unknown is not None,
        }


class ByteTokenizer:
    """The 256 bytes as symbols: any file at all can be learnt, and any bytes can be written.

    >>> ByteTokenizer().encode("é").tolist()
    [195, 169]
    """

    kind = "byte"
    size = 256
    start = ord("\n")
    newline: int | None = ord("\n")
    unknown: int | None = None
    unseen = 0

    def lookup(self, text: str | bytes) -> Ids:
        """The bytes (bytes,) of the text, which is encoded as UTF-8 where it is not bytes yet."""
        data = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text
        return np.frombuffer(data, dtype=np.uint8)

    def encode(self, text: str) -> Ids:
        """The bytes (bytes,) of the text as UTF-8."""
        return self.lookup(text)

    def decode(self, ids: Ids | list[int]) -> str:
        """The bytes read as UTF-8, with U+FFFD for what is not."""
        return self.decode_bytes(ids).decode("utf-8", "replace")

    def decode_bytes(self, ids: Ids | list[int]) -> bytes:
        """The bytes themselves."""
        return bytes(ids) if isinstance(ids, list) else ids.astype(np.uint8).tobytes()

    def text_decoder(self) -> codecs.IncrementalDecoder:
        """A decoder of UTF-8 that holds back incomplete characters and reads U+FFFD for what is not UTF-8."""
        return codecs.getincrementaldecoder("utf-8")("replace")

    def symbols(self, ids: Ids | list[int]) -> str:
        """One of the first 256 characters of Unicode for each byte.

        >>> ByteTokenizer().symbols([195, 169])
        'Ã©'
        """
        return self.decode_bytes(ids).decode("latin-1")

    def text_symbols(self, text: str) -> str:
        """The text's UTF-8, one of the first 256 characters of Unicode for each byte."""
        return self.symbols(self.lookup(text))

    def describe(self) -> dict[str, Any]:
        """The JSON object that stands in a model file."""
        return {"kind": self.kind}


def tokenizer_from(description: dict[str, Any]) -> Tokenizer:
    """The tokenizer that a model file describes.

    Raises:
        ModelFileError: the description is incomplete or of an unknown kind.
    """
    match description:
        case {"kind": "byte"}:
            return ByteTokenizer()
        case {"kind": "char", "vocabulary": str(vocabulary), "unknown": bool(unknown)}:
            return CharTokenizer(vocabulary, unknown=unknown)
    raise ModelFileError(f"expected a char or byte tokenizer, found {str(description)[:60]}")


class VocabularyCounter:
    """Counts characters chunk by chunk, in the same memory however long the text."""

    def __init__(self) -> None:
        self._counts = np.zeros(CODE_POINTS, dtype=np.int64)

    def add(self, text: str) -> None:
        """Count the characters of one chunk."""
        counts = np.bincount(code_points(text))
        self._counts[: len(counts)] += counts

    def tokenizer(self, min_count: int = 1) -> CharTokenizer:
        """A vocabulary of the characters seen at least ``min_count`` times.

        There is an unknown symbol only where ``min_count`` folded something into it.

        Raises:
            ConfigError: no character is that frequent.
        """
        seen = np.flatnonzero(self._counts)
        kept = np.flatnonzero(self._counts >= max(min_count, 1))
        if len(kept) == 0:
            most = int(self._counts.max())
            raise ConfigError(f"--min-count {min_count} leaves no character; the commonest has {most}")
        vocabulary = kept.astype("<u4").tobytes().decode("utf-32-le", "surrogatepass")
        return CharTokenizer(vocabulary, unknown=len(kept) < len(seen))
