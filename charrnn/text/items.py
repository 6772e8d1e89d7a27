"""Line mode: a text as a bag of items, one a line, instead of one long sequence.

Each item begins with no past, reads the start symbol, and is predicted to its end, the newline. Items are
shuffled every epoch, and whole items are held out, so neither order nor neighbours can be learnt.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from charrnn.text.tokenizer import Ids


@dataclasses.dataclass(frozen=True)
class Items:
    """Where a text's items lie.

    Attributes:
        ids: (symbols,) items one after another, each with its newline.
        begins, ends: (items,) the place of each item's first symbol, and the one after its last.
    """

    ids: Ids
    begins: NDArray[np.int64]
    ends: NDArray[np.int64]


def find_items(ids: Ids, newline: int) -> Items:
    """The items of ids in which every line, the last too, ends with a newline."""
    ends = np.flatnonzero(ids == newline) + 1
    begins = np.concatenate([np.zeros(1, np.int64), ends[:-1]])
    return Items(ids, begins, ends)


def split_items(ids: Ids, newline: int, val_fraction: float) -> tuple[Ids, int]:
    """The text's lines with the held-out ones moved to its end, blank ones left out.

    Which lines are held out is drawn once and for all, from the number of lines alone.

    Args:
        ids: (symbols,).
        newline: the id that ends a line; added to the last line where it lacks it.
        val_fraction: which share of the lines is held out.

    Returns:
        The ids, training lines first, and how many of them are training's.
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
