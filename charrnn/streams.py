"""The training text as parallel streams: contiguous lanes, read window by window.

A text of n symbols is cut into B lanes of equal length. Step by step each lane gives its next window of T
inputs and the T symbols that follow them, so that the hidden state at a window's end is the right one to
begin the lane's next window with: that is truncated back-propagation through time. Every epoch starts at
another place in the text, drawn from the seed and the epoch's number alone, so windows and lanes meet new
boundaries and no state of a generator need be kept.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from torch import Tensor

from charrnn.errors import CorpusError
from charrnn.tokenizer import Ids

WINDOWS_A_LANE = 4  # at least, so that carrying the state means something


@dataclasses.dataclass(frozen=True)
class Shape:
    """How many lanes are read side by side (batch), and how far in a step (time)."""

    batch: int
    time: int


def fit_shape(size: int, batch: int, time: int) -> Shape:
    """The largest shape within the wanted one that gives a text of ``size`` symbols whole windows.

    Raises:
        CorpusError: there are not even three symbols.

    >>> fit_shape(1_000_000, 32, 64), fit_shape(1500, 32, 64)
    (Shape(batch=32, time=64), Shape(batch=5, time=64))
    """
    if size < 3:
        raise CorpusError(f"a training text of {size} characters teaches nothing; give at least 3")
    time = min(time, max(2, (size - 1) // WINDOWS_A_LANE), size - 1)
    return Shape(min(batch, max(1, (size - 1) // (WINDOWS_A_LANE * time))), time)


class Streams:
    """Windows of a text, in order, from any step on.

    Attributes:
        steps_per_epoch: windows in a lane.
        batch, time: the shape of a window.
    """

    def __init__(self, ids: Ids, shape: Shape, seed: int, device: torch.device) -> None:
        self._ids, self._seed = ids, seed
        self._device = device
        self.batch, self.time = shape.batch, shape.time
        self._lane = (len(ids) - 1) // shape.batch
        self.steps_per_epoch = self._lane // shape.time
        # An accelerator keeps the text: no step waits for the host.
        self._resident = None
        if device.type != "cpu":
            self._resident = torch.from_numpy(ids.astype(np.int32)).to(device)

    def window(self, step: int) -> tuple[Tensor, Tensor]:
        """Inputs and targets of a step counted from 0: (time, batch) of int64 each, on the device."""
        epoch, position = divmod(step, self.steps_per_epoch)
        starts = self._offset(epoch) + self._lane * np.arange(self.batch) + position * self.time
        places = (starts[None, :] + np.arange(self.time + 1)[:, None]) % len(self._ids)
        if self._resident is None:
            ids = torch.from_numpy(self._ids[places].astype(np.int64))  # (time + 1, batch)
        else:
            ids = self._resident[torch.from_numpy(places).to(self._device)].long()
        return ids[:-1], ids[1:]

    def starts_epoch(self, step: int) -> bool:
        """Whether the hidden state must begin anew at this step."""
        return step % self.steps_per_epoch == 0

    def _offset(self, epoch: int) -> int:
        return int(np.random.default_rng([self._seed, epoch]).integers(len(self._ids)))
