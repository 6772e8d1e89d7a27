"""Dropout masks that follow from the seed, the step and the place in the batch alone.

No generator is carried from step to step: nothing of one has to be saved, and however the lanes of a batch
are shared out, each gets the same masks. They are the same on every device, too.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from charrnn.config import ModelConfig

# SplitMix64 (Steele, Lea & Flood, "Fast splittable pseudorandom number generators", 2014): the increment and
# the factors of its finalizer, as torch's signed 64-bit integers, whose products wrap around.
INCREMENT, FIRST, SECOND = (
    int(np.uint64(factor).astype(np.int64))
    for factor in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
)
PURPOSE = 1  # tells the masks' keys from what else is drawn from the same seed


class Masks:
    """The dropout masks of a training, one for all time steps of a window (Gal & Ghahramani, 2016).

    They generalize as well as a new mask at every time step, and need fewer random numbers.

    Args:
        config: of the network; its dropout probability, layers and units.
        seed: of the training.
        device: where the masks are needed.
    """

    def __init__(self, config: ModelConfig, seed: int, device: torch.device) -> None:
        self._rate, self._seed, self._device = config.dropout, seed, device
        self._layers, self._hidden = config.num_layers, config.hidden_size
        # What is below this is dropped, of numbers spread evenly over all signed 64-bit integers.
        self._threshold = min(int(config.dropout * 2.0**64), 2**64 - 1) - 2**63
        self._begun: tuple[int, int] | None = None  # the places that are laid out
        self._numbered = torch.empty(0, dtype=torch.int64)

    def __call__(self, step: int, begin: int, end: int) -> Tensor | None:
        """The factors of the activations at a step's places from ``begin`` to ``end``; None without dropout.

        A place is a lane, or an item's number in its batch.

        Returns:
            (layers, 1, end - begin, hidden) in float32: 0, or what keeps the mean as it is.
        """
        if self._rate == 0:
            return None
        key = np.random.SeedSequence([self._seed, step, PURPOSE]).generate_state(1, np.uint64)
        words = self._counted(begin, end) + int(key.astype(np.int64)[0])  # (places, layers, hidden)
        _shift_into(words, 30).mul_(FIRST)
        _shift_into(words, 27).mul_(SECOND)  # the last shift would change no bit that decides
        factors = (words >= self._threshold).float().mul_(1 / (1 - self._rate))
        return factors.transpose(0, 1).unsqueeze(1).to(self._device)  # (layers, 1, places, hidden)

    def _counted(self, begin: int, end: int) -> Tensor:
        """SplitMix64's states before the key is added (places, layers, hidden)."""
        if self._begun != (begin, end):
            # MPS lacks some operations on 64-bit integers.
            where = self._device if self._device.type == "cuda" else None
            width = self._layers * self._hidden
            counts = torch.arange(begin * width + 1, end * width + 1, device=where)
            self._numbered = (counts * INCREMENT).view(-1, self._layers, self._hidden)
            self._begun = begin, end
        return self._numbered


def _shift_into(words: Tensor, count: int) -> Tensor:
    """The words, each xor itself shifted right by ``count`` as an unsigned integer; changed in place."""
    shifted = (words >> count).bitwise_and_((1 << (64 - count)) - 1)
    return words.bitwise_xor_(shifted)
