"""Texts to be scored: read in bounded memory, with their unknown characters counted instead of refused.

A corpus is what a model learns from; a text is what it is held to. The two are read by the same rules
(encoding, line ends), but a text may hold characters that the vocabulary lacks, and remembers where.
"""

from __future__ import annotations

import dataclasses
import hashlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from charrnn.config import CorpusConfig, from_mapping
from charrnn.errors import CorpusError
from charrnn.model.file import ModelFile
from charrnn.text.corpus import IN_MEMORY, read_corpus
from charrnn.text.sources import Source, as_utf8, find_sources, read_sources
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


class _Gathered:
    """Arrays appended to each other: in memory while few, else in an unnamed file."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self._dtype = dtype
        self._blocks: list[NDArray[Any]] = []
        self._held = 0
        self._file: IO[bytes] | None = None

    def add(self, block: NDArray[Any]) -> None:
        self._blocks.append(block.astype(self._dtype, copy=False))
        self._held += self._blocks[-1].nbytes
        if self._held > IN_MEMORY:
            self._spill()

    def _spill(self) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile(prefix="charrnn-text-")  # noqa: SIM115 (finish closes it)
        for block in self._blocks:
            block.tofile(self._file)
        self._blocks, self._held = [], 0

    def finish(self) -> NDArray[Any]:
        if self._file is None:
            return np.concatenate([np.empty(0, self._dtype), *self._blocks])
        self._spill()
        with self._file:  # the map keeps its own hold of the file
            self._file.flush()
            return np.memmap(self._file, self._dtype, "r")


def gather(name: str, pieces: Pieces, tokenizer: Tokenizer) -> Text:
    """The text that ``pieces`` reads, as the tokenizer sees it.

    Raises:
        CorpusError: there is nothing in it, or it cannot be read.
    """
    ids = _Gathered(id_dtype(255 if tokenizer.kind == "byte" else tokenizer.size))
    unknown, newlines = _Gathered(np.dtype(np.int64)), _Gathered(np.dtype(np.int64))
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


def text_config(model: ModelFile, encoding: str | None = None) -> CorpusConfig:
    """How the model's texts are read: as its corpus was, unless another encoding is named."""
    known: dict[str, Any] = dict(model.corpus) | {"tokenizer": model.tokenizer.kind}
    if encoding is not None:
        known["encoding"] = encoding
    config: CorpusConfig = from_mapping(CorpusConfig, known)
    return config


def text_of(model: ModelFile, text: str, name: str = "text") -> Text:
    """A string as the model sees it.

    Raises:
        CorpusError: it is empty.
    """
    return gather(name, lambda: iter((_as_read(text, model.tokenizer),)), model.tokenizer)


def _as_read(text: str, tokenizer: Tokenizer) -> str | bytes:
    return text.encode("utf-8", "surrogateescape") if tokenizer.kind == "byte" else text


def read_text(path: str, model: ModelFile, encoding: str | None = None) -> Text:
    """The file, directory or stdin at ``path`` as the model sees it.

    Raises:
        CorpusError: nothing there, nothing in it, or not text.
    """
    config = text_config(model, encoding)
    sources = find_sources([path], config).sources
    return gather(path, lambda: read_sources(sources, config), model.tokenizer)


def _split(model: ModelFile, *, train: bool) -> Text:
    """One of the two parts of the text that the model learnt from.

    Raises:
        CorpusError: that text is not recorded, gone or changed, or the part is empty.
    """
    recorded, config = model.corpus, text_config(model)
    part = "training" if train else "validation"
    paths = [str(path) for path in recorded.get("paths", ())]
    if not paths:
        raise CorpusError("the model does not say what it learnt from; name a text to evaluate")
    if any(path == "-" or path.startswith(("/dev/fd/", "/proc/")) for path in paths):
        raise CorpusError("the model learnt from stdin or a pipe, which is gone; name a text to evaluate")
    try:
        sources = find_sources(paths, config).sources
    except CorpusError as error:
        raise CorpusError(f"{error}; it was the model's own text: name another to evaluate") from None
    digest = hashlib.sha256()
    for piece in read_sources(sources, config):
        digest.update(as_utf8(piece))
    if digest.hexdigest() != recorded.get("sha256"):
        raise CorpusError(f"{', '.join(paths)}: changed since the model learnt it; name the text to evaluate")
    cut = config.train_size(int(recorded["characters"]))
    pieces = _part(sources, config, 0, cut) if train else _part(sources, config, cut, None)
    if config.lines:
        pieces = _items(paths, config, model, train=train)
    if not any(pieces()):
        raise CorpusError(f"the model's text has no {part} split; name a text to evaluate")
    return gather(f"{recorded.get('name', 'corpus')} ({part})", pieces, model.tokenizer)


def _part(sources: Sequence[Source], config: CorpusConfig, begin: int, end: int | None) -> Pieces:
    """Reads the symbols from ``begin`` to ``end``."""

    def pieces() -> Iterator[str | bytes]:
        place = 0
        for piece in read_sources(sources, config):
            stop = None if end is None else max(0, end - place)
            if wanted := piece[max(0, begin - place) : stop]:
                yield wanted
            place += len(piece)

    return pieces


def _items(paths: Sequence[str], config: CorpusConfig, model: ModelFile, *, train: bool) -> Pieces:
    """The lines that a model of single lines was, or was not, trained on; folded characters read U+FFFD."""
    corpus = read_corpus(paths, config, model.tokenizer)
    ids = corpus.train if train else corpus.validation
    decode = model.tokenizer.decode_bytes if model.tokenizer.kind == "byte" else model.tokenizer.decode
    text: str | bytes = decode(ids)
    return lambda: iter((text,) if text else ())


def validation_text(model: ModelFile) -> Text:
    """The end of the model's corpus that it was not trained on, checked to be unchanged."""
    return _split(model, train=False)


def training_text(model: ModelFile) -> Text:
    """The part of the model's corpus that it was trained on, checked to be unchanged."""
    return _split(model, train=True)
