"""What every text of one request shares: the model ready to step, the settings, and the prompt.

A ``SamplingSession`` is a model with settings, a ``Prompt`` is what a text continues, and a ``Stepper``
chooses one id after another from them.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from charrnn.config import SamplingConfig, draw_seed
from charrnn.errors import ConfigError
from charrnn.model.engine import Engine, Stream
from charrnn.model.file import ModelFile
from charrnn.sampling.novelty import SpanIndex, training_text
from charrnn.sampling.sampler import Floats, Sampler, log_probabilities
from charrnn.text.tokenizer import Ids, Tokenizer


@dataclasses.dataclass(frozen=True)
class TokenChoice:
    """A chosen id with the model's own probabilities, before temperature and filters.

    Attributes:
        id: the id that was chosen.
        logprob: its natural-log probability.
        top: the most probable ids with theirs, most probable first.
    """

    id: int
    logprob: float
    top: list[tuple[int, float]]


Watch = Callable[[TokenChoice], None]  # called with every choice


@dataclasses.dataclass(frozen=True)
class Prompt:
    """A text to continue.

    Attributes:
        ids: what the model reads of it.
        unknown: how many of its characters are not in the vocabulary.
    """

    ids: Ids
    unknown: int = 0


class SamplingSession:
    """A model and settings, from which any number of texts can be written, with any prompts.

    Args:
        model: the model; it is not kept, since the engine has its own layout of the weights.
        config: the settings; a seed is drawn if it has none.
        against: for ``novel`` and ``novel_span``: the files to read as the training text, instead of those
            that the model records.
        source: the training text itself, one character per symbol; None: read it where it is needed.

    Raises:
        ConfigError: every character is banned, or ``lines`` are asked of a model without newlines.
        CorpusError: the training text is needed and cannot be read, or has changed.
    """

    def __init__(
        self,
        model: ModelFile,
        config: SamplingConfig,
        *,
        against: Sequence[str] = (),
        source: str | None = None,
    ) -> None:
        if config.seed is None:
            config = dataclasses.replace(config, seed=draw_seed(os.urandom))
        self.config, self.tokenizer = config, model.tokenizer
        self.pairs = bool(model.corpus.get("pairs"))  # each line is a source, a tab and a target
        self.forbidden = forbidden_ids(model.tokenizer, config, also="\t" if self.pairs else "")
        self.stops = _stop_ids(model.tokenizer, config)
        self.items = bool(model.corpus.get("lines"))  # each line is a sequence of its own
        self.newline = model.tokenizer.newline
        if self.newline is None and config.lines is not None:
            raise ConfigError("--lines: this model's vocabulary has no newline; give a --length instead")
        if source is None and (config.novel or config.novel_span):
            source = training_text(model, against)
        self.source = source or ""
        self.spans = SpanIndex(self.source, config.novel_span) if config.novel_span else None
        self.engine = make_engine(model, config)

    def prompt(self, text: str, *, skip_unknown: bool = False) -> Prompt:
        """The text as a prompt.

        Args:
            text: what to continue.
            skip_unknown: leave out characters that are not in the vocabulary, which are otherwise read as
                the unknown symbol.

        Raises:
            UnknownCharacterError: there are such characters, they are not skipped, and the vocabulary has no
                unknown symbol.
        """
        found = self.tokenizer.lookup(text)
        missing = found == self.tokenizer.size
        ids = found[~missing] if skip_unknown else self.tokenizer.encode(text)
        return Prompt(ids, int(missing.sum()))

    def seed_of(self, index: int) -> int:
        """The seed of text ``index``: the first text's plus one for every text tried before it."""
        return (self.config.seed or 0) + index * self.config.best_of

    def sampler(self, prompt: Prompt, seed: int) -> Sampler:
        """Makes the choices of one text."""
        sampler = Sampler(self.config, self.forbidden, largest=self.engine.largest, seed=seed)
        sampler.read(prompt.ids.tolist())
        return sampler

    def read(self, prompt: Prompt) -> tuple[Stream, int]:
        """A stream that has read the start symbol and the prompt except for the last id, and that id."""
        stream = self.engine.stream()
        ids: list[int] = [self.tokenizer.start, *prompt.ids.tolist()]
        for id in ids[:-1]:
            stream.advance(id)
        return stream, ids[-1]

    def guard(self, prompt: Prompt) -> SpanGuard | None:
        """With ``novel_span``, what keeps copied runs out of one text."""
        if self.spans is None:
            return None
        return SpanGuard(self.spans, self.tokenizer, self.tokenizer.symbols(prompt.ids))


