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
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from charrnn import files
from charrnn.config import CorpusConfig
from charrnn.errors import ConfigError, CorpusError
from charrnn.text.items import split_items
from charrnn.text.pairs import separator, split_pairs
from charrnn.text.reading import as_utf8, read_symbols, sha256_of
from charrnn.text.scored import ScoredText, read_text
from charrnn.text.sources import OPENERS, Skipped, Source, find_sources, gone
from charrnn.text.tokenizer import ByteTokenizer, Ids, Tokenizer, VocabularyCounter

SEEN = 1 << 20  # symbols that are searched for carriage returns


@dataclasses.dataclass(frozen=True)
class Corpus:
    """A text as ids, and what a model file records of it.

    Attributes:
        ids: (symbols,) in the tokenizer's ``id_dtype``; memory-mapped if large.
        tokenizer: made from this text, or the one that was given.
        name: of the first source, without directory and suffixes.
        paths: of the sources, absolute; "-" for stdin.
        characters: the number of characters that are learnt, or of bytes for a byte tokenizer.
        bytes: their size as UTF-8.
        sha256: of the sources' text as UTF-8; for a plain UTF-8 file, what ``sha256sum`` prints.
        files: the number of sources.
        skipped: what was passed over in directories.
        config: how the text was read and split.
        train_size: the number of symbols in the training split, rounded down as nanoGPT does: 1,003,854 of
            tiny Shakespeare's 1,115,394.
        cache: the file of ids in the run's directory, if there is one.
        val: the text that is validated on instead of a part of this one, if there is one.
        val_sha256: of that text.
    """

    ids: Ids
    tokenizer: Tokenizer
    name: str
    paths: tuple[str, ...]
    characters: int
    bytes: int
    sha256: str
    files: int
    skipped: Skipped
    config: CorpusConfig
    train_size: int
    cache: Path | None = None
    val: ScoredText | None = None
    val_sha256: str | None = None

    @property
    def train(self) -> Ids:
        """The training split (symbols,)."""
        return self.ids[: self.train_size]

    @property
    def validation(self) -> Ids:
        """The validation split, or the known characters of the text to validate on (symbols,)."""
        return self.ids[self.train_size :] if self.val is None else self.val.ids

    @property
    def lone_returns(self) -> bool:
        """Whether lines seem to end in carriage returns without newlines, from the first SEEN symbols."""
        carriage_return, newline = (int(self.tokenizer.lookup(character)[0]) for character in "\r\n")
        if carriage_return >= self.tokenizer.size:
            return False
        seen = self.ids[:SEEN]
        returns = np.count_nonzero(seen == carriage_return)
        return bool(returns > 2 * np.count_nonzero(seen == newline))

    def describe(self) -> dict[str, Any]:
        """The JSON object that is stored in a model file; it does not contain the text."""
        described = {
            "name": self.name,
            "paths": list(self.paths),
            "characters": self.characters,
            "bytes": self.bytes,
            "sha256": self.sha256,
        } | dataclasses.asdict(self.config)
        if self.config.val is not None:
            described |= {"val": str(Path(self.config.val).resolve()), "val_sha256": self.val_sha256}
        return described


@dataclasses.dataclass
class _Scan:
    """The results of the first pass over a text."""

    characters: int = 0
    size: int = 0  # bytes as UTF-8
    hash: Any = dataclasses.field(default_factory=hashlib.sha256)
    counter: VocabularyCounter | None = dataclasses.field(default_factory=VocabularyCounter)

    def add(self, chunk: str | bytes) -> None:
        self.characters += len(chunk)
        self.size += len(as_utf8(chunk))
        if isinstance(chunk, str) and self.counter is not None:
            self.counter.add(chunk)


def read_corpus(
    paths: Iterable[str],
    config: CorpusConfig,
    tokenizer: Tokenizer | None = None,
    directory: Path | None = None,
) -> Corpus:
    """Reads and encodes the texts at ``paths``, joined as ``cat`` would, or item by item with ``lines``.

    Args:
        paths: files, directories, or "-" for stdin.
        config: how to read and split them.
        tokenizer: to encode with; made from the text if None.
        directory: the run's directory, which is passed over where it lies in one of ``paths``. The cache of
            ids of a large text is kept there; without it these ids go to a temporary file.

    Raises:
        CorpusError: a path is missing, the text is empty or cannot be decoded, or it holds characters that
            the given tokenizer lacks and cannot fold.
        ConfigError: a column is wanted, but not as items.
        OSError: there is no room for the ids; names the place.
    """
    paths = list(paths)
    names = ", ".join(paths)
    found = find_sources(paths, config, output=directory)
    sources = _tables(found.sources, config) if config.column else found.sources
    scan = _scan(sources, config, counter=VocabularyCounter() if tokenizer is None else None, names=names)
    tokenizer = tokenizer or _tokenizer(scan, config)
    pieces = (_ids_of(chunk, tokenizer, names) for chunk in read_symbols(sources, config))
    ids, cache = _keep(pieces, scan, tokenizer, directory, config)
    if len(ids) != scan.characters:
        raise CorpusError(f"{names}: changed while it was read; try again when nothing writes to it")
    ids, train_size = _split(ids, tokenizer, config, names)
    val, val_sha256 = _validation_text(tokenizer, config)
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
        val=val,
        val_sha256=val_sha256,
    )


