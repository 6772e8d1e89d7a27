"""One dispatcher for texts: settings in, texts out, the same for the command line and for Python.

Two views of the same texts: a ``TextStream`` gives one text id by id while it is written; ``samples`` gives
whole texts, or with ``lines`` whole lines, each with how it ended. Which of plain text, stops, best-of and
filtered lines the settings mean is decided here and nowhere else. The prompt is not part of the session, so
that many prompts can share one.
"""

from __future__ import annotations

import builtins
import dataclasses
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator

from charrnn.errors import ShortfallError
from charrnn.sampling.continuation import Continuation, best_continuation
from charrnn.sampling.lines import LineWriter
from charrnn.sampling.session import Prompt, SamplingSession, TokenChoice, Watch
from charrnn.text.tokenizer import Tokenizer

# What is reported of a text that ends for one of these reasons.
ENDED_EARLY = {
    "novelty": "ended early: every character would have completed a run of the training text",
    "repetition": "ended early: every character would have completed a run that the text already had; "
    "raise --no-repeat",
}

FLUSH_SECONDS = 0.02  # faster than an eye sees, and rare enough to cost nothing


@dataclasses.dataclass(frozen=True)
class CharacterLogprob:
    """How probable the model found one character, before temperature and filters.

    Attributes:
        text: the character.
        logprob: its natural-log probability.
        top: the most probable characters with theirs, most probable first.
        bytes: the character as UTF-8; of a byte model, the byte itself.
        top_bytes: the same for each of ``top``.
    """

    text: str
    logprob: float
    top: list[tuple[str, float]]
    bytes: builtins.bytes
    top_bytes: list[builtins.bytes]


@dataclasses.dataclass(frozen=True)
class Sample:
    """A text that was written, or with ``lines`` one line of it.

    Attributes:
        text: what was written after the prompt; of a line, without the newline.
        finish_reason: "length", "stop", "until", "line", "novelty" or "repetition".
        seed: the seed of the text.
        ids: the text's ids.
        bytes: the text as UTF-8; of a byte model its exact bytes, where ``text`` has U+FFFD for those that
            are not UTF-8.
        logprobs: one entry per id; None unless the settings ask for ``logprobs``.
    """

    text: str
    finish_reason: str
    seed: int
    ids: list[int]
    bytes: builtins.bytes
    logprobs: list[CharacterLogprob] | None = None


class TextStream:
    """Text number ``index``, as it is written: iterate once, over the ids or over ``choices()``.

    Args:
        session: the model and the settings.
        prompt: what the text continues.
        index: the text's number, from 0; it determines the seed.
        repeat_prompt: whether a model of items, asked for ``lines``, repeats the prompt before every line but
            the first, as it is shown.

    Attributes:
        seed: the seed of the text.
        finish_reason: as that of a ``Sample``; known after the last id.
        shortfall: after the last id, what is missing and why; None if nothing is.
    """

    def __init__(
        self, session: SamplingSession, prompt: Prompt, index: int = 0, *, repeat_prompt: bool = False
    ) -> None:
        self._session, self._prompt = session, prompt
        self.seed = session.seed_of(index)
        self._repeated = prompt.ids.tolist() if repeat_prompt and session.items else []
        self.finish_reason = "length"
        self.shortfall: str | None = None

    def __iter__(self) -> Iterator[int]:
        return self._write(None)

    def choices(self) -> Iterator[TokenChoice]:
        """The text's ids with their probabilities."""
        # Choices come in the order of the ids, but earlier: ids that may begin a stop are held back.
        waiting: deque[TokenChoice] = deque()
        for _ in self._write(waiting.append):
            yield waiting.popleft()

    def require_complete(self) -> None:
        """Raises ShortfallError if less was written than was asked for."""
        if self.shortfall is not None:
            raise ShortfallError(self.shortfall)

    def _write(self, watch: Watch | None) -> Iterator[int]:
        session, config = self._session, self._session.config
        if config.lines is not None or config.distinct or config.novel:
            yield from self._lines(watch)
        elif config.best_of > 1:
            choices, self.finish_reason = best_continuation(session, self._prompt, self.seed)
            for choice in choices:
                if watch is not None:
                    watch(choice)
                yield choice.id
        else:
            text = Continuation(session, self._prompt, self.seed, watch)
            yield from text
            self.finish_reason = text.finish_reason
        self.shortfall = self.shortfall or ENDED_EARLY.get(self.finish_reason)

    def _lines(self, watch: Watch | None) -> Iterator[int]:
        writer = LineWriter(self._session, self._prompt, self.seed, watched=watch is not None)
        self.finish_reason = _finish_reason_of_lines(self._session)
        for number, line in enumerate(writer):
            repeated = self._repeated if number and self._session.config.lines is not None else []
            if watch is not None:
                for choice in (*(TokenChoice(id, 0.0, []) for id in repeated), *line.choices):
                    watch(choice)
            yield from repeated
            yield from line.ids
            if line.ended and self._session.newline is not None:
                yield self._session.newline
        self.shortfall = writer.shortfall


