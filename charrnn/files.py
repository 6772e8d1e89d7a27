"""The names of a run's files, atomic writes, and arrays that spill from memory to disk."""

from __future__ import annotations

import contextlib
import fnmatch
import os
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

MODEL_FILE = "model.safetensors"
STATE_FILE = "state.safetensors"
LOG_FILE = "log.jsonl"
KEPT_MODEL = "model-{:0>4}.safetensors"  # what --keep-every writes; {} is a number from 1 on
CACHED_IDS = "ids-{}.npy"  # of a large text; {} is a hash of the text and the tokenizer
LOCK_FILE = "lock"  # held with flock for as long as a process trains in the directory
BOARD = "events.out.tfevents.*"  # what --tensorboard writes
PART = ".part"  # suffix of a file that is not complete yet

IN_MEMORY = 64 << 20  # bytes; larger arrays are memory-mapped files


def holds_run(directory: str | Path) -> bool:
    """Whether a directory is that of a run: it holds a model file or a state file."""
    return any(os.path.lexists(Path(directory, name)) for name in (MODEL_FILE, STATE_FILE))


def is_run_file(name: str) -> bool:
    """Whether training gives this name to a file that it writes into a run directory.

    >>> is_run_file("log.jsonl"), is_run_file("ids-0123456789abcdef.npy.part"), is_run_file("log.txt")
    (True, True, False)
    """
    name = name.removesuffix(PART)
    own = (MODEL_FILE, STATE_FILE, LOG_FILE, LOCK_FILE, CACHED_IDS.format("*"), BOARD)
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in own)


def write_atomically(path: Path, data: bytes) -> None:
    """Writes a file completely or not at all: to a temporary name, flushed to disk, then renamed.

    The temporary name is always the same, so that what a killed process left is overwritten next time.

    Raises:
        OSError: the disk is full, or the file cannot be written; an existing file is unchanged.
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
            error.filename = str(path)  # which the error of a full disk does not name
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)  # for the rename


def sync_directory(directory: Path) -> None:
    """Waits until the names in a directory are on the disk.

    Raises:
        OSError: they cannot be written.
    """
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def create_directories(directory: Path) -> None:
    """Creates a directory and those that it lies in, so that a power cut does not take them away again.

    Raises:
        OSError: they cannot be created.
    """
    missing = [path for path in (directory, *directory.parents) if not path.exists()]
    directory.mkdir(parents=True, exist_ok=True)
    for path in missing:
        sync_directory(path.parent)


class SpilledArray:
    """An array that grows by blocks: in memory while small, else a memory-mapped temporary file.

    Blocks are written to the file, not through the map, whose pages would count as memory of this process.
    """

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self._dtype = dtype
        self._blocks: list[NDArray[Any]] = []
        self._held = 0
        self._file: IO[bytes] | None = None

    def add(self, block: NDArray[Any]) -> None:
        """Appends a block (n,).

        Raises:
            OSError: there is no room for it; names the directory of temporary files.
        """
        self._blocks.append(block.astype(self._dtype, copy=False))
        self._held += self._blocks[-1].nbytes
        if self._held > IN_MEMORY:
            self._spill()

    def _spill(self) -> None:
        import tempfile  # here, since it takes time to import, and sampling needs none of it

        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(prefix="charrnn-")  # noqa: SIM115 (finish closes it)
            for block in self._blocks:
                self._file.write(block.tobytes())
            self._file.flush()
        except OSError as error:
            with contextlib.suppress(OSError):
                self._file and self._file.close()  # closing tries, and fails, to write the rest of the buffer
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
        with self._file:  # the map keeps the file open
            return np.memmap(self._file, self._dtype, "r")
