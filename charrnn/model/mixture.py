"""Several models as one: the mixture of their probabilities.

The mixture's vocabulary is the union of its parts'. What a part knows nothing of costs it probability in a
defined way, so that each part's probabilities of the union's symbols sum to one:

- a symbol that the part has has the part's probability;
- all symbols that it lacks, the union's unknown symbol among them, share the probability of its own unknown
  symbol equally; they have 0 where it has none.

A symbol that a part lacks is read by it as its unknown symbol; where it has none, it does not read it at all,
as models alone do in ``charrnn.evaluation.measure``. Before a text it reads its own start symbol then.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.errors import ConfigError
from charrnn.model.engine import ALL
from charrnn.model.file import ModelFile
from charrnn.model.ngram_engine import NGramEngine
from charrnn.text.tokenizer import ByteTokenizer, CharTokenizer, Tokenizer

Doubles = NDArray[np.float64]
Numbers = NDArray[np.int64]

LARGEST_EXPONENT = 690.0  # of e, so that a sum over all of Unicode is a float64
TINY = float(np.finfo(np.float64).tiny)  # instead of a probability that is too small for a float64


@dataclasses.dataclass(frozen=True)
class Match:
    """How a part stands for the mixture's vocabulary; all arrays are (vocabulary,) of the mixture.

    Attributes:
        reads: the part's id that it reads for each symbol, -1 for those that it does not read.
        source: the part's id whose probability each symbol has, or shares.
        factor: by which that is multiplied.
        start: the mixture's start symbol, which every part reads as one of its own.
    """

    reads: Numbers
    source: Numbers
    factor: Doubles
    start: int

    @property
    def complete(self) -> bool:
        """Whether the part reads every symbol."""
        return bool((self.reads >= 0).all())

    @property
    def same(self) -> bool:
        """Whether the part has the mixture's symbols, and no others, under the same ids."""
        ids = np.arange(len(self.reads))
        alike = np.array_equal(self.reads, ids) and np.array_equal(self.source, ids)
        return alike and bool((self.factor == 1).all())


def mix_models(models: Sequence[ModelFile], weights: Sequence[float]) -> ModelFile:
    """The mixture of models; what it learnt, and how its texts are read, is what the first one says.

    Args:
        models: at least two.
        weights: one for each, greater than 0; they are divided by their sum.

    Raises:
        ConfigError: the weights are not such, or a model of bytes is among models of characters.
    """
    if len(weights) != len(models):
        given = ",".join(f"{weight:g}" for weight in weights)
        raise ConfigError(
            f"--mix {given}: {len(weights)} for {len(models)} models; give one for each --model"
        )
    if not all(0 < weight < math.inf for weight in weights):
        raise ConfigError(
            "--mix: must be finite numbers greater than 0; leave out a model that has no weight"
        )
    largest = max(weights)
    total = sum(weight / largest for weight in weights)  # whose sum itself may overflow
    first = models[0]
    return ModelFile(
        {},
        None,
        union([model.tokenizer for model in models]),
        _recorded(models),
        first.training,
        parts=tuple(models),
        mix=tuple(max(weight / largest / total, TINY) for weight in weights),
    )


def _recorded(models: Sequence[ModelFile]) -> dict[str, Any]:
    """What the first model learnt, with the paths of one that learnt the same, where it has none."""
    corpus = models[0].corpus
    for model in models:
        if not corpus.get("paths") and corpus.get("sha256") == model.corpus.get("sha256", ""):
            corpus = corpus | {"paths": model.corpus.get("paths", [])}
    return corpus


def union(tokenizers: Sequence[Tokenizer]) -> Tokenizer:
    """The tokenizer of all symbols that one of them has, with an unknown symbol if one has it.

    Raises:
        ConfigError: there are bytes and characters among them.
    """
    kinds = {tokenizer.kind for tokenizer in tokenizers}
    if len(kinds) > 1:
        raise ConfigError("a model of bytes and one of characters do not mix; name models of one kind")
    if kinds == {"byte"}:
        return ByteTokenizer()
    characters = {character for tokenizer in tokenizers for character in _characters(tokenizer)}
    unknown = any(tokenizer.unknown is not None for tokenizer in tokenizers)
    return CharTokenizer("".join(sorted(characters)), unknown=unknown)


def _characters(tokenizer: Tokenizer) -> str:
    """The vocabulary's characters, in the order of their ids."""
    assert isinstance(tokenizer, CharTokenizer)
    return tokenizer.vocabulary


