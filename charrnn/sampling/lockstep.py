"""Many texts in lockstep, each after a prompt of its own: one matrix product advances all of them.

What several prompts begin with is read once: the prompts are the paths of a tree, and each node of it that
two or more of them share is one step. Then every text has a column of the lockstep, in which the rest of its
prompt is read and the text is written. A column whose text ended takes the next prompt; when none is left,
the columns that are still in use move together.

A text depends on its prompt and its seed alone, except for float32 rounding.
"""

from __future__ import annotations

import dataclasses
import functools
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.sampling.sampler import Floats, Sampler, draw_many, log_probabilities
from charrnn.sampling.session import Prompt, SamplingSession
from charrnn.text.tokenizer import Ids

Numbers = NDArray[np.int64]

# Texts in lockstep at most, which fewer states than CACHED bytes limit: with more columns the products are no
# faster, and what is computed between them no longer stays in a core's cache.
MOST_COLUMNS, LEAST_COLUMNS, CACHED = 128, 32, 320 << 10
# Prompts whose common beginnings are looked for: with more, more is shared, but the first text comes later.
MOST_PROMPTS, STATES = 8192, 32 << 20  # and the bytes of their states
CROWDED = 0.75  # of the columns: when fewer are in use, and no prompt is left, they move together


@dataclasses.dataclass
class Text:
    """A text in the lockstep.

    Attributes:
        index: what the caller knows it by.
        seed: of its choices.
        prompt: (ids,) what it follows, after the start symbol.
        ids: what was written.
        reason: why the text ended: "line", "stop" or "length"; "" while it has not.
        logprob: of what was written, where that is asked for.
    """

    index: int
    seed: int
    prompt: Ids
    ids: list[int] = dataclasses.field(default_factory=list)
    reason: str = ""
    logprob: float = 0.0

    @functools.cached_property
    def uniform(self) -> Callable[[], float]:
        """Draws from a generator of the text's own, made when it is first needed."""
        return random.Random(self.seed).random


class Prompts:
    """What the texts follow, start symbols included, and how far each of it is read.

    Attributes:
        ids: (symbols,) of all prompts, one after the other.
        at: (texts,) the place in ``ids`` of each text's next symbol.
        ends: (texts,) the place after each text's last symbol.
    """

    def __init__(self, texts: Sequence[Text], start: int) -> None:
        first = np.full(1, start)
        self.ids: Numbers = np.concatenate([part for text in texts for part in (first, text.prompt)])
        lengths = np.array([len(text.prompt) + 1 for text in texts])
        self.ends: Numbers = np.cumsum(lengths)
        self.at: Numbers = self.ends - lengths


