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
import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from charrnn.errors import CorpusError, UnknownCharacterError
from charrnn.sampling.beam import Hypothesis, beam_search
from charrnn.sampling.continuation import Continuation, best_continuation
from charrnn.sampling.lines import LONGEST_LINE
from charrnn.sampling.lockstep import Lockstep, Text
from charrnn.sampling.session import Prompt, SamplingSession, TokenChoice
from charrnn.use_config import SamplingConfig

# Settings that the lockstep takes into account; with any other one set, lines are written one by one.
IN_LOCKSTEP = {
    "length", "temperature", "top_k", "top_p", "min_p", "ban", "stop", "seed", "device", "separator",
    "repetition_window",
}  # fmt: skip


class Asked(NamedTuple):
    """A line, its number from 0, the seed of its text, and the prompt; None for an empty source."""

    number: int
    line: str
    seed: int
    prompt: Prompt | None


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
        self._tab = "\t" if session.pairs else None
        self._limit = LONGEST_LINE if session.config.length < 0 else session.config.length
        self.unknown = 0

    @functools.cached_property
    def _lockstep(self) -> Lockstep:
        return Lockstep(self._session, self._limit, scored=self._scored)

    def texts(self, blocks: Iterable[Sequence[str]]) -> Iterator[LineText]:
        """The texts of all lines, in order, as ``bursts``."""
        for burst in self.bursts(blocks):
            yield from burst

    def bursts(self, blocks: Iterable[Sequence[str]]) -> Iterator[list[LineText]]:
        """The texts of all lines, in order, those together that are ready at the same time.

        Raises:
            CorpusError: a line has a character that the model cannot read, or a source has a tab; names the
                line. What comes before it is yielded first.
        """
        number = 0
        for block in blocks:
            asked: list[Asked] = []
            failure: CorpusError | None = None
            together = self._prompts(block)
            for at, line in enumerate(block):
                try:
                    prompt = together[at] if together else self._prompt(line, number + 1)
                except CorpusError as error:
                    failure = error
                    break
                asked.append(Asked(number, line, self._session.seed_of(number), prompt))
                number += 1
            yield from self._block(asked)
            if failure is not None:
                raise failure

    def _prompts(self, lines: Sequence[str]) -> list[Prompt]:
        """All lines as prompts, looked up at once; none where that is not possible, or one of them is odd."""
        tokenizer, tab = self._session.tokenizer, self._tab or ""
        if len(lines) == 1 or tokenizer.kind == "byte" or (tab and not all(lines)):
            return []
        text = tab.join(lines) + tab
        ids = tokenizer.lookup(text)
        if (ids == tokenizer.size).any() or (tab and text.count(tab) > len(lines)):
            return []
        ends = itertools.accumulate(len(line) + len(tab) for line in lines)
        return [Prompt(ids[begin:end]) for begin, end in itertools.pairwise([0, *ends])]

    def _prompt(self, line: str, number: int) -> Prompt | None:
        """A line as a prompt; None for an empty source."""
        if self._tab is not None and not line:
            return None
        if self._tab is not None and "\t" in line:
            raise CorpusError(f"line {number}: a tab in a source; give the sources alone, as cut -f 1 does")
        read = line if self._tab is None else line + self._tab
        try:
            prompt = self._session.prompt(read, skip_unknown=self._skip)
        except UnknownCharacterError as error:
            raise CorpusError(f"line {number}: {error}") from None
        self.unknown += prompt.unknown
        return prompt

    def _block(self, lines: list[Asked]) -> Iterator[list[LineText]]:
        """The texts of a block of lines, each as soon as those before it are out."""
        done: dict[int, LineText] = {}
        following = lines[0].number if lines else 0
        for texts in self._written(lines):
            done.update((line.number, text) for line, text in texts)
            burst = []
            while following in done:
                burst.append(done.pop(following))
                following += 1
            if burst:
                yield burst

    def _written(self, lines: Iterable[Asked]) -> Iterator[list[tuple[Asked, LineText]]]:
        """The texts with their lines, as they end."""
        asked: list[tuple[Asked, Prompt]] = []
        for line in lines:
            if line.prompt is not None and self._limit > 0:
                asked.append((line, line.prompt))
            else:
                reason = "empty" if line.prompt is None else "length"
                yield [(line, self._text(line, [], reason, 0.0))]
        if self._session.config.beam is not None:
            yield from ([found] for found in self._searched(asked))
        elif fits_lockstep(self._session.config):
            yield from self._in_lockstep(asked)
        else:
            yield from ([found] for found in self._one_by_one(asked))

    def _text(
        self, line: Asked, ids: list[int], reason: str, logprob: float, best: Sequence[Hypothesis] = ()
    ) -> LineText:
        known = logprob if self._scored or best else None
        text = self._session.tokenizer.decode(ids)
        return LineText(line.line, text, reason, line.seed, ids, known, list(best))

    def _in_lockstep(self, asked: list[tuple[Asked, Prompt]]) -> Iterator[list[tuple[Asked, LineText]]]:
        """All texts by columns of one lockstep."""
        lines = [line for line, _ in asked]
        texts = [Text(at, line.seed, prompt.ids) for at, (line, prompt) in enumerate(asked)]
        for ended in self._lockstep.write(texts):
            yield [
                (lines[text.index], self._text(lines[text.index], text.ids, text.reason, text.logprob))
                for text in ended
            ]

    def _one_by_one(self, asked: list[tuple[Asked, Prompt]]) -> Iterator[tuple[Asked, LineText]]:
        """Each text in a stream of its own, with the line's end as one more stop."""
        session = copy.copy(self._session)
        if session.newline is not None:
            session.stops = [*session.stops, [session.newline]]
        if session.config.length < 0:
            session.config = dataclasses.replace(session.config, length=LONGEST_LINE)
        for line, prompt in asked:
            choices: list[TokenChoice] = []
            if session.config.best_of > 1:
                choices, reason = best_continuation(session, prompt, line.seed)
                ids = [choice.id for choice in choices]
            else:
                text = Continuation(session, prompt, line.seed, choices.append)
                ids, reason = list(text), text.finish_reason
                if reason == "stop" and choices[-1].id == session.newline:
                    reason = "line"
            yield line, self._text(line, ids, reason, sum(choice.logprob for choice in choices))

    def _searched(self, asked: list[tuple[Asked, Prompt]]) -> Iterator[tuple[Asked, LineText]]:
        """The most probable text for each line."""
        for line, prompt in asked:
            best = beam_search(self._session, prompt, self._limit)
            top = best[0]
            yield line, self._text(line, top.ids, top.finish_reason, top.logprob, best)


def fits_lockstep(config: SamplingConfig) -> bool:
    """Whether all settings are at their defaults that ask for more than the next character's filter."""
    plain = vars(SamplingConfig())
    return all(name in IN_LOCKSTEP or value == plain[name] for name, value in vars(config).items())


def for_pairs(settings: dict[str, Any], *, pairs: bool) -> dict[str, Any]:
    """The settings with which a model answers: for a model of pairs greedy unless told otherwise."""
    return {"temperature": 0.0} | settings if pairs else settings
