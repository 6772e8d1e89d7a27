"""Whole lines: a number of them, optionally no line twice and none that stands in the training text.

A refused line is written again from the state before it, so that the lines that pass have the probabilities
that the model gives them among all lines that could pass.
"""

from __future__ import annotations

import dataclasses
import random
from collections import Counter
from collections.abc import Iterator

import numpy as np

from charrnn.sampling.novelty import bare, lines_of
from charrnn.sampling.session import Prompt, SamplingSession, Stepper, TokenChoice

# After this many refused lines in a row, or characters in them, another one is not expected to pass.
MOST_REFUSED_LINES = 1000
MOST_REFUSED_CHARACTERS = 200_000

LONGEST_LINE = 200_000  # characters, where --length sets no limit
ITEMS_IN_LOCKSTEP = 64  # lines that are written at the same time, if each is an item

TOO_LONG, COPIED, REPEATED, STUCK = (
    "longer than --length",
    "in the training text",
    "written before",
    "stuck between runs that may not be written",
)


@dataclasses.dataclass(frozen=True)
class Line:
    """One line.

    Attributes:
        ids: its ids after the prompt's, without the newline.
        ended: whether a newline follows them.
        choices: how each id, and the newline, was chosen; empty unless that was asked for.
    """

    ids: list[int]
    ended: bool
    choices: list[TokenChoice] = dataclasses.field(default_factory=list)


class LineFilter:
    """Decides which lines are kept, and counts why others are not.

    Attributes:
        refused: how many lines in a row were refused, by reason; empty after a line that passes.
    """

    def __init__(self, session: SamplingSession) -> None:
        config = session.config
        self._known = lines_of(session.source) if config.novel else frozenset()
        self._distinct = config.distinct
        self._keeps_blank = config.lines is None  # in running text blank lines are layout
        self._written: set[str] = set()
        self.refused: Counter[str] = Counter()
        self._characters = 0

    def passes(self, line: str) -> bool:
        """Whether to keep a whole line (with what the prompt has of it); if so, it counts as written."""
        if line or not self._keeps_blank:
            if bare(line) in self._known:
                return self.refuse(line, COPIED)
            if self._distinct and line in self._written:
                return self.refuse(line, REPEATED)
        if self._distinct:
            self._written.add(line)
        self.refused.clear()
        self._characters = 0
        return True

    def refuse(self, line: str, reason: str) -> bool:
        """Counts a refused line; returns False."""
        self.refused[reason] += 1
        self._characters += len(line)
        return False

    @property
    def gives_up(self) -> bool:
        """Whether so many lines were refused in a row that it is time to stop."""
        return self.refused.total() >= MOST_REFUSED_LINES or self._characters >= MOST_REFUSED_CHARACTERS

    def describe(self) -> str:
        """Why the last lines were refused."""
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in self.refused.most_common())
        return f"the last {self.refused.total():,} lines tried were refused ({reasons})"


