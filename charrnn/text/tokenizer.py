"""Exact conversion between text and ids: one id per character, or one per byte.

Ids count from 0. A character vocabulary is sorted by code point; where rare characters were folded together,
the unknown symbol has the last id. The model reads the ``start`` symbol before every text, so that the first
character has a probability too. Nothing here loops over characters in Python.
"""

from __future__ import annotations

import codecs
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from charrnn.errors import ConfigError, ModelFileError, UnknownCharacterError

Ids = NDArray[np.unsignedinteger[Any]]
Places = NDArray[np.int64]

CODE_POINTS = 0x110000
SCALAR_VALUES = CODE_POINTS - 0x800  # Unicode's code points without the surrogates


class Tokenizer(Protocol):
    """The tokenizer interface.

    A *symbol* is what one id stands for: a character or a byte. Symbols that were read from a file or are to
    be looked up are a str for a character tokenizer, and bytes for a byte tokenizer.

    Attributes:
        kind: "char" or "byte", as in model files.
        unit: what the symbols are, for messages: "characters" or "bytes".
        size: the number of ids, the unknown symbol included.
        id_dtype: the smallest unsigned type that holds every result of ``lookup``.
        start: the id that the model reads before every text.
        newline: the id of the newline, or None where the vocabulary has none.
        unknown: the id of the unknown symbol, or None where there is none.
        unseen: the number of symbols that may occur in a text but are not in the vocabulary.
    """

    kind: str
    unit: str
    size: int
    id_dtype: np.dtype[Any]
    start: int
    newline: int | None
    unknown: int | None
    unseen: int

    def to_symbols(self, text: str) -> str | bytes:
        """The symbols of a text: the text itself, or its bytes as UTF-8."""

    def lookup(self, symbols: str | bytes) -> Ids:
        """Ids of the symbols (symbols,), ``size`` for unknown ones; bytes may be given as str."""

    def fold(self, symbols: str | bytes) -> tuple[Ids, Places]:
        """Ids of the symbols, and the places of those that the vocabulary lacks.

        Where there is an unknown symbol, these have its id; where there is none, they are left out.
        """

    def encode(self, text: str) -> Ids:
        """Ids of the text; raises UnknownCharacterError if a character is unknown and cannot be folded."""

    def decode(self, ids: Ids | list[int]) -> str:
        """The text of these ids; U+FFFD for what is not text."""

    def decode_bytes(self, ids: Ids | list[int]) -> bytes:
        """The output for these ids: characters as UTF-8, or the bytes themselves."""

    def decode_symbols(self, ids: Ids | list[int]) -> str | bytes:
        """The symbols of these ids, as ``lookup`` takes them."""

    def decoder(self) -> codecs.IncrementalDecoder:
        """Turns the output of successive ``decode_bytes`` calls into str, each character once complete."""

    def symbols(self, ids: Ids | list[int]) -> str:
        """A str with one character per id; a byte is the character with its number (Latin-1)."""

    def text_symbols(self, text: str) -> str:
        """The text as a str of one character per symbol, whether or not the vocabulary has it."""

    def lookup_symbols(self, symbols: str) -> Ids:
        """Ids of a str as ``symbols`` returns it, ``size`` where the vocabulary lacks one."""

    def label(self, id: int) -> str:
        """One symbol for people to read; a byte that is not ASCII is escaped."""

    def describe(self) -> dict[str, Any]:
        """The JSON object that is stored in a model file."""


def smallest_dtype(largest: int) -> np.dtype[Any]:
    """The smallest unsigned type that holds the numbers 0 to ``largest``.

    >>> smallest_dtype(65), smallest_dtype(256), smallest_dtype(70_000)
    (dtype('uint8'), dtype('uint16'), dtype('uint32'))
    """
    return np.dtype(np.uint8 if largest <= 0xFF else np.uint16 if largest <= 0xFFFF else np.uint32)


