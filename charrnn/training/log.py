"""A run's log: one line of JSON for each evaluation."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

from charrnn.errors import RunError
from charrnn.files import LOG_FILE, LONGEST_LOG, evaluation_in, log_lines, write_atomically
from charrnn.training.listener import Report


class Log:
    """The file log.jsonl in a run's directory."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / LOG_FILE

    def append(self, report: Report) -> None:
        """Writes a line and waits until it is on the disk.

        Raises:
            OSError: the disk is full, or the file cannot be written.
        """
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(dataclasses.asdict(report)) + "\n")
            file.flush()
            os.fsync(file.fileno())  # before the state that is saved next says that this was logged

    def cut(self, step: int) -> None:
        """Removes what was logged after a step, for a training that goes on from there and logs it again.

        A line that is not whole, as a kill or a crash may leave one, is removed with all after it.

        Raises:
            RunError: what stands there is no log.
            OSError: the disk is full, or the file cannot be written.
        """
        if not os.path.lexists(self._path):
            return
        if not self._path.is_file() or self._path.stat().st_size > LONGEST_LOG:
            raise RunError(f"{self._path}: not a plain file, or too large for a log; move it away")
        kept = []
        for line in log_lines(self._path):
            found = evaluation_in(line)
            if found is None:
                break
            if found["step"] <= step:
                kept.append(line)
        write_atomically(self._path, "".join(kept).encode())
