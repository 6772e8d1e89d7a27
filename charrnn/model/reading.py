"""Reads safetensors files by the text of their format: the header, checked, and then the tensors.

The safetensors library maps the files that it reads, and where another process truncates a mapped file, the
system ends this one (SIGBUS). Here the tensors are read into memory: a file that becomes shorter meanwhile is
an error like any other, and one that is overwritten does not match its checksum.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from charrnn.errors import ModelFileError
from charrnn.system import available_memory

LONGEST_HEADER = 24 << 20  # bytes; the description of a vocabulary of all of Unicode takes 16 million
MOST_VALUES = 300_000  # of JSON in a header; each of them takes many times its length in memory
SMALL = 64 << 20  # bytes, that any machine has
# Of the types of tensors those that our files have.
TYPES: dict[str, np.dtype[Any]] = {
    "F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "U8": np.dtype("u1"), "U16": np.dtype("<u2"),
    "U32": np.dtype("<u4"),
}  # fmt: skip
OTHERS = {stat.S_IFDIR: "directory", stat.S_IFIFO: "pipe", stat.S_IFSOCK: "socket"}


@dataclasses.dataclass(frozen=True)
class Entry:
    """What the header says of a tensor: its type, its shape, and where after the header its numbers are."""

    type: str
    shape: tuple[int, ...]
    begin: int
    end: int


@dataclasses.dataclass(frozen=True)
class Header:
    """A file's header.

    Attributes:
        described: the value of its ``__metadata__``, whatever it is.
        tensors: by name.
        end: where the tensors' numbers begin.
    """

    described: Any
    tensors: dict[str, Entry]
    end: int


def not_whole(reason: str = "") -> ModelFileError:
    """The error for a file that is damaged, or none of safetensors."""
    return ModelFileError(f"not a whole safetensors file{reason}; copy it again, or train anew")


@contextlib.contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """The file, open for reading; errors of reading it become a ModelFileError.

    Raises:
        ModelFileError: there is none, or it is of another type, or it cannot be read.
    """
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            raise ModelFileError(f"not a file but a {OTHERS.get(stat.S_IFMT(mode), 'device')}")
        with path.open("rb") as file:
            yield file
    except (FileNotFoundError, NotADirectoryError):
        raise ModelFileError("no such file; train one, or name another with --model") from None
    except OSError as error:
        raise ModelFileError(f"cannot be read: {error.strerror or error}") from None


def read_header(file: IO[bytes]) -> Header:
    """The header, which lists tensors that fill the rest of the file without a gap.

    What claims to be longer, or to hold more values, than that of any model is refused, so that no file makes
    us read and parse gigabytes of JSON.

    Raises:
        ModelFileError: it is missing, cut short, too long, or does not describe this file.
    """
    size = os.fstat(file.fileno()).st_size
    length = int.from_bytes(file.read(8), "little")
    if length > size - 8:
        raise not_whole(" (it ends within its header)")
    data = file.read(length) if length <= LONGEST_HEADER else b""
    if length > LONGEST_HEADER or sum(map(data.count, (b"{", b"[", b","))) > MOST_VALUES:
        raise ModelFileError(f"its header, of {length:,} bytes, is larger than that of any model")
    try:
        header = json.loads(data.decode(), object_pairs_hook=_unique)
    except (ValueError, RecursionError):
        raise not_whole(" (its header is not JSON)") from None
    if not isinstance(header, dict):
        raise not_whole(" (its header is not an object)")
    described = header.pop("__metadata__", None)
    tensors = {name: _entry(name, entry) for name, entry in header.items()}
    place = 0
    for name, entry in sorted(tensors.items(), key=lambda item: (item[1].begin, item[1].end)):
        if entry.begin != place:
            raise not_whole(f" ({name!a:.60} does not follow the tensor before it)")
        place = entry.end
    if 8 + length + place != size:
        raise not_whole(f" ({size:,} bytes, of which its tensors end at {8 + length + place:,})")
    return Header(described, tensors, 8 + length)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON; ValueError if a key comes twice, of which readers might take either."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError
    return found


def _entry(name: str, entry: Any) -> Entry:
    """What the header says of a tensor, once it is known to be of the right types.

    Raises:
        ModelFileError: it is not.
    """
    try:
        shape, (begin, end) = entry["shape"], entry["data_offsets"]
        numbers = [*shape, begin, end]
        sound = isinstance(entry["dtype"], str) and isinstance(shape, list) and begin <= end
    except (KeyError, TypeError, ValueError):
        sound = False
    if not (sound and all(type(number) is int and 0 <= number < 1 << 63 for number in numbers)):
        raise not_whole(f" (it does not say what {name!a:.60} is)")
    return Entry(entry["dtype"], tuple(shape), begin, end)


def read_tensors(file: IO[bytes], header: Header) -> dict[str, NDArray[Any]]:
    """The tensors, in memory of their own.

    Args:
        file: as ``read_header`` left it.
        header: whose types and shapes are known to be what they should.

    Raises:
        ModelFileError: a tensor has more or fewer bytes than its shape, the file is cut short meanwhile, or
            there is not enough memory.
    """
    needed = 0
    for name, entry in header.tensors.items():
        size = math.prod(entry.shape) * TYPES[entry.type].itemsize
        if size != entry.end - entry.begin:
            raise not_whole(f" ({name!a:.60} does not have as many numbers as its shape)")
        needed += size if entry.type != "F16" else 3 * size  # which become float32
    if needed > SMALL and needed > (free := available_memory()):
        raise ModelFileError(
            f"its tensors take {needed / 1e6:,.0f} MB of memory, of which {free / 1e6:,.0f} MB are free; "
            "end other programs, or use a smaller model"
        )
    memory = np.empty(max((entry.end for entry in header.tensors.values()), default=0), np.uint8)
    rest = memory.data
    while rest:
        count = file.readinto(rest)  # type: ignore[attr-defined]  # which files opened as bytes have
        if not count:
            raise not_whole(" (it became shorter while it was read)")
        rest = rest[count:]
    found = {}
    for name, entry in header.tensors.items():
        numbers: NDArray[Any] = memory[entry.begin : entry.end].view(TYPES[entry.type])
        tensor = numbers.reshape(entry.shape)
        found[name] = tensor if tensor.flags.aligned else tensor.copy()
    return found
