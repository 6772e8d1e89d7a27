"""What must not be written next: runs of the training text, and runs that the text itself already had."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

from charrnn.sampling.novelty import SpanIndex
from charrnn.text.tokenizer import Tokenizer


class Guard(Protocol):
    """Finds, before each choice, the ids that would complete a run that may not be written."""

    def barred(self) -> list[int]:
        """The ids that may not be chosen next."""

    def read(self, id: int) -> None:
        """Appends an id to the text."""

    def save(self) -> Any:
        """All that ``restore`` needs to return to this place of the text."""

    def restore(self, saved: Any) -> None:
        """Returns to a saved place, which must be in the text as it is now."""


class SpanGuard:
    """Keeps out runs of the training text (``novel_span``).

    Args:
        spans: finds the runs.
        tokenizer: of the model.
        written: the text so far, one character per symbol.
    """

    def __init__(self, spans: SpanIndex, tokenizer: Tokenizer, written: str) -> None:
        self._spans, self._tokenizer = spans, tokenizer
        self._ids = {tokenizer.symbols([id]): id for id in range(tokenizer.size) if id != tokenizer.unknown}
        self._written = written[-spans.context :]  # as much of its end as a run needs

    def barred(self) -> list[int]:
        """The ids that may not be chosen next."""
        found = self._spans.completions(self._written)
        return [self._ids[symbol] for symbol in found if symbol in self._ids]

    def read(self, id: int) -> None:
        """Appends an id to the text."""
        self._written = (self._written + self._tokenizer.symbols([id]))[-self._spans.context :]

    def save(self) -> str:
        """The end of the text."""
        return self._written

    def restore(self, saved: str) -> None:
        """Returns to a saved place."""
        self._written = saved


class RepeatGuard:
    """Keeps out runs of ``span`` ids that the text already had (``no_repeat``).

    Args:
        span: the length of a run, at least 2.
        written: the ids so far.

    >>> guard = RepeatGuard(3, [1, 2, 3, 1, 2, 4, 1, 2])
    >>> guard.barred()
    [3, 4]
    """

    def __init__(self, span: int, written: Iterable[int]) -> None:
        self._context = span - 1
        self._following: dict[str, str] = {}  # by context, the ids that followed it, as characters
        self._contexts: list[str] = []  # in the order in which ids were entered, to take them back
        self._end = ""  # the last ids, at most as many as a context has
        for id in written:
            self.read(id)

    def barred(self) -> list[int]:
        """The ids that may not be chosen next, ascending."""
        return sorted(set(map(ord, self._following.get(self._end, ""))))

    def read(self, id: int) -> None:
        """Appends an id to the text."""
        if len(self._end) == self._context:
            self._following[self._end] = self._following.get(self._end, "") + chr(id)
            self._contexts.append(self._end)
        self._end = (self._end + chr(id))[-self._context :]

    def save(self) -> tuple[int, str]:
        """The number of runs so far, and the end of the text."""
        return len(self._contexts), self._end

    def restore(self, saved: tuple[int, str]) -> None:
        """Returns to a saved place, forgetting the runs after it."""
        count, self._end = saved
        while len(self._contexts) > count:
            context = self._contexts.pop()
            self._following[context] = self._following[context][:-1]
