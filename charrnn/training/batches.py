"""The training text in batches: lanes read window by window, or whole items.

A text of n symbols is cut into B contiguous lanes of equal length. At each step every lane gives its next
window: T inputs and the T symbols that follow them. The hidden state at a window's end is thus the right one
to begin the lane's next window with (truncated back-propagation through time). Every epoch starts at another
place in the text, drawn from the seed and the epoch's number alone, so that windows fall differently each
time and no generator's state has to be saved.

In line mode the text is a set of items instead, and each batch holds whole items. Pairs are items
whose loss is that of the target alone.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from charrnn.config import TrainingConfig
from charrnn.errors import CorpusError
from charrnn.text.corpus import Corpus
from charrnn.text.items import Items, find_items, shift_right
from charrnn.text.tokenizer import Ids

IGNORED = -100  # the target that torch's cross_entropy leaves out
POOLED_BATCHES = 8  # items of so many batches are sorted by length: little padding, lengths still mixed
LONGEST_PIECE = 2048  # symbols; a longer item is cut into pieces, which are items of their own
WINDOWS_A_LANE = 32  # at least: with fewer, carrying the state gains little and an epoch has few steps


@dataclasses.dataclass(frozen=True)
class Shape:
    """The batch size in lanes, and the characters of each lane that a step reads."""

    batch: int
    time: int


def fit_shape(size: int, batch: int, time: int) -> Shape:
    """The largest shape, at most ``batch`` by ``time``, with WINDOWS_A_LANE windows a lane where possible.

    Raises:
        CorpusError: the text has fewer than three symbols.

    >>> fit_shape(1_000_000, 32, 64), fit_shape(20_000, 32, 64)
    (Shape(batch=32, time=64), Shape(batch=9, time=64))
    """
    if size < 3:
        raise CorpusError(f"a training text of {size} characters teaches nothing; give at least 3")
    time = min(time, max(2, (size - 1) // WINDOWS_A_LANE), size - 1)
    return Shape(min(batch, max(1, (size - 1) // (WINDOWS_A_LANE * time))), time)


class LaneBatches:
    """Windows of a text's lanes, in order; any step's window can be had without those before it.

    Attributes:
        steps_per_epoch: windows in a lane.
        batch, time: the shape of a window: lanes, and characters of each.
    """

    def __init__(self, ids: Ids, shape: Shape, seed: int, device: torch.device) -> None:
        self._ids, self._seed = ids, seed
        self._device = device
        self.batch, self.time = shape.batch, shape.time
        self._lane = (len(ids) - 1) // shape.batch
        self.steps_per_epoch = self._lane // shape.time
        self._epoch, self._begin = -1, 0  # the epoch of the last window, and where it begins in the text
        # Where each lane's windows lie, before the step's offset: (time + 1, batch).
        self._places = self._lane * np.arange(self.batch) + np.arange(self.time + 1)[:, None]
        if device.type != "cpu":
            # The text and the places stay on the accelerator, so that a step sends it one number.
            kept = ids if ids.dtype == np.uint8 else ids.astype(np.int32)
            self._resident = torch.from_numpy(np.ascontiguousarray(kept)).to(device)
            self._resident_places = torch.from_numpy(self._places).to(device)

    def window(self, step: int) -> tuple[Tensor, Tensor]:
        """Inputs and targets of a step, counted from 0: (time, batch) of int64 each, on the device."""
        epoch, position = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:  # drawing takes as long as the rest of this method
            self._epoch = epoch
            self._begin = int(np.random.default_rng([self._seed, epoch]).integers(len(self._ids)))
        offset = self._begin + position * self.time
        if self._device.type == "cpu":
            window = self._ids.take(self._places + offset, mode="wrap")  # (time + 1, batch)
            ids = torch.from_numpy(window.astype(np.int64))
        else:
            ids = self._resident[(self._resident_places + offset) % len(self._ids)].long()
        return ids[:-1], ids[1:]

    def starts_epoch(self, step: int) -> bool:
        """Whether the hidden state must be zero at the beginning of this step."""
        return step % self.steps_per_epoch == 0


class ItemBatches:
    """Batches of items, padded to the longest; the same interface as ``LaneBatches``.

    Attributes:
        steps_per_epoch: batches in an epoch.
        batch: items in a batch.
        time: symbols of an item, the mean.
    """

    def __init__(self, ids: Ids, newline: int, shape: Shape, seed: int, device: torch.device) -> None:
        self._items = _cut(find_items(ids, newline))
        self._start, self._seed, self._device = newline, seed, device
        count = len(self._items.begins)
        self.time = max(1, round(len(ids) / count))
        self.batch = max(1, min(count, shape.batch * shape.time // self.time))
        self.steps_per_epoch = count // self.batch
        self._epoch, self._order = -1, np.empty((0, 0), np.int64)

    def window(self, step: int) -> tuple[Tensor, Tensor]:
        """Inputs and targets of a step: (longest, batch) of int64 each; targets of padding are IGNORED."""
        epoch, number = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            self._epoch, self._order = epoch, self._shuffled(epoch)
        items = self._order[number]  # (batch,)
        begins, ends = self._items.begins[items], self._items.ends[items]
        times = np.arange((ends - begins).max())[:, None]  # (longest, 1)
        places = begins + times  # (longest, batch)
        inside = np.minimum(places, len(self._items.ids) - 1)
        targets = np.where(places < ends, self._items.ids[inside].astype(np.int64), IGNORED)
        inputs = shift_right(np.where(targets == IGNORED, self._start, targets), self._start)
        return torch.from_numpy(inputs).to(self._device), torch.from_numpy(targets).to(self._device)

    def starts_epoch(self, step: int) -> bool:  # noqa: ARG002
        """Whether the hidden state must be zero at the beginning of this step: always."""
        return True

    def _shuffled(self, epoch: int) -> NDArray[np.int64]:
        """The items of an epoch's batches, (steps_per_epoch, batch), from the seed and the epoch alone."""
        generator = np.random.default_rng([self._seed, epoch])
        order = generator.permutation(len(self._items.begins))[: self.steps_per_epoch * self.batch]
        lengths = (self._items.ends - self._items.begins)[order]
        pools = np.arange(len(order)) // (POOLED_BATCHES * self.batch)
        order = order[np.lexsort((lengths, pools))]
        batches: NDArray[np.int64] = generator.permutation(order.reshape(-1, self.batch), axis=0)
        return batches


