"""A training corpus as one sequence of ids, read in bounded memory.

The text is read twice, chunk by chunk: first to count its characters and to hash it, then to encode it.
Texts over 64 MB also get a memory-mapped cache of ids in the run's directory, named after a hash of the text
and the tokenizer. A resumed training hashes its text to check that it is unchanged, and reuses the cache.
"""

from __future__ import annotations

import dataclasses
import hashlib
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from charrnn import files
from charrnn.config import CorpusConfig
from charrnn.errors import CorpusError
from charrnn.text.cache import CachedIds
from charrnn.text.items import split_items
from charrnn.text.sources import OPENERS, Found, as_utf8, find_sources, read_sources
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
        characters: the number of characters, or of bytes for a byte tokenizer.
        bytes: the size of the text as UTF-8.
        sha256: of the text as UTF-8; for a plain UTF-8 file, what ``sha256sum`` prints.
        sources: the paths of the files that were read.
        expanded: the names of compressed files whose texts are over EXPANDED times as large, with both sizes
            in bytes.
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
    sources: tuple[Path, ...]
    skipped: int
    config: CorpusConfig
    train_size: int
    cache: Path | None = None
    expanded: tuple[tuple[str, int, int], ...] = ()

    @property
    def files(self) -> int:
        """The number of sources."""
        return len(self.sources)

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
    expanded: list[tuple[str, int, int]] = dataclasses.field(default_factory=list)

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
    counter = VocabularyCounter() if tokenizer is None else None
    scan = _scan(found, config, counter, names, directory or Path(tempfile.gettempdir()))
    if tokenizer is None:
        assert scan.counter is not None
        byte = config.tokenizer == "byte"
        tokenizer = ByteTokenizer() if byte else scan.counter.tokenizer(config.min_count)
    ids, cache = _keep(_encoded(found, config, tokenizer, scan, names), scan, tokenizer, directory)
    ids, train_size = _split(ids, tokenizer, config, names)
    return Corpus(
        ids=ids,
        tokenizer=tokenizer,
        name=corpus_name(paths[0]),
        paths=tuple("-" if path == "-" else str(Path(path).resolve()) for path in paths),
        characters=scan.characters,
        bytes=scan.size,
        sha256=scan.hash.hexdigest(),
        sources=tuple(source.path for source in found.sources),
        skipped=found.skipped,
        config=config,
        train_size=train_size,
        cache=cache,
        expanded=tuple(scan.expanded),
    )


def _scan(
    found: Found, config: CorpusConfig, counter: VocabularyCounter | None, names: str, place: Path
) -> _Scan:
    """The first reading of the sources, whose ids will be written to a place if they are many.

    Raises:
        CorpusError: they are empty, or cannot be decoded.
        OSError: the place has too little free space for the ids, a byte each at least.
    """
    scan, room = _Scan(counter=counter), files.free_space(place)
    for source in found.sources:
        before = scan.size
        for chunk in read_sources([source], config):
            scan.add(chunk)
            if scan.characters > files.IN_MEMORY:
                files.require_space(scan.characters, room, place)
        if source.compressed and scan.size - before > EXPANDED * (size := source.path.stat().st_size):
            scan.expanded.append((source.name, size, scan.size - before))
    if scan.characters == 0:
        raise CorpusError(f"{names}: empty; a corpus needs at least a few characters")
    return scan


def _split(ids: Ids, tokenizer: Tokenizer, config: CorpusConfig, names: str) -> tuple[Ids, int]:
    """The ids, in line mode with the held-out lines moved to the end, and the size of the training split.

    Raises:
        CorpusError: line mode, and the vocabulary has no newline.
    """
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
    if directory is not None and scan.characters * dtype.itemsize > files.IN_MEMORY:
        cache = CachedIds(directory, scan.hash.hexdigest(), scan.characters, tokenizer)
        mapped = cache.load()
        return cache.write(pieces) if mapped is None else mapped, cache.path
    ids = files.SpilledArray(dtype)
    for piece in pieces:
        ids.add(piece)
    return ids.finish(), None


def _encoded(
    found: Found, config: CorpusConfig, tokenizer: Tokenizer, scan: _Scan, names: str
) -> Iterator[Ids]:
    """The ids of the sources, chunk by chunk, with unknown characters folded.

    Raises:
        CorpusError: there is an unknown character, but no unknown symbol; or, at the end, the text is not
            the one that was scanned.
    """
    changed = CorpusError(f"{names}: changed while it was read; try again when nothing writes to it")
    digest = hashlib.sha256()
    for chunk in read_sources(found.sources, config):
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
    if digest.digest() != scan.hash.digest():
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
