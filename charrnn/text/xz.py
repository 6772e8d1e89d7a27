"""Reading .xz files in bounded memory, which ``lzma.open`` does not do: a file of 1 KB may ask for 4 GB."""

from __future__ import annotations

import lzma
from pathlib import Path
from types import TracebackType

MEMORY = 256 << 20  # bytes that decompressing may take; files of xz -9 take 65 MB
BLOCK = 1 << 16  # compressed bytes read at a time


class XzFile:
    """A .xz file, opened for reading; several streams one after another are read as one.

    Args:
        path: of the file.
        mode: "rb", as for ``open``.

    Raises:
        OSError: it cannot be opened.
    """

    def __init__(self, path: Path, mode: str = "rb") -> None:
        assert mode == "rb"
        self._file = path.open("rb")
        self._stream = lzma.LZMADecompressor(memlimit=MEMORY)

    def read(self, size: int) -> bytes:
        """The next bytes of the text, at most ``size``, or none at its end.

        Raises:
            lzma.LZMAError: the file is damaged, or asks for too much memory.
            EOFError: the file was cut off.
        """
        while True:
            if self._stream.eof:
                data = self._next_stream(size)
                if data is None:
                    return b""
            else:
                block = self._file.read(BLOCK) if self._stream.needs_input else b""
                if self._stream.needs_input and not block:
                    raise EOFError("it was cut off")
                data = self._stream.decompress(block, size)
            if data:
                return data

    def _next_stream(self, size: int) -> bytes | None:
        """The beginning of the stream after the one that ended; None after the last."""
        block = self._stream.unused_data.lstrip(b"\0")  # streams are padded with zeros
        while not block:
            block = self._file.read(BLOCK)
            if not block:
                return None
            block = block.lstrip(b"\0")
        self._stream = lzma.LZMADecompressor(memlimit=MEMORY)
        return self._stream.decompress(block, size)

    def __enter__(self) -> XzFile:
        """The file itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes the file."""
        self._file.close()
