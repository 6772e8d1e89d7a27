"""Files: the names of what a run writes, atomic writes, and arrays that spill from memory to disk."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

MODEL_FILE = "model.safetensors"
STATE_FILE = "state.safetensors"
LOG_FILE = "log.jsonl"
CACHED_IDS = "ids-{}.npy"  # of a large text, after the key of what they encode
PART = ".part"  # what a file's name ends in until the file is whole

IN_MEMORY = 64 << 20  # bytes of an array beyond which it lives in a mapped file


def write_atomically(path: Path, data: bytes) -> None:
    """Puts ``data`` at ``path``, whole or not at all, through a file beside it.

    The name beside it is always the same, so that whatever a kill leaves there is overwritten next time.

    Raises:
        OSError: the disk is full, or the place cannot be written; what stood there still stands.
    """
    beside = path.with_name(path.name + PART)
    try:
        with beside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException as error:
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(path)  # a full disk says nothing of where
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the rename itself must reach the disk
    finally:
        os.close(folder)


class SpilledArray:
    """An array that grows by blocks: in memory while small, else in a temporary file without a name, mapped.

    Blocks are written, not stored through the map, whose touched pages would count as this process's memory.
    """

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self._dtype = dtype
        self._blocks: list[NDArray[Any]] = []
        self._held = 0
        self._file: IO[bytes] | None = None

    def add(self, block: NDArray[Any]) -> None:
        """Appends a block (n,).

        Raises:
            OSError: there is no room for it, naming the directory of temporary files.
        """
        self._blocks.append(block.astype(self._dtype, copy=False))
        self._held += self._blocks[-1].nbytes
        if self._held > IN_MEMORY:
            self._spill()

    def _spill(self) -> None:
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(prefix="charrnn-")  # noqa: SIM115 (finish closes it)
            for block in self._blocks:
                self._file.write(block.tobytes())
            self._file.flush()
        except OSError as error:
            with contextlib.suppress(OSError):
                self._file and self._file.close()  # what is buffered finds no room either
            raise OSError(error.errno, error.strerror, tempfile.gettempdir()) from None
        self._blocks, self._held = [], 0

    def finish(self) -> NDArray[Any]:
        """The whole array (n,).

        Raises:
            OSError: as ``add``.
        """
        if self._file is None:
            return np.concatenate([np.empty(0, self._dtype), *self._blocks])
        self._spill()
        with self._file:  # the map keeps its own hold of the file
            return np.memmap(self._file, self._dtype, "r")
