"""How long the preparation of a training takes, which counts as its time."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import ParamSpec

from charrnn.text.corpus import Corpus

Arguments = ParamSpec("Arguments")


@dataclasses.dataclass(frozen=True)
class Before:
    """The seconds that were spent before the first step: loading torch, reading the text, and the rest.

    The rest is measuring the speed, choosing the model and making it.
    """

    loading: float
    reading: float
    rest: float

    @property
    def total(self) -> float:
        """Their sum."""
        return self.loading + self.reading + self.rest


class Stopwatch:
    """Times the preparation of a training from ``began`` on, by the clock of ``time.monotonic``."""

    def __init__(self, began: float) -> None:
        self._began = began
        self.loading = time.monotonic() - began
        self.reading = 0.0

    def read(
        self, reader: Callable[Arguments, Corpus], *arguments: Arguments.args, **keywords: Arguments.kwargs
    ) -> Corpus:
        """Reads a corpus with a function and its arguments, timed."""
        began = time.monotonic()
        corpus = reader(*arguments, **keywords)
        self.reading += time.monotonic() - began
        return corpus

    def before(self) -> Before:
        """What was spent until now."""
        total = time.monotonic() - self._began
        return Before(self.loading, self.reading, total - self.loading - self.reading)
