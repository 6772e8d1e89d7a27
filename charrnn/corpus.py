"""Files, directories, compressed files and stdin become one sequence of ids, in bounded memory.

A corpus is read twice, chunk by chunk: once to count its characters and hash its text, once to encode it.
What cannot be read twice (stdin, a pipe) is kept in a temporary file in between.
"""

from __future__ import annotations

import bz2
import codecs
import contextlib
import dataclasses
import gzip
import hashlib
import io
import lzma
import os
import shutil
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

from charrnn.config import CorpusConfig
from charrnn.errors import CorpusError
from charrnn.items import split_items
from charrnn.tokenizer import ByteTokenizer, Ids, Tokenizer, VocabularyCounter, id_dtype

CHUNK = 1 << 20  # bytes read at a time
IN_MEMORY = 64 << 20  # bytes of ids beyond which they live in a mapped file
OPENERS: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}


@dataclasses.dataclass(frozen=True)
class Source:
    """One input: a file, or stdin or a pipe spooled to a temporary file.

    Attributes:
        path: where to read.
        name: what messages call it.
    """

    path: Path
    name: str

    @contextlib.contextmanager
    def open(self) -> Iterator[IO[bytes]]:
        """The decompressed bytes; what goes wrong while reading is a CorpusError with the name."""
        try:
            with OPENERS.get(self.path.suffix, open)(self.path, "rb") as file:
                yield file
        except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
            raise CorpusError(f"{self.name}: damaged {self.path.suffix[1:]} file: {error}") from None
        except OSError as error:
            reason = error.strerror or str(error)
            raise CorpusError(f"{self.name}: {reason}") from None

    def chunks(self) -> Iterator[bytes]:
        """The bytes, at most CHUNK at a time."""
        with self.open() as file:
            while chunk := file.read(CHUNK):
                yield chunk

    def text(self, config: CorpusConfig) -> Iterator[str]:
        """The characters, chunk by chunk, without a byte-order mark.

        Raises:
            CorpusError: bytes that do not decode, with their offset; or a NUL byte where none belongs.
        """
        utf8 = codecs.lookup(config.encoding).name == "utf-8"
        decoder: Any = codecs.getincrementaldecoder("utf-8-sig" if utf8 else config.encoding)()
        unix = config.newlines == "unix"
        newlines = io.IncrementalNewlineDecoder(None, translate=True) if unix else None
        offset = 0
        for chunk in _and_then(self.chunks(), b""):
            if utf8 and (nul := chunk.find(0)) >= 0:
                raise self._not_text("a NUL byte", offset + nul)
            offset += len(chunk)
            try:
                text = decoder.decode(chunk, final=not chunk)
            except UnicodeDecodeError as error:
                byte = f"byte 0x{error.object[error.start]:02x} is not {config.encoding}"
                # The object ends where the chunk does, but begins anywhere: after a byte-order mark, or
                # with what the decoder kept of the chunk before.
                raise self._not_text(byte, offset - len(error.object) + error.start) from None
            except UnicodeError as error:
                raise self._not_text(str(error), 0) from None
            yield newlines.decode(text, final=not chunk) if newlines else text

    def _not_text(self, what: str, offset: int) -> CorpusError:
        return CorpusError(
            f"{self.name}: {what}, at offset {offset:,}; "
            "name the text's --encoding, or learn bytes with --tokenizer byte"
        )

    def is_text(self, config: CorpusConfig) -> bool:
        """Whether the whole file decodes; for choosing among a directory's files."""
        try:
            for _ in self.text(config):
                pass
        except CorpusError:
            return False
        return True


def _and_then(chunks: Iterable[bytes], last: bytes) -> Iterator[bytes]:
    """The chunks, then one more, which tells the decoder that the text ends."""
    yield from chunks
    yield last


@dataclasses.dataclass(frozen=True)
class Found:
    """The sources that a command line's paths stand for.

    Attributes:
        sources: in the order given, a directory's files sorted by path.
        skipped: how many files of directories were passed over: hidden, empty or not text.
    """

    sources: list[Source]
    skipped: int = 0


def find_sources(paths: Iterable[str], config: CorpusConfig) -> Found:
    """The sources behind files, directories and "-" (stdin, read here to its end).

    Raises:
        CorpusError: a path does not exist, or a directory holds no text.
    """
    sources: list[Source] = []
    skipped = 0
    for name in paths:
        path = Path(name)
        if not name:
            raise CorpusError("'': a corpus without a name; is a variable of the shell unset?")
        if name == "-":
            sources.append(_spool_stdin())
        elif path.is_dir():
            found = _find_in_directory(path, config)
            sources += found.sources
            skipped += found.skipped
        elif path.is_file():
            sources.append(Source(path, name))
        elif path.exists():
            sources.append(_spool_pipe(path, name))
        else:
            raise CorpusError(f"{name}: no such file or directory")
    return Found(sources, skipped)


