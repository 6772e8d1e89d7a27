"""Which number of replicas makes steps fastest, looked at anew while a training runs.

On a quiet machine threads that split each product can be faster than replicas; as soon as another program
takes a core they are several times as slow. Other programs come and go, so what was measured once does not
hold for long. The result of a training does not depend on the number.
"""

from __future__ import annotations

import collections
import math
import statistics

TRIAL_STEPS = 4  # with each number, of which the first does not count
RECENT = 3  # steps, whose typical cost is compared with what was usual
CHANGED = 1.25  # times as slow or as fast as usual: other programs have come or gone
SUDDEN = 2.0  # times as slow as usual, or on the first try: nothing more is waited for
HOPELESS = 1.5  # times as slow as the number in use: no more of such steps are made
LEAST_GAP, LONGEST_GAP = 5.0, 60.0  # seconds from one trial to the next


class Pace:
    """The number of replicas for each next step, by trials of the numbers next to the one in use.

    A trial is due after the first steps, LONGEST_GAP after the last one, once steps cost much more or less
    than then, or soon after one that changed the number. Its steps are steps of the training like any others.

    Args:
        count: replicas to begin with.
        most: replicas at most.
        now: seconds, on the clock that ``stepped`` is told.

    Attributes:
        count: replicas that were fastest last.
    """

    def __init__(self, count: int, most: int, now: float) -> None:
        self.count, self._most = count, most
        self._usual = math.inf  # seconds of a step
        self._recent: collections.deque[float] = collections.deque(maxlen=RECENT)
        self._tried, self._gap = now, 0.0  # the first trial comes at once
        self._left = 0  # the number before this one, if the last trial changed it
        self._waiting: list[int] = []  # the replicas of each step of the trial that is left
        self._costs: dict[int, list[float]] = {}

    def stepped(self, seconds: float, now: float) -> int:
        """Takes in the seconds of a step; returns the number of replicas for the next one."""
        if self._waiting:
            self._try(seconds, now)
        else:
            self._recent.append(seconds)
            if self._due(now):
                self._begin(now)
        return self._waiting[0] if self._waiting else self.count

    def _begin(self, now: float) -> None:
        """Begins a trial of the numbers beside the one in use, but for the one that was just found slower."""
        self._usual = statistics.median(self._recent)
        others = {max(1, self.count // 2), min(self._most, 2 * self.count)} - {self.count, self._left}
        self._waiting = [count for count in sorted(others) for _ in range(TRIAL_STEPS)]
        self._left = 0
        if not self._waiting:
            self._decide(now)

    def _try(self, seconds: float, now: float) -> None:
        """Takes in a step of a trial, and decides after the last one."""
        count = self._waiting.pop(0)
        costs = self._costs.setdefault(count, [])
        costs.append(seconds)
        if seconds > (HOPELESS if len(costs) > 1 else SUDDEN) * self._usual:
            self._waiting = [other for other in self._waiting if other != count]
        if not self._waiting:
            self._decide(now)

    def _due(self, now: float) -> bool:
        if len(self._recent) < RECENT:
            return False
        typical, gap = statistics.median(self._recent), now - self._tried
        if typical > SUDDEN * self._usual or gap >= self._gap:
            return True
        return gap >= LEAST_GAP and not self._usual / CHANGED < typical < self._usual * CHANGED

    def _decide(self, now: float) -> None:
        means = {self.count: self._usual}
        means |= {count: statistics.fmean(costs[1:] or costs) for count, costs in self._costs.items()}
        fastest = min(means, key=means.__getitem__)
        self._gap, self._left = LONGEST_GAP, 0
        if fastest != self.count:  # there may be a better one beyond
            self._gap, self._left = LEAST_GAP, self.count
        self.count, self._usual, self._tried = fastest, means[fastest], now
        self._costs.clear()
        self._recent.clear()
