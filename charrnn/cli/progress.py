"""What a training shows: a progress bar on a terminal, plain lines elsewhere, or nothing."""

from __future__ import annotations

import contextlib
import math
import sys
import time
from typing import Any

from charrnn.cli.output import note, note_lines, one_line
from charrnn.training.listener import Listener, Report, Status

LINE_SECONDS = 10.0
REFRESH_SECONDS = 0.2


def duration(seconds: float) -> str:
    """A duration as minutes and seconds, with hours where there are any.

    >>> duration(75), duration(3675)
    ('1:15', '1:01:15')
    """
    minutes, left = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{left:02d}" if hours else f"{minutes}:{left:02d}"


class Watcher(Listener):
    """Shows only that the training was set back; remembers the last validation loss."""

    def __init__(self) -> None:
        self._val = math.nan
        self._exact = ""  # of pairs

    def _summary(self, status: Status) -> str:
        val = "" if math.isnan(self._val) else f" val {self._val:.3f}{self._exact}"
        speed = status.characters_per_second
        shown = f"{speed / 1000:.1f}k" if speed >= 1000 else f"{speed:.0f}"
        return f"epoch {status.epoch:.2f} train {status.recent_loss:.3f}{val} {shown} char/s"

    def evaluated(self, report: Report) -> None:
        """Remembers the validation loss and, of pairs, how many come out exactly right."""
        if report.val_loss is not None:
            self._val = report.val_loss
        if report.exact is not None:
            self._exact = f" exact {report.exact:.1%}"

    def set_back(self, status: Status) -> None:
        """Prints to which step the training returned."""
        self.show(
            f"the loss was not finite; back to step {status.step}, at {status.rate_scale:g} of the rate"
        )

    def show(self, text: str) -> None:
        """Prints lines."""
        note_lines(text)


class Lines(Watcher):
    """A line every LINE_SECONDS, without control characters: for logs and pipes."""

    def __init__(self) -> None:
        super().__init__()
        self._due = time.monotonic() + LINE_SECONDS

    def stepped(self, status: Status) -> None:
        """Prints a line where it is time for one."""
        if time.monotonic() < self._due:
            return
        self._due = time.monotonic() + LINE_SECONDS
        left = status.seconds_left
        rest = "" if left is None else f", {duration(left)} left"
        note(f"step {status.step}: {self._summary(status)}{rest}")

    def evaluated(self, report: Report) -> None:
        """Prints the evaluation."""
        super().evaluated(report)
        val = "" if report.val_loss is None else f", validation {report.val_loss:.4f} nats/char"
        exact = "" if report.exact is None else f", {report.exact:.1%} exactly right"
        note(f"step {report.step}: evaluated: train {report.train_loss:.4f}{val}{exact}")


class Bar(Watcher):
    """A tqdm bar over the training, redrawn a few times a second."""

    def __init__(self) -> None:
        super().__init__()
        from tqdm import tqdm

        self._bar: Any = tqdm(
            total=1.0,
            file=sys.stderr,
            dynamic_ncols=True,
            leave=False,
            bar_format="{percentage:3.0f}%|{bar}| {desc}",
        )
        self._due = 0.0
        self._text = ""

    def stepped(self, status: Status) -> None:
        """Redraws the bar, at most every REFRESH_SECONDS."""
        if time.monotonic() < self._due:
            return
        self._due = time.monotonic() + REFRESH_SECONDS
        left = status.seconds_left
        self._text = self._summary(status) + ("" if left is None else f" {duration(left)}")
        self._bar.n = status.done
        self._bar.set_description_str(self._text)

    def evaluating(self, share: float) -> None:
        """Says that the model is being evaluated."""
        if time.monotonic() >= self._due:
            self._due = time.monotonic() + REFRESH_SECONDS
            self._bar.set_description_str(f"{self._text} [evaluating {share:.0%}]")

    def show(self, text: str) -> None:
        """Prints lines above the bar, as long as there is a terminal."""
        with contextlib.suppress(OSError):
            for line in text.split("\n"):
                self._bar.write(one_line(line), file=sys.stderr)

    def close(self) -> None:
        """Removes the bar."""
        self._bar.close()


def choose_listener(*, quiet: bool) -> Watcher:
    """A bar on a terminal, lines elsewhere, nothing where quiet is asked for."""
    if quiet or sys.stderr is None:
        return Watcher()
    return Bar() if sys.stderr.isatty() else Lines()
