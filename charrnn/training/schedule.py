"""How a training is laid out: how much of it is done, and when to evaluate.

With --steps and --epochs the plan follows from the numbers alone, so that it can be repeated. With --time
it follows from the clock and the measured speed, so that the rate reaches its floor, and the last
evaluation its end, as the time runs out.
"""

from __future__ import annotations

import dataclasses
import math

from charrnn.config import TrainingConfig

MEASURED_STEPS = 20  # before the cost of a step is known well enough to plan with
EVALUATIONS = 20  # at most, over a training
EVALUATION_SHARE = 0.05  # of the training's arithmetic that evaluations may cost
FORWARD_SHARE = 1 / 3  # of a training step's arithmetic that a forward pass is


@dataclasses.dataclass
class Progress:
    """What a training has seen so far; saved with its state.

    Attributes:
        step: optimizer steps made.
        seconds: spent training and evaluating, over all sessions.
        evaluated: the step of the last evaluation.
        best: the least validation loss, nats a character; None before the first.
        best_step: where that was.
        best_train: the training loss reported with it.
        stale: evaluations since the best one.
        loss_sum, loss_count: of the training losses since the last evaluation.
        skipped: steps not made because their gradient was not finite.
        skipped_in_a_row: how many of them were the last ones.
        rate_scale: halved each time a training had to be set back.
    """

    step: int = 0
    seconds: float = 0.0
    evaluated: int = 0
    best: float | None = None
    best_step: int = 0
    best_train: float = 0.0
    stale: int = 0
    loss_sum: float = 0.0
    loss_count: int = 0
    skipped: int = 0
    skipped_in_a_row: int = 0
    rate_scale: float = 1.0


# With --time, how often a text is read at most: beyond that a model memorizes it, whatever the dropout
# (benchmarks/README.md has the runs), and a schedule that ends there is better than a longer one that is
# broken off by --patience.
MOST_PASSES = 12.0


class Plan:
    """The layout of one training, and its clock.

    Attributes:
        progress: what has been seen so far.
        total_steps: how many steps there will be; None where only the clock knows.
        most_steps: where the clock knows: how many there will be at most. --patience 0 lifts the bound.
        window: characters in a step.
    """

    def __init__(self, config: TrainingConfig, window: int, steps_per_epoch: int, validation: int) -> None:
        self._config, self._validation = config, validation
        self.window, self.steps_per_epoch = window, steps_per_epoch
        self.progress = Progress()
        self.total_steps = config.steps
        if config.epochs is not None:
            self.total_steps = max(1, round(config.epochs * steps_per_epoch))
        self.most_steps = math.inf
        if self.total_steps is None and config.patience:
            self.most_steps = max(1, round(MOST_PASSES * steps_per_epoch))
        # This session's speed; a resumed training may have moved to another machine.
        self._measured_steps, self._measured_seconds = 0, 0.0
        self._evaluation_seconds: float | None = None

    def stepped(self, seconds: float) -> None:
        """Counts a step's time; the session's first pays for torch's set-up and does not tell speed."""
        self.progress.seconds += seconds
        if self._measured_steps or self._measured_seconds:
            self._measured_seconds += seconds
            self._measured_steps += 1
        else:
            self._measured_seconds = 1e-9

    def evaluated(self, seconds: float) -> None:
        """Counts an evaluation's time."""
        self.progress.seconds += seconds
        self._evaluation_seconds = seconds

    @property
    def done(self) -> float:
        """How much of the training is behind, from 0 to 1, the last evaluation's time set aside."""
        if self.total_steps is not None:
            return min(1.0, self.progress.step / self.total_steps)
        assert self._config.time is not None
        reserve = self._evaluation_seconds
        if reserve is None:
            reserve = FORWARD_SHARE * (self._step_seconds or 0.0) * self._validation / self.window
        available = self._config.time - min(reserve, self._config.time / 4)
        return min(1.0, max(self.progress.seconds / available, self.progress.step / self.most_steps))

    @property
    def ended(self) -> bool:
        """Whether all is done, or so many evaluations brought nothing better that the rest is left out."""
        return self.done >= 1 or 0 < self._config.patience <= self.progress.stale

    @property
    def seconds_left(self) -> float | None:
        """The time to the end, as far as it can be foreseen."""
        cost = self._step_seconds
        if self._config.time is None:
            assert self.total_steps is not None
            return None if cost is None else cost * (self.total_steps - self.progress.step)
        left = max(0.0, self._config.time - self.progress.seconds)
        return min(left, (cost or math.inf) * (self.most_steps - self.progress.step))

    @property
    def characters_per_second(self) -> float:
        """Training speed in this session, evaluations apart; 0 before it is known."""
        cost = self._step_seconds
        return self.window / cost if cost else 0.0

    @property
    def evaluation_due(self) -> bool:
        """Whether it is time to evaluate: EVALUATIONS in all, fewer where they would cost too much.

        None falls so near the end that the last one, which always comes, would say the same.
        """
        since = self.progress.step - self.progress.evaluated
        if self._config.eval_every is not None:
            return since >= self._config.eval_every
        total = self._foreseen_steps()
        if total is None:
            return False
        cheap = FORWARD_SHARE * self._validation / self.window / EVALUATION_SHARE
        interval = max(1, math.ceil(total / EVALUATIONS), math.ceil(cheap))
        return since >= interval and (1 - self.done) * total > interval / 2

    def _foreseen_steps(self) -> float | None:
        """How many steps the training will have had, as far as that can be said yet."""
        if self.total_steps is not None:
            return self.total_steps
        cost = self._step_seconds
        if cost is None or self._measured_steps < MEASURED_STEPS:
            return None
        assert self._config.time is not None
        return min(self.most_steps, self._config.time / cost)

    @property
    def _step_seconds(self) -> float | None:
        return self._measured_seconds / self._measured_steps if self._measured_steps else None


def rate_at(progress: float, config: TrainingConfig) -> float:
    """The share of the peak rate at ``progress`` from 0 to 1: linear warm-up, then cosine to the floor.

    >>> config = TrainingConfig(warmup=0.1, floor=0.02)
    >>> [round(rate_at(p, config), 2) for p in (0.05, 0.1, 0.55, 1.0)]
    [0.5, 1.0, 0.51, 0.02]
    """
    if progress < config.warmup:
        return progress / config.warmup
    along = (min(progress, 1.0) - config.warmup) / (1 - config.warmup)
    return config.floor + (1 - config.floor) * (1 + math.cos(math.pi * along)) / 2
