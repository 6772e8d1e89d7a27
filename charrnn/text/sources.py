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
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from charrnn.config import CorpusConfig
from charrnn.errors import CorpusError
from charrnn.files import LOCK_FILE, SpilledArray, lock_owner
from charrnn.text.cache import is_cache
from charrnn.text.xz import MEMORY, XzFile

CHUNK = 1 << 20  # bytes read at a time
OPENERS: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": XzFile}


@dataclasses.dataclass(frozen=True)
class Source:
    """One input: a file, or a copy of what stdin or a pipe held.

    Attributes:
        path: of the file to read.
        name: for messages.
        copy: (bytes,) uint8, where the source itself cannot be read again; memory-mapped if large.
    """

    path: Path
    name: str
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
        """The bytes, at most CHUNK at a time."""
        if self.copy is not None:
            for begin in range(0, len(self.copy), CHUNK):
                yield self.copy[begin : begin + CHUNK].tobytes()
            return
        with self.open() as file:
            while chunk := file.read(CHUNK):
                yield chunk

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

    def is_text(self, config: CorpusConfig) -> bool:
        """Whether the whole file decodes; selects among a directory's files."""
        try:
            for _ in self.text(config):
                pass
        except CorpusError:
            return False
        return True


def _and_then(chunks: Iterable[bytes], last: bytes) -> Iterator[bytes]:
    """The chunks, then ``last``."""
    yield from chunks
    yield last


@dataclasses.dataclass(frozen=True)
class Found:
    """The sources found at the given paths.

    Attributes:
        sources: in the order given, a directory's files sorted by path.
        skipped: the number of files in directories that were skipped: hidden, empty or not text.
    """

    sources: list[Source]
    skipped: int = 0


def find_sources(paths: Iterable[str], config: CorpusConfig) -> Found:
    """The sources at files, directories and "-" (stdin, which is read to its end).

    Raises:
        CorpusError: a path does not exist, or a directory contains no text.
    """
    sources: list[Source] = []
    skipped = 0
    for name in paths:
        path = Path(name)
        if not name:
            raise CorpusError("'': an empty path; is a shell variable unset?")
        if name == "-":
            sources.append(_copy_stdin())
        elif path.is_dir():
            found = _find_in_directory(path, config)
            sources += found.sources
            skipped += found.skipped
        elif path.is_file():
            sources.append(Source(path, name))
        elif path.exists():
            sources.append(_copy_pipe(path, name))
        else:
            raise CorpusError(f"{name}: no such file or directory")
    return Found(sources, skipped)


def _find_in_directory(directory: Path, config: CorpusConfig) -> Found:
    def report(error: OSError) -> None:
        raise CorpusError(f"{error.filename}: cannot be read: {error.strerror}")

    sources, skipped = [], 0
    for folder, folders, files in os.walk(directory, onerror=report):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            path = Path(folder, name)
            if is_cache(path) or (name == LOCK_FILE and lock_owner(path)):
                continue  # of the run that is about to begin, in a directory of texts
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


def _copy_stdin() -> Source:
    """What stdin holds, read to its end."""
    if sys.stdin is None or sys.stdin.closed:
        raise CorpusError("-: stdin is closed; name a file")
    with contextlib.suppress(OSError):  # where it is no file of the system's
        _refuse_device(os.fstat(sys.stdin.fileno()), "-", terminal=sys.stdin.isatty())
    return Source(Path("-"), "-", _copied(sys.stdin.buffer, "-"))


def _copy_pipe(path: Path, name: str) -> Source:
    """What a named pipe or a shell's ``<(command)`` holds."""
    try:
        _refuse_device(path.stat(), name)
        with path.open("rb") as pipe:
            return Source(path, name, _copied(pipe, name))
    except OSError as error:
        raise CorpusError(f"{name}: {error.strerror}") from None


def _refuse_device(status: os.stat_result, name: str, *, terminal: bool = False) -> None:
    """Refuses what may never end, like /dev/zero.

    Raises:
        CorpusError: it is a device, and neither a terminal nor the null device.
    """
    device = stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode)
    if device and not terminal and status.st_rdev != Path(os.devnull).stat().st_rdev:
        raise CorpusError(f"{name}: a device, not a text; name a file, or - for stdin")


def _copied(stream: IO[bytes], name: str) -> NDArray[np.uint8]:
    """All bytes of a stream.

    Raises:
        CorpusError: it cannot be read, or there is too little free space for it, with its size so far.
    """
    copy, size = SpilledArray(np.dtype(np.uint8)), 0
    while True:
        try:
            chunk = stream.read(CHUNK)
        except OSError as error:
            raise CorpusError(f"{name}: {error.strerror}") from None
        if not chunk:
            break
        size += len(chunk)
        try:
            copy.add(np.frombuffer(chunk, np.uint8))
        except OSError as error:
            raise _too_large(name, size, error) from None
    try:
        return copy.finish()
    except OSError as error:
        raise _too_large(name, size, error) from None


def _too_large(name: str, size: int, error: OSError) -> CorpusError:
    reason = f"after {size / 1e6:,.0f} MB: {error.filename}: {error.strerror}"
    return CorpusError(f"{name}: {reason}; free some space, or set TMPDIR to a larger disk")


def read_sources(sources: Iterable[Source], config: CorpusConfig) -> Iterator[str | bytes]:
    """The chunks of all sources in order: bytes for the byte tokenizer, else decoded text."""
    for source in sources:
        yield from source.chunks() if config.tokenizer == "byte" else source.text(config)


def as_utf8(chunk: str | bytes) -> bytes:
    """A chunk as UTF-8, for sizes and hashes; bytes as they are."""
    return chunk if isinstance(chunk, bytes) else chunk.encode("utf-8", "surrogatepass")
