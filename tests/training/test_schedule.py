"""How a training is laid out in steps or in seconds."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from charrnn.config import TrainingConfig
from charrnn.training.rate import rate_at
from charrnn.training.schedule import (
    EVALUATIONS,
    LEAST_PEAK,
    MOST_PASSES,
    SHORT_STALL,
    STALL,
    Action,
    Schedule,
)


def schedule(window: int = 100, steps_per_epoch: int = 50, validation: int = 0, **settings: Any) -> Schedule:
    """The schedule of a training with these settings."""
    return Schedule(TrainingConfig(**settings), window, steps_per_epoch, validation)


def simulate(it: Schedule, step: float, evaluation: float, *, improves: bool = True) -> list[int]:
    """Obeys a schedule as the trainer does, with a clock of its own; returns the steps of its evaluations."""
    evaluations: list[int] = []
    while (action := it.next(now=it.progress.seconds)).kind != "stop":
        if action.kind == "step":
            it.stepped(step)
        elif action.kind == "save":
            it.saved(it.progress.seconds)
        else:
            it.scored(1 / (1 + len(evaluations)) if improves else math.inf, 0.0)
            it.evaluated(evaluation)
            it.saved(it.progress.seconds)
            evaluations.append(it.progress.step)
    return evaluations


@given(st.integers(1, 5000), st.integers(0, 100_000))
def test_steps_are_counted_exactly(steps: int, validation: int) -> None:
    """With ``--steps N`` there are N steps, and an evaluation after the last."""
    it = schedule(validation=validation, steps=steps)
    evaluations = simulate(it, 0.01, 0.1)
    assert it.progress.step == steps
    assert evaluations[-1] == steps
    assert len(evaluations) <= EVALUATIONS


@pytest.mark.parametrize(("epochs", "steps"), [(1, 50), (2.5, 125), (0.1, 5), (0.001, 1)])
def test_epochs_are_steps(epochs: float, steps: int) -> None:
    """``--epochs`` counts windows of a lane, at least one."""
    it = schedule(epochs=epochs)
    assert it.total_steps == steps
    simulate(it, 0.01, 0.1)
    assert it.progress.step == steps


def test_the_shortest_time_is_a_step() -> None:
    """A training, or an extension, whose time is gone before its first step makes one and is evaluated."""
    it = schedule(validation=500, time=1e-7)
    it.spent(0.5)
    assert simulate(it, 0.01, 0.1) == [1]
    it.progress.extend()
    it.spent(0.5)
    assert simulate(it, 0.01, 0.1) == [2]


def test_evaluations_do_not_depend_on_speed() -> None:
    """Where steps are counted, evaluations come at the same steps on any machine."""
    fast, slow = (simulate(schedule(validation=500, steps=333), cost, cost) for cost in (0.001, 5.0))
    assert fast == slow
    assert len(fast) == 10  # 500 characters cost 5/3 steps, and 20 times that is 34


def test_costly_evaluations_are_rarer() -> None:
    """A validation split as large as many steps is scored so seldom that it costs a twentieth."""
    window, validation, steps = 100, 40_000, 1000
    evaluations = simulate(schedule(window, 50, validation, steps=steps), 0.01, 1.0)
    # one evaluation reads 400 windows forwards only, a third of a step each
    arithmetic = len(evaluations[:-1]) * 400 / 3
    assert arithmetic <= 0.05 * steps
    assert evaluations[-1] == steps
    assert len(simulate(schedule(window, 50, 400, steps=steps), 0.01, 1.0)) == EVALUATIONS


def test_evaluations_come_when_asked() -> None:
    """``--eval-every N`` evaluates every N steps and after the last."""
    assert simulate(schedule(steps=50, eval_every=20), 0.01, 0.1) == [20, 40, 50]
    assert simulate(schedule(steps=40, eval_every=20), 0.01, 0.1) == [20, 40]


@given(st.floats(100, 3000), st.floats(1e-4, 0.5), st.integers(0, 20_000), st.floats(0.5, 2.0))
def test_time_is_kept(steps: float, step: float, validation: int, truth: float) -> None:
    """With ``--time``, training and evaluations together take the time given, give or take little.

    An evaluation is taken to cost a third of a step a window, within a factor of two.
    """
    evaluation = truth * step * validation / 100 / 3
    seconds = steps * step
    # Time for a dozen evaluations is little enough to ask for.
    assume(seconds > 12 * evaluation)
    it = schedule(window=100, steps_per_epoch=1000, validation=validation, time=seconds)
    evaluations = simulate(it, step, evaluation)
    assert it.progress.seconds <= 1.01 * seconds + 2 * step + evaluation
    assert it.progress.seconds >= 0.85 * seconds
    assert 1 <= len(evaluations) <= EVALUATIONS + 1


def test_progress_is_a_share() -> None:
    """``done`` goes from 0 to 1 in proportion to the steps, or to the seconds."""
    it = schedule(steps=200)
    assert it.done == 0
    it.progress.step = 50
    assert it.done == 0.25
    it.progress.step = 300
    assert it.done == 1
    timed = schedule(time=100.0)
    timed.progress.seconds = 25.0
    assert timed.done == 0.25


def test_the_last_evaluation_is_set_aside() -> None:
    """The time that an evaluation took is reserved at the end, up to a quarter of all."""
    it = schedule(time=100.0, validation=1000)
    it.evaluated(10.0)
    it.progress.seconds = 45.0
    assert it.done == 0.5  # of 100 - 10
    it.evaluated(60.0)
    it.progress.seconds = 37.5
    assert it.done == 0.5  # of 100 - 25


def test_speed_leaves_out_the_first_step() -> None:
    """A session's first step, which sets torch up, does not count into its speed, but into its time."""
    it = schedule(window=100, steps=10)
    assert it.characters_per_second == 0
    assert it.seconds_left is None
    for seconds in (30.0, 0.5, 1.5):
        it.stepped(seconds)
    assert it.characters_per_second == pytest.approx(100)
    assert it.seconds_left == pytest.approx(7.0)
    assert it.progress.seconds == 32.0


