"""A text for every line: prompts or sources in, one text a line out, in order, many written in lockstep.

Each line is a prompt of its own, read from a zero state. Its text ends where the model ends the line, before
a stop, or at ``length``. For a model of pairs the line is a source, and the text is its target.

Lines come in blocks: all lines of a block are there before the first is answered, and all are answered
before the next block is asked for. A text depends on the number of its line and on the seed, not on the
blocks nor on how many are written in lockstep, except for float32 rounding.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from charrnn.errors import CorpusError, UnknownCharacterError
from charrnn.sampling.beam import Hypothesis, beam_search
from charrnn.sampling.continuation import Continuation, best_continuation
from charrnn.sampling.lines import LONGEST_LINE
from charrnn.sampling.sampler import Floats, Sampler, draw_many, log_probabilities
from charrnn.sampling.session import Prompt, SamplingSession, TokenChoice
from charrnn.use_config import SamplingConfig

COLUMNS = 128  # texts in lockstep at most; with more, the matrix products are hardly faster

# Settings that the lockstep takes into account; with any other one set, lines are written one by one.
IN_LOCKSTEP = {
    "length", "temperature", "top_k", "top_p", "min_p", "ban", "stop", "seed", "device", "separator",
    "repetition_window",
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class LineText:
    """What was written for one line.

    Attributes:
        source: the line.
        text: what was written, without the line's end or the stop.
        finish_reason: "line", "stop", "length" or "novelty"; "empty" for the empty source of a model of
            pairs, which has no answer.
        seed: the seed of the text.
        ids: the text's ids.
        logprob: the natural-log probability of the text, and of the line end or stop after it, under the
            model itself; None unless that was asked for.
        best: with ``beam``, the most probable texts, most probable first.
    """

    source: str
    text: str
    finish_reason: str
    seed: int
    ids: list[int]
    logprob: float | None = None
    best: list[Hypothesis] = dataclasses.field(default_factory=list)


class EachLine:
    """Writes a text for every line.

    Args:
        session: the model and the settings. For a model of pairs, ``for_pairs`` has made them.
        scored: whether to compute log probabilities.
        skip_unknown: leave out characters of the lines that are not in the vocabulary.

    Attributes:
        unknown: how many characters so far were not in the vocabulary.
    """

    def __init__(self, session: SamplingSession, *, scored: bool = False, skip_unknown: bool = False) -> None:
        self._session, self._scored, self._skip = session, scored, skip_unknown
        self._tab = session.tokenizer.lookup("\t") if session.pairs else None
        self._limit = LONGEST_LINE if session.config.length < 0 else session.config.length
        self.unknown = 0

    def texts(self, blocks: Iterable[Sequence[str]]) -> Iterator[LineText]:
        """The texts of all lines, in order.

        Raises:
            CorpusError: a line has a character that the model cannot read, or a source has a tab; names the
                line. What comes before it is yielded first.
        """
        number = 0
        for block in blocks:
            prompts: list[Prompt | None] = []
            failure: CorpusError | None = None
            for line in block:
                try:
                    prompts.append(self._prompt(line, number + len(prompts) + 1))
                except CorpusError as error:
                    failure = error
                    break
            yield from self._block(block, prompts, number)
            if failure is not None:
                raise failure
            number += len(block)

    def _prompt(self, line: str, number: int) -> Prompt | None:
        """A line as a prompt; None for an empty source."""
        if self._tab is not None and not line:
            return None
        if self._tab is not None and "\t" in line:
            raise CorpusError(f"line {number}: a tab in a source; give the sources alone, as cut -f 1 does")
        try:
            prompt = self._session.prompt(line, skip_unknown=self._skip)
        except UnknownCharacterError as error:
            raise CorpusError(f"line {number}: {error}") from None
        self.unknown += prompt.unknown
        if self._tab is None:
            return prompt
        return Prompt(np.concatenate([prompt.ids, self._tab]), prompt.unknown)

    def _block(self, lines: Sequence[str], prompts: list[Prompt | None], first: int) -> Iterator[LineText]:
        """The texts of a block, whose lines are numbered from ``first``, as soon as those before are out."""
        session = self._session
        asked = [(index, prompt) for index, prompt in enumerate(prompts) if prompt is not None]
        done: dict[int, LineText] = {
            index: self._text([], "empty", session.seed_of(first + index), 0.0 if self._scored else None)
            for index, prompt in enumerate(prompts)
            if prompt is None
        }
        next_up = 0
        for index, written in self._written(asked, first):
            done[index] = dataclasses.replace(written, source=lines[index])
            while next_up in done:
                yield done.pop(next_up)
                next_up += 1
        while next_up in done:
            yield done.pop(next_up)
            next_up += 1

    def _written(self, asked: list[tuple[int, Prompt]], first: int) -> Iterator[tuple[int, LineText]]:
        """The texts with their indices, as they end."""
        if self._limit == 0:
            nothing = 0.0 if self._scored else None
            seeds = (self._session.seed_of(first + index) for index, _ in asked)
            empty = (self._text([], "length", seed, nothing) for seed in seeds)
            return zip((index for index, _ in asked), empty, strict=True)
        if self._session.config.beam is not None:
            return self._searched(asked, first)
        if fits_lockstep(self._session.config):
            return self._in_lockstep(asked, first)
        return self._one_by_one(asked, first)

    def _text(self, ids: list[int], reason: str, seed: int, logprob: float | None) -> LineText:
        return LineText("", self._session.tokenizer.decode(ids), reason, seed, ids, logprob)

    # -- in lockstep -----------------------------------------------------------------------------------------

    def _in_lockstep(self, asked: list[tuple[int, Prompt]], first: int) -> Iterator[tuple[int, LineText]]:
        """Column by column, each text is read and written; a column whose text ended takes the next line."""
        session, waiting = self._session, iter(asked)
        count = min(COLUMNS, len(asked))
        if count == 0:
            return
        fresh, streams = session.engine.stream().save(), session.engine.stream(count)
        sampler = session.sampler(Prompt(np.empty(0, session.tokenizer.id_dtype)), 0)
        columns = [self._column(next(waiting), first) for _ in range(count)]
        inputs = np.array([column.unread.pop() for column in columns])
        left = count
        while left:
            logits = streams.step(inputs)  # (vocabulary, columns)
            writing = [at for at, column in enumerate(columns) if not column.unread and not column.reason]
            if writing:
                chosen = logits if len(writing) == count else logits[:, writing]
                self._choose(sampler, chosen, [columns[at] for at in writing])
            for at, column in enumerate(columns):
                if column.unread:
                    inputs[at] = column.unread.pop()
                elif not column.reason:
                    inputs[at] = column.ids[-1] if column.ids else 0
            for at in writing:
                column = columns[at]
                if not column.reason:
                    continue
                logprob = column.logprob if self._scored else None
                yield column.index, self._text(column.ids, column.reason, column.seed, logprob)
                following = next(waiting, None)
                if following is None:
                    left -= 1
                    continue
                columns[at] = self._column(following, first)
                streams.restore_one(at, fresh)
                inputs[at] = columns[at].unread.pop()

    def _column(self, asked: tuple[int, Prompt], first: int) -> _Column:
        index, prompt = asked
        seed = self._session.seed_of(first + index)
        return _Column(index, seed, [*prompt.ids.tolist()[::-1], self._session.tokenizer.start])

    def _choose(self, sampler: Sampler, logits: Floats, columns: list[_Column]) -> None:
        """Chooses the next id of each column from logits (vocabulary, columns), and ends texts that end."""
        rows = logits.T  # (columns, vocabulary)
        filtered = sampler.filtered(rows)
        if self._session.config.temperature == 0:
            ids = filtered.argmax(axis=-1).tolist()
        else:
            ids = draw_many(filtered, np.array([column.uniform() for column in columns])).tolist()
        if self._scored:
            found = log_probabilities(rows)[np.arange(len(ids)), ids].tolist()
            for column, logprob in zip(columns, found, strict=True):
                column.logprob += logprob
        newline, stops, limit = self._session.newline, self._session.stops, self._limit
        for column, id in zip(columns, ids, strict=True):
            if id == newline:
                column.reason = "line"
                continue
            column.ids.append(id)
            ended = max((len(stop) for stop in stops if column.ids[-len(stop) :] == stop), default=0)
            if ended:
                del column.ids[-ended:]
                column.reason = "stop"
            elif len(column.ids) >= limit:
                column.reason = "length"

    # -- one by one ------------------------------------------------------------------------------------------

    def _one_by_one(self, asked: list[tuple[int, Prompt]], first: int) -> Iterator[tuple[int, LineText]]:
        """Each text in a stream of its own, with the line's end as one more stop."""
        session = copy.copy(self._session)
        if session.newline is not None:
            session.stops = [*session.stops, [session.newline]]
        if session.config.length < 0:
            session.config = dataclasses.replace(session.config, length=LONGEST_LINE)
        for index, prompt in asked:
            seed = session.seed_of(first + index)
            choices: list[TokenChoice] = []
            if session.config.best_of > 1:
                choices, reason = best_continuation(session, prompt, seed)
                ids = [choice.id for choice in choices]
            else:
                text = Continuation(session, prompt, seed, choices.append)
                ids, reason = list(text), text.finish_reason
                if reason == "stop" and choices[-1].id == session.newline:
                    reason = "line"
            logprob = sum(choice.logprob for choice in choices) if self._scored else None
            yield index, self._text(ids, reason, seed, logprob)

    # -- the most probable -----------------------------------------------------------------------------------

    def _searched(self, asked: list[tuple[int, Prompt]], first: int) -> Iterator[tuple[int, LineText]]:
        for index, prompt in asked:
            best = beam_search(self._session, prompt, self._limit)
            top = best[0]
            seed = self._session.seed_of(first + index)
            text = self._text(top.ids, top.finish_reason, seed, top.logprob)
            yield index, dataclasses.replace(text, best=best)


@dataclasses.dataclass
class _Column:
    """A text in the lockstep.

    Attributes:
        index: of its line in the block.
        seed: of its choices.
        unread: the ids that are still to be read, the next one last.
        ids: what was written.
        reason: why the text ended; "" while it has not.
        logprob: of what was written.
    """

    index: int
    seed: int
    unread: list[int]
    ids: list[int] = dataclasses.field(default_factory=list)
    reason: str = ""
    logprob: float = 0.0

    @functools.cached_property
    def uniform(self) -> Callable[[], float]:
        """Draws from a generator of the text's own, made when it is first needed."""
        return random.Random(self.seed).random


def fits_lockstep(config: SamplingConfig) -> bool:
    """Whether all settings are at their defaults that ask for more than the next character's filter."""
    plain = vars(SamplingConfig())
    return all(name in IN_LOCKSTEP or value == plain[name] for name, value in vars(config).items())


def for_pairs(settings: dict[str, Any], *, pairs: bool) -> dict[str, Any]:
    """The settings with which a model answers: for a model of pairs greedy unless told otherwise."""
    return {"temperature": 0.0} | settings if pairs else settings
