"""Beam search: the most probable texts after a prompt, to the end of the line.

Probabilities are the model's own, of the text and its line end together; nothing is divided by the length.
Temperature and filters do not apply, but what is banned is never written.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from charrnn.sampling.sampler import Floats, forbid, log_probabilities
from charrnn.sampling.session import Prompt, SamplingSession


@dataclasses.dataclass(frozen=True)
class Hypothesis:
    """A text that the search found.

    Attributes:
        ids: its ids, without the line's end.
        text: the same as text.
        logprob: its natural-log probability, with its line end if it has one.
        finish_reason: "line", "stop" (which is part of the probability, but not of the text), or "length".
    """

    ids: list[int]
    text: str
    logprob: float
    finish_reason: str


def beam_search(session: SamplingSession, prompt: Prompt, limit: int) -> list[Hypothesis]:
    """The ``beam`` most probable texts that the search finds, most probable first.

    At each step, of all continuations of all texts by one symbol, the ``beam`` most probable are kept; those
    that end are set aside. The search is over when no text that goes on is more probable than the ``beam``
    best that ended. The text that a greedy choice writes is always followed, so the first of the result is
    never less probable than it.

    Args:
        session: the model and the settings; ``beam`` says how many.
        prompt: what the texts continue.
        limit: the most symbols of a text.
    """
    return _Search(session, limit).run(prompt)


class _Search:
    """One search; column 0 of the streams follows the greedy text, the others the beam.

    Attributes:
        ended: the texts that ended: ids, log probability, why.
    """

    def __init__(self, session: SamplingSession, limit: int) -> None:
        self._session, self._limit = session, limit
        self._beam = session.config.beam or 1
        self.ended: dict[tuple[int, ...], tuple[float, str]] = {}

    def run(self, prompt: Prompt) -> list[Hypothesis]:
        """The search, from the prompt to the result."""
        session = self._session
        single, last = session.read(prompt)
        streams = session.engine.stream(self._beam + 1)
        streams.restore(single.save())
        texts: list[list[int]] = [[] for _ in range(self._beam + 1)]
        scores = np.full(self._beam + 1, -np.inf)
        scores[:2] = 0.0  # one greedy text and one of the beam; the other columns are empty
        inputs = np.full(self._beam + 1, last)
        banned = [*session.forbidden, *session.barred_after(last)]  # at the first step
        while scores.max() > -np.inf and len(texts[int(scores.argmax())]) < self._limit:
            logs = log_probabilities(streams.step(inputs).T)  # (columns, vocabulary)
            totals = forbid(logs, banned) + scores[:, None]
            banned = session.forbidden
            parents, ids, scores = self._best(totals)
            texts = [[*texts[parent], id] for parent, id in zip(parents.tolist(), ids.tolist(), strict=True)]
            self._set_aside(texts, scores)
            streams.select(parents)
            inputs = ids
        for text, score in zip(texts, scores.tolist(), strict=True):
            if score > -np.inf:
                self._end(text, score, "length")
        return self._result()

    def _best(self, totals: Floats) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        """The columns that are continued, by which ids, and the log probabilities: (columns,) each."""
        vocabulary = totals.shape[1]
        greedy = int(totals[0].argmax())
        flat = totals[1:].ravel()
        count = min(self._beam, len(flat))
        best = np.argpartition(-flat, count - 1)[:count]
        best = np.pad(best, (0, self._beam - count), mode="edge")
        parents = np.concatenate([[0], 1 + best // vocabulary])
        ids = np.concatenate([[greedy], best % vocabulary])
        scores = np.concatenate([totals[0, [greedy]], flat[best]])
        scores[1 + count :] = -np.inf
        return parents, ids, scores

    def _set_aside(self, texts: list[list[int]], scores: NDArray[np.float64]) -> None:
        """Takes texts that ended out of the columns, and those that cannot become one of the best."""
        newline, stops = self._session.newline, self._session.stops
        for column, text in enumerate(texts):
            if scores[column] == -np.inf:
                continue
            stop = max((len(stop) for stop in stops if text[-len(stop) :] == stop), default=0)
            if text[-1] == newline or stop:
                line = text[-1] == newline
                self._end(text[: -1 if line else -stop], scores[column], "line" if line else "stop")
                scores[column] = -np.inf
        if len(self.ended) >= self._beam:
            least = sorted(score for score, _ in self.ended.values())[-self._beam]
            # Nothing becomes more probable by going on. The greedy text may be among what is given up: then
            # there are texts more probable than it.
            scores[scores <= least] = -np.inf

    def _end(self, ids: list[int], score: float, reason: str) -> None:
        """Sets a text aside; the same text from two columns counts once."""
        key = tuple(ids)
        if key not in self.ended or self.ended[key][0] < score:
            self.ended[key] = score, reason

    def _result(self) -> list[Hypothesis]:
        found = sorted(self.ended.items(), key=lambda item: -item[1][0])[: self._beam]
        decode = self._session.tokenizer.decode
        return [
            Hypothesis(list(ids), decode(list(ids)), float(score), reason) for ids, (score, reason) in found
        ]