def _validation_text(tokenizer: Tokenizer, config: CorpusConfig) -> tuple[ScoredText | None, str | None]:
    """The text of --val, if there is one, and its sha256.

    Raises:
        CorpusError: it cannot be read, or not a second time.
    """
    if config.val is None:
        return None, None
    if gone([config.val]):
        raise CorpusError(f"{config.val}: --val needs a file, since it is read again later; write it to one")
    text = read_text(config.val, tokenizer, config)
    if len(text.ids) == 0:
        raise CorpusError(f"{config.val}: none of its characters is in the corpus; name another text")
    return text, sha256_of(find_sources([config.val], config).sources, config)


def _tables(sources: Sequence[Source], config: CorpusConfig) -> list[Source]:
    """The sources as tables, of which a column is learnt; stdin and pipes are read as .csv.

    Raises:
        CorpusError: a file is neither .csv nor .tsv.
        ConfigError: a column is wanted, but not as items.
    """
    if not config.lines:
        raise ConfigError(f"--column {config.column[0]}: a column is a list of items; add --lines")
    tables = []
    for source in sources:
        if source.delimiter is None and str(source.path) == source.name:
            raise CorpusError(f"{source.name}: not .csv or .tsv, which --column reads; give such a file")
        tables.append(dataclasses.replace(source, delimiter=source.delimiter or ","))
    return tables


def _scan(
    sources: Sequence[Source], config: CorpusConfig, counter: VocabularyCounter | None, names: str
) -> _Scan:
    """The first reading of the sources.

    Raises:
        CorpusError: they are empty, or cannot be decoded.
    """
    scan = _Scan(counter=counter)
    for chunk in read_symbols(sources, config, scan.hash):
        scan.add(chunk)
    if scan.characters == 0:
        raise CorpusError(f"{names}: empty; a corpus needs at least a few characters")
    return scan


def _tokenizer(scan: _Scan, config: CorpusConfig) -> Tokenizer:
    """The tokenizer that the first reading makes."""
    assert scan.counter is not None
    return ByteTokenizer() if config.tokenizer == "byte" else scan.counter.tokenizer(config.min_count)


def _split(ids: Ids, tokenizer: Tokenizer, config: CorpusConfig, names: str) -> tuple[Ids, int]:
    """The ids, with the held-out lines or pairs moved to the end, and the size of the training split.

    Raises:
        CorpusError: the text is a single line, or the vocabulary lacks the newline or the tab.
    """
    if config.pairs:
        tab = separator(tokenizer, names)
        return split_pairs(ids, tokenizer.start, tab, config.held_out)
    if not config.lines:
        return ids, config.train_size(len(ids))
    newline = tokenizer.newline
    if newline is None and tokenizer.unknown is not None:
        raise CorpusError(
            f"{names}: --min-count {config.min_count} leaves out newlines, which end items; lower it"
        )
    if newline is None or (config.rules > 1 and np.count_nonzero(ids == newline) < 2):
        remedy = "--lines learns from many, one item a line"
        if (ids == tokenizer.lookup("\r")[0]).any():
            remedy = "if carriage returns end its lines, add --newlines unix"
        raise CorpusError(f"{names}: a single line; {remedy}")
    return split_items(ids, newline, config.held_out, config.rules)


def _keep(
    pieces: Iterable[Ids], scan: _Scan, tokenizer: Tokenizer, directory: Path | None, config: CorpusConfig
) -> tuple[Ids, Path | None]:
    """The pieces as one array: in memory, or memory-mapped from a temporary file or from the run's cache."""
    dtype = tokenizer.id_dtype
    if directory is None or scan.characters * dtype.itemsize <= files.IN_MEMORY:
        ids = files.SpilledArray(dtype)
        for piece in pieces:
            ids.add(piece)
        return ids.finish(), None
    read = [scan.hash.hexdigest(), tokenizer.describe()]
    if config.lines and config.rules > 1:  # else the ids are those of the text as it is
        read.append({"column": config.column})
    encoding = json.dumps(read, sort_keys=True)
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
