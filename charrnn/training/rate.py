"""The learning rate along a training."""

from __future__ import annotations

import math

from charrnn.config import TrainingConfig


def rate_at(progress: float, config: TrainingConfig) -> float:
    """The share of the peak learning rate at ``progress`` from 0 to 1: linear warm-up, then cosine decay.

    >>> config = TrainingConfig(warmup=0.1, floor=0.02)
    >>> [round(rate_at(p, config), 2) for p in (0.05, 0.1, 0.55, 1.0)]
    [0.5, 1.0, 0.51, 0.02]
    """
    if progress < config.warmup:
        return progress / config.warmup
    along = (min(progress, 1.0) - config.warmup) / (1 - config.warmup)
    return config.floor + (1 - config.floor) * (1 + math.cos(math.pi * along)) / 2