def test_time_left_is_what_was_not_used() -> None:
    """With ``--time``, what is left is the rest of it, and never less than nothing."""
    it = schedule(time=60.0)
    it.progress.seconds = 45.0
    assert it.seconds_left == 15.0
    it.progress.seconds = 61.0
    assert it.seconds_left == 0.0


def test_patience_ends_a_training_that_gains_nothing() -> None:
    """After ``--patience`` evaluations without a better one no step follows; 0 waits for ever."""
    settings: dict[str, Any] = {"steps": 1000, "eval_every": 10}
    assert simulate(schedule(**settings, patience=3), 0.01, 0.1, improves=False) == [10, 20, 30, 40]
    assert len(simulate(schedule(**settings, patience=0), 0.01, 0.1, improves=False)) == 100
    assert len(simulate(schedule(**settings, patience=3), 0.01, 0.1)) == 100


def test_a_short_text_is_not_read_for_ever() -> None:
    """With ``--time`` and patience, a text is read MOST_PASSES times, and the schedule ends there."""
    it = schedule(steps_per_epoch=500, time=1e6)
    simulate(it, 0.01, 0.1)
    assert it.progress.step == 500 * MOST_PASSES
    halfway = schedule(steps_per_epoch=500, time=1e6)
    halfway.progress.step = 250 * int(MOST_PASSES)
    assert halfway.done == 0.5
    patient = schedule(steps_per_epoch=500, time=100.0, patience=0)
    simulate(patient, 0.01, 0.1)
    assert patient.progress.step > 9_000
    counted = schedule(steps_per_epoch=500, epochs=MOST_PASSES + 3)
    simulate(counted, 0.01, 0.1)
    assert counted.progress.step == 500 * (MOST_PASSES + 3)


