"""What every text of one request shares: the model ready to step, the settings, and the prompt.

A ``SamplingSession`` is a model with settings, a ``Prompt`` is what a text continues, and a ``Stepper``
chooses one id after another from them.
"""

from __future__ import annotations

import dataclasses
import os
import sys
import unicodedata
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np

from charrnn.config import draw_seed
from charrnn.errors import ConfigError, UnknownCharacterError
from charrnn.model.engines import ItemStream, make_engine
from charrnn.model.file import ModelFile
from charrnn.sampling.guards import Guard, RepeatGuard, SpanGuard
from charrnn.sampling.novelty import SpanIndex, training_text
from charrnn.sampling.sampler import Floats, Sampler, finite, log_probabilities
from charrnn.settings import parse_bias
from charrnn.text.tokenizer import Ids, Tokenizer
from charrnn.use_config import SamplingConfig


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

    Attributes:
        item_end: the id that ends a line, if the model learnt each line by itself; else None.
        opening: the id after which a line does not end, since none that was learnt is empty: the newline
            itself, and in pairs the tab; None where lines may be empty.

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
        self.bias = bias_of(model.tokenizer, config)
        self.stops = texts_of(model.tokenizer, config.stop, "--stop")
        self.untils = texts_of(model.tokenizer, config.until, "--until")
        self.items = bool(model.corpus.get("lines"))  # each line is a sequence of its own
        self.newline = model.tokenizer.newline
        self.item_end = self.newline if self.items or self.pairs else None
        self.opening = self._opening()
        if self.newline is None and config.lines is not None:
            raise ConfigError("--lines: this model's vocabulary has no newline; give a --length instead")
        if source is None and (config.novel or config.novel_span):
            source = training_text(model, against)
        self.source = source or ""
        self.spans = SpanIndex(self.source, config.novel_span) if config.novel_span else None
        self.engine = make_engine(model, config.device)

    def prompt(self, text: str, *, skip_unknown: bool = False) -> Prompt:
        """The text as a prompt.

        Args:
            text: what to continue.
            skip_unknown: leave out characters that are not in the vocabulary, which are otherwise read as
                the unknown symbol.

        Raises:
            ConfigError: the text holds half of a surrogate pair, which is no character.
            UnknownCharacterError: there are such characters, they are not skipped, and the vocabulary has no
                unknown symbol.
        """
        found = lookup(self.tokenizer, text, "prompt")
        missing = found == self.tokenizer.size
        if not missing.any():
            return Prompt(found)
        try:
            ids = found[~missing] if skip_unknown else self.tokenizer.encode(text)
        except UnknownCharacterError as error:
            form = _known_form(self.tokenizer, text)
            raise UnknownCharacterError(error.character, error.position, form) from None
        return Prompt(ids, int(missing.sum()))

    def seed_of(self, index: int) -> int:
        """The seed of text ``index``: the first text's plus one for every text tried before it."""
        return (self.config.seed or 0) + index * self.config.best_of

    def sampler(self, prompt: Prompt, seed: int) -> Sampler:
        """Makes the choices of one text."""
        sampler = Sampler(self.config, self.forbidden, bias=self.bias, largest=self.engine.largest, seed=seed)
        sampler.read(prompt.ids.tolist())
        return sampler

    def read(self, prompt: Prompt) -> tuple[Any, int]:
        """A stream that has read the start symbol and the prompt except for the last id, and that id.

        Of items, only the last one in the prompt is read.
        """
        stream = self.engine.stream()
        ids: list[int] = [self.tokenizer.start, *prompt.ids.tolist()]
        if self.item_end is not None:
            stream = ItemStream(stream, self.item_end)
            ids = ids[len(ids) - 1 - ids[::-1].index(self.item_end) :]
        for id in ids[:-1]:
            stream.advance(id)
        return stream, ids[-1]

    def barred_after(self, last: int) -> list[int]:
        """The newline, if a line would be empty that ends after this id; else nothing."""
        return [self.item_end] if last == self.opening and self.item_end is not None else []

    def _opening(self) -> int | None:
        """See ``opening``; None as well where all but the newline is banned."""
        if self.item_end is None or len({*self.forbidden, self.item_end}) == self.tokenizer.size:
            return None
        return self.item_end if self.items else int(self.tokenizer.lookup("\t")[0])

    def guards(self, prompt: Prompt) -> list[Guard]:
        """What keeps copied and repeated runs out of one text, with ``novel_span`` and ``no_repeat``."""
        guards: list[Guard] = []
        if self.spans is not None:
            guards.append(SpanGuard(self.spans, self.tokenizer, self.tokenizer.symbols(prompt.ids)))
        if self.config.no_repeat is not None:
            guards.append(RepeatGuard(self.config.no_repeat, prompt.ids.tolist()))
        return guards


