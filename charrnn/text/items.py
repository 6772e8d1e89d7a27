"""Inputs and targets, and line mode: a text as a set of independent lines instead of one long sequence.

In line mode each item is one line. The model reads it from a zero state, beginning with the start symbol, and
predicts it up to and including its newline. Items are shuffled every epoch, and the validation split consists
of whole items, none of which is also in the training split.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.text.tokenizer import Ids

HASHED = 1 << 20  # symbols at a time


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


def mix64(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """A well-mixed 64-bit number for each value (splitmix64: Steele, Lea and Flood, 2014)."""
    mixed = values + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def find_items(ids: Ids, newline: int) -> Items:
    """The items of ids (symbols,) in which every line ends with a newline, the last one too."""
    ends = np.flatnonzero(ids == newline) + 1
    begins = np.concatenate([np.zeros(1, np.int64), ends[:-1]])
    return Items(ids, begins, ends)


def begins_of(ends: NDArray[np.int64], count: int) -> NDArray[np.bool_]:
    """Whether each of ``count`` ids begins a new section, from the positions after the sections (sections,).

    >>> begins_of(np.array([2, 3, 5]), 5).astype(int).tolist()
    [0, 0, 1, 1, 0]
    """
    begins = np.zeros(count, bool)
    begins[ends[ends < count]] = True
    return begins


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


def split_items(ids: Ids, newline: int, val_fraction: float, rules: int = 2) -> tuple[Ids, int]:
    """Splits a text by lines: the held-out lines are moved to its end, and blank lines are dropped.

    No line is in both parts: all copies of a line are held out, or none. Which are is random, but depends on
    nothing except the number of distinct lines and how often each occurs.

    Args:
        ids: (symbols,).
        newline: the id that ends a line; appended if the last line lacks it.
        val_fraction: the fraction of lines that is held out, or a little less, where lines are repeated.
        rules: with 1, as in models up to 0.1.0, lines are held out one by one, copies or not.

    Returns:
        The ids, training lines first, and the number of ids in the training lines.
    """
    if len(ids) and ids[-1] != newline:
        ids = np.append(ids, np.asarray(newline, ids.dtype))
    items = find_items(ids, newline)
    lengths = items.ends - items.begins
    blank = lengths == 1
    if rules == 1:
        count = len(lengths)
        held_out = np.zeros(count, bool)
        held_out[np.random.default_rng(0).permutation(count)[: int(count * val_fraction)]] = True
    else:
        held_out = _hold_out(items, ~blank, val_fraction)
    training = np.repeat(~held_out & ~blank, lengths)  # (symbols,)
    validation = np.repeat(held_out & ~blank, lengths)
    parts = ids[training], ids[validation]
    return np.concatenate(parts), len(parts[0])


def _hold_out(items: Items, wanted: NDArray[np.bool_], fraction: float) -> NDArray[np.bool_]:
    """Which items (items,) are held out: distinct ones in random order, until a fraction of all is reached.

    An item with more copies than that is never held out. Where no item is repeated, exactly the fraction is.
    """
    held_out = np.zeros(len(wanted), bool)
    hashes = hash_items(items)[wanted]
    _, first, which, copies = np.unique(hashes, return_index=True, return_inverse=True, return_counts=True)
    most = int(len(hashes) * fraction)
    order = np.argsort(first)  # distinct items by first occurrence
    order = order[np.random.default_rng(0).permutation(len(order))]
    chosen = np.zeros(len(copies), bool)
    while len(order := order[copies[order] <= most]):  # those that still fit
        fitting = np.searchsorted(np.cumsum(copies[order]), most, "right")
        chosen[order[:fitting]] = True
        most -= int(copies[order[:fitting]].sum())
        order = order[fitting:]
    held_out[wanted] = chosen[which]
    return held_out


def hash_items(items: Items) -> NDArray[np.uint64]:
    """A 64-bit hash of each item (items,): equal for equal items, computed in blocks of bounded memory.

    Different items with the same hash are very rare, and only held out together or not at all.
    """
    hashes = np.zeros(len(items.ends), np.uint64)
    step = 0
    while step < len(hashes):
        # As many items as end within the block, and at least one.
        limit = items.begins[step] + HASHED
        after = max(step + 1, int(np.searchsorted(items.ends, limit, "right")))
        begins = items.begins[step:after]
        ids = items.ids[begins[0] : items.ends[after - 1]]
        lengths = items.ends[step:after] - begins
        places = np.arange(len(ids)) - np.repeat(begins - begins[0], lengths)
        # Symbols and their places, mixed (the finalizer of splitmix64), and summed for each item.
        mixed = mix64(ids.astype(np.uint64) + mix64(places.astype(np.uint64)))
        hashes[step:after] = np.add.reduceat(mixed, begins - begins[0])
        step = after
    return hashes
