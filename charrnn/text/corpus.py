"""A training corpus as one sequence of ids, read in bounded memory.

The text is read twice, chunk by chunk: first to count its characters and to hash it, then to encode it.
Texts over 64 MB also get a memory-mapped cache of ids in the run's directory, named after a hash of the text
and the tokenizer. A resumed training hashes its text to check that it is unchanged, and reuses the cache.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from charrnn import files
from charrnn.config import CorpusConfig
from charrnn.errors import CorpusError
from charrnn.text.items import split_items
from charrnn.text.pairs import separator, split_pairs
from charrnn.text.sources import OPENERS, Found, as_utf8, find_sources, read_sources
from charrnn.text.tokenizer import ByteTokenizer, Ids, Tokenizer, VocabularyCounter


@dataclasses.dataclass(frozen=True)
class Corpus:
    """A text as ids, and what a model file records of it.

    Attributes:
        ids: (symbols,) in the tokenizer's ``id_dtype``; memory-mapped if large.
        tokenizer: made from this text, or the one that was given.
        name: of the first source, without directory and suffixes.
        paths: of the sources, absolute; "-" for stdin.
        characters: the number of characters, or of bytes for a byte tokenizer.
        bytes: the size of the text as UTF-8.
        sha256: of the text as UTF-8; for a plain UTF-8 file, what ``sha256sum`` prints.
        files: the number of sources.
        skipped: the number of files in directories that were skipped.
        config: how the text was read and split.
        train_size: the number of symbols in the training split, rounded down as nanoGPT does: 1,003,854 of
            tiny Shakespeare's 1,115,394.
        cache: the file of ids in the run's directory, if there is one.
    """

    ids: Ids
    tokenizer: Tokenizer
    name: str
    paths: tuple[str, ...]
    characters: int
    bytes: int
    sha256: str
    files: int
    skipped: int
    config: CorpusConfig
    train_size: int
    cache: Path | None = None

    @property
    def train(self) -> Ids:
        """The training split (symbols,)."""
        return self.ids[: self.train_size]

    @property
    def validation(self) -> Ids:
        """The validation split (symbols,)."""
        return self.ids[self.train_size :]

    def describe(self) -> dict[str, Any]:
        """The JSON object that is stored in a model file; it does not contain the text."""
        return {
            "name": self.name,
            "paths": list(self.paths),
            "characters": self.characters,
            "bytes": self.bytes,
            "sha256": self.sha256,
        } | dataclasses.asdict(self.config)


@dataclasses.dataclass
class _Scan:
    """The results of the first pass over a text."""

    characters: int = 0
    size: int = 0  # bytes as UTF-8
    hash: Any = dataclasses.field(default_factory=hashlib.sha256)
    counter: VocabularyCounter | None = dataclasses.field(default_factory=VocabularyCounter)

    def add(self, chunk: str | bytes) -> None:
        data = as_utf8(chunk)
        self.characters += len(chunk)
        self.size += len(data)
        self.hash.update(data)
        if isinstance(chunk, str) and self.counter is not None:
            self.counter.add(chunk)


def read_corpus(
    paths: Iterable[str],
    config: CorpusConfig,
    tokenizer: Tokenizer | None = None,
    directory: Path | None = None,
) -> Corpus:
    """Reads and encodes the texts at ``paths``, joined as ``cat`` would.

    Args:
        paths: files, directories, or "-" for stdin.
        config: how to read and split them.
        tokenizer: to encode with; made from the text if None.
        directory: the run's directory, for the cache of ids of a large text; created when the cache is
            written. Without it the ids of a large text go to a temporary file.

    Raises:
        CorpusError: a path is missing, the text is empty or cannot be decoded, or it holds characters that
            the given tokenizer lacks and cannot fold.
        OSError: there is no room for the ids; names the place.
    """
    paths = list(paths)
    found = find_sources(paths, config)
    names = ", ".join(paths)
    scan = _scan(found, config, counter=VocabularyCounter() if tokenizer is None else None, names=names)
    if tokenizer is None:
        assert scan.counter is not None
        byte = config.tokenizer == "byte"
        tokenizer = ByteTokenizer() if byte else scan.counter.tokenizer(config.min_count)
    pieces = (_ids_of(chunk, tokenizer, names) for chunk in read_sources(found.sources, config))
    ids, cache = _keep(pieces, scan, tokenizer, directory)
    if len(ids) != scan.characters:
        raise CorpusError(f"{names}: changed while it was read; try again when nothing writes to it")
    ids, train_size = _split(ids, tokenizer, config, names)
    return Corpus(
        ids=ids,
        tokenizer=tokenizer,
        name=corpus_name(paths[0]),
        paths=tuple("-" if path == "-" else str(Path(path).resolve()) for path in paths),
        characters=scan.characters,
        bytes=scan.size,
        sha256=scan.hash.hexdigest(),
        files=len(found.sources),
        skipped=found.skipped,
        config=config,
        train_size=train_size,
        cache=cache,
    )


def _scan(found: Found, config: CorpusConfig, counter: VocabularyCounter | None, names: str) -> _Scan:
    """The first reading of the sources.

    Raises:
        CorpusError: they are empty, or cannot be decoded.
    """
    scan = _Scan(counter=counter)
    for chunk in read_sources(found.sources, config):
        scan.add(chunk)
    if scan.characters == 0:
        raise CorpusError(f"{names}: empty; a corpus needs at least a few characters")
    return scan


def _split(ids: Ids, tokenizer: Tokenizer, config: CorpusConfig, names: str) -> tuple[Ids, int]:
    """The ids, with the held-out lines or pairs moved to the end, and the size of the training split.

    Raises:
        CorpusError: lines or pairs, and the vocabulary lacks the newline or the tab.
    """
    if config.pairs:
        tab = separator(tokenizer, names)
        return split_pairs(ids, tokenizer.start, tab, config.val_fraction)
    if not config.lines:
        return ids, config.train_size(len(ids))
    if tokenizer.newline is None:
        raise CorpusError(f"{names}: a single line; --lines learns from many, one item a line")
    return split_items(ids, tokenizer.newline, config.val_fraction)


def _keep(
    pieces: Iterable[Ids], scan: _Scan, tokenizer: Tokenizer, directory: Path | None
) -> tuple[Ids, Path | None]:
    """The pieces as one array: in memory, or memory-mapped from a temporary file or from the run's cache."""
    dtype = tokenizer.id_dtype
    if directory is None or scan.characters * dtype.itemsize <= files.IN_MEMORY:
        ids = files.SpilledArray(dtype)
        for piece in pieces:
            ids.add(piece)
        return ids.finish(), None
    encoding = json.dumps([scan.hash.hexdigest(), tokenizer.describe()], sort_keys=True)
    key = hashlib.sha256(encoding.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    path = directory / files.CACHED_IDS.format(key)
    if not path.exists():
        _write_cache(path, pieces, scan.characters, dtype)
    if not path.exists():
        return np.empty(0, dtype), None  # the text changed: the caller checks the number of ids
    mapped: Ids = np.load(path, mmap_mode="r")
    return mapped, path


def _write_cache(path: Path, pieces: Iterable[Ids], count: int, dtype: np.dtype[Any]) -> None:
    """Writes the ids to a temporary name, then renames the file, so that it is complete or absent.

    Raises:
        CorpusError: from the pieces.
        OSError: there is no room; names the file.
    """
    part = Path(f"{path}{files.PART}")
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": (count,)}
    written = 0
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            np.lib.format.write_array_header_1_0(file, header)
            for piece in pieces:
                written += file.write(piece.tobytes()) // dtype.itemsize
            file.flush()
            os.fsync(file.fileno())
        if written == count:
            part.replace(path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None
    finally:
        part.unlink(missing_ok=True)
        if not path.exists():
            with contextlib.suppress(OSError):
                path.parent.rmdir()  # which fails, as it should, if it holds anything


def _ids_of(chunk: str | bytes, tokenizer: Tokenizer, names: str) -> Ids:
    """A chunk's ids, with unknown characters folded.

    Raises:
        CorpusError: there is an unknown character, but no unknown symbol.
    """
    ids, unknown = tokenizer.fold(chunk)
    if len(unknown) and tokenizer.unknown is None:
        character = chunk[int(unknown[0])]
        raise CorpusError(
            f"{names}: not the text this vocabulary was made from: it holds {character!a}; "
            "give that text back, or train anew"
        )
    return ids


def corpus_name(path: str) -> str:
    """The default name of a run that learns this corpus: the file's name without its suffixes.

    >>> corpus_name("texts/shakespeare.txt.gz"), corpus_name("-"), corpus_name("/usr/lib/python3.11")
    ('shakespeare', 'stdin', 'python3.11')
    """
    if path == "-":
        return "stdin"
    if Path(path).is_fifo():
        return "pipe"
    resolved = Path(path).resolve()
    name = resolved.name
    if not resolved.is_dir():
        for suffix in reversed(resolved.suffixes[-2:]):
            if suffix in OPENERS or suffix in {".txt", ".text", ".md", ".csv", ".tsv"}:
                name = name.removesuffix(suffix)
            else:
                break
    return name or "corpus"
