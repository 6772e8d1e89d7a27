"""Training callbacks, and the report of an evaluation that they are given."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from charrnn.training.trainer import Trainer


@dataclasses.dataclass(frozen=True)
class Report:
    """One evaluation, as it stands in log.jsonl; losses in nats a character."""

    step: int
    epoch: float
    characters: int
    seconds: float
    train_loss: float
    val_loss: float | None
    bits_per_character: float | None
    lr: float
    gradient_norm: float
    characters_per_second: float


class Listener:
    """Who watches a training: nobody, unless a subclass shows something."""

    def stepped(self, trainer: Trainer) -> None:
        """Called after every step."""

    def evaluated(self, report: Report) -> None:
        """Called after every evaluation."""

    def set_back(self, trainer: Trainer) -> None:
        """Called when losses that were not finite made the training go back to its last saved state."""

    def evaluating(self, share: float) -> None:
        """Called while an evaluation runs, with the share that is done."""

    def close(self) -> None:
        """Called by whoever made it, when the training is over or stopped."""
