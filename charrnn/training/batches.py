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
MOST_UNEVEN = 3  # times the mean length of a batch's class of items, the longest item in it
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

    def characters(self, step: int) -> int:  # noqa: ARG002
        """How many characters a step learns from: always as many."""
        return self.batch * self.time

    def starts_epoch(self, step: int) -> bool:
        """Whether the hidden state must be zero at the beginning of this step."""
        return step % self.steps_per_epoch == 0


@dataclasses.dataclass(frozen=True)
class LengthClass:
    """Items of similar lengths, and how many of them make a batch.

    Attributes:
        items: (items,) their numbers, ascending.
        batch: items in a batch.
    """

    items: NDArray[np.int64]
    batch: int

    @property
    def steps(self) -> int:
        """Whole batches in an epoch."""
        return len(self.items) // self.batch


class ItemBatches:
    """Batches of items, padded to the longest; the same interface as ``LaneBatches``.

    Items of very different lengths never meet in a batch, and the longer they are the fewer make one, so that
    no batch is much larger than a window of lanes: see ``length_classes``.

    Attributes:
        steps_per_epoch: batches in an epoch.
        batch: items in a batch, the mean.
        time: symbols of an item, the mean.
    """

    def __init__(self, ids: Ids, newline: int, shape: Shape, seed: int, device: torch.device) -> None:
        self._items = _cut(find_items(ids, newline))
        self._start, self._seed, self._device = newline, seed, device
        self._lengths = self._items.ends - self._items.begins  # (items,)
        self._classes = length_classes(self._lengths, shape.batch * shape.time)
        self.steps_per_epoch = sum(group.steps for group in self._classes)
        self.time = max(1, round(len(ids) / len(self._lengths)))
        read = sum(group.steps * group.batch for group in self._classes)
        self.batch = max(1, round(read / self.steps_per_epoch))
        self._epoch = -1
        self._order: list[NDArray[np.int64]] = []  # the items of each batch of the epoch

    def window(self, step: int) -> tuple[Tensor, Tensor]:
        """Inputs and targets of a step: (longest, batch) of int64 each; targets of padding are IGNORED."""
        items = self._batch(step)
        begins, ends = self._items.begins[items], self._items.ends[items]
        times = np.arange((ends - begins).max())[:, None]  # (longest, 1)
        places = begins + times  # (longest, batch)
        inside = np.minimum(places, len(self._items.ids) - 1)
        targets = np.where(places < ends, self._items.ids[inside].astype(np.int64), IGNORED)
        inputs = shift_right(np.where(targets == IGNORED, self._start, targets), self._start)
        return torch.from_numpy(inputs).to(self._device), torch.from_numpy(targets).to(self._device)

    def characters(self, step: int) -> int:
        """How many characters a step learns from; padding is none."""
        return int(self._lengths[self._batch(step)].sum())

    def starts_epoch(self, step: int) -> bool:  # noqa: ARG002
        """Whether the hidden state must be zero at the beginning of this step: always."""
        return True

    def _batch(self, step: int) -> NDArray[np.int64]:
        """The numbers of a step's items (batch,)."""
        epoch, number = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            self._epoch, self._order = epoch, self._shuffled(epoch)
        return self._order[number]

    def _shuffled(self, epoch: int) -> list[NDArray[np.int64]]:
        """The items of each of an epoch's batches, from the seed and the epoch alone."""
        generator = np.random.default_rng([self._seed, epoch])
        batches: list[NDArray[np.int64]] = []
        for group in self._classes:
            order = group.items[generator.permutation(len(group.items))][: group.steps * group.batch]
            pools = np.arange(len(order)) // (POOLED_BATCHES * group.batch)
            order = order[np.lexsort((self._lengths[order], pools))]
            batches.extend(order.reshape(-1, group.batch))
        return [batches[number] for number in generator.permutation(len(batches))]


def length_classes(lengths: NDArray[np.int64], symbols: int) -> list[LengthClass]:
    """Items in classes, none longer than MOST_UNEVEN times the mean of its class, shorter items first.

    Args:
        lengths: (items,) of each item, in symbols.
        symbols: that a batch should hold; padded it holds at most MOST_UNEVEN times as many, or one item.

    >>> [(len(group.items), group.batch) for group in length_classes(np.array([8] * 900 + [2048] * 40), 2048)]
    [(900, 256), (40, 1)]
    """
    classes, waiting = [], [np.arange(len(lengths))]
    while waiting:
        items = waiting.pop()
        mean = lengths[items].mean()
        long = lengths[items] > MOST_UNEVEN * mean
        if long.any():
            waiting += [items[long], items[~long]]
        else:
            fitting = symbols // max(1, round(float(mean)))
            classes.append(LengthClass(items, max(1, min(len(items), fitting))))
    return classes


class PairBatches(ItemBatches):
    """Batches of whole pairs, padded to the longest; only the targets and their line ends have a loss.

    Batches have ``batch_size`` pairs of mean length, fewer of long ones.
    """

    def __init__(
        self, ids: Ids, newline: int, tab: int, batch_size: int, seed: int, device: torch.device
    ) -> None:
        mean = max(1, round(len(ids) / max(1, int((ids == newline).sum()))))
        super().__init__(ids, newline, Shape(batch_size, mean), seed, device)
        self._tab = tab

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
