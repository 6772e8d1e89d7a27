"""The text as lanes of windows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from charrnn.errors import CorpusError
from charrnn.text.tokenizer import Ids
from charrnn.training.batches import (
    IGNORED,
    MOST_UNEVEN,
    WINDOWS_A_LANE,
    ItemBatches,
    LaneBatches,
    Shape,
    fit_shape,
)

CPU = torch.device("cpu")


def numbered(size: int) -> Ids:
    """A text in which every symbol is its own place."""
    return np.arange(size, dtype=np.uint32)


def windows(batches: LaneBatches, epoch: int) -> tuple[list[list[int]], list[list[int]]]:
    """The inputs and targets of each lane over one epoch, windows joined."""
    first = epoch * batches.steps_per_epoch
    pairs = [batches.window(first + step) for step in range(batches.steps_per_epoch)]
    inputs = torch.cat([pair[0] for pair in pairs])  # (time of the epoch, batch)
    targets = torch.cat([pair[1] for pair in pairs])
    return inputs.T.tolist(), targets.T.tolist()


sizes = st.integers(3, 2000)
shapes = st.builds(Shape, st.integers(1, 40), st.integers(2, 70))


@given(sizes, shapes, st.integers(0, 2**63 - 1), st.integers(0, 5))
def test_lanes_are_the_text(size: int, wanted: Shape, seed: int, epoch: int) -> None:
    """A lane's windows, joined, are consecutive text, and its targets the same text one symbol on."""
    shape = fit_shape(size, wanted.batch, wanted.time)
    batches = LaneBatches(numbered(size), shape, seed, CPU)
    inputs, targets = windows(batches, epoch)
    assert len(inputs) == shape.batch
    for lane, following in zip(inputs, targets, strict=True):
        assert lane == [(lane[0] + place) % size for place in range(len(lane))]
        assert following == [(symbol + 1) % size for symbol in lane]


@given(sizes, shapes, st.integers(0, 100))
def test_no_symbol_is_read_twice_in_an_epoch(size: int, wanted: Shape, epoch: int) -> None:
    """The lanes of an epoch do not overlap, and leave less unread than a window a lane and a remainder."""
    shape = fit_shape(size, wanted.batch, wanted.time)
    batches = LaneBatches(numbered(size), shape, 7, CPU)
    inputs, _ = windows(batches, epoch)
    read = [symbol for lane in inputs for symbol in lane]
    assert len(set(read)) == len(read)
    assert size - len(read) <= shape.batch * shape.time + shape.batch


def test_every_symbol_is_learnt() -> None:
    """Over a few epochs every symbol is a target, the first and the last included."""
    batches = LaneBatches(numbered(500), Shape(4, 16), 3, CPU)
    seen = {symbol for epoch in range(8) for lane in windows(batches, epoch)[1] for symbol in lane}
    assert seen == set(range(500))


def test_epochs_begin_elsewhere() -> None:
    """Each epoch starts at another place, the same for the same seed and another for another."""
    first, again, other = (LaneBatches(numbered(10_000), Shape(2, 8), seed, CPU) for seed in (1, 1, 2))
    begins = [int(first.window(epoch * first.steps_per_epoch)[0][0, 0]) for epoch in range(6)]
    assert len(set(begins)) == 6
    assert begins == [int(again.window(e * again.steps_per_epoch)[0][0, 0]) for e in range(6)]
    assert begins != [int(other.window(e * other.steps_per_epoch)[0][0, 0]) for e in range(6)]


def test_any_step_can_be_the_first() -> None:
    """A window depends on its step alone, not on those that were asked for before."""
    ids = numbered(1000)
    straight = LaneBatches(ids, Shape(3, 10), 5, CPU)
    for step in range(40):
        straight.window(step)
    inputs, targets = straight.window(41)
    alone = LaneBatches(ids, Shape(3, 10), 5, CPU).window(41)
    assert torch.equal(inputs, alone[0])
    assert torch.equal(targets, alone[1])


def test_windows_have_torch_shapes() -> None:
    """Inputs and targets are (time, batch) of int64, whatever the type of the ids."""
    batches = LaneBatches(numbered(100).astype(np.uint8), Shape(2, 5), 0, CPU)
    for tensor in batches.window(0):
        assert tensor.shape == (5, 2)
        assert tensor.dtype == torch.int64


def test_the_state_begins_anew_with_an_epoch() -> None:
    """The hidden state is dropped at an epoch's first step and only there."""
    batches = LaneBatches(numbered(100), Shape(2, 5), 0, CPU)
    assert batches.steps_per_epoch == 9  # lanes of 49 symbols
    assert [step for step in range(30) if batches.starts_epoch(step)] == [0, 9, 18, 27]


@given(st.integers(3, 200_000), shapes)
def test_shapes_fit(size: int, wanted: Shape) -> None:
    """A fitted shape is within the wanted one, and gives the text at least one whole window a lane."""
    shape = fit_shape(size, wanted.batch, wanted.time)
    assert 1 <= shape.batch <= wanted.batch
    assert 2 <= shape.time <= wanted.time
    assert shape.batch * shape.time <= size - 1
    if size > WINDOWS_A_LANE * wanted.batch * wanted.time:
        assert shape == wanted


@pytest.mark.parametrize("size", [0, 1, 2])
def test_tiny_texts_are_refused(size: int) -> None:
    """Under three symbols nothing can be learnt, and the error says so."""
    with pytest.raises(CorpusError, match=f"a training text of {size} characters"):
        fit_shape(size, 32, 64)


def items_of(lengths: list[int], shape: Shape, seed: int = 1) -> ItemBatches:
    """Batches of items of these lengths, each of the symbol 1 up to its newline, 0."""
    ids = np.concatenate([np.array([1] * (length - 1) + [0], np.uint8) for length in lengths])
    return ItemBatches(ids, 0, shape, seed, CPU)


def test_uneven_items_make_bounded_batches() -> None:
    """Beside thousands of short items a few long ones neither pad nor swell a batch."""
    shape = Shape(32, 64)
    batches = items_of([8] * 900 + [1501] * 12 + [90] * 50, shape)
    read = padded = 0
    for step in range(batches.steps_per_epoch):
        _, targets = batches.window(step)
        assert targets.numel() <= MOST_UNEVEN * shape.batch * shape.time
        read += int((targets != IGNORED).sum())
        padded += targets.numel()
        assert batches.characters(step) == int((targets != IGNORED).sum())
    assert padded < 1.1 * read
    assert read > 0.85 * (8 * 900 + 1501 * 12 + 90 * 50)


@given(st.lists(st.integers(1, 400), min_size=1, max_size=200), shapes, st.integers(0, 3))
def test_an_epoch_holds_each_item_at_most_once(lengths: list[int], shape: Shape, epoch: int) -> None:
    """Items meet once an epoch, and any step can be had without those before it."""
    batches, again = items_of(lengths, shape), items_of(lengths, shape)
    steps = range(epoch * batches.steps_per_epoch, (epoch + 1) * batches.steps_per_epoch)
    for step in reversed(steps):
        again.window(step)
    newlines = 0
    for step in steps:
        targets = batches.window(step)[1]
        assert torch.equal(targets, again.window(step)[1])
        newlines += int((targets == 0).sum())
    assert 0 < newlines <= len(lengths)
