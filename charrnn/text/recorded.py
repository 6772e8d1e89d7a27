"""Reads the text that a model learnt again, from the paths and the sha256 that its file records."""

from __future__ import annotations

import hashlib
import stat
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


def recorded_paths(recorded: Mapping[str, Any], remedy: str) -> list[str]:
    """The paths that a model file names, which are read only where they are files or directories.

    A model may come from anywhere, and so may the paths: /dev/zero among them must not be read.

    Raises:
        CorpusError: there are none, or one is not a file or a directory.
    """
    paths = [str(path) for path in recorded.get("paths", ())]
    if not paths:
        raise CorpusError(f"the model does not say what it learnt from; {remedy}")
    if gone(paths):
        raise CorpusError(f"the model learnt from stdin or a pipe, which is gone; {remedy}")
    for path in map(Path, paths):
        try:
            mode = path.stat().st_mode
        except FileNotFoundError:
            raise CorpusError(
                f"{path}: no such file or directory; it was the model's own text: {remedy}"
            ) from None
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise CorpusError(f"{path}: {reason}; it was the model's own text: {remedy}") from None
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise CorpusError(f"{path}: not a file or a directory, though the model names it; {remedy}")
    return paths


def find_recorded(recorded: Mapping[str, Any], config: CorpusConfig, remedy: str) -> list[Source]:
    """The sources of the text that a model learnt, verified to be unchanged.

    Args:
        recorded: the corpus as the model file describes it.
        config: how to read the text.
        remedy: what error messages advise.

    Raises:
        CorpusError: the text is not recorded, cannot be read again, or has changed.
    """
    paths = recorded_paths(recorded, remedy)
    changed = CorpusError(f"{', '.join(paths)}: changed since the model learnt it; {remedy}")
    size, expected = 0, recorded.get("bytes")
    try:
        sources = find_sources(paths, config).sources
        digest = hashlib.sha256()
        for piece in read_sources(sources, config):
            data = as_utf8(piece)
            digest.update(data)
            size += len(data)
            if isinstance(expected, int) and size > expected:
                raise changed  # which the rest, that may be endless, cannot undo
    except CorpusError as error:
        if error is changed:
            raise
        raise CorpusError(f"{error}; it was the model's own text: {remedy}") from None
    if digest.hexdigest() != recorded.get("sha256"):
        raise changed
    return sources


def recorded_split(recorded: Mapping[str, Any], tokenizer: Tokenizer, split: Split) -> ScoredText:
    """The training or the validation split of the text that a model learnt.

    Raises:
        CorpusError: as ``find_recorded``, or the split is empty.
    """
    config = text_config(recorded, tokenizer)
    sources = find_recorded(recorded, config, "name a text to evaluate")
    if config.lines:
        pieces = _items(recorded, config, tokenizer, split)
    else:
        cut = config.train_size(int(recorded["characters"]))
        begin, end = (0, cut) if split == "training" else (cut, None)
        pieces = _part(sources, config, slice(begin, end), recorded)
    if not any(pieces()):
        raise CorpusError(f"the model's text has no {split} split; name a text to evaluate")
    return gather(f"{recorded.get('name', 'corpus')} ({split})", pieces, tokenizer)


def _part(
    sources: Sequence[Source], config: CorpusConfig, part: slice, recorded: Mapping[str, Any]
) -> Pieces:
    """A function that reads a part of the symbols, to the end of the text if its end is None."""
    begin, end = part.start, part.stop

    def pieces() -> Iterator[str | bytes]:
        place, digest = 0, hashlib.sha256()
        for piece in read_sources(sources, config):
            digest.update(as_utf8(piece))
            stop = None if end is None else max(0, end - place)
            if wanted := piece[max(0, begin - place) : stop]:
                yield wanted
            place += len(piece)
        _check_unchanged(digest.hexdigest(), recorded)

    return pieces


def _check_unchanged(sha256: str, recorded: Mapping[str, Any]) -> None:
    """Compares the text with what it was when its sha256 was checked before.

    Raises:
        CorpusError: it is another one.
    """
    if sha256 != recorded.get("sha256"):
        raise CorpusError(f"{', '.join(recorded['paths'])}: changed while it was read; try again")


def _items(recorded: Mapping[str, Any], config: CorpusConfig, tokenizer: Tokenizer, split: Split) -> Pieces:
    """A function that reads the lines of a split of line mode; unknown characters read U+FFFD."""
    corpus = read_corpus(recorded["paths"], config, tokenizer)
    _check_unchanged(corpus.sha256, recorded)
    text = tokenizer.decode_symbols(corpus.train if split == "training" else corpus.validation)
    return lambda: iter((text,) if text else ())


def whole_text(recorded: Mapping[str, Any], config: CorpusConfig) -> str:
    """The whole text that a model learnt, as ``as_symbols`` returns it.

    Raises:
        CorpusError: as ``find_recorded``.
    """
    find_recorded(recorded, config, "name it with --against FILE")
    corpus = read_corpus(recorded["paths"], config)
    _check_unchanged(corpus.sha256, recorded)
    return as_symbols(corpus)


def as_symbols(corpus: Corpus) -> str:
    """A corpus as one str with one character per symbol, as ``Tokenizer.symbols`` returns it."""
    # A table of code points is ten times faster than joining a million characters.
    table = code_points(corpus.tokenizer.symbols(list(range(corpus.tokenizer.size))))
    return table[corpus.ids].tobytes().decode("utf-32-le", "surrogatepass")
