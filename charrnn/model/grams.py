"""An n-gram as a model file holds it: small integers, a level of the tree of its grams for each length.

Grams of k symbols are in the order of their contexts, the grams of k - 1 symbols, and among those of one
context in the order of their last symbols. So of each gram its last symbol, its count and the number of
grams of k + 1 symbols that begin with it are all that is needed. Discounts and probabilities follow from the
counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.errors import ModelFileError
from charrnn.model.counts import Counts, Numbers
from charrnn.model.ngram import KneserNey
from charrnn.text.tokenizer import smallest_dtype

Tensors = dict[str, NDArray[Any]]

GRAMS = "grams."  # with which the names of all these tensors begin
MANY = 255  # what ``counts`` holds of a count that is as large, or larger: it is in ``more``
SMALL = ("U8", "U16", "U32")  # types of symbols and children


def pack(model: KneserNey) -> Tensors:
    """The tensors of an n-gram, by name.

    For each k from 1 to the order: ``grams.k.symbols`` (grams of k symbols,), ``grams.k.counts`` likewise,
    ``grams.k.more`` with the counts from MANY on, in order, if there are any, and for all k but the last
    ``grams.k.children`` (grams of k symbols,).
    """
    tensors: Tensors = {}
    for k, (symbols, counts) in enumerate(zip(model.symbols, model.counts, strict=True), 1):
        gram = counts.gram[:-1]
        tensors[f"grams.{k}.symbols"] = symbols.astype(smallest_dtype(model.vocabulary - 1))
        tensors[f"grams.{k}.counts"] = np.minimum(gram, MANY).astype(np.uint8)
        if (gram >= MANY).any():
            tensors[f"grams.{k}.more"] = gram[gram >= MANY].astype(np.uint32)
        if k < model.highest:
            children = np.diff(model.counts[k].begins)
            tensors[f"grams.{k}.children"] = children.astype(smallest_dtype(int(children.max(initial=0))))
    return tensors


def check_layout(layout: Mapping[str, tuple[str, tuple[int, ...]]], order: int, vocabulary: int) -> None:
    """Holds the names, types and shapes of an n-gram's tensors to what ``pack`` makes.

    Raises:
        ModelFileError: names the first tensor that is wrong or missing.
    """
    needed = {f"grams.{k}.{part}": part for k in range(1, order + 1) for part in ("symbols", "counts")}
    needed |= {f"grams.{k}.children": "children" for k in range(1, order)}
    optional = {f"grams.{k}.more": "more" for k in range(1, order + 1)}
    for name in sorted(needed.keys() | layout.keys()):
        if name not in layout:
            raise ModelFileError(f"{name}: expected it, found none")
        part = needed.get(name) or optional.get(name)
        if part is None:
            raise ModelFileError(f"{name}: expected no such tensor, found one")
        found, shape = layout[name]
        types = {"counts": ("U8",), "more": ("U32",)}.get(part, SMALL)
        if found not in types:
            raise ModelFileError(f"{name}: expected {' or '.join(types)}, found {found}")
        level = name.split(".")[1]
        grams = layout.get(f"grams.{level}.symbols", ("", shape))[1]
        most = vocabulary if level == "1" else LARGEST
        if len(shape) != 1 or not 0 < shape[0] <= most or (part != "more" and shape != grams):
            raise ModelFileError(f"{name}: expected a row of numbers, one for each gram, found {shape!s:.60}")


LARGEST = 1 << 40  # grams; more than any file holds


def unpack(tensors: Tensors, vocabulary: int) -> KneserNey:
    """The n-gram that tensors hold, whose layout was checked.

    Raises:
        ModelFileError: names the first tensor whose numbers make no tree of grams.
    """
    order = sum(name.endswith(".symbols") for name in tensors)
    symbols: list[Numbers] = []
    levels: list[Counts] = []
    children = np.array([len(tensors["grams.1.symbols"])])  # (contexts,)
    for k in range(1, order + 1):
        last = tensors[f"grams.{k}.symbols"]
        begins = np.zeros(len(children) + 1, np.int64)
        np.cumsum(children, out=begins[1:])
        if begins[-1] != len(last):
            raise ModelFileError(
                f"grams.{k}.symbols: expected {begins[-1]:,} numbers, as grams.{k - 1}.children "
                f"says, found {len(last):,}"
            )
        ascends = last[1:] > last[:-1]
        ascends[begins[(begins > 0) & (begins < len(last))] - 1] = True  # from one context to the next
        if int(last.max()) >= vocabulary or not ascends.all():
            raise ModelFileError(f"grams.{k}.symbols: expected ids, ascending in each context, found others")
        symbols.append(last.astype(np.int64))
        levels.append(Counts(begins, _counts(tensors, k)))
        if k < order:
            children = tensors[f"grams.{k}.children"]
    return KneserNey(vocabulary, symbols, levels)


def _counts(tensors: Tensors, k: int) -> Numbers:
    """The counts of the grams of k symbols."""
    counts = tensors[f"grams.{k}.counts"].astype(np.int64)
    more = tensors.get(f"grams.{k}.more", np.zeros(0, np.uint32))
    large = counts == MANY
    if int(large.sum()) != len(more) or (more < MANY).any():
        raise ModelFileError(
            f"grams.{k}.more: expected {int(large.sum()):,} numbers from {MANY}, found others"
        )
    counts[large] = more
    return counts
