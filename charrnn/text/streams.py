"""Stdin and pipes, copied to memory or to a temporary file, so that they can be read twice."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from charrnn.errors import CorpusError
from charrnn.files import SpilledArray

CHUNK = 1 << 20  # bytes read at a time
HEAD = 1 << 13  # bytes of a file read first, which mostly tell whether it is a text


def read_stdin() -> NDArray[np.uint8]:
    """What stdin holds (bytes,), read to its end.

    Raises:
        CorpusError: it is closed, a device other than a terminal, or cannot be read.
    """
    if sys.stdin is None or sys.stdin.closed:
        raise CorpusError("-: stdin is closed; name a file")
    with contextlib.suppress(OSError):  # where it is no file of the system's
        _refuse_device(os.fstat(sys.stdin.fileno()), "-", terminal=sys.stdin.isatty())
    return _copied(sys.stdin.buffer, "-")


def read_pipe(path: Path, name: str) -> NDArray[np.uint8]:
    """What a named pipe or a shell's ``<(command)`` holds (bytes,).

    Raises:
        CorpusError: it is a device, or cannot be read.
    """
    try:
        _refuse_device(path.stat(), name)
        with path.open("rb") as pipe:
            return _copied(pipe, name)
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
