"""Sources of text: files, directories, compressed files, pipes and stdin, read chunk by chunk.

Stdin and pipes are copied to memory or to a temporary file, so that every source can be read twice.
"""

from __future__ import annotations

import bz2
import codecs
import contextlib
import dataclasses
import gzip
import io
import lzma
import os
import stat
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from charrnn.config import CorpusConfig
from charrnn.errors import CorpusError, counted
from charrnn.files import LOCK_FILE, holds_run, is_run_file, lock_owner
from charrnn.text.bounds import Bound, TooMuch
from charrnn.text.cache import is_cache
from charrnn.text.streams import CHUNK, HEAD, read_pipe, read_stdin
from charrnn.text.xz import MEMORY, XzFile

NAMED = 3  # files of directories that messages name
PIPES = ("/dev/fd/", "/proc/")  # the directories of a shell's <(command)
DELIMITERS = {".csv": ",", ".tsv": "\t"}
OPENERS: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": XzFile}


@dataclasses.dataclass(frozen=True)
class Source:
    """One input: a file, or a copy of what stdin or a pipe held.

    Attributes:
        path: of the file to read.
        name: for messages.
        delimiter: between the columns, if the source is to be read as a table.
        copy: (bytes,) uint8, where the source itself cannot be read again; memory-mapped if large.
    """

    path: Path
    name: str
    delimiter: str | None = None
    copy: NDArray[np.uint8] | None = dataclasses.field(default=None, repr=False, compare=False)

    @property
    def compressed(self) -> bool:
        """Whether it is decompressed as it is read."""
        return self.copy is None and self.path.suffix in OPENERS

    @contextlib.contextmanager
    def open(self) -> Iterator[IO[bytes]]:
        """The decompressed file; errors while reading become a CorpusError with the name."""
        try:
            with OPENERS.get(self.path.suffix, open)(self.path, "rb") as file:
                yield file
        except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
            if "limit" in str(error):  # how lzma says that the file asks for too much memory
                reason = f"takes more than {MEMORY >> 20} MB of memory to decompress; decompress it first"
                raise CorpusError(f"{self.name}: {reason}") from None
            raise CorpusError(f"{self.name}: damaged {self.path.suffix[1:]} file: {error}") from None
        except OSError as error:
            reason = error.strerror or str(error)
            raise CorpusError(f"{self.name}: {reason}") from None

    def chunks(self) -> Iterator[bytes]:
        """The bytes: HEAD at first, then at most CHUNK at a time."""
        if self.copy is not None:
            for begin in range(0, len(self.copy), CHUNK):
                yield self.copy[begin : begin + CHUNK].tobytes()
            return
        with self.open() as file:
            size = HEAD
            while chunk := file.read(size):
                yield chunk
                size = CHUNK

    def symbols(self, config: CorpusConfig) -> Iterator[str | bytes]:
        """The whole source in pieces: bytes for the byte tokenizer, else decoded text.

        Raises:
            CorpusError: as for ``text``.
        """
        if config.tokenizer != "byte":
            yield from self.text(config)
        elif config.newlines == "unix" and config.rules > 1:
            latin = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder("latin-1")(), translate=True)
            for chunk in _and_then(self.chunks(), b""):
                yield latin.decode(chunk, final=not chunk).encode("latin-1")
        else:
            yield from self.chunks()

    def text(self, config: CorpusConfig) -> Iterator[str]:
        """The decoded text, chunk by chunk, without a byte-order mark.

        Raises:
            CorpusError: bytes that do not decode, or a NUL byte; with the offset.
        """
        utf8 = codecs.lookup(config.encoding).name == "utf-8"
        decoder: Any = codecs.getincrementaldecoder("utf-8-sig" if utf8 else config.encoding)()
        one_byte = (
            "\n".encode(config.encoding) == b"\n"
        )  # unlike UTF-16 and UTF-32, in which NUL bytes are normal
        unix = config.newlines == "unix"
        newlines = io.IncrementalNewlineDecoder(None, translate=True) if unix else None
        offset = 0
        for chunk in _and_then(self.chunks(), b""):
            if one_byte and (nul := chunk.find(0)) >= 0:
                raise self._not_text("a NUL byte", offset + nul)
            offset += len(chunk)
            try:
                text = decoder.decode(chunk, final=not chunk)
            except UnicodeDecodeError as error:
                byte = f"byte 0x{error.object[error.start]:02x} is not {config.encoding}"
                # The error's object ends with this chunk, but may begin before it, with bytes that the
                # decoder kept, or within it, after a byte-order mark.
                raise self._not_text(byte, offset - len(error.object) + error.start) from None
            except UnicodeError as error:
                raise self._not_text(str(error), 0) from None
            yield newlines.decode(text, final=not chunk) if newlines else text

    def _not_text(self, what: str, offset: int) -> CorpusError:
        return CorpusError(
            f"{self.name}: {what}, at offset {offset:,}; "
            "name the text's --encoding, or learn bytes with --tokenizer byte"
        )

    def refusal(self, config: CorpusConfig, bound: Bound) -> str | None:
        """Why the file is not read as one of a directory's, with its name; None if it is.

        It must decode to its end, and be a table if a column is wanted.

        Raises:
            TooMuch: it exceeds the bound.
        """
        if config.column and self.delimiter is None:
            return f"{self.name}: not .csv or .tsv"
        bound.spend(opened=1)
        if config.tokenizer == "byte":
            return None
        unread = HEAD
        try:
            for piece in self.text(config):
                bound.spend(characters=len(piece))
                unread = CHUNK
        except TooMuch:
            raise
        except CorpusError as error:
            bound.spend(characters=unread)  # at most so much was read that did not become a piece
            return str(error).partition(";")[0]
        return None


