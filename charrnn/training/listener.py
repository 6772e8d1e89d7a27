"""Training callbacks, and the plain data that they are given."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Status:
    """Where a training stands after a step.

    Attributes:
        step: optimizer steps made.
        epoch: passes over the training text made, with the fraction of the current one.
        done: the share of the training that is done, from 0 to 1.
        seconds: spent training and evaluating, over all sessions.
        seconds_left: an estimate; None before one can be made.
        characters_per_second: training speed in this session; 0 before it is known.
        recent_loss: training loss in nats a character, averaged over about fifty steps; NaN before the first.
        rate_scale: the factor of the learning rate: 1, halved each time that the training was set back.
    """

    step: int
    epoch: float
    done: float
    seconds: float
    seconds_left: float | None
    characters_per_second: float
    recent_loss: float
    rate_scale: float


@dataclasses.dataclass(frozen=True)
class Report:
    """The result of one evaluation, as written to log.jsonl; losses in nats a character.

    For pairs, losses are those of the targets' characters, and ``exact`` is the share of a sample of held-out
    targets that come out exactly right; it is None otherwise.
    """

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
    exact: float | None = None


class Listener:
    """Training callbacks, all no-ops by default."""

    def stepped(self, status: Status) -> None:
        """Called after every step."""

    def evaluated(self, report: Report) -> None:
        """Called after every evaluation."""

    def set_back(self, status: Status) -> None:
        """Called when losses that were not finite made the training return to its last saved state."""

    def evaluating(self, share: float) -> None:
        """Called while an evaluation runs, with the share of it that is done."""

    def close(self) -> None:
        """Called by the listener's owner when the training has ended or was stopped."""
