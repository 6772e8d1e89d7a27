"""The file that keeps the ids of a large text in its run's directory, so that it is encoded only once.

It begins with HEADER bytes: MAGIC, then a JSON object (sha256 of the text, of the vocabulary and of the ids,
their type and number), filled up with spaces. The ids follow. A file that does not match is made anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from charrnn.files import CACHED_IDS, free_space, part_of, require_space
from charrnn.text.tokenizer import Ids, Tokenizer

HEADER = 512  # bytes
MAGIC = b"charrnn ids 1\n"
BLOCK = 1 << 22  # ids checked at a time
NAME = re.compile(CACHED_IDS.replace(".", r"\.").format("[0-9a-f]{16}"))


def is_cache(path: Path) -> bool:
    """Whether this is a cache of ids that charrnn wrote, by its name and by how its content begins."""
    try:
        if not NAME.fullmatch(path.name) or not path.is_file():
            return False
        with path.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


class CachedIds:
    """The cache of one text's ids.

    Args:
        directory: of the run.
        text: the sha256 of the text.
        count: of its ids.
        tokenizer: that encodes it.

    Attributes:
        path: of the file.
    """

    def __init__(self, directory: Path, text: str, count: int, tokenizer: Tokenizer) -> None:
        vocabulary = json.dumps(tokenizer.describe(), sort_keys=True).encode("utf-8", "surrogatepass")
        self._tokenizer, self._count = tokenizer, count
        self._expected: dict[str, Any] = {
            "text": text,
            "vocabulary": hashlib.sha256(vocabulary).hexdigest(),
            "type": tokenizer.id_dtype.str,
            "count": count,
        }
        key = hashlib.sha256(json.dumps(self._expected, sort_keys=True).encode()).hexdigest()[:16]
        self.path = directory / CACHED_IDS.format(key)

    def load(self) -> Ids | None:
        """The ids (symbols,), memory-mapped, if the file is there and is whole; else None."""
        dtype, count = self._tokenizer.id_dtype, self._count
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK)  # a pipe must not wait
            with open(descriptor, "rb") as file:  # noqa: PTH123
                status = os.fstat(descriptor)
                whole = status.st_size == HEADER + count * dtype.itemsize
                header = file.read(HEADER) if whole and stat.S_ISREG(status.st_mode) else b""
                described = json.loads(header[len(MAGIC) :]) if header.startswith(MAGIC) else None
                if not isinstance(described, dict):
                    return None
                ids: Ids = np.memmap(file, dtype, "r", HEADER, (count,))
        except (OSError, ValueError, RecursionError):
            return None
        checksum = described.pop("ids", None)
        return ids if described == self._expected and checksum == self._checksum(ids) else None

    def _checksum(self, ids: Ids) -> str | None:
        """The sha256 of the ids; None where one of them is not in the vocabulary."""
        digest = hashlib.sha256()
        for begin in range(0, len(ids), BLOCK):
            block = np.asarray(ids[begin : begin + BLOCK])
            if int(block.max()) >= self._tokenizer.size:
                return None
            digest.update(block.data)
        return digest.hexdigest()

    def write(self, pieces: Iterable[Ids]) -> Ids:
        """Writes the ids to a temporary name, then renames the file, so that it is complete or absent.

        Returns:
            (symbols,) the ids, memory-mapped.

        Raises:
            CorpusError: from the pieces, which must have as many ids as the text.
            OSError: there is no room; names the file.
        """
        part, digest = part_of(self.path), hashlib.sha256()
        size = HEADER + self._count * self._tokenizer.id_dtype.itemsize
        try:
            require_space(size, free_space(self.path.parent), self.path.parent)
            self.path.parent.mkdir(parents=True, exist_ok=True)
            part.unlink(missing_ok=True)  # what an earlier process of the same number left
            with part.open("xb") as file:
                file.write(bytes(HEADER))
                for piece in pieces:
                    data = piece.tobytes()
                    digest.update(data)
                    file.write(data)
                file.seek(0)
                file.write(_header(self._expected | {"ids": digest.hexdigest()}))
                file.flush()
                os.fsync(file.fileno())
            part.replace(self.path)
            dtype = self._tokenizer.id_dtype
            return np.memmap(self.path, dtype, "r", HEADER, (self._count,))
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self.path)) from None
        finally:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
                if not self.path.exists():
                    self.path.parent.rmdir()  # which fails, as it should, if it holds anything


def _header(described: dict[str, Any]) -> bytes:
    return (MAGIC + json.dumps(described, sort_keys=True).encode()).ljust(HEADER - 1) + b"\n"
