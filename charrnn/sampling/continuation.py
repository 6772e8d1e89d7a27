"""One text after a prompt, in one stream; and the best of several."""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Iterable, Iterator

from charrnn.sampling.session import Prompt, SamplingSession, Stepper, TokenChoice, Watch
from charrnn.system import sharing_blas

LOOK_AFTER = 256  # characters, whether the cores are still free


class Continuation:
    """What the model writes after the prompt: iterate once for its ids; then ``finish_reason`` is known.

    Attributes:
        finish_reason: "length", "stop", "until", "novelty" (every id would have completed a run of the
            training text) or "repetition" (or one that the text already had).
    """

    def __init__(
        self, session: SamplingSession, prompt: Prompt, seed: int, watch: Watch | None = None
    ) -> None:
        self._session = session
        self._stepper = Stepper(session, prompt, seed, watch)
        self.finish_reason = "length"

    def __iter__(self) -> Iterator[int]:
        length, untils = self._session.config.length, self._session.untils
        most = 2 * length if untils else length
        places: Iterable[int] = itertools.count() if length < 0 else range(most)
        ids = self._plainly(places) if self._stepper.plain else self._step_by_step(places)
        if untils:
            ids = self._to_until(ids, length)
        return self._until_stop(ids) if self._session.stops else ids

    def _plainly(self, places: Iterable[int]) -> Iterator[int]:
        """What ``Stepper.step`` does when nothing is watched or barred, without the calls."""
        step, sampler, id = self._stepper.stream.step, self._stepper.sampler, self._stepper.id
        opening, end = self._session.opening, self._session.item_end
        with sharing_blas() as look:
            for place in places:
                if place % LOOK_AFTER == LOOK_AFTER - 1:
                    look()
                id = sampler(step(id), (), end if id == opening else None)
                yield id

    def _step_by_step(self, places: Iterable[int]) -> Iterator[int]:
        for _ in places:
            id = self._stepper.step()
            if id is None:
                self.finish_reason = "repetition" if self._session.spans is None else "novelty"
                return
            yield id

    def _to_until(self, ids: Iterator[int], length: int) -> Iterator[int]:
        """The ids to the first place from ``length`` on at which a text of ``until`` ends."""
        untils = self._session.untils
        end: deque[int] = deque(maxlen=max(map(len, untils)))
        for count, id in enumerate(ids, 1):
            end.append(id)
            yield id
            if count >= length:
                last = list(end)
                if any(last[-len(text) :] == text for text in untils):
                    self.finish_reason = "until"
                    return

    def _until_stop(self, ids: Iterator[int]) -> Iterator[int]:
        """The ids before the first stop; what may be the beginning of a stop is held back meanwhile."""
        stops = self._session.stops
        held: list[int] = []
        for id in ids:
            held.append(id)
            if any(held[-len(stop) :] == stop for stop in stops):
                self.finish_reason = "stop"
                end = max(len(stop) for stop in stops if held[-len(stop) :] == stop)
                yield from held[:-end]
                return
            waiting = max(_overlap(held, stop) for stop in stops)
            yield from held[: len(held) - waiting]
            del held[: len(held) - waiting]
        yield from held


def _overlap(held: list[int], stop: list[int]) -> int:
    """How many ids at the end of ``held`` are the beginning of ``stop``."""
    longest = min(len(held), len(stop) - 1)
    return next((n for n in range(longest, 0, -1) if held[-n:] == stop[:n]), 0)


def best_continuation(session: SamplingSession, prompt: Prompt, seed: int) -> tuple[list[TokenChoice], str]:
    """The most probable of ``best_of`` texts: its choices and its finish reason.

    Texts are compared by the mean natural-log probability of their characters under the model itself, not
    under the temperature and filters with which they were drawn. Their seeds count up from ``seed``.
    """
    best: tuple[float, list[TokenChoice], str] | None = None
    for attempt in range(session.config.best_of):
        choices: list[TokenChoice] = []
        text = Continuation(session, prompt, seed + attempt, choices.append)
        shown = sum(1 for _ in text)
        del choices[shown:]  # a stop is chosen, but not part of the text
        score = sum(choice.logprob for choice in choices) / shown if shown else -math.inf
        if best is None or score > best[0]:
            best = score, choices, text.finish_reason
    assert best is not None
    return best[1:]