class Lockstep:
    """Writes texts in lockstep.

    Args:
        session: the model and the settings.
        limit: the most symbols of a text, at least 1.
        scored: whether to compute log probabilities.
    """

    def __init__(self, session: SamplingSession, limit: int, *, scored: bool) -> None:
        self._session, self._limit, self._scored = session, limit, scored
        self._sampler: Sampler = session.sampler(Prompt(np.empty(0, session.tokenizer.id_dtype)), 0)
        self._streams = session.engine.stream(1)
        self._width = 1
        self._fresh = self._streams.save()
        size = _size(self._fresh)
        self._columns: int = min(MOST_COLUMNS, max(LEAST_COLUMNS, CACHED // size))
        self._prompts = min(MOST_PROMPTS, max(self._columns, STATES // size))

    def write(self, texts: Sequence[Text]) -> Iterator[list[Text]]:
        """The texts as soon as they have ended; those together that end at the same step."""
        for begin in range(0, len(texts), self._prompts):
            together = texts[begin : begin + self._prompts]
            prompts = Prompts(together, self._session.tokenizer.start)
            states = self._read_shared(prompts)
            yield from _Columns(self, together, prompts, states).write()

    def stream(self, count: int) -> Any:
        """``count`` streams, in any state."""
        if count != self._width:
            self._streams, self._width = self._session.engine.stream(count), count
        return self._streams

    def _read_shared(self, prompts: Prompts) -> Any:
        """Reads, once for all of them, what several prompts begin with, but for the last id of each prompt.

        Returns:
            The states, one for each text, after what counts as read now.
        """
        vocabulary, gather = self._session.engine.vocabulary, self._streams.gather
        count = len(prompts.at)
        texts, nodes, places = np.arange(count), np.zeros(count, np.int64), np.zeros(count, np.int64)
        kept, size, states = [], 0, self._fresh
        while len(texts):  # those that go on together, at one depth of the tree; each one's node there
            at = prompts.at[texts]
            children = nodes * vocabulary + prompts.ids[at]
            children[at + 1 >= prompts.ends[texts]] = -1  # the last id is left to be read before writing
            found, which, counts = np.unique(children, return_inverse=True, return_counts=True)
            shared = (counts > 1) & (found >= 0)
            leaving = ~shared[which]
            if leaving.any():
                last, where = np.unique(nodes[leaving], return_inverse=True)
                kept.append(gather([states], last))
                places[texts[leaving]] = size + where
                size += len(last)
            texts = texts[~leaving]
            if len(texts):
                prompts.at[texts] += 1
                nodes = (np.cumsum(shared) - 1)[which[~leaving]]
                states = self._read_nodes(states, *np.divmod(found[shared], vocabulary))
        return gather(kept, places)

    def _read_nodes(self, states: Any, parents: Numbers, ids: Numbers) -> Any:
        """The states after each of the ids (nodes,), read from the states of their parents (nodes,)."""
        found = []
        for begin in range(0, len(ids), self._columns):
            chunk = slice(begin, begin + self._columns)
            streams = self.stream(len(ids[chunk]))
            streams.restore(states, places=parents[chunk])
            streams.advance(ids[chunk])
            found.append(streams.save())
        return self._streams.gather(found) if len(found) > 1 else found[0]

    def columns(self, count: int) -> int:
        """How many columns there are for so many texts."""
        return min(self._columns, count)

    def _opens(self, prompt: Ids) -> bool:
        """Whether no line ends right after this prompt, as in ``SamplingSession.opening``."""
        last = prompt[-1] if len(prompt) else self._session.tokenizer.start
        return bool(last == self._session.opening)

    def choose(self, logits: Floats, texts: list[Text]) -> list[int]:
        """Chooses the next id of each text from logits (vocabulary, texts), and ends texts that end."""
        rows = logits.T  # (texts, vocabulary)
        filtered = self._sampler.filtered(rows)
        if self._session.config.temperature == 0:
            ids: list[int] = filtered.argmax(axis=-1).tolist()
        else:
            ids = draw_many(filtered, np.array([text.uniform() for text in texts])).tolist()
        newline = self._session.newline
        for at, text in enumerate(texts):
            if ids[at] == newline and not text.ids and self._opens(text.prompt):
                ids[at] = self._sampler.choose(self._sampler.filtered(rows[at], [ids[at]]), text.uniform)
        if self._scored:
            found = log_probabilities(rows)[np.arange(len(ids)), ids].tolist()
            for text, logprob in zip(texts, found, strict=True):
                text.logprob += logprob
        stops, limit = self._session.stops, self._limit
        for text, id in zip(texts, ids, strict=True):
            if id == newline:
                text.reason = "line"
                continue
            text.ids.append(id)
            stop = longest_stop(text.ids, stops) if stops else 0
            if stop:
                del text.ids[-stop:]
                text.reason = "stop"
            elif len(text.ids) >= limit:
                text.reason = "length"
        return ids


class _Columns:
    """Texts that are written together, each in a column.

    Attributes:
        used: (columns,) whether the text in a column has not ended.
        at, ends: (columns,) the place of the next symbol of its prompt, and the place after the last one.
        last: (columns,) the last id that was written.
    """

    def __init__(self, lockstep: Lockstep, texts: Sequence[Text], prompts: Prompts, states: Any) -> None:
        self._lockstep, self._texts, self._prompts, self._states = lockstep, texts, prompts, states
        self._begun = count = lockstep.columns(len(texts))
        self._inside = list(texts[:count])  # the text in each column
        self.at, self.ends = prompts.at[:count].copy(), prompts.ends[:count].copy()
        self.last, self.used = np.zeros(count, np.int64), np.ones(count, bool)
        self._streams = lockstep.stream(count)
        self._streams.restore(states, places=np.arange(count))

    def write(self) -> Iterator[list[Text]]:
        """The texts as they end."""
        while self.used.any():
            places = np.minimum(self.at, len(self._prompts.ids) - 1)
            inputs = np.where(self.at < self.ends, self._prompts.ids[places], self.last)  # (columns,)
            logits = self._streams.step(inputs)  # (vocabulary, columns)
            self.at += 1
            writing = np.flatnonzero(self.used & (self.at >= self.ends))
            if len(writing) == 0:
                continue
            columns = writing.tolist()
            texts = [self._inside[column] for column in columns]
            chosen = logits if len(columns) == len(self.used) else logits[:, writing]
            self.last[writing] = self._lockstep.choose(chosen, texts)
            ended = [column for column, text in zip(columns, texts, strict=True) if text.reason]
            if ended:
                yield [self._inside[column] for column in ended]
                self._begin(ended)

    def _begin(self, free: list[int]) -> None:
        """Begins the next texts in free columns; when there are none left, the used columns move together."""
        first, total = self._begun, len(self._texts)
        taken, left = free[: total - first], free[total - first :]
        if taken:
            following = slice(first, first + len(taken))
            self._streams.restore(self._states, taken, np.arange(first, following.stop))
            self.at[taken], self.ends[taken] = self._prompts.at[following], self._prompts.ends[following]
            for column, text in zip(taken, self._texts[following], strict=True):
                self._inside[column] = text
            self._begun = following.stop
        self.used[left] = False
        kept = np.flatnonzero(self.used)
        if left and 0 < len(kept) <= CROWDED * len(self.used):
            saved = self._streams.save(kept)
            self._streams = self._lockstep.stream(len(kept))
            self._streams.restore(saved)
            self._inside = [self._inside[column] for column in kept.tolist()]
            self.at, self.ends, self.last = self.at[kept], self.ends[kept], self.last[kept]
            self.used = self.used[kept]


def _size(saved: Any) -> int:
    """The bytes of a saved state: of arrays, in lists or tuples as the engine has them; at least 1."""
    if isinstance(saved, (list, tuple)):
        return max(1, sum(_size(part) for part in saved))
    return int(getattr(saved, "nbytes", 1))


def longest_stop(ids: list[int], stops: Sequence[list[int]]) -> int:
    """The length of the longest stop that ids end with; 0 for none."""
    return max((len(stop) for stop in stops if ids[-len(stop) :] == stop), default=0)
