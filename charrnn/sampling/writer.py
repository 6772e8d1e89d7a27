"""Engine, sampler and tokenizer make a stream of text.

An ``Author`` is a model with settings and a prompt; each text that it writes is a ``Writing``: iterate over
it for ids, then ask how it ended.
"""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from charrnn.config import SamplingConfig
from charrnn.errors import ConfigError
from charrnn.model.engine import Engine, Stream
from charrnn.model.file import ModelFile
from charrnn.sampling.novelty import SpanIndex
from charrnn.sampling.sampler import Floats, Sampler, log_probabilities
from charrnn.text.tokenizer import Ids, Tokenizer

FLUSH_SECONDS = 0.02  # faster than an eye sees, and rare enough to cost nothing


@dataclasses.dataclass(frozen=True)
class Choice:
    """How probable the model found the character that was chosen, before any setting changed that.

    Attributes:
        id: what was chosen.
        logprob: its natural-log probability.
        top: the most probable ids with theirs, best first.
    """

    id: int
    logprob: float
    top: list[tuple[int, float]]


Watch = Callable[[Choice], None]


class Author:
    """A model, settings and a prompt: all that the texts written from them share.

    Args:
        model: what writes.
        prompt: what the texts go on from.
        config: the settings; its seed is given.
        source: the training text, for ``novel`` and ``novel_span``.
        skip_unknown: leave out of the prompt what the vocabulary lacks.

    Raises:
        UnknownCharacterError: the prompt holds what the vocabulary lacks.
        ConfigError: every character is banned, or lines are asked of a model without newlines.
    """

    def __init__(
        self,
        model: ModelFile,
        prompt: str,
        config: SamplingConfig,
        *,
        source: str = "",
        skip_unknown: bool = False,
    ) -> None:
        # The model itself is not kept: the engine has its own layout of the weights.
        self.config, self.tokenizer = config, model.tokenizer
        self.source = source
        self.prompt, self.unknown = encode_prompt(prompt, model.tokenizer, skip=skip_unknown)
        self.forbidden = forbidden_ids(model.tokenizer, config)
        self.stops = _stop_ids(model.tokenizer, config)
        self.items = bool(model.corpus.get("lines"))
        newline = model.tokenizer.lookup("\n").tolist()[0]
        self.newline = newline if newline < model.tokenizer.size else None
        if self.newline is None and config.lines is not None:
            raise ConfigError("--lines: this model's vocabulary has no newline; give a --length instead")
        self.spans = SpanIndex(source, config.novel_span) if config.novel_span else None
        self.engine = make_engine(model, config)

    @property
    def ids(self) -> list[int]:
        """What the engine reads: the start symbol stands before every text."""
        return [self.tokenizer.start, *self.prompt.tolist()]

    def sampler(self, index: int = 0) -> Sampler:
        """The choices of text ``index``, whose seed is the first one's plus ``index``."""
        seed = None if self.config.seed is None else self.config.seed + index
        sampler = Sampler(self.config, self.forbidden, largest=self.engine.largest, seed=seed)
        sampler.read(self.prompt.tolist())
        return sampler

    def primed(self) -> tuple[Stream, int]:
        """A stream that has read all but the last id, and that id."""
        stream = self.engine.stream()
        *before, last = self.ids
        for id in before:
            stream.advance(id)
        return stream, last

    def guard(self) -> Guard | None:
        """What keeps runs of the training text out of a text, or None."""
        if self.spans is None:
            return None
        return Guard(self.spans, self.tokenizer, self.tokenizer.symbols(self.prompt))

    def symbols(self, ids: list[int]) -> str:
        """Ids as text of one character a symbol."""
        return self.tokenizer.symbols(ids)


def make_engine(model: ModelFile, config: SamplingConfig) -> Any:
    """The NumPy engine; on another device the one in torch, which is imported only then."""
    if config.device == "cpu":
        return Engine(model)
    from charrnn.model.torch_engine import TorchEngine

    return TorchEngine(model, config.device)


def encode_prompt(prompt: str, tokenizer: Tokenizer, *, skip: bool = False) -> tuple[Ids, int]:
    """The prompt's ids, and how many of its characters the vocabulary lacks.

    These are left out where ``skip`` says so, else read as the unknown symbol.

    Raises:
        UnknownCharacterError: there is no unknown symbol either.
    """
    found = tokenizer.lookup(prompt)
    missing = found == tokenizer.size
    if tokenizer.kind == "byte":
        return found, 0
    return (found[~missing] if skip else tokenizer.encode(prompt)), int(missing.sum())


def forbidden_ids(tokenizer: Tokenizer, config: SamplingConfig) -> list[int]:
    """What is never written: the unknown symbol, and what is banned.

    Raises:
        ConfigError: nothing is left.
    """
    ids = {id for id in tokenizer.lookup(config.ban).tolist() if id < tokenizer.size}
    if tokenizer.unknown is not None:
        ids.add(tokenizer.unknown)
    if len(ids) >= tokenizer.size:
        raise ConfigError(f"--ban {config.ban!a} leaves no character to write")
    return sorted(ids)


def _stop_ids(tokenizer: Tokenizer, config: SamplingConfig) -> list[list[int]]:
    """The stops as ids, without those that the model cannot write."""
    found = [tokenizer.lookup(stop).tolist() for stop in config.stop]
    return [ids for ids in found if max(ids) < tokenizer.size]