def _and_then(chunks: Iterable[bytes], last: bytes) -> Iterator[bytes]:
    """The chunks, then ``last``."""
    yield from chunks
    yield last


@dataclasses.dataclass(frozen=True)
class Skipped:
    """What was passed over in directories.

    Attributes:
        unnamed: the number of files that are hidden, empty or no plain files.
        runs: the number of run directories; the output directory counts if there is more in it than a new
            run's lock and cache.
        refused: why each of the other files and folders was not read, with its name.
    """

    unnamed: int = 0
    runs: int = 0
    refused: tuple[str, ...] = ()

    @property
    def files(self) -> int:
        """The number of files that were passed over, without those of runs."""
        return self.unnamed + len(self.refused)

    def __add__(self, other: Skipped) -> Skipped:
        return Skipped(self.unnamed + other.unnamed, self.runs + other.runs, self.refused + other.refused)

    def __str__(self) -> str:
        """How many, in words; empty if there were none.

        >>> print(Skipped(unnamed=1, runs=2, refused=("a.png: a NUL byte, at offset 4",)))
        2 files skipped (hidden, empty or not text), 2 run directories passed over
        """
        parts = []
        if self.files:
            parts.append(f"{counted(self.files, 'file')} skipped (hidden, empty or not text)")
        if self.runs:
            directories = "run directory" if self.runs == 1 else "run directories"
            parts.append(f"{self.runs:,} {directories} passed over")
        return ", ".join(parts)

    def reasons(self) -> Iterator[str]:
        """A line for each of the first NAMED files with the reason, and one that counts the others."""
        for reason in self.refused[:NAMED]:
            yield f"skipped {reason}"
        if len(self.refused) > NAMED:
            yield f"skipped {counted(len(self.refused) - NAMED, 'more file')} for such reasons"


@dataclasses.dataclass(frozen=True)
class Found:
    """The sources found at the given paths.

    Attributes:
        sources: in the order given, a directory's files sorted by path.
        skipped: what was passed over in directories.
    """

    sources: list[Source]
    skipped: Skipped = dataclasses.field(default_factory=Skipped)


