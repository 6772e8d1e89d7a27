"""How many replicas the next step gets, by what steps cost."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping

import pytest

from charrnn.training.pace import CHANGED, LEAST_GAP, LONGEST_GAP, RECENT, TRIAL_STEPS, Pace


def train(pace: Pace, costs: Callable[[float, int], float], until: float, now: float = 0.0) -> list[int]:
    """The replicas of each step of a training that makes steps of these costs until some time."""
    found, count = [], pace.count
    while now < until:
        seconds = costs(now, count)
        now += seconds
        found.append(count)
        count = pace.stepped(seconds, now)
    return found


def steady(costs: Mapping[int, float]) -> Callable[[float, int], float]:
    """Steps that always cost the same, by the number of replicas."""
    return lambda _, count: costs[count]


def test_the_fastest_number_is_kept() -> None:
    """Where it is the fastest all along, other numbers are tried at once and then every LONGEST_GAP."""
    replicas = train(Pace(1, 2, 0.0), steady({1: 0.1, 2: 0.11}), 3.5 * LONGEST_GAP)
    assert replicas.count(2) == 4 * TRIAL_STEPS
    assert replicas[: RECENT + 2 * TRIAL_STEPS].count(2) == TRIAL_STEPS
    assert 0.98 < sum({1: 0.1, 2: 0.1}[count] for count in replicas) / (3.5 * LONGEST_GAP) <= 1


@pytest.mark.parametrize("begun", [1, 2, 4, 8])
@pytest.mark.parametrize("best", [1, 2, 4, 8])
def test_the_fastest_of_several_is_found(begun: int, best: int) -> None:
    """By halves and doubles, as long as each step on the way there is faster than the one before."""
    costs = {count: 0.1 * (1 + abs(count.bit_length() - best.bit_length())) for count in (1, 2, 4, 8)}
    assert train(Pace(begun, 8, 0.0), steady(costs), 4 * LONGEST_GAP)[-TRIAL_STEPS:] == [best] * TRIAL_STEPS


def test_it_turns_to_replicas_while_another_program_runs() -> None:
    """Soon after another program comes or goes, the number is the one that is fastest then."""
    quiet, busy = {1: 0.05, 2: 0.053}, {1: 0.18, 2: 0.08}
    came, went = 100.0, 200.0

    def costs(now: float, count: int) -> float:
        return (busy if came <= now < went else quiet)[count]

    pace, now = Pace(1, 2, 0.0), 0.0
    counts = [(now, pace.count)]
    while now < 300.0:
        seconds = costs(now, counts[-1][1])
        now += seconds
        counts.append((now, pace.stepped(seconds, now)))
    shares = [
        sum(count == best for when, count in counts if begin <= when < end)
        / sum(begin <= when < end for when, _ in counts)
        for best, begin, end in ((1, 0, came), (2, came + LEAST_GAP, went), (1, went + LEAST_GAP, 300))
    ]
    assert min(shares) > 0.9


def test_a_collapse_is_noticed_at_once() -> None:
    """Where steps take a hundred times as long all of a sudden, a few of them are made, and none to try."""
    came = 30.0

    def costs(now: float, count: int) -> float:
        return {1: 5.0, 2: 0.1}[count] if now >= came else {1: 0.05, 2: 0.06}[count]

    replicas = train(Pace(1, 2, 0.0), costs, came + 45.0)
    quiet = replicas[: replicas.index(2, 100)]
    assert len(quiet) * 0.05 == pytest.approx(came, abs=0.5)
    after = replicas[len(quiet) :]
    assert set(after) == {2}
    assert len(after) * 0.1 > 45.0 - (RECENT + 1) * 5.0


def test_slightly_slower_steps_are_no_reason() -> None:
    """Steps that vary by less than CHANGED start no trial before LONGEST_GAP."""
    factors = itertools.cycle([1.0, 0.9 * CHANGED, 1.0 / (0.9 * CHANGED)])
    replicas = train(Pace(1, 2, 0.0), lambda *_: 0.1 * next(factors), 0.9 * LONGEST_GAP)
    assert replicas.count(2) == TRIAL_STEPS  # at the start


def test_a_single_core_has_nothing_to_choose() -> None:
    """With one replica at most nothing is tried, however the costs change."""
    replicas = train(Pace(1, 1, 0.0), lambda now, _: 0.1 if now < 50 else 1.0, 3 * LONGEST_GAP)
    assert set(replicas) == {1}
