"""How much of a training is done, what comes next, and the learning rate.

With --steps and --epochs everything follows from the numbers alone, so that it can be repeated. With --time
it follows from the clock and the measured speed, so that the learning rate reaches its floor, and the last
evaluation and save their end, as the time runs out. What was spent before the first step counts, too.

A training that was finished can be given more steps or time: the added part has its own warm-up and decay.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

from charrnn.config import TrainingConfig
from charrnn.training.progress import Progress
from charrnn.training.rate import rate_at

TIMED_STEPS = 20  # after so many, the cost of a step is known well enough to plan evaluations by it
EVALUATIONS = 20  # at most, over a training
EVALUATION_SHARE = 0.05  # of the training's arithmetic, the most that evaluations may cost
FORWARD_SHARE = 1 / 3  # the share of a forward pass in a training step's arithmetic
LEAST_SHARE = 0.25  # of --time, that is left for training, whatever was spent before
MOST_RESERVED = 0.25  # of the time for training, that is set aside for the last evaluation
STALL = 20.0  # times as long as usual: what a step or an evaluation counts at most
SHORT_STALL = 1.0  # seconds, which always count
LEAST_PEAK = 0.25  # of the rates, in a short extension: at the usual ones it would end worse than it began

# With --time and --patience, how often a text is read at most: beyond that a model memorizes it, whatever the
# dropout (benchmarks/README.md), and a schedule that ends there beats one that --patience breaks off.
MOST_PASSES = 12.0
# A target follows from its source, which is read again rather than memorized; --patience still ends in time.
MOST_PASSES_OF_PAIRS = 60.0
# A model that begins with another's weights knows much before it reads the text, and memorizes it sooner.
# From the shipped model, three to four passes were best for texts of 20,000 to 160,000 characters.
MOST_PASSES_FROM_MODEL = 4.0


@dataclasses.dataclass(frozen=True)
class Action:
    """What a training does next, as plain data that another process could be sent.

    Attributes:
        kind: make one step; evaluate, log and save; save the state only; keep a numbered copy of the model;
            or stop, because all is done or because it was asked for.
        rate: of a step, the share of the peak learning rates.
    """

    kind: Literal["step", "evaluate", "save", "keep", "stop"]
    rate: float = 0.0


class Schedule:
    """Decides what a training does next, from steps made, time spent, patience, saves and the stop signal.

    The trainer asks ``next``, does what it says, and tells ``stepped``, ``scored`` and ``evaluated``,
    ``saved`` or ``kept`` about it, and ``spent`` of all other time.

    Args:
        config: the settings, with a length.
        window: characters in a step.
        steps_per_epoch: steps in a pass over the training text.
        validation: characters in the validation split.
        most_passes: over the training text, with --time and --patience.

    Attributes:
        progress: what has been seen so far.
        total_steps: how many steps there will be; None where that depends on the clock.
        passes: with --time, how often the text is read at most; infinite with --patience 0.
        window, steps_per_epoch, most_passes: as above.
        stalled: the seconds of this session's steps and evaluations that were not counted.
        closing: the seconds of --time that are kept for what follows the training; to be set from outside.
        over: whether the training had ended in another session; to be set from outside. The clock cannot
            tell, since that session's evaluations and saves may have taken longer.
    """

    def __init__(
        self,
        config: TrainingConfig,
        window: int,
        steps_per_epoch: int,
        validation: int,
        most_passes: float = MOST_PASSES,
    ) -> None:
        self._config, self._validation, self.most_passes = config, validation, most_passes
        self.window, self.steps_per_epoch = window, steps_per_epoch
        self.progress = Progress()
        self.total_steps = config.steps
        if config.epochs is not None:
            self.total_steps = max(1, round(config.epochs * steps_per_epoch))
        self.passes = most_passes if self.total_steps is None and config.patience else math.inf
        # This session's speed; a resumed training may have moved to another machine.
        self._measured_steps, self._measured_seconds = 0, 0.0
        self._evaluation_seconds: float | None = None
        self._save_seconds = 0.0
        self.stalled = self.closing = 0.0
        self.over = False
        # Of this session's saves: when the last one was, and whether there is anything new since.
        self._saved_at: float | None = None
        self._unsaved = False
        self._kept_step = -1  # when a copy was last kept, so that there is a step between two

    def next(self, now: float, *, stopping: bool = False) -> Action:
        """What to do now.

        Args:
            now: a clock's seconds, on the same clock as those given to ``saved``.
            stopping: whether a signal asked the training to stop.
        """
        if self.finished or stopping:
            return Action("stop")
        if self._save_due(now):
            return Action("save")
        if self._keep_due:
            return Action("keep")
        if self.ended or self.evaluation_due:
            return Action("evaluate")
        return Action("step", self.rate)

    def _save_due(self, now: float) -> bool:
        if self._saved_at is None:
            self._saved_at = now
            # From the start there must be a state to resume, or to go back to.
            return self.progress.step == self.progress.base_step
        return self._unsaved and now - self._saved_at >= self._config.save_every

    @property
    def _keep_due(self) -> bool:
        every, progress = self._config.keep_every, self.progress
        if every is None or progress.step == self._kept_step:
            return False
        return progress.seconds - progress.kept_at >= every

    def stepped(self, seconds: float) -> None:
        """Counts a step and its time; the session's first includes torch's set-up: no measure of speed.

        A step that takes many times as long as usual was stopped (Ctrl-Z, a closed lid): that is no training.
        """
        usual = self._step_seconds
        counted = _without_stall(seconds, usual)
        self.progress.step += 1
        self.progress.seconds += counted
        self.stalled += seconds - counted
        self._unsaved = True
        if self._measured_steps or self._measured_seconds:
            # A stop is no measure of speed; but a machine that stays so slow is, after many steps.
            stopped = usual is not None and counted < seconds
            self._measured_seconds += 2 * (usual or 0.0) if stopped else seconds
            self._measured_steps += 1
        else:
            self._measured_seconds = 1e-9

    def scored(self, loss: float, train_loss: float) -> bool:
        """Takes in an evaluation's loss, in nats a character; returns whether it is the lowest so far."""
        progress = self.progress
        if progress.part_best is not None and loss >= progress.part_best:
            progress.stale += 1
        else:
            progress.part_best, progress.stale = loss, 0
        if progress.best is not None and loss >= progress.best:
            return False
        progress.best, progress.best_step, progress.best_train = loss, progress.step, train_loss
        return True

    def evaluated(self, seconds: float) -> None:
        """Counts an evaluation and its time, as ``stepped``; the mean of the training losses begins anew."""
        usual = self._usual_evaluation
        counted = _without_stall(seconds, usual)
        self.stalled += seconds - counted
        self.spent(counted)
        self.progress.evaluated = self.progress.step
        self.progress.loss_sum, self.progress.loss_count = 0.0, 0
        self._evaluation_seconds = seconds if counted == seconds else usual
        self._unsaved = True

    def saved(self, now: float, *, written: bool = True, seconds: float = 0.0) -> None:
        """Counts a save; one that was not written, for want of a sound state, is due after the next step.

        The ``seconds`` it took are reserved for the last one; they do not count as spent here.
        """
        self._unsaved, self._save_seconds = False, seconds
        if written:
            self._saved_at = now

    def kept(self) -> None:
        """Counts a copy of the model."""
        self.progress.kept += 1
        self.progress.kept_at = self.progress.seconds
        self._kept_step = self.progress.step

    def spent(self, seconds: float) -> None:
        """Counts time that was not spent on a step."""
        self.progress.seconds += seconds
        self.progress.aside += seconds

    @property
    def done(self) -> float:
        """The share of the training, or of its extension, that is done, from 0 to 1.

        Time for the last evaluation and save is reserved.
        """
        made = self.progress.step - self.progress.base_step
        if self.total_steps is not None:
            return min(1.0, made / max(1, self.total_steps - self.progress.base_step))
        # The last step may begin shortly before the end.
        reserve = (self._usual_evaluation or 0.0) + self._save_seconds + (self._step_seconds or 0.0) / 2
        available = self._seconds_given - min(reserve, MOST_RESERVED * self._seconds_given)
        seconds = self.progress.seconds - self.progress.base_seconds
        return min(1.0, max(seconds / available, made / self._steps_given))

    @property
    def _seconds_given(self) -> float:
        """With --time, the seconds for the training, or for its extension."""
        assert self._config.time is not None
        given = self._config.time - self.progress.base_seconds
        return max(given - self.progress.before - self.closing, LEAST_SHARE * given, 1e-9)

    @property
    def _steps_given(self) -> float:
        """The steps for the training, or for its extension, at most."""
        if self.total_steps is not None:
            return self.total_steps - self.progress.base_step
        return max(1, self.passes * self.steps_per_epoch)

    @property
    def most_steps(self) -> int | None:
        """The steps for the training, or for its extension, at most; None where only the clock ends it."""
        return round(self._steps_given) if math.isfinite(self._steps_given) else None

    @property
    def most_evaluations(self) -> int | None:
        """How often it evaluates at most, with the last time; None where only the clock ends it."""
        every, steps = self._config.eval_every, self.most_steps
        if every is None and self.total_steps is None:
            return EVALUATIONS
        return None if steps is None else math.ceil(steps / (every or self._interval(steps)))

    @property
    def read_often(self) -> bool:
        """Whether the training ended because it had read the text as often as it pays."""
        made = self.progress.step - self.progress.base_step
        return self.total_steps is None and made >= self._steps_given

    @property
    def _usual_evaluation(self) -> float | None:
        """How long the last evaluation took, or an estimate; None before one can be made."""
        if self._evaluation_seconds is None and self._step_seconds is not None:
            return FORWARD_SHARE * self._step_seconds * self._validation / self.window
        return self._evaluation_seconds

    @property
    def rate(self) -> float:
        """The share of the peak learning rates that the next step uses."""
        return rate_at(self.done, self._config) * self._peak * self.progress.rate_scale

    @property
    def _peak(self) -> float:
        """The share of the peak rates that is reached: that by which an extension is longer, if it is one."""
        base = self.progress
        if base.base_step == 0:
            return 1.0
        if self.total_steps is not None:
            grown = (self.total_steps - base.base_step) / base.base_step
        else:
            grown = self._seconds_given / max(base.base_seconds, 1e-9)
        return min(1.0, max(LEAST_PEAK, grown))

    @property
    def ended(self) -> bool:
        """Whether no step follows: all are made, or ``patience`` evaluations in a row were no better.

        However short the time, there is one step, so that there is a model.
        """
        begun = self.progress.step > self.progress.base_step
        return self.over or (begun and self.done >= 1) or 0 < self._config.patience <= self.progress.stale

    @property
    def finished(self) -> bool:
        """Whether no step follows and the model was evaluated after the last one."""
        return self.ended and self.progress.evaluated == self.progress.step

    @property
    def seconds_left(self) -> float | None:
        """An estimate of the time to the end; None before one can be made."""
        cost = self._step_seconds
        steps = self._steps_given - (self.progress.step - self.progress.base_step)
        if self._config.time is None:
            return None if cost is None else cost * steps
        left = max(0.0, self._seconds_given - (self.progress.seconds - self.progress.base_seconds))
        return min(left, (cost or math.inf) * steps)

    @property
    def characters_per_second(self) -> float:
        """Training speed in this session, without evaluations; 0 before it is known."""
        cost = self._step_seconds
        return self.window / cost if cost else 0.0

    @property
    def evaluation_due(self) -> bool:
        """Whether it is time to evaluate: EVALUATIONS times in all, fewer where they would cost too much.

        An evaluation that would come shortly before the one at the end is left out.
        """
        since = self.progress.step - self.progress.evaluated
        if self._config.eval_every is not None:
            return since >= self._config.eval_every
        total = self._foreseen_steps()
        if total is None:
            return False
        interval = self._interval(total)
        return since >= interval and (1 - self.done) * total > interval / 2

    def _interval(self, total: float) -> int:
        """The steps between two evaluations, of so many steps in all."""
        cost = FORWARD_SHARE * self._validation / self.window  # in steps
        if self.total_steps is None and self._evaluation_seconds and self._step_seconds:
            cost = self._evaluation_seconds / self._step_seconds
        return max(1, math.ceil(total / EVALUATIONS), math.ceil(cost / EVALUATION_SHARE))

    def _foreseen_steps(self) -> float | None:
        """An estimate of the steps of the training, or of its extension; None before one can be made."""
        if self.total_steps is not None:
            return self._steps_given
        cost = self._step_seconds
        if cost is None or self._measured_steps < TIMED_STEPS:
            return None
        return min(self._steps_given, self._seconds_given / cost)

    @property
    def _step_seconds(self) -> float | None:
        return self._measured_seconds / self._measured_steps if self._measured_steps else None


def most_passes(config: TrainingConfig, *, pairs: bool) -> float:
    """How often a text is read at most with --time and --patience."""
    return config.most_passes or (MOST_PASSES_OF_PAIRS if pairs else MOST_PASSES)


def _without_stall(seconds: float, usual: float | None) -> float:
    """The time of a step or an evaluation, without what a stop in the middle of it added."""
    return seconds if usual is None else min(seconds, max(SHORT_STALL, STALL * usual))