def test_a_new_training_is_saved_before_its_first_step() -> None:
    """The first action saves a new training, so that there is a state to return to."""
    assert schedule(steps=10).next(now=0.0) == Action("save")
    resumed = schedule(steps=10)
    resumed.progress.step = resumed.progress.evaluated = 4
    assert resumed.next(now=0.0).kind == "step"


def test_saves_are_due_by_the_clock() -> None:
    """A save comes ``--save-every`` seconds after the last one, if anything happened since."""
    it = schedule(steps=100, save_every=5.0)
    assert it.next(now=100.0).kind == "save"
    it.saved(100.0)
    assert it.next(now=200.0).kind == "step"  # nothing new to save
    it.stepped(0.1)
    assert it.next(now=104.9).kind == "step"
    assert it.next(now=105.0).kind == "save"
    it.saved(105.0, written=False)
    assert it.next(now=105.1).kind == "step"
    it.stepped(0.1)
    assert it.next(now=105.2).kind == "save"  # the one before was not written
    it.saved(105.2)
    it.stepped(0.1)
    assert it.next(now=110.1).kind == "step"


@pytest.mark.parametrize("made", [0, 5, 10, 20])
def test_the_stop_signal_comes_first(made: int) -> None:
    """Asked to stop, a training does nothing else, whether a step, a save or an evaluation is due."""
    it = schedule(steps=20, eval_every=10, save_every=1.0)
    for _ in range(made):
        it.stepped(0.1)
    assert it.next(now=9.0, stopping=True) == Action("stop")
    assert not it.finished


def test_a_step_is_told_its_rate() -> None:
    """A step's action has the scheduled share of the peak rates, times the scale of a training set back."""
    it = schedule(steps=200)
    it.saved(0.0)
    it.progress.step, it.progress.evaluated, it.progress.rate_scale = 50, 50, 0.5
    action = it.next(now=0.0)
    assert action == Action("step", 0.5 * rate_at(0.25, TrainingConfig()))


def test_patience_counts_evaluations_that_are_no_better() -> None:
    """A lower loss is kept with its step and clears the count; an equal one is no better."""
    it = schedule(steps=100)
    it.progress.step = 10
    assert it.scored(2.0, 1.9)
    it.progress.step = 20
    assert not it.scored(2.0, 1.5)
    assert (it.progress.best, it.progress.best_step, it.progress.best_train) == (2.0, 10, 1.9)
    assert it.progress.stale == 1
    assert it.scored(1.5, 1.4)
    assert (it.progress.best, it.progress.best_step, it.progress.stale) == (1.5, 20, 0)


def test_evaluations_cost_what_they_may() -> None:
    """Where they take longer than their arithmetic lets expect, the next ones come later."""
    as_expected, slow = (
        simulate(schedule(2048, 490, 111_540, time=120.0, patience=0), 0.05, seconds)
        for seconds in (0.9, 2.7)
    )
    assert len(as_expected) == 6
    assert len(slow) == 3  # 5 % of the time, and the last


def test_a_stop_is_no_training() -> None:
    """Hours in the middle of a step or an evaluation (Ctrl-Z) count as some multiple of the usual time."""
    it = schedule(time=100.0, validation=1000)
    for _ in range(10):
        it.stepped(0.5)
    it.stepped(7200.0)
    assert it.progress.seconds == pytest.approx(10 * 0.5 + STALL * 0.5)
    assert it.characters_per_second == pytest.approx(200, rel=0.2)
    before = it.progress.seconds
    it.evaluated(7200.0)
    assert it.progress.seconds - before <= STALL * 0.5 * 1000 / 100
    assert it.done < 1
    before = it.progress.seconds
    it.stepped(2.0)  # a machine that is busy is no stop
    assert it.progress.seconds == before + 2.0


