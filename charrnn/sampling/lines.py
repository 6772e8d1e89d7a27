"""Whole lines: so many of them, none twice, none that stands in the training text.

A line that is refused is written anew from the same state, so that the lines that are kept have the
probabilities that the model gives them among all that could be kept.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator

import numpy as np

from charrnn.sampling.novelty import lines_of
from charrnn.sampling.writer import Author, Pen, Watch

# Whoever refuses so many lines in a row, or so many characters, will not find one soon.
PATIENCE = 1000
PATIENCE_CHARACTERS = 200_000

STREAMS = 64  # items written side by side

TOO_LONG, COPIED, REPEATED, STUCK = (
    "longer than --length",
    "in the training text",
    "written before",
    "stuck between runs of the training text",
)


@dataclasses.dataclass(frozen=True)
class Line:
    """One line: its ids after the prompt's, and whether a newline ends them (it is not among them)."""

    ids: list[int]
    ended: bool


class Judge:
    """Refuses lines, and counts why.

    Attributes:
        refused: how many in a row by reason; emptied by a line that passes.
    """

    def __init__(self, author: Author) -> None:
        config = author.config
        self._known = lines_of(author.source) if config.novel else frozenset()
        self._distinct = config.distinct
        self._whole_lines = config.lines is not None
        self._written: set[str] = set()
        self.refused: Counter[str] = Counter()
        self._characters = 0

    def passes(self, line: str) -> bool:
        """Whether a line (with what the prompt gave of it) may be shown; if so it counts as written."""
        if line or self._whole_lines:  # where no lines were asked for, blank ones are layout
            if line in self._known:
                return self.refuse(line, COPIED)
            if self._distinct and line in self._written:
                return self.refuse(line, REPEATED)
        if self._distinct:
            self._written.add(line)
        self.refused.clear()
        self._characters = 0
        return True

    def refuse(self, line: str, reason: str) -> bool:
        """Counts a refusal; returns False."""
        self.refused[reason] += 1
        self._characters += len(line)
        return False

    @property
    def tired(self) -> bool:
        """Whether to give up."""
        return self.refused.total() >= PATIENCE or self._characters >= PATIENCE_CHARACTERS

    def describe(self) -> str:
        """Why the last lines were refused."""
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in self.refused.most_common())
        return f"the last {self.refused.total():,} lines tried were refused ({reasons})"


class LineWriting:
    """Lines one after the other: iterate once for them; ``shortfall`` then says what is missing and why.

    With ``lines`` in the settings, so many lines, none longer than ``length``; else lines until they hold
    ``length`` characters with their newlines, the last cut short. A model of items begins each line anew,
    after the prompt; another one goes on from line to line.
    """

    def __init__(self, author: Author, index: int = 0, watch: Watch | None = None) -> None:
        self._author = author
        self._seed_index, self._watch = index, watch
        self._judge = Judge(author)
        self._begun = author.symbols(author.prompt.tolist()).rpartition("\n")[2]
        self.shortfall: str | None = None
        self.finish_reason = "length" if author.config.lines is None else "line"

    def __iter__(self) -> Iterator[Line]:
        config = self._author.config
        together = self._author.items and config.lines is not None and config.device == "cpu"
        if together and self._watch is None and not config.novel_span and config.repetition_penalty == 1:
            return self._together()
        return self._one_by_one()

    # -- one stream ------------------------------------------------------------------------------------------

    def _one_by_one(self) -> Iterator[Line]:
        config, items = self._author.config, self._author.items
        choices: list[object] = []
        pen = Pen(self._author, self._author.sampler(self._seed_index), self._watch and choices.append)
        start = pen.save()
        lines, left = 0, config.length
        while lines != config.lines and (config.lines is not None or left):
            saved = pen.save()
            line = self._write(pen, left)
            begun = self._begun if items or lines == 0 else ""
            if not self._judged(line, begun):
                choices.clear()
                pen.restore(saved)
                if self._judge.tired or config.temperature == 0:
                    self._fall_short(lines)
                    return
                continue
            assert line is not None
            for choice in choices:
                self._watch(choice)  # type: ignore[misc, arg-type]
            choices.clear()
            lines += 1
            if config.lines is None and left > 0:
                left -= len(line.ids) + line.ended
            yield line
            if items and config.lines is not None:
                pen.restore(start)

    def _write(self, pen: Pen, limit: int) -> Line | None:
        ids: list[int] = []
        while len(ids) != limit:
            id = pen.write()
            if id is None:
                return None
            if id == self._author.newline:
                return Line(ids, ended=True)
            ids.append(id)
            if limit < 0 and len(ids) >= PATIENCE_CHARACTERS:
                break
        return Line(ids, ended=False)

    def _judged(self, line: Line | None, begun: str) -> bool:
        if line is None:
            return self._judge.refuse(begun, STUCK)
        text = begun + self._author.symbols(line.ids)
        if not line.ended and self._author.config.lines is not None:
            return self._judge.refuse(text, TOO_LONG)
        return self._judge.passes(text)

    def _fall_short(self, written: int) -> None:
        wanted = self._author.config.lines
        amount = f"{written:,} lines" if wanted is None else f"{written:,} of {wanted:,} lines"
        self.shortfall = (
            f"wrote {amount}: {self._judge.describe()}; ask for fewer, or raise --temperature or --length"
        )

    # -- items, many side by side ----------------------------------------------------------------------------

    def _together(self) -> Iterator[Line]:
        """Items in the order in which they were begun: the first to end would be the short ones."""
        config = self._author.config
        wanted = config.lines or 0
        written = next_up = 0
        done: dict[int, list[int] | None] = {}  # by the item's number; None where it grew too long
        for number, ids in self._items(min(STREAMS, wanted)):
            done[number] = ids
            while next_up in done:
                found = done.pop(next_up)
                next_up += 1
                line = Line(found or [], ended=found is not None)
                if self._judged(line, self._begun):
                    written += 1
                    yield line
                elif self._judge.tired or config.temperature == 0:
                    self._fall_short(written)
                    return
                if written == wanted:
                    return

    def _items(self, count: int) -> Iterator[tuple[int, list[int] | None]]:
        """Endlessly, items with their numbers, as they end."""
        if count == 0:
            return
        author, limit = self._author, self._author.config.length
        limit = PATIENCE_CHARACTERS if limit < 0 else limit
        single, last = author.primed()
        start = single.save()
        streams = author.engine.stream(count)
        streams.restore(start)
        sampler = author.sampler(self._seed_index)
        last_ids = np.full(count, last)
        numbers, begun = list(range(count)), count
        texts: list[list[int]] = [[] for _ in range(count)]
        while True:
            last_ids = sampler.choose_many(streams.step(last_ids))
            for column, id in enumerate(last_ids.tolist()):
                text = texts[column]
                ended = id == author.newline
                if not ended:
                    text.append(id)
                    if len(text) <= limit:
                        continue
                yield numbers[column], text if ended else None
                texts[column], numbers[column] = [], begun
                begun += 1
                streams.restore_one(column, start)
                last_ids[column] = last