class Guard:
    """Bars, before each choice, what would end a run that stands in the training text."""

    def __init__(self, spans: SpanIndex, tokenizer: Tokenizer, written: str) -> None:
        self._spans, self._tokenizer = spans, tokenizer
        self.written = written[-spans.context :]

    def barred(self) -> list[int]:
        """The ids that may not be chosen now."""
        found = "".join(self._spans.completions(self.written))
        return [id for id in self._tokenizer.lookup_symbols(found).tolist() if id < self._tokenizer.size]

    def read(self, id: int) -> None:
        """Takes note of what was written."""
        self.written = (self.written + self._tokenizer.symbols([id]))[-self._spans.context :]


class Pen:
    """Chooses one id after the other, in a stream that can be put back.

    Attributes:
        stream: the model's state.
        id: the last id, which the stream has not read yet.
    """

    def __init__(self, author: Author, sampler: Sampler, watch: Watch | None = None) -> None:
        self.stream, self.id = author.primed()
        self._author, self._sampler, self._watch = author, sampler, watch
        self._guard = author.guard()
        self._top = author.config.logprobs

    @property
    def plain(self) -> bool:
        """Whether nobody watches or bars anything."""
        return self._guard is None and self._watch is None

    def save(self) -> tuple[Any, ...]:
        """All that ``restore`` needs."""
        return self.stream.save(), self.id, self._guard and self._guard.written

    def restore(self, saved: tuple[Any, ...]) -> None:
        """Puts the pen where it was when it was saved; the sampler's generator goes on."""
        state, self.id, written = saved
        self.stream.restore(state)
        if self._guard:
            self._guard.written = written

    def write(self) -> int | None:
        """The next id; None where everything is barred."""
        logits = self.stream.step(self.id)
        barred = self._guard.barred() if self._guard else []
        if barred and len({*barred, *self._author.forbidden}) >= len(logits):
            return None
        self.id = self._sampler(logits, barred)
        if self._guard:
            self._guard.read(self.id)
        if self._watch:
            self._watch(look_at(logits, self.id, self._top))
        return self.id


def look_at(logits: Floats, id: int, top: int) -> Choice:
    """What the model thought of the choice, from its (vocabulary,) logits."""
    logs = log_probabilities(logits)
    best = np.argsort(-logs, kind="stable")[:top].tolist()
    return Choice(id, float(logs[id]), [(other, float(logs[other])) for other in best])


class Writing:
    """One text: iterate once for its ids; then ``finish_reason`` says how it ended.

    Attributes:
        finish_reason: "length", "stop" or "novelty" (every character would have ended a copied run).
    """

    def __init__(self, author: Author, index: int = 0, watch: Watch | None = None) -> None:
        self._author, self._sampler = author, author.sampler(index)
        self._pen = Pen(author, self._sampler, watch)
        self.finish_reason = "length"

    def __iter__(self) -> Iterator[int]:
        length = self._author.config.length
        places: Iterable[int] = itertools.count() if length < 0 else range(length)
        ids = self._plainly(places) if self._pen.plain else self._carefully(places)
        return self._until_stop(ids) if self._author.stops else ids

    def _plainly(self, places: Iterable[int]) -> Iterator[int]:
        step, sampler, id = self._pen.stream.step, self._sampler, self._pen.id
        for _ in places:
            id = sampler(step(id))
            yield id

    def _carefully(self, places: Iterable[int]) -> Iterator[int]:
        for _ in places:
            id = self._pen.write()
            if id is None:
                self.finish_reason = "novelty"
                return
            yield id

    def _until_stop(self, ids: Iterator[int]) -> Iterator[int]:
        """Ids up to the first stop; what may be a stop's beginning is held back until it is not."""
        stops = self._author.stops
        held: list[int] = []
        for id in ids:
            held.append(id)
            if any(held[-len(stop) :] == stop for stop in stops):
                self.finish_reason = "stop"
                end = max(len(stop) for stop in stops if held[-len(stop) :] == stop)
                yield from held[:-end]
                return
            # As much of the end as begins a stop must wait.
            waiting = max(_overlap(held, stop) for stop in stops)
            yield from held[: len(held) - waiting]
            del held[: len(held) - waiting]
        yield from held


def _overlap(held: list[int], stop: list[int]) -> int:
    """How many ids at the end of ``held`` are the beginning of ``stop``."""
    longest = min(len(held), len(stop) - 1)
    return next((n for n in range(longest, 0, -1) if held[-n:] == stop[:n]), 0)


def best_writing(author: Author, index: int = 0) -> tuple[list[int], list[Choice], str]:
    """The most probable a character of ``best_of`` texts: its ids, its choices, its finish reason.

    What counts is the mean natural-log probability of the text's characters under the model as it is, not
    under the temperature and filters that they were drawn with.
    """
    best: tuple[float, list[int], list[Choice], str] | None = None
    for attempt in range(author.config.best_of):
        choices: list[Choice] = []
        writing = Writing(author, index * author.config.best_of + attempt, choices.append)
        ids = list(writing)
        kept = choices[: len(ids)]  # a stop was chosen, but is not shown
        score = sum(choice.logprob for choice in kept) / len(kept) if kept else -np.inf
        if best is None or score > best[0]:
            best = score, ids, kept, writing.finish_reason
    assert best is not None
    return best[1:]


def pieces(ids: Iterable[int], decode: Callable[[Sequence[int]], bytes]) -> Iterator[bytes]:
    """The ids as encoded text: the first at once, then whatever FLUSH_SECONDS brought, the rest at the end.

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