def is_endless(config: SamplingConfig) -> bool:
    """Whether a text with these settings never ends by itself, unless a stop is written."""
    return config.length < 0 and config.lines is None


def make_engine(model: ModelFile, config: SamplingConfig) -> Any:
    """The NumPy engine for ``cpu``; for other devices the torch engine, which imports torch."""
    if config.device == "cpu":
        return Engine(model)
    from charrnn.model.torch_engine import TorchEngine

    return TorchEngine(model, config.device)


def forbidden_ids(tokenizer: Tokenizer, config: SamplingConfig, also: str = "") -> list[int]:
    """The ids that are never written: the unknown symbol and those of ``ban`` and ``also``, ascending.

    Raises:
        ConfigError: no id is left.
    """
    ids = {id for id in tokenizer.lookup(config.ban + also).tolist() if id < tokenizer.size}
    if tokenizer.unknown is not None:
        ids.add(tokenizer.unknown)
    if len(ids) >= tokenizer.size:
        raise ConfigError(f"--ban {config.ban!a} leaves no character to write")
    return sorted(ids)


def _stop_ids(tokenizer: Tokenizer, config: SamplingConfig) -> list[list[int]]:
    """The stops as ids, without stops that contain characters outside the vocabulary."""
    found = [tokenizer.lookup(stop).tolist() for stop in config.stop]
    return [ids for ids in found if max(ids) < tokenizer.size]


class SpanGuard:
    """Finds, before each choice, the ids that would complete a run of the training text.

    Attributes:
        written: as much of the end of the text as a run needs, one character per symbol.
    """

    def __init__(self, spans: SpanIndex, tokenizer: Tokenizer, written: str) -> None:
        self._spans, self._tokenizer = spans, tokenizer
        self._ids = {tokenizer.symbols([id]): id for id in range(tokenizer.size) if id != tokenizer.unknown}
        self.written = written[-spans.context :]

    def barred(self) -> list[int]:
        """The ids that may not be chosen next."""
        return [self._ids[symbol] for symbol in self._spans.completions(self.written) if symbol in self._ids]

    def read(self, id: int) -> None:
        """Appends an id to the text."""
        self.written = (self.written + self._tokenizer.symbols([id]))[-self._spans.context :]


class Stepper:
    """Chooses one id after another, from a state that can be saved and restored.

    Attributes:
        stream: the model's state.
        id: the last id, which the stream has not read yet.
        sampler: what chooses.
    """

    def __init__(
        self, session: SamplingSession, prompt: Prompt, seed: int, watch: Watch | None = None
    ) -> None:
        self.stream, self.id = session.read(prompt)
        self.sampler = session.sampler(prompt, seed)
        self._session, self._watch = session, watch
        self._guard = session.guard(prompt)

    @property
    def plain(self) -> bool:
        """Whether nothing is watched and nothing is barred."""
        return self._guard is None and self._watch is None

    def save(self) -> tuple[Any, ...]:
        """All that ``restore`` needs."""
        return self.stream.save(), self.id, self._guard and self._guard.written

    def restore(self, saved: tuple[Any, ...]) -> None:
        """Returns to a saved state; only the sampler's random generator keeps its own."""
        state, self.id, written = saved
        self.stream.restore(state)
        if self._guard:
            self._guard.written = written

    def step(self) -> int | None:
        """Chooses the next id; None where every id is barred."""
        logits = self.stream.step(self.id)
        barred = self._guard.barred() if self._guard else []
        if barred and len({*barred, *self._session.forbidden}) >= len(logits):
            return None
        self.id = self.sampler(logits, barred)
        if self._guard:
            self._guard.read(self.id)
        if self._watch:
            self._watch(token_choice(logits, self.id, self._session.config.logprobs))
        return self.id


def token_choice(logits: Floats, id: int, top: int) -> TokenChoice:
    """The choice of ``id`` from (vocabulary,) logits, with the ``top`` most probable ids."""
    logs = log_probabilities(logits)
    best = np.argsort(-logs, kind="stable")[:top].tolist()
    return TokenChoice(id, float(logs[id]), [(other, float(logs[other])) for other in best])
