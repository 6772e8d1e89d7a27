"""A disk that fails or loses power at a chosen operation.

``Disk`` watches every open for writing, write, fsync, rename, mkdir, unlink and rmdir below a directory. It
can let the n-th of them fail, and it knows what a power cut would leave: of files what was flushed, and of
directories the names that were there when they were flushed.
"""

from __future__ import annotations

import builtins
import dataclasses
import errno
import io
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest


class PowerCutError(BaseException):
    """The power is gone: nothing that the program does from here on happens."""


@dataclasses.dataclass
class File:
    """A file's content on the disk; None before the first fsync."""

    synced: bytes | None = None


Entry = File | None  # None for a directory


class Disk:
    """Counts operations, and makes one of them fail.

    Args:
        root: the directory whose operations count.
        fail_at: the number of the operation to fail, from 0; None for none.
        error: what is raised: OSError, as by a full disk; PowerCutError, then and at all operations that
            follow; for KeyboardInterrupt nothing is raised, but this process gets a SIGINT.
        forever: whether all later operations that write fail, too.

    Attributes:
        operations: what was done, as ("write", path).
    """

    def __init__(
        self,
        root: Path,
        fail_at: int | None = None,
        error: type[BaseException] = OSError,
        *,
        forever: bool = False,
    ) -> None:
        self.root, self._fail_at, self._error, self._forever = root, fail_at, error, forever
        self.operations: list[tuple[str, str]] = []
        self._files: dict[str, File] = {}
        self._names: dict[str, dict[str, Entry]] = {}  # of each directory, those that a power cut leaves
        for folder, folders, names in os.walk(root):
            for name in names:
                path = os.path.join(folder, name)  # noqa: PTH118
                self._files[path] = File(Path(path).read_bytes())
            entries: dict[str, Entry] = dict.fromkeys(folders)
            entries |= {name: self._files[os.path.join(folder, name)] for name in names}  # noqa: PTH118
            self._names[folder] = entries

    # -- failing -----------------------------------------------------------------------------------------

    def _inside(self, path: Any) -> str | None:
        if not isinstance(path, str | os.PathLike):
            return None
        full = os.path.abspath(os.fspath(path))  # noqa: PTH100
        return full if full.startswith(str(self.root)) else None

    def _happens(self, kind: str, path: str) -> None:
        """Counts an operation, or fails."""
        number = len(self.operations)
        self.operations.append((kind, path))
        if self._fail_at is None or number < self._fail_at:
            return
        if self._error is PowerCutError:
            raise PowerCutError
        if self._error is KeyboardInterrupt:
            if number == self._fail_at:
                os.kill(os.getpid(), signal.SIGINT)
            return
        # A full disk still lets files be removed.
        if number == self._fail_at or (self._forever and kind not in ("unlink", "rmdir")):
            raise self._error(errno.ENOSPC, "No space left on device")

    @property
    def failed(self) -> bool:
        """Whether the operation to fail was reached."""
        return self._fail_at is not None and len(self.operations) > self._fail_at

    # -- what is on the disk -----------------------------------------------------------------------------

    def _now(self, folder: str) -> dict[str, Entry]:
        entries = {}
        for entry in os.scandir(folder):
            path = os.path.join(folder, entry.name)  # noqa: PTH118
            entries[entry.name] = None if entry.is_dir() else self._files.setdefault(path, File())
        return entries

    def synced(self, descriptor: int) -> None:
        """Takes note that a file or directory is on the disk."""
        path = os.readlink(f"/proc/self/fd/{descriptor}")  # noqa: PTH115
        if self._inside(path) is None:
            return
        if os.path.isdir(path):  # noqa: PTH112
            self._names[path] = self._now(path)
        else:
            self._files.setdefault(path, File()).synced = Path(path).read_bytes()

    def after_power_cut(self, target: Path, *, names_first: bool = False) -> None:
        """Builds in ``target`` what is left of the root.

        Args:
            target: a directory that does not exist yet.
            names_first: all names are on the disk already, but only the content that was flushed; otherwise
                only the names, too, that were.
        """
        self._rebuild(str(self.root), target, names_first=names_first)

    def _rebuild(self, folder: str, target: Path, *, names_first: bool) -> None:
        target.mkdir()
        entries = self._now(folder) if names_first else self._names.get(folder, {})
        for name, entry in entries.items():
            if entry is None:
                inner = os.path.join(folder, name)  # noqa: PTH118
                self._rebuild(inner, target / name, names_first=names_first)
            else:
                (target / name).write_bytes(entry.synced or b"")

    # -- watching ----------------------------------------------------------------------------------------

    @contextmanager
    def watching(self) -> Iterator[Disk]:
        """Watches while the block runs."""
        with pytest.MonkeyPatch.context() as patch:
            real_open, real_fsync = io.open, os.fsync

            def opened(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
                path = self._inside(file)
                if path is None or not set(mode) & set("wax+"):
                    return real_open(file, mode, *args, **kwargs)
                self._happens("open", path)
                if not os.path.exists(path):  # noqa: PTH110
                    self._files[path] = File()
                return Writer(self, path, real_open(file, mode, *args, **kwargs))

            def fsync(file: Any) -> None:
                descriptor = file if isinstance(file, int) else file.fileno()
                path = os.readlink(f"/proc/self/fd/{descriptor}")  # noqa: PTH115
                if self._inside(path):
                    self._happens("fsync", path)
                real_fsync(descriptor)
                self.synced(descriptor)

            patch.setattr(io, "open", opened)
            patch.setattr(builtins, "open", opened)
            patch.setattr(os, "fsync", fsync)
            for name in ("mkdir", "unlink", "remove", "rmdir"):
                patch.setattr(os, name, self._watched(name, getattr(os, name)))
            for name in ("replace", "rename"):
                patch.setattr(os, name, self._watched_rename(getattr(os, name)))
            yield self

    def _watched(self, name: str, real: Any) -> Any:
        kind = "unlink" if name == "remove" else name

        def watched(path: Any, *args: Any, **kwargs: Any) -> None:
            inside = self._inside(path)
            if inside and (kind == "mkdir" or os.path.lexists(inside)):
                self._happens(kind, inside)
            real(path, *args, **kwargs)
            if inside and kind == "mkdir":
                self._names[inside] = {}
            elif inside:
                self._files.pop(inside, None)

        return watched

    def _watched_rename(self, real: Any) -> Any:
        def watched(source: Any, target: Any, **kwargs: Any) -> None:
            inside = self._inside(target)
            if inside:
                self._happens("rename", inside)
            real(source, target, **kwargs)
            if inside:
                self._files[inside] = self._files.pop(str(self._inside(source)), File())

        return watched


class Writer:
    """A file open for writing; a write that fails leaves half of its data, as a full disk does."""

    def __init__(self, disk: Disk, path: str, file: Any) -> None:
        self._disk, self._path, self._file = disk, path, file

    def write(self, data: Any) -> Any:
        """Writes, or writes half and fails."""
        try:
            self._disk._happens("write", self._path)
        except OSError:
            self._file.write(data[: len(data) // 2])
            raise
        return self._file.write(data)

    def __enter__(self) -> Writer:
        self._file.__enter__()
        return self

    def __exit__(self, *args: object) -> Any:
        return self._file.__exit__(*args)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)