def _find_in_directory(directory: Path, config: CorpusConfig) -> Found:
    sources, skipped = [], 0
    for folder, folders, files in os.walk(directory):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            path = Path(folder, name)
            source = Source(path, str(path))
            hidden = name.startswith(".") or not path.is_file() or path.stat().st_size == 0
            if hidden or not (config.tokenizer == "byte" or source.is_text(config)):
                skipped += 1
            else:
                sources.append(source)
    if not sources:
        raise CorpusError(f"{directory}: no text files in this directory ({skipped} skipped)")
    sources.sort(key=lambda source: source.name)
    return Found(sources, skipped)


def _spool_stdin() -> Source:
    """Stdin as a file that can be read twice; it is unlinked when the process ends."""
    if sys.stdin is None or sys.stdin.closed:
        raise CorpusError("-: stdin is closed; name a file")
    return _spool(sys.stdin.buffer, "-")


def _spool_pipe(path: Path, name: str) -> Source:
    """A named pipe, or a shell's ``<(command)``, as a file that can be read twice."""
    try:
        with path.open("rb") as pipe:
            return _spool(pipe, name)
    except OSError as error:
        raise CorpusError(f"{name}: {error.strerror}") from None


def _spool(stream: IO[bytes], name: str) -> Source:
    spool = tempfile.NamedTemporaryFile(prefix="charrnn-spool-")  # noqa: SIM115 (lives with _SPOOLS)
    _SPOOLS.append(spool)
    shutil.copyfileobj(stream, spool, CHUNK)
    spool.flush()
    return Source(Path(spool.name), name)


_SPOOLS: list[Any] = []


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
    counter: VocabularyCounter = dataclasses.field(default_factory=VocabularyCounter)

    def add(self, chunk: str | bytes) -> None:
        data = chunk if isinstance(chunk, bytes) else chunk.encode("utf-8", "surrogatepass")
        self.characters += len(chunk)
        self.size += len(data)
        self.hash.update(data)
        if isinstance(chunk, str):
            self.counter.add(chunk)


def _read(found: Found, config: CorpusConfig) -> Iterator[str | bytes]:
    for source in found.sources:
        yield from source.chunks() if config.tokenizer == "byte" else source.text(config)


def read_corpus(paths: Iterable[str], config: CorpusConfig, tokenizer: Tokenizer | None = None) -> Corpus:
    """Reads and encodes the texts at ``paths``, joined as ``cat`` would.

    With a tokenizer, that one is used; what it lacks becomes its unknown symbol.

    Raises:
        CorpusError: nothing there, nothing in it, not text, or characters the given tokenizer lacks.
    """
    paths = list(paths)
    found = find_sources(paths, config)
    scan = _Scan()
    for chunk in _read(found, config):
        scan.add(chunk)
    names = ", ".join(paths)
    if scan.characters == 0:
        raise CorpusError(f"{names}: empty; a corpus needs at least a few characters")
    if tokenizer is None:
        byte = config.tokenizer == "byte"
        tokenizer = ByteTokenizer() if byte else scan.counter.tokenizer(config.min_count)
    ids = _encode(_read(found, config), scan.characters, tokenizer, names)
    train_size = int(len(ids) * (1 - config.val_fraction))
    if config.lines:
        newline = tokenizer.start  # a newline, wherever the vocabulary has one
        if tokenizer.decode([newline]) != "\n":
            raise CorpusError(f"{names}: a single line; --lines learns from many, one item a line")
        ids, train_size = split_items(ids, newline, config.val_fraction)
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
    )


def _encode(chunks: Iterator[str | bytes], characters: int, tokenizer: Tokenizer, names: str) -> Ids:
    """The ids of all chunks, in memory or in a mapped temporary file."""
    dtype = id_dtype(255 if tokenizer.kind == "byte" else tokenizer.size)
    pieces = (_ids_of(chunk, tokenizer, names) for chunk in chunks)
    if characters * dtype.itemsize <= IN_MEMORY:
        ids: Ids = np.concatenate([*pieces, np.empty(0, dtype)])
    else:
        ids = _mapped(pieces, dtype)
    if len(ids) != characters:
        raise CorpusError(f"{names}: changed while it was read; try again when it is at rest")
    return ids


def _mapped(pieces: Iterable[Ids], dtype: np.dtype[Any]) -> Ids:
    """The pieces joined in a temporary file without a name, mapped.

    They are written, not stored through the map, whose touched pages would count as this process's memory.

    Raises:
        OSError: there is no room, naming the directory of temporary files.
    """
    try:
        with tempfile.TemporaryFile(prefix="charrnn-ids-") as file:
            for piece in pieces:
                file.write(piece.tobytes())
            file.flush()
            return np.memmap(file, dtype, "r")
    except OSError as error:
        raise OSError(error.errno, error.strerror, tempfile.gettempdir()) from None


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
