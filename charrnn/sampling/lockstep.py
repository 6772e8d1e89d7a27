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

# Texts in lockstep at most, which fewer states than CACHED bytes limit: with more columns the products are no
# faster, and what is computed between them no longer stays in a core's cache.
MOST_COLUMNS, LEAST_COLUMNS, CACHED = 128, 32, 320 << 10
# Prompts whose common beginnings are looked for: with more, more is shared, but the first text comes later.
MOST_PROMPTS, STATES = 2048, 32 << 20  # and the bytes of their states
CROWDED = 0.75  # of the columns: when fewer are in use, and no prompt is left, they move together


@dataclasses.dataclass
class Text:
    """A text in the lockstep.

    Attributes:
        index: what the caller knows it by.
        seed: of its choices.
        unread: the ids that are still to be read, the next one last; at first the start symbol and a prompt.
        ids: what was written.
        reason: why the text ended: "line", "stop" or "length"; "" while it has not.
        logprob: of what was written, where that is asked for.
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
        size = sum(part.nbytes for part in self._fresh)
        self._columns = min(MOST_COLUMNS, max(LEAST_COLUMNS, CACHED // size))
        self._prompts = min(MOST_PROMPTS, max(self._columns, STATES // size))

    def write(self, texts: Sequence[Text]) -> Iterator[Text]:
        """The texts, each as soon as it has ended."""
        for begin in range(0, len(texts), self._prompts):
            together = texts[begin : begin + self._prompts]
            yield from self._in_columns(together, self._read_shared(together))

    def _stream(self, count: int) -> Any:
        """``count`` streams, in any state."""
        if count != self._width:
            self._streams, self._width = self._session.engine.stream(count), count
        return self._streams

    # -- what prompts begin with -----------------------------------------------------------------------------

    def _read_shared(self, texts: Sequence[Text]) -> Any:
        """Reads, once for all of them, what several prompts begin with, but for the last id of each prompt.

        Returns:
            The states, one for each text, from which to read what is ``unread`` now.
        """
        gather, kept, places = self._streams.gather, [], np.zeros(len(texts), np.int64)
        groups, states, count = [list(range(len(texts)))], self._fresh, 0
        while groups:  # the texts of each node of one depth, and the states of the nodes
            parents: list[int] = []
            ids: list[int] = []
            leaving: list[int] = []
            children: list[list[int]] = []
            for parent, group in enumerate(groups):
                alone, shared = _split(texts, group)
                if alone:
                    places[alone] = count + len(leaving)
                    leaving.append(parent)
                for id, members in shared.items():
                    parents.append(parent)
                    ids.append(id)
                    children.append(members)
            if leaving:
                kept.append(gather([states], leaving))
                count += len(leaving)
            if children:
                states = self._read_nodes(states, np.array(parents), np.array(ids))
            groups = children
        return gather(kept, places)

    def _read_nodes(self, states: Any, parents: NDArray[np.int64], ids: NDArray[np.int64]) -> Any:
        """The states after each of the ids (nodes,), read from the states of their parents (nodes,)."""
        found = []
        for begin in range(0, len(ids), self._columns):
            chunk = slice(begin, begin + self._columns)
            streams = self._stream(len(ids[chunk]))
            streams.restore(states, places=parents[chunk])
            streams.advance(ids[chunk])
            found.append(streams.save())
        return streams.gather(found) if len(found) > 1 else found[0]

    # -- reading the rest, and writing -----------------------------------------------------------------------

    def _in_columns(self, texts: Sequence[Text], states: Any) -> Iterator[Text]:
        """Writes texts from their states."""
        begun = min(self._columns, len(texts))
        columns, streams = list(texts[:begun]), self._stream(begun)
        streams.restore(states, places=np.arange(begun))
        while columns:
            logits = streams.step(np.array([_following(text) for text in columns]))  # (vocabulary, columns)
            writing = [at for at, text in enumerate(columns) if not text.unread and not text.reason]
            if not writing:
                continue
            self._choose(
                logits if len(writing) == len(columns) else logits[:, writing],
                [columns[at] for at in writing],
            )
            ended = [at for at in writing if columns[at].reason]
            yield from [columns[at] for at in ended]
            free = ended[: len(texts) - begun]
            if free:
                streams.restore(states, free, np.arange(begun, begun + len(free)))
                for at in free:
                    columns[at] = texts[begun]
                    begun += 1
            if len(free) < len(ended):
                used = [at for at, text in enumerate(columns) if not text.reason]
                if len(used) <= CROWDED * len(columns):
                    columns = [columns[at] for at in used]
                    streams = self._moved(streams, used) if used else streams

    def _moved(self, streams: Any, used: list[int]) -> Any:
        """Streams for the used columns alone, in their states."""
        saved = streams.save(used)
        streams = self._stream(len(used))
        streams.restore(saved)
        return streams

    def _choose(self, logits: Floats, texts: list[Text]) -> None:
        """Chooses the next id of each text from logits (vocabulary, texts), and ends texts that end."""
        rows = logits.T  # (texts, vocabulary)
        filtered = self._sampler.filtered(rows)
        if self._session.config.temperature == 0:
            ids = filtered.argmax(axis=-1).tolist()
        else:
            ids = draw_many(filtered, np.array([text.uniform() for text in texts])).tolist()
        if self._scored:
            found = log_probabilities(rows)[np.arange(len(ids)), ids].tolist()
            for text, logprob in zip(texts, found, strict=True):
                text.logprob += logprob
        newline, stops, limit = self._session.newline, self._session.stops, self._limit
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


def longest_stop(ids: list[int], stops: Sequence[list[int]]) -> int:
    """The length of the longest stop that ids end with; 0 for none."""
    return max((len(stop) for stop in stops if ids[-len(stop) :] == stop), default=0)


def _split(texts: Sequence[Text], group: list[int]) -> tuple[list[int], dict[int, list[int]]]:
    """Of texts that were read alike: those that go on alone, and by the next id those that go on together.

    The next id of those that go on together counts as read.
    """
    by_id: dict[int, list[int]] = {}
    alone: list[int] = []
    for number in group:
        unread = texts[number].unread
        if len(unread) > 1:
            by_id.setdefault(unread[-1], []).append(number)
        else:
            alone.append(number)
    shared = {}
    for id, members in by_id.items():
        if len(members) == 1:
            alone += members
            continue
        shared[id] = members
        for number in members:
            texts[number].unread.pop()
    return alone, shared


def _following(text: Text) -> int:
    """The id that a text's column reads next; anything where it has ended."""
    if text.unread:
        return text.unread.pop()
    return text.ids[-1] if text.ids else 0