def code_points(text: str) -> NDArray[np.uint32]:
    """The text's code points (characters,) as uint32; lone surrogates are allowed.

    >>> code_points("aé").tolist()
    [97, 233]
    """
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")


class CharTokenizer:
    """A tokenizer with one id per character of its vocabulary.

    >>> tokenizer = CharTokenizer("\\n abc")
    >>> tokenizer.encode("cab").tolist()
    [4, 2, 3]
    >>> tokenizer.decode([4, 2, 3])
    'cab'
    """

    kind = "char"
    unit = "characters"

    def __init__(self, vocabulary: str, *, unknown: bool = False) -> None:
        """Takes the vocabulary's characters.

        Args:
            vocabulary: the characters sorted by code point, each once.
            unknown: whether there is an unknown symbol.

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
        self.newline = self._find("\n")
        # Most texts could begin at the start of a line, hence after a newline, or else at that of a word.
        starts = (self.newline, self._find(" "), 0)
        self.start = next(id for id in starts if id is not None)
        self.id_dtype = smallest_dtype(self.size)
        # The last entry, one past the highest code point, stands for all that lie above it.
        self._table = np.full(int(points[-1]) + 2, self.size, dtype=self.id_dtype)
        self._table[points] = np.arange(len(points))

    def _find(self, character: str) -> int | None:
        id = self.vocabulary.find(character)
        return None if id < 0 else id

    def to_symbols(self, text: str) -> str:
        """The text itself."""
        return text

    def lookup(self, symbols: str | bytes) -> Ids:
        """Ids of the characters (characters,), ``size`` where the vocabulary lacks one."""
        assert isinstance(symbols, str)
        points = code_points(symbols)
        ids: Ids = self._table[np.minimum(points, len(self._table) - 1)]
        return ids

    def fold(self, symbols: str | bytes) -> tuple[Ids, Places]:
        """Ids of the characters with unknown ones folded or left out, and the places of these."""
        ids = self.lookup(symbols)
        missing = ids == self.size
        if not missing.any():
            return ids, np.empty(0, np.int64)
        if self.unknown is None:
            return ids[~missing], np.flatnonzero(missing)
        ids[missing] = self.unknown
        return ids, np.flatnonzero(missing)

    def encode(self, text: str) -> Ids:
        """Ids of the text (characters,).

        Raises:
            UnknownCharacterError: a character is not in the vocabulary, and there is no unknown symbol.
        """
        ids, missing = self.fold(text)
        if len(missing) and self.unknown is None:
            position = int(missing[0])
            raise UnknownCharacterError(text[position], position)
        return ids

    def decode(self, ids: Ids | list[int]) -> str:
        """The text of these ids; U+FFFD for the unknown symbol."""
        symbols = self.vocabulary if self.unknown is None else self.vocabulary + "\ufffd"
        return "".join([symbols[i] for i in ids])

    decode_symbols = symbols = decode

    def decode_bytes(self, ids: Ids | list[int]) -> bytes:
        """The text of these ids as UTF-8, whatever the locale."""
        return self.decode(ids).encode("utf-8", "surrogatepass")

    def decoder(self) -> codecs.IncrementalDecoder:
        """An incremental UTF-8 decoder that lets lone surrogates pass, as ``decode_bytes`` does."""
        return codecs.getincrementaldecoder("utf-8")("surrogatepass")

    def text_symbols(self, text: str) -> str:
        """The text itself."""
        return text

    def lookup_symbols(self, symbols: str) -> Ids:
        """The same as ``lookup``."""
        return self.lookup(symbols)

    def label(self, id: int) -> str:
        """The character."""
        return self.decode([id])

    def describe(self) -> dict[str, Any]:
        """The JSON object that is stored in a model file."""
        return {
            "kind": self.kind,
            "vocabulary": self.vocabulary,
            "unknown": self.unknown is not None,
        }


class ByteTokenizer:
    """A tokenizer with one id per byte, for files of any kind.

    >>> ByteTokenizer().encode("é").tolist()
    [195, 169]
    >>> ByteTokenizer().symbols([195, 169])
    'Ã©'
    """

    kind = "byte"
    unit = "bytes"
    size = 256
    id_dtype: np.dtype[Any] = np.dtype(np.uint8)  # every byte has its id, so ``lookup`` never returns 256
    start = ord("\n")
    newline: int | None = ord("\n")
    unknown: int | None = None
    unseen = 0

    def to_symbols(self, text: str) -> bytes:
        """The text as UTF-8; bytes that Python could not decode, and keeps as surrogates, are restored."""
        return text.encode("utf-8", "surrogateescape")

    def lookup(self, symbols: str | bytes) -> Ids:
        """The bytes (bytes,), those of a str as ``to_symbols`` gives them."""
        return np.frombuffer(self.to_symbols(symbols) if isinstance(symbols, str) else symbols, np.uint8)

    def fold(self, symbols: str | bytes) -> tuple[Ids, Places]:
        """The bytes (bytes,); none is unknown."""
        return self.lookup(symbols), np.empty(0, np.int64)

    def encode(self, text: str) -> Ids:
        """The bytes (bytes,) of the text as UTF-8."""
        return self.lookup(text)

    def decode(self, ids: Ids | list[int]) -> str:
        """The bytes decoded as UTF-8, with U+FFFD for invalid ones."""
        return self.decode_bytes(ids).decode("utf-8", "replace")

    def decode_bytes(self, ids: Ids | list[int]) -> bytes:
        """The bytes themselves."""
        return bytes(ids) if isinstance(ids, list) else ids.astype(np.uint8).tobytes()

    decode_symbols = decode_bytes

    def decoder(self) -> codecs.IncrementalDecoder:
        """An incremental UTF-8 decoder that replaces invalid bytes by U+FFFD."""
        return codecs.getincrementaldecoder("utf-8")("replace")

    def symbols(self, ids: Ids | list[int]) -> str:
        """One character of Latin-1 per byte."""
        return self.decode_bytes(ids).decode("latin-1")

    def text_symbols(self, text: str) -> str:
        """One character of Latin-1 per byte of the text as UTF-8."""
        return self.symbols(self.lookup(text))

    def lookup_symbols(self, symbols: str) -> Ids:
        """The bytes (bytes,) of a str of Latin-1 characters."""
        return self.lookup(symbols.encode("latin-1"))

    def label(self, id: int) -> str:
        """The ASCII character, or the byte escaped, as in "\\xe9"."""
        return chr(id) if id < 0x80 else f"\\x{id:02x}"

    def describe(self) -> dict[str, Any]:
        """The JSON object that is stored in a model file."""
        return {"kind": self.kind}


def tokenizer_from(description: dict[str, Any]) -> Tokenizer:
    """The tokenizer that a model file describes.

    Raises:
        ModelFileError: the description is incomplete, or its kind is unknown.
    """
    match description:
        case {"kind": "byte"}:
            return ByteTokenizer()
        case {"kind": "char", "vocabulary": str(vocabulary), "unknown": bool(unknown)}:
            return CharTokenizer(vocabulary, unknown=unknown)
    raise ModelFileError(f"expected a char or byte tokenizer, found {str(description)[:60]}")


class VocabularyCounter:
    """Counts characters chunk by chunk, in constant memory."""

    def __init__(self) -> None:
        self._counts = np.zeros(CODE_POINTS, dtype=np.int64)

    def add(self, text: str) -> None:
        """Counts the characters of one chunk."""
        counts = np.bincount(code_points(text))
        self._counts[: len(counts)] += counts

    def tokenizer(self, min_count: int = 1) -> CharTokenizer:
        """A tokenizer of the characters seen at least ``min_count`` times.

        It has an unknown symbol only if ``min_count`` left characters out.

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
