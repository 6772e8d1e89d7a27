"""What a training has seen and found so far, as plain data that is saved with its state."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass
class Progress:
    """What a training has seen and found so far; saved with its state.

    Attributes:
        step: optimizer steps made.
        seconds: spent from the first step on, over all sessions.
        aside: of these, what was not spent on steps: evaluations, saves, samples.
        before: seconds spent before the first step: reading the text, measuring the speed.
        evaluated: the step of the last evaluation.
        best: the lowest validation loss, in nats a character; None before the first evaluation.
        best_step: the step of that evaluation.
        best_train: the training loss in its report.
        stale: evaluations since the best one of this part: of the training, or of its extension.
        part_best: the loss of that one.
        loss_sum, loss_count: of the steps' training losses since the last evaluation.
        skipped: steps that changed no weight because loss or gradient were not finite.
        skipped_in_a_row: how many of the latest steps these were, without a good one between.
        rate_scale: the factor of the learning rate, halved each time the training was set back.
        base_step, base_seconds: ``step`` and ``seconds`` when a finished training was last extended.
        kept: copies of the model that were kept.
        kept_at: ``seconds`` when the last one was.
        session: names the torchrun that last trained it, if one did.
    """

    step: int = 0
    seconds: float = 0.0
    aside: float = 0.0
    before: float = 0.0
    evaluated: int = 0
    best: float | None = None
    best_step: int = 0
    best_train: float = 0.0
    stale: int = 0
    part_best: float | None = None
    loss_sum: float = 0.0
    loss_count: int = 0
    skipped: int = 0
    skipped_in_a_row: int = 0
    rate_scale: float = 1.0
    base_step: int = 0
    base_seconds: float = 0.0
    kept: int = 0
    kept_at: float = 0.0
    session: str | None = None

    def extend(self) -> None:
        """Begins a new part after the last step: with its own warm-up, decay and patience."""
        self.base_step, self.base_seconds = self.step, self.seconds
        self.stale, self.part_best = 0, None