def samples(session: SamplingSession, prompt: Prompt) -> Iterator[Sample]:
    """The ``num_samples`` texts that the settings ask for, or with ``lines`` that many lines, one by one.

    Raises:
        ShortfallError: after the last sample, if less could be written than was asked for.
    """
    config = session.config
    if config.lines is not None:
        yield from _line_samples(session, prompt)
        return
    for index in range(config.num_samples):
        text = TextStream(session, prompt, index)
        choices = list(text.choices()) if config.logprobs else []
        ids = [choice.id for choice in choices] if config.logprobs else list(text)
        yield _sample(session, ids, choices, text.finish_reason, text.seed)
        text.require_complete()


def _line_samples(session: SamplingSession, prompt: Prompt) -> Iterator[Sample]:
    seed, reason = session.seed_of(0), _finish_reason_of_lines(session)
    writer = LineWriter(session, prompt, seed, watched=bool(session.config.logprobs))
    for line in writer:
        yield _sample(session, line.ids, line.choices, reason, seed)
    if writer.shortfall is not None:
        raise ShortfallError(writer.shortfall)


def _finish_reason_of_lines(session: SamplingSession) -> str:
    return "length" if session.config.lines is None else "line"


def _sample(
    session: SamplingSession, ids: list[int], choices: list[TokenChoice], reason: str, seed: int
) -> Sample:
    tokenizer, logprobs = session.tokenizer, None
    if session.config.logprobs:
        # A line's newline is chosen, but not part of its text.
        logprobs = [_character_logprob(tokenizer, choice) for choice in choices[: len(ids)]]
    return Sample(tokenizer.decode(ids), reason, seed, ids, tokenizer.decode_bytes(ids), logprobs)


def _character_logprob(tokenizer: Tokenizer, choice: TokenChoice) -> CharacterLogprob:
    decode, data = tokenizer.decode, tokenizer.decode_bytes
    return CharacterLogprob(
        decode([choice.id]),
        choice.logprob,
        [(decode([id]), logprob) for id, logprob in choice.top],
        data([choice.id]),
        [data([id]) for id, _ in choice.top],
    )


def pieces(ids: Iterable[int], decode: Callable[[list[int]], bytes]) -> Iterator[bytes]:
    """The ids as bytes: the first at once, then whatever FLUSH_SECONDS brought, the rest at the end.

    A consumer that writes and flushes each piece streams as fast as a person can see, at the cost of one
    system call for many characters.
    """
    held: list[int] = []
    due, clock = 0.0, time.perf_counter
    for id in ids:
        held.append(id)
        now = clock()
        if now >= due:
            yield decode(held)
            held.clear()
            due = now + FLUSH_SECONDS
    if held:
        yield decode(held)
