"""Texts become one sequence of ids, in bounded memory.

A corpus is read twice, chunk by chunk: once to count its characters and hash its text, once to encode it.
The ids of a large one are kept beside the run in a file named after what they encode, and mapped: a training
that is resumed hashes its text, to know that it is the same, and finds it encoded.
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
from charrnn.text.sources import OPENERS, as_utf8, find_sources, read_sources
from charrnn.text.tokenizer import ByteTokenizer, Ids, Tokenizer, VocabularyCounter, id_dtype


@dataclasses.dataclass(frozen=True)
class Corpus:
    """A text as ids, with what a model file says about it.

    Attributes:
        ids: (symbols,) in the smallest unsigned type; a mapped file where they are many.
        tokenizer: made from this text, or given.
        name: of the first source, without directory and suffixes.
        paths: as given, absolute; "-" for stdin.
        characters: how many; for a byte corpus, how many bytes.
        bytes: of the text as UTF-8.
        sha256: of the text as UTF-8: for a plain UTF-8 file, what ``sha256sum`` prints.
        files: how many sources there were.
        skipped: how many files of directories were passed over.
        config: how it was read, and which share at its end is held out.
        train_size: how many symbols train; as nanoGPT rounds, 1,003,854 of tiny Shakespeare's 1,115,394.
        cache: the file of ids beside the run, where there is one.
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
        """The part to learn from (symbols,)."""
        return self.ids[: self.train_size]

    @property
    def validation(self) -> Ids:
        """The part held out (symbols,)."""
        return self.ids[self.train_size :]

    def describe(self) -> dict[str, Any]:
        """The JSON object that stands in a model file: never the text."""
        return {
            "name": self.name,
            "paths": list(self.paths),
            "characters": self.characters,
            "bytes": self.bytes,
            "sha256": self.sha256,
        } | dataclasses.asdict(self.config)


@dataclasses.dataclass
class _Scan:
    """What the first reading finds out."""

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
        config: how to read them.
        tokenizer: to encode with; what it lacks becomes its unknown symbol. Made from the text if None.
        directory: the run's, where the ids of a large text are kept; made when they are written. Without
            one they go into a temporary file.

    Raises:
        CorpusError: nothing there, nothing in it, not text, or characters the given tokenizer lacks.
        OSError: there is no room for the ids, naming where.
    """
    paths = list(paths)
    found = find_sources(paths, config)
    scan = _Scan(counter=VocabularyCounter() if tokenizer is None else None)
    for chunk in read_sources(found.sources, config):
        scan.add(chunk)
    names = ", ".join(paths)
    if scan.characters == 0:
        raise CorpusError(f"{names}: empty; a corpus needs at least a few characters")
    if tokenizer is None:
        assert scan.counter is not None
        byte = config.tokenizer == "byte"
        tokenizer = ByteTokenizer() if byte else scan.counter.tokenizer(config.min_count)
    pieces = (_ids_of(chunk, tokenizer, names) for chunk in read_sources(found.sources, config))
    ids, cache = _keep(pieces, scan, tokenizer, directory)
    if len(ids) != scan.characters:
        raise CorpusError(f"{names}: changed while it was read; try again when it is at rest")
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


def _split(ids: Ids, tokenizer: Tokenizer, config: CorpusConfig, names: str) -> tuple[Ids, int]:
    """The ids, in line mode with the held-out items moved to their end, and how many of them train.

    Raises:
        CorpusError: items were asked for, and there is only one line.
    """
    if not config.lines:
        return ids, config.train_size(len(ids))
    newline = tokenizer.start  # a newline, wherever the vocabulary has one
    if tokenizer.decode([newline]) != "\n":
        raise CorpusError(f"{names}: a single line; --lines learns from many, one item a line")
    return split_items(ids, newline, config.val_fraction)


def _keep(
    pieces: Iterable[Ids], scan: _Scan, tokenizer: Tokenizer, directory: Path | None
) -> tuple[Ids, Path | None]:
    """The pieces as one array: in memory, mapped from a temporary file, or from one beside the run."""
    dtype = id_dtype(255 if tokenizer.kind == "byte" else tokenizer.size)
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
        return np.empty(0, dtype), None  # the text changed, which the number of ids tells
    mapped: Ids = np.load(path, mmap_mode="r")
    return mapped, path


def _write_cache(path: Path, pieces: Iterable[Ids], count: int, dtype: np.dtype[Any]) -> None:
    """Writes the ids beside their place, then renames: what bears the name is whole.

    Raises:
        CorpusError: as raised by the pieces.
        OSError: there is no room, naming the file.
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
                path.parent.rmdir()  # as it was found: not there, or not empty


def _ids_of(chunk: str | bytes, tokenizer: Tokenizer, names: str) -> Ids:
    """A chunk's ids, what the vocabulary lacks as its unknown symbol.

    Raises:
        CorpusError: it has no unknown symbol.
    """
    ids = tokenizer.lookup(chunk)
    if tokenizer.kind == "char" and (missing := ids == tokenizer.size).any():
        if tokenizer.unknown is None:
            character = chunk[int(missing.argmax())]
            raise CorpusError(
                f"{names}: not the text this vocabulary was made from: it holds {character!a}; "
                "give that text back, or train anew"
            )
        ids[missing] = tokenizer.unknown
    return ids


def corpus_name(path: str) -> str:
    """A run's name for a corpus: its file's name without suffixes.

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