def test_a_stop_is_no_measure_of_speed() -> None:
    """A stopped step is measured as two usual ones; a stopped evaluation does not change what is usual."""
    it = schedule(time=1000.0, validation=1000)
    for seconds in (9.0, *[0.5] * 9, 7200.0):
        it.stepped(seconds)
    assert it.characters_per_second == pytest.approx(100 / ((9 * 0.5 + 2 * 0.5) / 10))
    it.evaluated(3.0)
    for _ in range(2):
        before, reserve = it.progress.seconds, 3.0 + 0.55 / 2
        it.evaluated(7200.0)
        assert it.progress.seconds - before == pytest.approx(STALL * 3.0)
        assert it.done == pytest.approx(it.progress.seconds / (1000 - reserve))


def test_a_second_is_no_stop() -> None:
    """Where steps take a millisecond, one of a second counts whole; of a longer one a second counts."""
    for seconds, counted in ((0.9, 0.9), (1.0, 1.0), (60.0, SHORT_STALL)):
        it = schedule(time=1000.0)
        for _ in range(10):
            it.stepped(0.001)
        before, stalled = it.progress.seconds, it.stalled
        it.stepped(seconds)
        assert it.progress.seconds - before == pytest.approx(counted)
        assert it.stalled - stalled == pytest.approx(seconds - counted)


def test_a_machine_that_stays_slow_is_measured() -> None:
    """Steps that stay a hundred times as long are the new usual, so that --time is kept in the end."""
    it = schedule(time=1e9)
    for seconds in [0.1] * 10 + [10.0] * 200:
        before = it.progress.seconds
        it.stepped(seconds)
    assert it.progress.seconds - before == 10.0


def test_what_was_spent_before_counts() -> None:
    """Of --time, the training has what preparing it left, and at least a quarter."""
    it = schedule(time=100.0)
    it.progress.before = 20.0
    simulate(it, 0.5, 0.1)
    assert it.progress.seconds == pytest.approx(80.0, abs=1.0)
    late = schedule(time=100.0)
    late.progress.before = 300.0
    simulate(late, 0.5, 0.1)
    assert late.progress.seconds == pytest.approx(25.0, abs=1.0)


def test_samples_and_saves_count() -> None:
    """Whatever else is done during a training is part of its time, and of the time aside of steps."""
    it = schedule(time=100.0, patience=0)
    while not it.ended:
        it.stepped(0.25)
        it.spent(0.25)
    assert it.progress.seconds == pytest.approx(100.0, abs=1.0)
    assert it.progress.step == pytest.approx(200, abs=3)
    assert it.progress.aside == pytest.approx(50.0, abs=1.0)


def test_the_last_save_is_set_aside() -> None:
    """The time that a save took is reserved at the end."""
    it = schedule(time=100.0)
    it.evaluated(0.0)
    it.saved(0.0, seconds=20.0)
    it.progress.seconds = 40.0
    assert it.done == 0.5  # of 100 - 20


def test_copies_are_due_by_the_time_trained() -> None:
    """A copy is due every --keep-every seconds of training, numbered from 1, never twice at a step."""
    it = schedule(steps=40, keep_every=1.0, eval_every=1000)
    it.saved(0.0)
    kept = []
    while (action := it.next(now=0.0)).kind != "evaluate":
        if action.kind == "keep":
            it.kept()
            kept.append((it.progress.kept, it.progress.step))
            it.spent(3.0)  # longer than the interval
        else:
            it.stepped(0.25)
    assert kept[0] == (1, 4)
    assert [number for number, _ in kept] == list(range(1, len(kept) + 1))
    assert len({step for _, step in kept}) == len(kept)