class PairBatches(ItemBatches):
    """Batches of whole pairs, padded to the longest; only the targets and their line ends have a loss.

    Attributes:
        batch: pairs in a batch, as ``batch_size`` says.
    """

    def __init__(
        self, ids: Ids, newline: int, tab: int, batch_size: int, seed: int, device: torch.device
    ) -> None:
        super().__init__(ids, newline, Shape(1, 2), seed, device)
        self._tab = tab
        count = len(self._items.begins)
        self.batch = max(1, min(batch_size, count))
        self.steps_per_epoch = count // self.batch

    def window(self, step: int) -> tuple[Tensor, Tensor]:
        """Inputs and targets of a step: (longest, batch) of int64 each; what is not learnt is IGNORED."""
        inputs, targets = super().window(step)
        return inputs, targets.masked_fill(in_source(inputs, self._tab), IGNORED)


def in_source(inputs: Tensor, tab: int) -> Tensor:
    """Where the next symbol is still one of the source, or the tab: (time, batch) of bool."""
    return (inputs == tab).cumsum(0) == 0


Batches = LaneBatches | ItemBatches


def build_batches(corpus: Corpus, config: TrainingConfig, device: torch.device) -> Batches:
    """The batches of a corpus: items in line mode, whole pairs, or lanes.

    Raises:
        CorpusError: as for ``fit_shape``.
    """
    assert config.seed is not None
    if corpus.config.pairs:
        newline, tab = corpus.tokenizer.start, int(corpus.tokenizer.lookup("\t")[0])
        return PairBatches(corpus.train, newline, tab, config.batch_size, config.seed, device)
    shape = fit_shape(corpus.train_size, config.batch_size, config.seq_length)
    if corpus.config.lines:
        return ItemBatches(corpus.train, corpus.tokenizer.start, shape, config.seed, device)
    return LaneBatches(corpus.train, shape, config.seed, device)


def symbols_a_step(corpus: Corpus, config: TrainingConfig) -> float:
    """How many symbols a step reads, padding not counted; of items and pairs the mean."""
    if corpus.config.pairs:
        pairs = int((corpus.train == corpus.tokenizer.start).sum())
        return min(config.batch_size, pairs) * corpus.train_size / pairs
    shape = fit_shape(corpus.train_size, config.batch_size, config.seq_length)
    return float(shape.batch * shape.time)


def _cut(items: Items) -> Items:
    """The items, those longer than LONGEST_PIECE cut into pieces."""
    lengths = items.ends - items.begins
    pieces = -(-lengths // LONGEST_PIECE)
    if pieces.max() == 1:
        return items
    which = np.repeat(np.arange(len(lengths)), pieces)
    number = np.arange(len(which)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    begins = items.begins[which] + number * LONGEST_PIECE
    return Items(items.ids, begins, np.minimum(begins + LONGEST_PIECE, items.ends[which]))
