"""Reads the text that a model learnt again, from the paths and the sha256 that its file records."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from charrnn.config import CorpusConfig
from charrnn.errors import CorpusError
from charrnn.text.corpus import Corpus, read_corpus
from charrnn.text.scored import Pieces, ScoredText, gather, text_config
from charrnn.text.sources import Source, as_utf8, find_sources, read_sources
from charrnn.text.tokenizer import Tokenizer, code_points

Split = Literal["training", "validation"]
PIPES = ("/dev/fd/", "/proc/")  # the directories of a shell's <(command)


def gone(paths: Sequence[str]) -> bool:
    """Whether any of a corpus's sources cannot be read again: stdin, or a pipe.

    >>> gone(["play.txt"]), gone(["play.txt", "-"]), gone(["/dev/fd/63"])
    (False, True, True)
    """
    return any(path == "-" or path.startswith(PIPES) or Path(path).is_fifo() for path in paths)


def find_recorded(recorded: Mapping[str, Any], config: CorpusConfig, remedy: str) -> list[Source]:
    """The sources of the text that a model learnt, verified to be unchanged.

    Args:
        recorded: the corpus as the model file describes it.
        config: how to read the text.
        remedy: what error messages advise.

    Raises:
        CorpusError: the text is not recorded, cannot be read again, or has changed.
    """
    paths = [str(path) for path in recorded.get("paths", ())]
    if not paths or "characters" not in recorded:
        raise CorpusError(f"the model does not say what it learnt from; {remedy}")
    if gone(paths):
        raise CorpusError(f"the model learnt from stdin or a pipe, which is gone; {remedy}")
    try:
        sources = find_sources(paths, config).sources
        digest = hashlib.sha256()
        for piece in read_sources(sources, config):
            digest.update(as_utf8(piece))
    except CorpusError as error:
        raise CorpusError(f"{error}; it was the model's own text: {remedy}") from None
    if digest.hexdigest() != recorded.get("sha256"):
        raise CorpusError(f"{', '.join(paths)}: changed since the model learnt it; {remedy}")
    return sources


def recorded_split(recorded: Mapping[str, Any], tokenizer: Tokenizer, split: Split) -> ScoredText:
    """The training or the validation split of the text that a model learnt.

    Raises:
        CorpusError: as ``find_recorded``, or the split is empty.
    """
    config = text_config(recorded, tokenizer)
    sources = find_recorded(recorded, config, "name a text to evaluate")
    if config.lines:
        pieces = _items(recorded["paths"], config, tokenizer, split)
    else:
        cut = config.train_size(int(recorded["characters"]))
        begin, end = (0, cut) if split == "training" else (cut, None)
        pieces = _part(sources, config, begin, end)
    if not any(pieces()):
        raise CorpusError(f"the model's text has no {split} split; name a text to evaluate")
    return gather(f"{recorded.get('name', 'corpus')} ({split})", pieces, tokenizer)


def _part(sources: Sequence[Source], config: CorpusConfig, begin: int, end: int | None) -> Pieces:
    """A function that reads the symbols from ``begin`` to ``end``, or to the end of the text."""

    def pieces() -> Iterator[str | bytes]:
        place = 0
        for piece in read_sources(sources, config):
            stop = None if end is None else max(0, end - place)
            if wanted := piece[max(0, begin - place) : stop]:
                yield wanted
            place += len(piece)

    return pieces


def _items(paths: Sequence[str], config: CorpusConfig, tokenizer: Tokenizer, split: Split) -> Pieces:
    """A function that reads the lines of a split of line mode; unknown characters read U+FFFD."""
    corpus = read_corpus(paths, config, tokenizer)
    text = tokenizer.decode_symbols(corpus.train if split == "training" else corpus.validation)
    return lambda: iter((text,) if text else ())


def whole_text(recorded: Mapping[str, Any], config: CorpusConfig) -> str:
    """The whole text that a model learnt, as ``as_symbols`` returns it.

    Raises:
        CorpusError: as ``find_recorded``.
    """
    find_recorded(recorded, config, "name it with --against FILE")
    return as_symbols(read_corpus(recorded["paths"], config))


def as_symbols(corpus: Corpus) -> str:
    """A corpus as one str with one character per symbol, as ``Tokenizer.symbols`` returns it."""
    # A table of code points is ten times faster than joining a million characters.
    table = code_points(corpus.tokenizer.symbols(list(range(corpus.tokenizer.size))))
    return table[corpus.ids].tobytes().decode("utf-32-le", "surrogatepass")