def match(tokenizer: Tokenizer, part: Tokenizer) -> Match:
    """How a part with its tokenizer stands for the vocabulary of a mixture.

    >>> found = match(CharTokenizer("abc", unknown=True), CharTokenizer("b", unknown=True))
    >>> found.reads.tolist(), found.source.tolist(), found.factor.round(3).tolist()
    ([1, 0, 1, 1], [1, 0, 1, 1], [0.333, 1.0, 0.333, 0.333])
    """
    size = tokenizer.size
    if tokenizer.kind == "byte":
        return Match(np.arange(size), np.arange(size), np.ones(size), tokenizer.start)
    found = np.full(size, -1, np.int64)
    characters = _characters(tokenizer)
    known = part.lookup(characters).astype(np.int64)  # (characters,), part.size for what it lacks
    found[: len(characters)] = np.where(known < len(_characters(part)), known, -1)
    lacks = found < 0
    share = 0.0 if part.unknown is None else 1 / max(1, int(lacks.sum()))
    source = np.where(lacks, 0 if part.unknown is None else part.unknown, found)
    reads = found if part.unknown is None else source.copy()
    if part.unknown is None and reads[tokenizer.start] < 0:
        reads[tokenizer.start] = part.start
    return Match(reads, source, np.where(lacks, share, 1.0), tokenizer.start)


# -- stepping ------------------------------------------------------------------------------------------------


class MixtureEngine:
    """The engines of several models, stepped as one: the interface of ``charrnn.model.engine``.

    Logits are natural-log probabilities, in float64.

    Attributes:
        vocabulary: the number of symbols.
        largest: what the magnitude of the highest logit cannot exceed.
    """

    def __init__(self, engines: Sequence[Any], matches: Sequence[Match], weights: Sequence[float]) -> None:
        self.parts = list(zip(engines, matches, weights, strict=True))
        self.vocabulary = len(matches[0].reads)
        self.largest = math.log(self.vocabulary) + 1e-6

    def stream(self, count: int | None = None) -> Any:
        """A new stream at the beginning of a text; ``count`` streams in lockstep if given."""
        return MixtureStream(self, count)


class MixtureStream:
    """One text that every part reads, or N texts in lockstep; the state is the parts' states."""

    def __init__(self, engine: MixtureEngine, count: int | None) -> None:
        self._parts = [
            (
                _Part(part, match, count) if match.complete else _Skipping(part, match, count),
                weight,
            )
            for part, match, weight in engine.parts
        ]

    def step(self, ids: Any) -> Doubles:
        """Reads one symbol per stream and returns the logits (vocabulary,) or (vocabulary, N)."""
        (first, weight), *others = self._parts
        mixed = first.weighted(ids, weight)
        for part, weight in others:
            mixed += part.weighted(ids, weight)
        return np.log(np.maximum(mixed, TINY, out=mixed), mixed)

    def advance(self, ids: Any) -> None:
        """Reads one symbol per stream."""
        for part, _ in self._parts:
            part.advance(ids)

    def read(self, ids: NDArray[Any]) -> Doubles:
        """Reads a text (time,) and returns the logits (time, vocabulary) after each symbol."""
        return np.stack([self.step(id) for id in ids.tolist()])

    def save(self, columns: Any = ALL) -> list[Any]:
        """The state, for ``restore``; of N streams those of all, or of some ``columns``."""
        return [part.save(columns) for part, _ in self._parts]

    def restore(self, saved: list[Any], columns: Any = ALL, places: Any = ALL) -> None:
        """Restores a saved state; ``columns`` of N streams that of a single one, or those at ``places``."""
        for (part, _), state in zip(self._parts, saved, strict=True):
            part.restore(state, columns, places)

    def gather(self, saved: Sequence[list[Any]], places: Any = ALL) -> list[Any]:
        """The saved states of several times N streams as one: all of them, or those at ``places``."""
        states = zip(*saved, strict=True)
        return [part.gather(state, places) for (part, _), state in zip(self._parts, states, strict=True)]

    def select(self, columns: Numbers) -> None:
        """Gives each of N streams the state of another one: stream i that of ``columns[i]`` (N,)."""
        for part, _ in self._parts:
            part.select(columns)