def find_sources(
    paths: Iterable[str], config: CorpusConfig, output: Path | None = None, bound: Bound | None = None
) -> Found:
    """The sources at files, directories and "-" (stdin, which is read to its end).

    Directories are searched for texts without run directories, which hold a model or a state.

    Args:
        paths: of files and directories.
        config: how the text will be read; with a column, .csv and .tsv files become tables.
        output: the directory of the run that will learn the text, which is passed over too.
        bound: on what is looked at in directories.

    Raises:
        CorpusError: a path does not exist, or a directory contains no text.
        TooMuch: the directories exceed the bound.
    """
    sources: list[Source] = []
    skipped = Skipped()
    for name in paths:
        path = Path(name)
        if not name:
            raise CorpusError("'': an empty path; is a shell variable unset?")
        if name == "-":
            sources.append(Source(path, name, copy=read_stdin()))
        elif path.is_dir():
            found = _find_in_directory(path, config, output, bound or Bound())
            sources += found.sources
            skipped += found.skipped
        elif path.is_file():
            sources.append(_file(path, name, config))
        elif path.exists():
            sources.append(Source(path, name, copy=read_pipe(path, name)))
        else:
            raise CorpusError(f"{name}: no such file or directory")
    return Found(sources, skipped)


def _is_written(path: Path, *, own: bool) -> bool:
    """Whether charrnn wrote a file: in a run's directory by its name, elsewhere by what it holds."""
    return (
        (own and is_run_file(path.name))
        or is_cache(path)
        or (path.name == LOCK_FILE and lock_owner(path) is not None)
    )


def _has_content(path: Path) -> bool:
    """Whether this is a plain file that is not empty; a link to what may not be seen is none."""
    try:
        status = path.stat()
    except OSError:
        return False
    return stat.S_ISREG(status.st_mode) and status.st_size > 0


def _file(path: Path, name: str, config: CorpusConfig) -> Source:
    """A file as a source, which has a delimiter if a column is wanted and the file's name is a table's."""
    plain = path.with_suffix("") if path.suffix in OPENERS else path
    return Source(path, name, DELIMITERS.get(plain.suffix.lower()) if config.column else None)


def _find_in_directory(directory: Path, config: CorpusConfig, output: Path | None, bound: Bound) -> Found:
    """The texts below a directory, without hidden files and run directories.

    If the directory itself is a run's, only the files that the training wrote are left out.
    """
    sources, unnamed, runs = [], 0, 0
    refused: list[str] = []
    written = None if output is None else os.path.realpath(output)

    def is_run(folder: str) -> bool:
        return holds_run(folder) or os.path.realpath(folder) == written

    def unreadable(error: OSError) -> None:
        refused.append(f"{error.filename}: {error.strerror}")

    for folder, folders, files in os.walk(directory, onerror=unreadable):
        bound.spend(files=1 + len(files))
        if own := is_run(folder):
            # A new run's directory, in which there is only its lock or its cache, is not worth a word.
            runs += holds_run(folder) or bool(folders) or not all(map(is_run_file, files))
            if folder != str(directory):
                folders.clear()
                continue
        visible = sorted(name for name in folders if not name.startswith("."))
        links = [Path(folder, name) for name in visible if Path(folder, name).is_symlink()]
        refused += [f"{link}: a link to a directory" for link in links]
        folders[:] = visible
        for name in sorted(files):
            path = Path(folder, name)
            if _is_written(path, own=own):
                continue
            source = _file(path, str(path), config)
            if name.startswith(".") or not _has_content(path):
                unnamed += 1
            elif reason := source.refusal(config, bound):
                refused.append(reason)
            else:
                sources.append(source)
    skipped = Skipped(unnamed, runs, tuple(refused))
    if not sources:
        what = f" ({skipped})" if str(skipped) else ""
        examples = "".join(f"; {reason}" for reason in refused[:1])
        raise CorpusError(f"{directory}: no text files in this directory{what}{examples}")
    sources.sort(key=lambda source: source.name)
    return Found(sources, skipped)


def gone(paths: Sequence[str]) -> bool:
    """Whether any of a corpus's sources cannot be read again: stdin, or a pipe.

    >>> gone(["play.txt"]), gone(["play.txt", "-"]), gone(["/dev/fd/63"])
    (False, True, True)
    """
    return any(path == "-" or path.startswith(PIPES) or Path(path).is_fifo() for path in paths)
