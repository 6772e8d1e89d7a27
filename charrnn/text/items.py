"""Inputs and targets, and line mode: a text as a set of independent lines instead of one long sequence.

In line mode each item is one line. The model reads it from a zero state, beginning with the start symbol, and
predicts it up to and including its newline. Items are shuffled every epoch, and the validation split consists
of whole items.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.text.tokenizer import Ids


def shift_right(ids: NDArray[Any], start: int | NDArray[Any]) -> NDArray[np.int64]:
    """The inputs from which ``ids`` are predicted: a start symbol, then all ids but the last.

    Args:
        ids: (time, ...) the targets.
        start: what is read before the first target; an id, or one for each column (...).

    Returns:
        (time, ...) int64.

    >>> shift_right(np.array([5, 6, 7]), 0).tolist()
    [0, 5, 6]
    """
    inputs = np.empty(ids.shape, np.int64)
    inputs[:1] = start
    inputs[1:] = ids[:-1]
    return inputs


@dataclasses.dataclass(frozen=True)
class Items:
    """A text's ids and the positions of its items.

    Attributes:
        ids: (symbols,) the items one after another, each ending with a newline.
        begins, ends: (items,) positions of each item's first symbol, and of the one after its last.
    """

    ids: Ids
    begins: NDArray[np.int64]
    ends: NDArray[np.int64]


def find_items(ids: Ids, newline: int) -> Items:
    """The items of ids (symbols,) in which every line ends with a newline, the last one too."""
    ends = np.flatnonzero(ids == newline) + 1
    begins = np.concatenate([np.zeros(1, np.int64), ends[:-1]])
    return Items(ids, begins, ends)


def some_items(ids: Ids, newline: int, most: int) -> Ids:
    """Whole items of ids (symbols,), evenly spaced, ``most`` symbols of them or little more; or all items.

    >>> some_items(np.array([5, 0, 6, 0, 7, 0, 8, 0]), 0, 4).tolist()
    [5, 0, 7, 0]
    """
    if len(ids) <= most:
        return ids
    items = find_items(ids, newline)
    lengths = items.ends - items.begins
    wanted = np.zeros(len(lengths), bool)
    wanted[:: -(-len(ids) // most)] = True
    some: Ids = ids[np.repeat(wanted, lengths)]
    return some


def split_items(ids: Ids, newline: int, val_fraction: float) -> tuple[Ids, int]:
    """Splits a text by lines: the held-out lines are moved to its end, and blank lines are dropped.

    The choice is random, but depends on nothing except the number of lines.

    Args:
        ids: (symbols,).
        newline: the id that ends a line; appended if the last line lacks it.
        val_fraction: the fraction of lines that is held out.

    Returns:
        The ids, training lines first, and the number of ids in the training lines.
    """
    if len(ids) and ids[-1] != newline:
        ids = np.append(ids, np.asarray(newline, ids.dtype))
    items = find_items(ids, newline)
    lengths = items.ends - items.begins
    count = len(lengths)
    held_out = np.zeros(count, bool)
    held_out[np.random.default_rng(0).permutation(count)[: int(count * val_fraction)]] = True
    blank = lengths == 1
    training = np.repeat(~held_out & ~blank, lengths)  # (symbols,)
    validation = np.repeat(held_out & ~blank, lengths)
    parts = ids[training], ids[validation]
    return np.concatenate(parts), len(parts[0])
