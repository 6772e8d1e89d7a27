"""The lock of a run's directory: one process at a time trains in it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
import weakref
from pathlib import Path

from charrnn.errors import RunError
from charrnn.files import LOCK_FILE, lock_owner, owner_in
from charrnn.runs import make_directory

TRIES = 5  # since ``charrnn list`` shares the lock for a moment, and the one who held it removes the file
PAUSE = 0.05  # seconds between tries


class RunLock:
    """The lock of a run's directory, held from ``acquire`` to ``release``.

    It is an flock on the file ``lock``, so the system takes it back from a process that dies, whatever it
    leaves behind. The file says who holds it. Without flock (some network file systems) nothing is held.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._path = directory / LOCK_FILE
        self._held: weakref.finalize[..., RunLock] | None = None

    def acquire(self) -> None:
        """Takes the lock, unless this object holds it; creates the directory.

        Raises:
            RunError: another process holds it, or the directory cannot be created.
            OSError: the file cannot be written.
        """
        if self._held is not None and self._held.alive:
            return
        made = make_directory(self._directory)
        for attempt in range(TRIES):
            if attempt:
                time.sleep(PAUSE)
                make_directory(self._directory)
            descriptor = self._try()
            if descriptor is not None:
                # Released also when this object or the process ends.
                self._held = weakref.finalize(self, _release, descriptor, self._path, made, os.getpid())
                return
        owner = lock_owner(self._path) or "another process"
        raise RunError(
            f"{self._directory}: is being trained by {owner}; wait for it, or use another --output-dir"
        )

    def _try(self) -> int | None:
        """The descriptor of the locked file, which names this process; None if another one has it."""
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
            descriptor = os.open(self._path, flags, 0o666)
        except FileNotFoundError:  # the directory was removed
            return None
        try:
            with contextlib.suppress(OSError):  # no locks on this file system
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    os.close(descriptor)
                    return None
            if not self._path.exists() or not os.path.samestat(os.fstat(descriptor), self._path.stat()):
                os.close(descriptor)  # of a file that the one who held it has removed
                return None
            former = os.read(descriptor, 300)
            if former and owner_in(former) is None:
                os.close(descriptor)
                raise RunError(f"{self._path}: not a lock of charrnn's; move it, or use another --output-dir")
            since = time.strftime("%Y-%m-%d %H:%M:%S %z")
            host = os.uname().nodename.encode("ascii", "replace").decode()[:100] or "?"
            text = f"charrnn: process {os.getpid()} on {host} since {since}\n".encode()
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, text, 0)
        except OSError as error:
            os.close(descriptor)
            raise OSError(error.errno, error.strerror, str(self._path)) from None
        return descriptor

    def release(self) -> None:
        """Gives the lock back, and removes what ``acquire`` made, if nothing else was added to it."""
        if self._held is not None:
            self._held()


def _release(descriptor: int, path: Path, made: list[Path], process: int) -> None:
    if os.getpid() != process:  # a fork of it: the lock is its parent's
        return
    with contextlib.suppress(OSError):
        path.unlink()  # while it is held: whoever waits for it finds that the file is gone, and makes another
    os.close(descriptor)
    with contextlib.suppress(OSError):
        for directory in made:
            directory.rmdir()  # fails, as it should, if it holds anything