class _Part:
    """A part that reads every symbol, with its probabilities of the mixture's symbols."""

    def __init__(self, engine: Any, match: Match, count: int | None) -> None:
        self._stream, self._match, self._single = engine.stream(count), match, count is None
        self._bounded = engine.largest < LARGEST_EXPONENT
        self._counts = self._stream.probabilities if isinstance(engine, NGramEngine) else None
        # A list has Python's own numbers, which single streams step faster.
        self._reads: Any = match.reads.tolist() if count is None else match.reads
        self._same = match.same

    def weighted(self, ids: Any, weight: float) -> Doubles:
        """The probabilities after one more symbol, times a weight, in an array of their own."""
        read = ids if self._same else self._reads[ids]
        if self._counts is not None:
            found: Doubles = self._counts(read, weight)
        else:
            found = probabilities(self._stream.step(read), weight, bounded=self._bounded)
        if self._same:
            return found
        spread: Doubles = (found[self._match.source].T * self._match.factor).T
        return spread

    def advance(self, ids: Any) -> None:
        """Reads one symbol."""
        self._stream.advance(ids if self._same else self._reads[ids])

    def save(self, columns: Any) -> Any:
        """The stream's state, or that of some columns."""
        return self._stream.save() if self._single else self._stream.save(columns)

    def restore(self, saved: Any, columns: Any, places: Any) -> None:
        """Restores the stream's state, or that of some columns."""
        if self._single:
            self._stream.restore(saved)
        else:
            self._stream.restore(saved, columns, places)

    def gather(self, saved: Sequence[Any], places: Any) -> Any:
        """The states at some places of several that were saved."""
        return self._stream.gather(saved, places)

    def select(self, columns: Numbers) -> None:
        """Gives each of the streams the state of another one."""
        self._stream.select(columns)


class _Skipping:
    """A part that leaves some symbols unread: single streams, each with its probabilities as they are now.

    What is unread at the very beginning, where the state is reset within a text, is read as the start.
    """

    def __init__(self, engine: Any, match: Match, count: int | None) -> None:
        self._count, self._reads = count, match.reads.tolist()
        self._start = match.start
        self._parts = [_Part(engine, match, None) for _ in range(count or 1)]
        self._now: list[Doubles | None] = [None for _ in self._parts]

    def weighted(self, ids: Any, weight: float) -> Doubles:
        """The probabilities after one more symbol, times a weight, in an array of their own."""
        each = [ids] if self._count is None else np.asarray(ids).tolist()
        for at, (part, id) in enumerate(zip(self._parts, each, strict=True)):
            if self._reads[id] >= 0:
                self._now[at] = part.weighted(id, 1.0)
            elif self._now[at] is None:
                self._now[at] = part.weighted(self._start, 1.0)
        now = [np.asarray(found) for found in self._now]
        return weight * (now[0] if self._count is None else np.stack(now, axis=1))

    def advance(self, ids: Any) -> None:
        """Reads one symbol; the next one may be left unread, so the probabilities are needed."""
        self.weighted(ids, 1.0)

    def save(self, columns: Any) -> Any:
        """The state: a pair of a single stream, a list of them of several."""
        states = [(part.save(ALL), now) for part, now in zip(self._parts, self._now, strict=True)]
        return states[0] if self._count is None else _picked(states, columns)

    def restore(self, saved: Any, columns: Any, places: Any) -> None:
        """Restores states at some places of those that were saved, or a single one."""
        into = _picked(list(range(len(self._parts))), columns)
        states = _picked(saved, places) if isinstance(saved, list) else [saved] * len(into)
        for at, (state, now) in zip(into, states, strict=True):
            self._now[at] = now
            self._parts[at].restore(state, ALL, ALL)

    def gather(self, saved: Sequence[Any], places: Any) -> list[Any]:
        """The states at some places of several lists of them."""
        return _picked([state for states in saved for state in states], places)

    def select(self, columns: Numbers) -> None:
        """Gives each stream the state of another one."""
        saved = self.save(ALL)
        self.restore(saved, ALL, columns)


def _picked(items: list[Any], places: Any) -> list[Any]:
    """The items at these places: a slice, or numbers."""
    return [items[place] for place in np.arange(len(items))[places].tolist()]


def probabilities(logits: NDArray[Any], weight: float = 1.0, *, bounded: bool) -> Doubles:
    """The softmax over the first axis, times a weight, in float64.

    Args:
        logits: (vocabulary, ...).
        weight: by which all are multiplied.
        bounded: whether no exponential of the highest logit can be too large or too small.
    """
    found: Doubles = np.exp(logits if bounded else logits - logits.max(axis=0), dtype=np.float64)
    found *= weight / np.add.reduce(found, 0)
    return found
