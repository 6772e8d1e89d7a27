"""Finding again the text that a model learnt, from what its file records of it: paths, size and sha256."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from charrnn.config import CorpusConfig
from charrnn.errors import CorpusError
from charrnn.text.corpus import Corpus, read_corpus
from charrnn.text.scored import Pieces, Text, gather, text_config
from charrnn.text.sources import Source, as_utf8, find_sources, read_sources
from charrnn.text.tokenizer import Tokenizer, code_points

Split = Literal["training", "validation"]
PIPES = ("/dev/fd/", "/proc/")  # where a shell's <(command) has its name


def gone(paths: Sequence[str]) -> bool:
    """Whether one of a corpus's sources can be read once only: stdin, or a pipe.

    >>> gone(["play.txt"]), gone(["play.txt", "-"]), gone(["/dev/fd/63"])
    (False, True, True)
    """
    return any(path == "-" or path.startswith(PIPES) or Path(path).is_fifo() for path in paths)


def find_recorded(recorded: Mapping[str, Any], config: CorpusConfig, remedy: str) -> list[Source]:
    """The sources of the text that a model learnt, checked to be unchanged.

    Args:
        recorded: what the model file says of its corpus.
        config: how the text is read.
        remedy: what a message tells to do instead.

    Raises:
        CorpusError: the text is not recorded, gone or changed.
    """
    paths = [str(path) for path in recorded.get("paths", ())]
    if not paths:
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


def recorded_split(recorded: Mapping[str, Any], tokenizer: Tokenizer, split: Split) -> Text:
    """The part of the model's corpus that it was trained on, or the one that was held out.

    Raises:
        CorpusError: that text is not recorded, gone or changed, or the part is empty.
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
    """Reads the symbols from ``begin`` to ``end``."""

    def pieces() -> Iterator[str | bytes]:
        place = 0
        for piece in read_sources(sources, config):
            stop = None if end is None else max(0, end - place)
            if wanted := piece[max(0, begin - place) : stop]:
                yield wanted
            place += len(piece)

    return pieces


def _items(paths: Sequence[str], config: CorpusConfig, tokenizer: Tokenizer, split: Split) -> Pieces:
    """The lines that a model of single lines was, or was not, trained on; folded characters read U+FFFD."""
    corpus = read_corpus(paths, config, tokenizer)
    ids = corpus.train if split == "training" else corpus.validation
    decode = tokenizer.decode_bytes if tokenizer.kind == "byte" else tokenizer.decode
    text: str | bytes = decode(ids)
    return lambda: iter((text,) if text else ())


def whole_text(recorded: Mapping[str, Any], config: CorpusConfig) -> str:
    """The text that a model learnt, both parts of it, one character a symbol.

    Raises:
        CorpusError: as ``find_recorded``.
    """
    find_recorded(recorded, config, "name it with --against FILE")
    return as_symbols(read_corpus(recorded["paths"], config))


def as_symbols(corpus: Corpus) -> str:
    """A corpus as one str, one character a symbol: of a byte corpus, one of the first 256 a byte."""
    # A table of code points: joining a million characters one by one takes ten times longer.
    table = code_points(corpus.tokenizer.symbols(list(range(corpus.tokenizer.size))))
    return table[corpus.ids].tobytes().decode("utf-32-le", "surrogatepass")
