"""Reads the text that a model learnt again, from the paths and the sha256 that its file records."""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from charrnn.config import CorpusConfig
from charrnn.errors import CorpusError
from charrnn.text.bounds import TooMuch, bound_of
from charrnn.text.corpus import read_corpus
from charrnn.text.reading import as_utf8, read_symbols
from charrnn.text.scored import Pieces, ScoredText, gather, read_text, text_config
from charrnn.text.sources import Source, find_sources, gone
from charrnn.text.tokenizer import Tokenizer, code_points

Split = Literal["training", "validation"]


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
    try:
        bound = bound_of(recorded)
        sources = find_sources(paths, config, bound=bound).sources
        digest = hashlib.sha256()
        for piece in read_symbols(sources, config, digest):
            bound.learn(len(as_utf8(piece)))
    except TooMuch:
        raise changed from None  # which the rest, that may be endless, cannot undo
    except CorpusError as error:
        raise CorpusError(f"{error}; it was the model's own text: {remedy}") from None
    if digest.hexdigest() != recorded.get("sha256"):
        raise changed
    return sources


def recorded_val(recorded: Mapping[str, Any]) -> dict[str, Any]:
    """The text that a model was validated on instead of a part of its own, described as a corpus is.

    Args:
        recorded: the corpus as the model file describes it.
    """
    return {
        "paths": [recorded["val"]],
        "sha256": recorded.get("val_sha256"),
        "bytes": recorded.get("val_bytes"),
        "files": recorded.get("val_files"),
        "column": recorded.get("column"),
    }


def recorded_split(
    recorded: Mapping[str, Any],
    tokenizer: Tokenizer,
    split: Split,
    remedy: str = "name a text to evaluate",
) -> ScoredText:
    """The training or the validation split of the text that a model learnt.

    Args:
        recorded: the corpus as the model file describes it.
        tokenizer: the model's.
        split: which.
        remedy: what error messages advise.

    Raises:
        CorpusError: as ``find_recorded``, or the split is empty.
    """
    config = text_config(recorded, tokenizer)
    if config.val is not None and split == "validation":
        find_recorded(recorded_val(recorded), config, remedy)
        return read_text(config.val, tokenizer, config)
    sources = find_recorded(recorded, config, remedy)
    if config.lines or config.pairs:
        pieces = _items(recorded, config, tokenizer, split)
    else:
        if "characters" not in recorded:
            raise CorpusError(f"the model does not say how long its text was; {remedy}")
        cut = config.train_size(int(recorded["characters"]))
        begin, end = (0, cut) if split == "training" else (cut, None)
        pieces = _part(sources, config, slice(begin, end), recorded)
    if not any(pieces()):
        raise CorpusError(f"the model's text has no {split} split; {remedy}")
    return gather(f"{recorded.get('name', 'corpus')} ({split})", pieces, tokenizer)


def _part(
    sources: Sequence[Source], config: CorpusConfig, part: slice, recorded: Mapping[str, Any]
) -> Pieces:
    """A function that reads a part of the symbols, to the end of the text if its end is None."""
    begin, end = part.start, part.stop

    def pieces() -> Iterator[str | bytes]:
        place, digest = 0, hashlib.sha256()
        for piece in read_symbols(sources, config, digest):
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


def whole_text(recorded: Mapping[str, Any], tokenizer: Tokenizer, against: Sequence[str] = ()) -> str:
    """The whole text that a model learnt, or another one, with one character per symbol.

    Each source ends with a newline, so that its last line and the first one of the next are two.

    Args:
        recorded: the corpus as the model file describes it.
        tokenizer: the model's.
        against: files, directories or "-", to be read instead by the same rules.

    Returns:
        A str as ``Tokenizer.symbols`` returns it; U+FFFD for what the model reads as its unknown symbol.

    Raises:
        CorpusError: as ``find_recorded``, or a path of ``against`` cannot be read.
    """
    config = text_config(recorded, tokenizer)
    if against:
        sources = find_sources(against, config).sources
    else:
        sources = find_recorded(recorded, config, "name it with --against FILE")
    parts: list[str] = []
    digest = hashlib.sha256()
    for source in sources:
        if parts and not parts[-1].endswith("\n"):
            parts.append("\n")
        parts += (as_symbols(piece, tokenizer) for piece in read_symbols([source], config, digest) if piece)
    if not against:
        _check_unchanged(digest.hexdigest(), recorded)
    elif not parts:
        raise CorpusError(f"{', '.join(against)}: empty, so that all text is novel; name another")
    return "".join(parts)


def as_symbols(piece: str | bytes, tokenizer: Tokenizer) -> str:
    """A piece of a text as ``Tokenizer.symbols`` returns it; characters for which there is no id stay."""
    if isinstance(piece, bytes):
        return piece.decode("latin-1")
    if tokenizer.unknown is None:
        return piece
    points = code_points(piece).copy()
    points[tokenizer.fold(piece)[1]] = 0xFFFD
    return points.tobytes().decode("utf-32-le", "surrogatepass")