class LineWriter:
    """Lines one after another: iterate once for them; ``shortfall`` then says whether some are missing.

    With ``lines`` in the settings, that many lines, none longer than ``length``. Otherwise lines that have
    ``length`` characters together, newlines included, the last one cut off. A model of items writes each
    line as an item after the prompt; other models write one line after another.

    Args:
        session: the model and the settings.
        prompt: what the first line continues; with items, every line.
        seed: of the choices.
        watched: whether to record the choices in each ``Line``.

    Attributes:
        shortfall: what is missing and why; None if nothing is.
    """

    def __init__(self, session: SamplingSession, prompt: Prompt, seed: int, *, watched: bool = False) -> None:
        self._session, self._prompt, self._seed, self._watched = session, prompt, seed, watched
        self._filter = LineFilter(session)
        self._begun = session.tokenizer.symbols(prompt.ids).rpartition("\n")[2]
        self._limit = None if session.config.length < 0 else session.config.length
        self.shortfall: str | None = None

    def __iter__(self) -> Iterator[Line]:
        config = self._session.config
        guarded = config.novel_span is not None or config.no_repeat is not None
        lockstep = self._session.items and config.lines is not None and config.device == "cpu"
        if lockstep and not self._watched and config.repetition_penalty == 1 and not guarded:
            return self._in_lockstep()
        return self._one_by_one()

    # -- one stream ------------------------------------------------------------------------------------------

    def _one_by_one(self) -> Iterator[Line]:
        config = self._session.config
        anew = self._session.items and config.lines is not None  # each line after the prompt
        choices: list[TokenChoice] = []
        watch = choices.append if self._watched else None
        stepper = Stepper(self._session, self._prompt, self._seed, watch)
        start = stepper.save()
        count, left = 0, self._limit
        while left != 0 if config.lines is None else count != config.lines:
            saved = stepper.save()
            choices.clear()
            line = self._write(stepper, left)
            begun = self._begun if anew or count == 0 else ""
            if not self._keeps(line, begun):
                stepper.restore(saved)
                if self._filter.gives_up or config.temperature == 0:
                    self._fall_short(count)
                    return
                continue
            assert line is not None
            count += 1
            if config.lines is None and left is not None:
                left -= len(line.ids) + line.ended
            yield dataclasses.replace(line, choices=choices.copy())
            if anew:
                stepper.restore(start)

    def _write(self, stepper: Stepper, limit: int | None) -> Line | None:
        """The next line; None where every id is barred."""
        ids: list[int] = []
        while len(ids) < (LONGEST_LINE if limit is None else limit):
            id = stepper.step()
            if id is None:
                return None
            if id == self._session.newline:
                return Line(ids, ended=True)
            ids.append(id)
        return Line(ids, ended=False)

    def _keeps(self, line: Line | None, begun: str) -> bool:
        if line is None:
            return self._filter.refuse(begun, STUCK)
        text = begun + self._session.tokenizer.symbols(line.ids)
        if not line.ended and self._session.config.lines is not None:
            return self._filter.refuse(text, TOO_LONG)
        return self._filter.passes(text)

    def _fall_short(self, written: int) -> None:
        wanted = self._session.config.lines
        amount = f"{written:,} lines" if wanted is None else f"{written:,} of {wanted:,} lines"
        self.shortfall = (
            f"wrote {amount}: {self._filter.describe()}; ask for fewer, or raise --temperature or --length"
        )

    # -- items, in lockstep ----------------------------------------------------------------------------------

    def _in_lockstep(self) -> Iterator[Line]:
        """Items in the order in which they were begun; in the order of their ends short ones would lead."""
        config = self._session.config
        wanted = config.lines or 0
        written = next_up = 0
        done: dict[int, list[int] | None] = {}  # by the item's number; None where it grew too long
        for number, ids in self._items(min(ITEMS_IN_LOCKSTEP, wanted)):
            done[number] = ids
            while next_up in done:
                found = done.pop(next_up)
                next_up += 1
                line = Line(found or [], ended=found is not None)
                if self._keeps(line, self._begun):
                    written += 1
                    yield line
                elif self._filter.gives_up or config.temperature == 0:
                    self._fall_short(written)
                    return
                if written == wanted:
                    return

    def _items(self, count: int) -> Iterator[tuple[int, list[int] | None]]:
        """Endlessly, items with their numbers, as they end."""
        if count == 0:
            return
        session, limit = self._session, LONGEST_LINE if self._limit is None else self._limit
        single, last = session.read(self._prompt)
        start = single.save()
        streams = session.engine.stream(count)
        streams.restore(start)
        sampler = session.sampler(self._prompt, self._seed)
        again = random.Random(f"{self._seed}, again").random  # so that no other column's draws change
        last_ids = np.full(count, last)
        numbers, begun = list(range(count)), count
        texts: list[list[int]] = [[] for _ in range(count)]
        while True:
            logits = streams.step(last_ids)
            chosen = sampler.choose_many(logits)
            empty = (chosen == session.newline) & (last_ids == session.opening)  # (count,)
            for at in np.flatnonzero(empty).tolist():
                left = sampler.filtered(logits[:, at], session.barred_after(last_ids[at]))
                chosen[at] = sampler.choose(left, again)
            last_ids = chosen
            for column, id in enumerate(last_ids.tolist()):
                text = texts[column]
                ended = id == session.newline
                if not ended:
                    text.append(id)
                    if len(text) <= limit:
                        continue
                yield numbers[column], text if ended else None
                texts[column], numbers[column] = [], begun
                begun += 1
                streams.restore(start, [column])
                last_ids[column] = last
