"""The names of a run's files, atomic writes, and arrays that spill from memory to disk."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

MODEL_FILE = "model.safetensors"
STATE_FILE = "state.safetensors"
LOG_FILE = "log.jsonl"
LOCK_FILE = "lock"  # held with flock for as long as a process trains in the directory
CACHED_IDS = "ids-{}.bin"  # of a large text; {} is a hash of the text and the tokenizer, 16 hex digits
KEPT_MODEL = "model-{:0>4}.safetensors"  # what --keep-every writes; {} is a number from 1 on
BOARD = "events.out.tfevents."  # how the names of the files begin that --tensorboard writes
PART = ".part"  # suffix of a file that is not complete yet

IN_MEMORY = 64 << 20  # bytes; larger arrays are memory-mapped files
FILLED = 0.8  # of the free disk space, the most that one array takes


# -- atomic writes -------------------------------------------------------------------------------------------


def part_of(path: Path) -> Path:
    """The name under which this process writes a file before it is renamed; no two processes share it."""
    short = os.fsdecode(os.fsencode(path.name)[:200])  # a name has at most 255 bytes
    return path.with_name(f"{short}.charrnn-{os.getpid()}{PART}")


_PART_NAME = re.compile(r"(.+)\.charrnn-([0-9]{1,10})\.part", re.DOTALL)

_RUN_NAME = re.compile(
    "|".join(
        [
            *map(re.escape, (MODEL_FILE, STATE_FILE, LOG_FILE, LOCK_FILE)),
            r"model-[0-9]{4,}\.safetensors",
            r"ids-[0-9a-f]{16}\.(bin|npy)",
            re.escape(BOARD) + ".*",
        ]
    ),
    re.DOTALL,
)


def parts_in(directory: Path) -> Iterator[Path]:
    """The incomplete files in a directory whose names ``part_of`` gave in some process."""
    for path in directory.iterdir():
        if _PART_NAME.fullmatch(path.name):
            yield path


def _remove_dead_parts(path: Path) -> None:
    """Removes what processes that are gone, or this one, left of a file that they did not complete."""
    own = part_of(path)
    prefix = own.name[: -len(f"{os.getpid()}{PART}")]
    for part in parts_in(path.parent):
        found = _PART_NAME.fullmatch(part.name)
        if found and part.name.startswith(prefix) and (part == own or not _is_alive(int(found[2]))):
            part.unlink(missing_ok=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # another user's
        return True
    return True


def holds_run(directory: str | Path) -> bool:
    """Whether a directory is that of a run: it holds a model file or a state file."""
    return any(os.path.lexists(Path(directory, name)) for name in (MODEL_FILE, STATE_FILE))


def is_run_file(name: str) -> bool:
    """Whether training gives this name to a file that it writes into a run directory.

    >>> [is_run_file(name) for name in ("log.jsonl", "ids-0123456789abcdef.bin", "model-0012.safetensors")]
    [True, True, True]
    >>> [is_run_file(name) for name in ("log.jsonl.charrnn-123.part", "log.txt", "model-b.safetensors")]
    [True, False, False]
    """
    found = _PART_NAME.fullmatch(name)
    # Parts had names without a process number up to 0.1.0, and caches ended in .npy.
    return bool(_RUN_NAME.fullmatch(found[1] if found else name.removesuffix(PART)))


def write_atomically(path: Path, data: bytes) -> None:
    """Writes a file completely or not at all: to a temporary name, flushed to disk, then renamed.

    The temporary name is this process's own; what a killed process left is removed.

    Raises:
        OSError: the disk is full, or the file cannot be written; names it. An existing file is unchanged.
    """
    beside = part_of(path)
    try:
        _remove_dead_parts(path)
        with beside.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)
        if isinstance(error, OSError):  # which names the temporary file, or nothing when the disk is full
            error.filename, error.filename2 = str(path), None
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


def is_input(path: Path, inputs: Iterable[str | Path]) -> bool:
    """Whether a file that exists is one of the inputs, or lies in an input that is a directory.

    No command may replace such a file.
    """
    if not path.exists():
        return False
    own, above = path.stat(), path.resolve().parents
    for name in inputs:  # of which there may be many
        with contextlib.suppress(OSError):
            other = Path(name).stat()
            if os.path.samestat(own, other):
                return True
            if stat.S_ISDIR(other.st_mode) and Path(name).resolve() in above:
                return True
    return False


# -- the log of a run ----------------------------------------------------------------------------------------

LONGEST_LOG = 64 << 20  # bytes, over a hundred thousand evaluations


def evaluation_in(line: str) -> dict[str, Any] | None:
    """The evaluation on a line of a run's log; None if there is none.

    >>> evaluation_in('{"step": 20, "val_loss": 1.5}'), evaluation_in('{"step": "x"}'), evaluation_in("{")
    ({'step': 20, 'val_loss': 1.5}, None, None)
    """
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):  # as brackets within brackets without end
        return None
    step = found.get("step") if isinstance(found, dict) else None
    return found if type(step) is int and 0 <= step < 1 << 63 else None


def log_lines(log: Path) -> list[str]:
    """The lines of a run's log, of the first LONGEST_LOG bytes; none where there is no plain file."""
    if not log.is_file():
        return []
    with log.open("rb") as file:
        return file.read(LONGEST_LOG).decode("utf-8", "replace").splitlines(keepends=True)


# -- the lock of a run ---------------------------------------------------------------------------------------

_LOCK_TEXT = re.compile(rb"charrnn: (process [0-9]{1,10} on [ -~]{1,100} since [-+:0-9 ]{1,40})\n")


def owner_in(lock: bytes) -> str | None:
    """Who wrote a lock file with this content and when; None if charrnn did not write it."""
    found = _LOCK_TEXT.fullmatch(lock)
    return found[1].decode() if found else None


def lock_owner(path: Path) -> str | None:
    """Who wrote a lock file and when; None if there is none that charrnn wrote."""
    try:
        if not path.is_file():
            return None
        with path.open("rb") as file:
            return owner_in(file.read(300))
    except OSError:
        return None


# -- arrays larger than memory -------------------------------------------------------------------------------


def free_space(directory: Path) -> float:
    """The bytes that may be written to the disk of a directory, which need not exist yet."""
    while not directory.exists() and directory != directory.parent:
        directory = directory.parent
    try:
        found = os.statvfs(directory)
    except OSError:
        return float("inf")
    # A file system that does not know its size says 0 blocks.
    return FILLED * found.f_bavail * found.f_frsize if found.f_blocks else float("inf")


def require_space(size: float, room: float, directory: Path) -> None:
    """Refuses to write more bytes than there is room for.

    Raises:
        OSError: there is not; names the directory.
    """
    if size > room:
        reason = f"too little free space: {_megabytes(room)} of it may be used, and more is needed"
        raise OSError(errno.ENOSPC, reason, str(directory))


def _megabytes(size: float) -> str:
    return f"{size / 1e6:,.0f} MB"


class SpilledArray:
    """An array that grows by blocks: in memory while small, else a memory-mapped temporary file.

    The file has no name, so that it is gone when the process is, and takes at most FILLED of the free space.
    Blocks are written to the file, not through the map, whose pages would count as memory of this process.
    """

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self._dtype = dtype
        self._blocks: list[NDArray[Any]] = []
        self._held = 0
        self._written = 0
        self._room = 0.0
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
                self._room = free_space(Path(tempfile.gettempdir()))
                self._file = tempfile.TemporaryFile(prefix="charrnn-")  # noqa: SIM115 (finish closes it)
            self._written += self._held
            require_space(self._written, self._room, Path(tempfile.gettempdir()))
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