def _known_form(tokenizer: Tokenizer, text: str) -> str | None:
    """The Unicode normalization after which every character of a text is known, if there is one."""
    forms: tuple[Literal["NFC", "NFD"], ...] = ("NFC", "NFD")
    for form in forms:
        if (tokenizer.lookup(unicodedata.normalize(form, text)) < tokenizer.size).all():
            return form
    return None


def is_endless(config: SamplingConfig) -> bool:
    """Whether a text with these settings never ends by itself, unless a stop is written."""
    return config.length < 0 and config.lines is None


def forbidden_ids(tokenizer: Tokenizer, config: SamplingConfig, also: str = "") -> list[int]:
    """The ids that are never written: the unknown symbol and those of ``ban`` and ``also``, ascending.

    Raises:
        ConfigError: no id is left.
    """
    ids = {id for id in lookup(tokenizer, config.ban + also, "--ban").tolist() if id < tokenizer.size}
    if tokenizer.unknown is not None:
        ids.add(tokenizer.unknown)
    if len(ids) >= tokenizer.size:
        raise ConfigError(f"--ban {config.ban!a} leaves no character to write")
    return sorted(ids)


def bias_of(tokenizer: Tokenizer, config: SamplingConfig) -> dict[int, float]:
    """What is added to the logits of each id of ``bias``: the sum, where a character is in several texts."""
    found: dict[int, float] = {}
    for text, value in parse_bias(config.bias):
        for id in set(lookup(tokenizer, text, "--bias").tolist()):
            if id < tokenizer.size:
                found[id] = max(-sys.float_info.max, min(sys.float_info.max, found.get(id, 0.0) + value))
    return found


def texts_of(tokenizer: Tokenizer, texts: Sequence[str], flag: str) -> list[list[int]]:
    """The texts of ``stop`` or ``until`` as ids, without those that the vocabulary cannot write."""
    found = [lookup(tokenizer, text, flag).tolist() for text in texts]
    return [ids for ids in found if max(ids) < tokenizer.size]


def lookup(tokenizer: Tokenizer, text: str, name: str) -> Ids:
    """The ids of a text, ``tokenizer.size`` for unknown characters.

    Args:
        tokenizer: of the model.
        text: to look up.
        name: of the argument or option, for the message.

    Raises:
        ConfigError: the text has bytes for a byte model, but holds half of a surrogate pair, which has none.
    """
    try:
        return tokenizer.lookup(text)
    except UnicodeEncodeError as error:
        half = f"U+{ord(text[error.start]):04X}"
        raise ConfigError(
            f"{name}: {half} is half of a surrogate pair, not a character; leave it out"
        ) from None


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
        self._guards = session.guards(prompt)

    @property
    def plain(self) -> bool:
        """Whether nothing is watched and nothing is barred."""
        return not self._guards and self._watch is None

    def save(self) -> tuple[Any, ...]:
        """All that ``restore`` needs."""
        return self.stream.save(), self.id, [guard.save() for guard in self._guards]

    def restore(self, saved: tuple[Any, ...]) -> None:
        """Returns to a saved state; only the sampler's random generator keeps its own."""
        state, self.id, places = saved
        self.stream.restore(state)
        for guard, place in zip(self._guards, places, strict=True):
            guard.restore(place)

    def step(self) -> int | None:
        """Chooses the next id; None where every id is barred."""
        logits = self.stream.step(self.id)
        barred = [id for guard in self._guards for id in guard.barred()]
        session = self._session
        unwanted = session.item_end if self.id == session.opening else None
        if barred and len({*barred, *session.forbidden, unwanted} - {None}) >= len(logits):
            return None
        self.id = self.sampler(logits, barred, unwanted)
        for guard in self._guards:
            guard.read(self.id)
        if self._watch:
            self._watch(token_choice(logits, self.id, session.config.logprobs))
        return self.id


def token_choice(logits: Floats, id: int, top: int) -> TokenChoice:
    """The choice of ``id`` from (vocabulary,) logits, with the ``top`` most probable ids."""
    logs = log_probabilities(finite(logits))
    best = np.argsort(-logs, kind="stable")[:top].tolist()
    return TokenChoice(id, float(logs[id]), [(other, float(logs[other])) for other in best])
