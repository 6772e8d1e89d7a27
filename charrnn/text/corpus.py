"""A training corpus as one sequence of ids, read in bounded memory.

The text is read twice, chunk by chunk: first to count its characters and to hash it, then to encode it.
Texts over 64 MB also get a memory-mapped cache of ids in the run's directory, named after a hash of what is
learnt of the text and of the tokenizer. A resumed training hashes its text to check that it is unchanged, and
reuses the cache.
"""

from __future__ import annotations

import dataclasses
import hashlib
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from charrnn import files
from charrnn.config import CorpusConfig
from charrnn.errors import CorpusError
from charrnn.text.bounds import Bound
from charrnn.text.cache import CachedIds
from charrnn.text.items import split_items
from charrnn.text.pairs import separator, split_pairs
from charrnn.text.reading import as_utf8, read_symbols
from charrnn.text.scored import ScoredText, read_text
from charrnn.text.sources import OPENERS, Skipped, Source, find_sources, gone
from charrnn.text.tokenizer import ByteTokenizer, Ids, Tokenizer, VocabularyCounter

EXPANDED = 1000  # times the size of a compressed file, beyond which the size of its text is told


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
        sources: the paths of the files that were read.
        skipped: what was passed over in directories.
        config: how the text was read and split.
        train_size: the number of symbols in the training split, rounded down as nanoGPT does: 1,003,854 of
            tiny Shakespeare's 1,115,394.
        cache: the file of ids in the run's directory, if there is one.
        val: the text that is validated on instead of a part of this one, if there is one.
        val_sha256: of that text.
        val_bytes: its size as UTF-8.
        val_sources: the paths of its files.
        expanded: the names of compressed files whose texts are over EXPANDED times as large, with both sizes
            in bytes.
    """

    ids: Ids
    tokenizer: Tokenizer
    name: str
    paths: tuple[str, ...]
    characters: int
    bytes: int
    sha256: str
    sources: tuple[Path, ...]
    skipped: Skipped
    config: CorpusConfig
    train_size: int
    cache: Path | None = None
    val: ScoredText | None = None
    val_sha256: str | None = None
    val_bytes: int = 0
    val_sources: tuple[Path, ...] = ()
    expanded: tuple[tuple[str, int, int], ...] = ()

    @property
    def files(self) -> int:
        """The number of sources."""
        return len(self.sources)

    @property
    def inputs(self) -> tuple[Path, ...]:
        """The files that were read, those of the text to validate on among them."""
        return self.sources + self.val_sources

    @property
    def train(self) -> Ids:
        """The training split (symbols,)."""
        return self.ids[: self.train_size]

    @property
    def validation(self) -> Ids:
        """The validation split, or the known characters of the text to validate on (symbols,)."""
        return self.ids[self.train_size :] if self.val is None else self.val.ids

    def describe(self) -> dict[str, Any]:
        """The JSON object that is stored in a model file; it does not contain the text."""
        described = {
            "name": self.name,
            "paths": list(self.paths),
            "characters": self.characters,
            "bytes": self.bytes,
            "files": self.files,
            "sha256": self.sha256,
        } | dataclasses.asdict(self.config)
        if self.config.val is not None:
            described |= {
                "val": str(Path(self.config.val).resolve()),
                "val_sha256": self.val_sha256,
                "val_bytes": self.val_bytes,
                "val_files": len(self.val_sources),
            }
        return described


@dataclasses.dataclass
class _Scan:
    """The results of the first pass over a text."""

    characters: int = 0
    size: int = 0  # bytes as UTF-8
    hash: Any = dataclasses.field(default_factory=hashlib.sha256)  # of the sources' text as UTF-8
    learnt: Any = dataclasses.field(default_factory=hashlib.sha256)  # of what is learnt of it
    bound: Bound = dataclasses.field(default_factory=Bound)
    counter: VocabularyCounter | None = dataclasses.field(default_factory=VocabularyCounter)
    expanded: list[tuple[str, int, int]] = dataclasses.field(default_factory=list)

    def add(self, chunk: str | bytes) -> None:
        self.characters += len(chunk)
        data = as_utf8(chunk)
        self.size += len(data)
        self.bound.learn(len(data))
        self.learnt.update(data)
        if isinstance(chunk, str) and self.counter is not None:
            self.counter.add(chunk)


def read_corpus(
    paths: Iterable[str],
    config: CorpusConfig,
    tokenizer: Tokenizer | None = None,
    directory: Path | None = None,
    bound: Bound | None = None,
) -> Corpus:
    """Reads and encodes the texts at ``paths``, joined as ``cat`` would, or item by item with ``lines``.

    Args:
        paths: files, directories, or "-" for stdin.
        config: how to read and split them.
        tokenizer: to encode with; made from the text if None.
        directory: the run's directory, which is passed over where it lies in one of ``paths``. The cache of
            ids of a large text is kept there; without it these ids go to a temporary file.
        bound: on what is read, where the paths come from a file.

    Raises:
        TooMuch: the texts exceed the bound.
        CorpusError: a path is missing, the text is empty or cannot be decoded, or it holds characters that
            the given tokenizer lacks and cannot fold.
        ConfigError: a column is wanted, but not as items.
        OSError: there is no room for the ids; names the place.
    """
    names = ", ".join(paths := list(paths))
    bound = bound or Bound()
    found = find_sources(paths, config, output=directory, bound=bound)
    sources = _tables(found.sources, config) if config.column else found.sources
    scan = _Scan(counter=VocabularyCounter() if tokenizer is None else None, bound=bound)
    _scan(scan, sources, config, names, directory or Path(tempfile.gettempdir()))
    tokenizer = tokenizer or _tokenizer(scan, config)
    ids, cache = _keep(_encoded(sources, config, tokenizer, scan, names), scan, tokenizer, directory)
    ids, train_size = _split(ids, tokenizer, config, names)
    validation = {} if config.val is None else _validation_text(config.val, tokenizer, config)
    return Corpus(
        ids=ids,
        tokenizer=tokenizer,
        name=corpus_name(paths[0]),
        paths=tuple("-" if path == "-" else str(Path(path).resolve()) for path in paths),
        characters=scan.characters,
        bytes=scan.size,
        sha256=scan.hash.hexdigest(),
        sources=tuple(source.path for source in sources),
        skipped=found.skipped,
        config=config,
        train_size=train_size,
        cache=cache,
        expanded=tuple(scan.expanded),
        **validation,
    )


def _validation_text(path: str, tokenizer: Tokenizer, config: CorpusConfig) -> dict[str, Any]:
    """The fields of a corpus that its text of --val has.

    Raises:
        CorpusError: it cannot be read, or not a second time.
    """
    if gone([path]):
        raise CorpusError(f"{path}: --val needs a file, since it is read again later; write it to one")
    text = read_text(path, tokenizer, config)
    if len(text.ids) == 0:
        raise CorpusError(f"{path}: none of its characters is in the corpus; name another text")
    sources, digest = find_sources([path], config).sources, hashlib.sha256()
    size = sum(len(as_utf8(piece)) for piece in read_symbols(sources, config, digest))
    return {
        "val": text,
        "val_sha256": digest.hexdigest(),
        "val_bytes": size,
        "val_sources": tuple(source.path for source in sources),
    }


def _tables(sources: Sequence[Source], config: CorpusConfig) -> list[Source]:
    """The sources as tables, of which a column is learnt; stdin and pipes are read as .csv.

    Raises:
        CorpusError: a file is neither .csv nor .tsv.
        ConfigError: a column is wanted, but not as items.
    """
    config.require_items()
    tables = []
    for source in sources:
        if source.delimiter is None and source.copy is None:
            raise CorpusError(f"{source.name}: not .csv or .tsv, which --column reads; give such a file")
        tables.append(dataclasses.replace(source, delimiter=source.delimiter or ","))
    return tables


def _scan(scan: _Scan, sources: Sequence[Source], config: CorpusConfig, names: str, place: Path) -> None:
    """The first reading of the sources, whose ids will be written to a place if they are many.

    Raises:
        CorpusError: they are empty, or cannot be decoded.
        OSError: the place has too little free space for the ids, a byte each at least.
    """
    room = files.free_space(place)
    # Whether what is learnt is the text as it is; the last pair of a source may have got its line end.
    whole = not config.pairs and (not config.lines or config.rules == 1)
    for source in sources:
        before = scan.size
        for chunk in read_symbols([source], config, None if whole else scan.hash):
            scan.add(chunk)
            if scan.characters > files.IN_MEMORY:
                files.require_space(scan.characters, room, place)
        if source.compressed and scan.size - before > EXPANDED * (size := source.path.stat().st_size):
            scan.expanded.append((source.name, size, scan.size - before))
    if whole:
        scan.hash = scan.learnt
    if scan.characters == 0:
        raise CorpusError(f"{names}: empty; a corpus needs at least a few characters")


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
    pieces: Iterable[Ids], scan: _Scan, tokenizer: Tokenizer, directory: Path | None
) -> tuple[Ids, Path | None]:
    """The pieces as one array: in memory, or memory-mapped from a temporary file or from the run's cache."""
    dtype = tokenizer.id_dtype
    if directory is not None and scan.characters * dtype.itemsize > files.IN_MEMORY:
        cache = CachedIds(directory, scan.learnt.hexdigest(), scan.characters, tokenizer)
        mapped = cache.load()
        return cache.write(pieces) if mapped is None else mapped, cache.path
    ids = files.SpilledArray(dtype)
    for piece in pieces:
        ids.add(piece)
    return ids.finish(), None


def _encoded(
    sources: Sequence[Source], config: CorpusConfig, tokenizer: Tokenizer, scan: _Scan, names: str
) -> Iterator[Ids]:
    """The ids of the sources, chunk by chunk, with unknown characters folded.

    Raises:
        CorpusError: there is an unknown character, but no unknown symbol; or, at the end, the text is not
            the one that was scanned.
    """
    changed = CorpusError(f"{names}: changed while it was read; try again when nothing writes to it")
    digest = hashlib.sha256()
    for chunk in read_symbols(sources, config):
        digest.update(as_utf8(chunk))
        ids, unknown = tokenizer.fold(chunk)
        if len(unknown) and tokenizer.unknown is None:
            if scan.counter is not None:  # the vocabulary was made from this text
                raise changed
            character = chunk[int(unknown[0])]
            raise CorpusError(
                f"{names}: not the text this vocabulary was made from: it holds {character!a}; "
                "give that text back, or train anew"
            )
        yield ids
    if digest.digest() != scan.learnt.digest():
        raise changed


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