@pytest.mark.parametrize("length", ["steps", "time"])
def test_an_extension_is_a_training_of_its_own(length: str) -> None:
    """A finished training that is extended warms up again, decays, and ends at the new length in all."""
    it = schedule(**{length: 50}, patience=3)
    simulate(it, 1.0, 0.01)
    assert it.finished
    longer = schedule(**{length: 150}, patience=3)
    longer.progress = it.progress
    longer.progress.stale, longer.progress.best = 3, 0.0  # a loss that is never reached again
    longer.progress.extend()
    config = TrainingConfig()
    assert longer.next(now=0.0).kind == "save"
    longer.saved(0.0)
    assert not longer.ended
    assert longer.rate == 0.0
    middle = it.progress.step + 50
    while longer.progress.step < middle:
        longer.stepped(1.0)
    assert longer.rate == pytest.approx(rate_at(0.5, config), abs=0.03)
    simulate(longer, 1.0, 0.01)
    assert longer.progress.step == pytest.approx(150, abs=0 if length == "steps" else 3)


@pytest.mark.parametrize(("total", "peak"), [(220, LEAST_PEAK), (300, 0.5), (400, 1.0), (2000, 1.0)])
def test_short_extensions_are_gentle(total: int, peak: float) -> None:
    """After 200 steps the rates rise to the share by which the training grows, a quarter at least."""
    for lengths, longer in (({"steps": 200}, {"steps": total}), ({"time": 100.0}, {"time": 0.5 * total})):
        it = schedule(**lengths, patience=0)
        simulate(it, 0.5, 0.1)
        again = schedule(**longer, patience=0)
        again.progress = it.progress
        again.progress.extend()
        rates = []
        while not again.ended:
            rates.append(again.rate)
            again.stepped(0.5)
        assert max(rates) == pytest.approx(peak, rel=0.05)


def test_an_extension_of_a_text_read_often_enough_is_trained() -> None:
    """More time than MOST_PASSES take gives, when asked for again, as many passes again."""
    it = schedule(steps_per_epoch=5, time=1e4)
    simulate(it, 0.01, 0.1)
    assert it.read_often
    longer = schedule(steps_per_epoch=5, time=2e4)
    longer.progress = it.progress
    longer.progress.extend()
    simulate(longer, 0.01, 0.1)
    assert longer.progress.step == 2 * 5 * MOST_PASSES


@given(st.one_of(st.just(0.0), st.floats(0.001, 0.9)), st.floats(0, 0.9))
def test_the_rate_rises_to_its_peak_and_falls_to_its_floor(warmup: float, floor: float) -> None:
    """Linear to 1 at the end of the warm-up, then half a cosine: halfway down in the middle of the rest."""
    config = TrainingConfig(warmup=warmup, floor=floor)
    assert rate_at(warmup / 2, config) == (pytest.approx(0.5) if warmup else 1)
    assert rate_at(warmup, config) == pytest.approx(1)
    assert rate_at((1 + warmup) / 2, config) == pytest.approx((1 + floor) / 2)
    assert rate_at(1, config) == pytest.approx(floor)


def test_the_mean_of_the_losses_begins_anew_after_an_evaluation() -> None:
    """Neither the sum nor the count of one interval reaches into the next."""
    it = schedule(steps=10)
    it.progress.loss_sum, it.progress.loss_count = 12.5, 5
    it.evaluated(0.1)
    assert (it.progress.loss_sum, it.progress.loss_count) == (0, 0)


def test_what_a_stop_took_is_told_apart() -> None:
    """The seconds of steps and evaluations are either counted or ``stalled``, none of them lost."""
    it = schedule(validation=100, steps=100)
    for seconds in (0.5, 0.1, 0.1, 500.0, 0.1):
        it.stepped(seconds)
    assert it.stalled + it.progress.seconds == pytest.approx(500.8)
    assert it.stalled > 490
    it.evaluated(0.1)
    it.evaluated(700.0)
    assert it.stalled + it.progress.seconds == pytest.approx(1200.9)
    assert it.stalled > 1180


def test_no_evaluation_comes_shortly_before_the_last() -> None:
    """One that would come within half an interval of the end is left out."""
    assert simulate(schedule(steps=104, validation=1), 0.01, 0.1)[-2:] == [96, 104]
    assert simulate(schedule(steps=106, validation=1), 0.01, 0.1)[-2:] == [102, 106]
