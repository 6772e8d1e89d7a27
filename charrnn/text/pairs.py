"""Pairs: a text whose lines are SOURCE, a tab, TARGET; the target is learnt, given the source.

The model reads a pair as one sequence, the source, the tab, the target and the newline, from a zero state.
Only the target's symbols and the newline are predicted. The tab separates the two, so that nothing has to be
added to the vocabulary. Held out are all pairs of some sources, so that no source is in both parts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.errors import CorpusError
from charrnn.text.items import find_items
from charrnn.text.tokenizer import Ids, Tokenizer

LONGEST_PAIR = 2048  # symbols, tab and newline included: back-propagation keeps all of a pair in memory


def checked_pairs(chunks: Iterable[Any], name: str) -> Iterator[Any]:
    """The chunks of a file of pairs as whole lines, each of them checked; the last one gets its newline.

    A carriage return before a newline is removed.

    Args:
        chunks: of str, or of bytes.
        name: of the file, for messages.

    Raises:
        CorpusError: a line is not a pair; names the file and the line's number.
    """
    number, rest = 1, None
    for chunk in chunks:
        text = chunk if rest is None else rest + chunk
        newline = text[:0] + ("\n" if isinstance(text, str) else b"\n")
        before, found, rest = text.rpartition(newline)
        if found:
            yield _checked(before.split(newline), newline, name, number)
            number += before.count(newline) + 1
        if len(rest) > LONGEST_PAIR + 1:
            _refuse(rest, name, number)
    if rest:
        newline = "\n" if isinstance(rest, str) else b"\n"
        yield _checked([rest], newline, name, number)


def _checked(lines: list[Any], newline: Any, name: str, first: int) -> Any:
    """The lines joined again, after a check."""
    tab, carriage_return = ("\t", "\r") if isinstance(newline, str) else (b"\t", b"\r")
    lines = [line.removesuffix(carriage_return) for line in lines]
    for number, line in enumerate(lines, first):
        source, _, target = line.partition(tab)
        if not source or not target or tab in target or len(line) >= LONGEST_PAIR:
            _refuse(line, name, number)
    lines.append(newline[:0])
    return newline.join(lines)


def _refuse(line: Any, name: str, number: int) -> None:
    """Says what is wrong with a line.

    Raises:
        CorpusError: always.
    """
    tab = "\t" if isinstance(line, str) else b"\t"
    source, found, target = line.partition(tab)
    tabs = line.count(tab)
    if not line:
        wrong = "an empty line"
    elif not found:
        wrong = "no tab"
    elif tabs > 1:
        wrong = f"{tabs:,} tabs"
    elif not source or not target:
        wrong = f"an empty {'target' if source else 'source'}"
    else:
        wrong = f"longer than {LONGEST_PAIR - 1:,} symbols"
    raise CorpusError(f"{name}, line {number}: {wrong}; a pair is a source, one tab and a target")


def separator(tokenizer: Tokenizer, name: str) -> int:
    """The id of the tab.

    Raises:
        CorpusError: the vocabulary has none, or no newline.
    """
    tab = int(tokenizer.lookup("\t")[0])
    if tab == tokenizer.size or tokenizer.newline is None:
        raise CorpusError(f"{name}: fewer pairs than --min-count; lower it, for tab and newline must stay")
    return tab


def split_pairs(ids: Ids, newline: int, tab: int, val_fraction: float) -> tuple[Ids, int]:
    """Splits pairs by their sources: those of the held-out sources are moved to the end.

    The choice is random, but depends on nothing except the number of different sources. Pairs keep their
    order within each part.

    Args:
        ids: (symbols,) of pairs, each ending with a newline.
        newline: the id that ends a pair.
        tab: the id between source and target.
        val_fraction: the fraction of the different sources that is held out.

    Returns:
        The ids, training pairs first, and the number of ids in the training pairs.
    """
    items = find_items(ids, newline)
    tabs = np.flatnonzero(ids == tab)  # (pairs,)
    numbers: dict[bytes, int] = {}
    spans = zip(items.begins.tolist(), tabs.tolist(), strict=True)
    group = np.array([numbers.setdefault(ids[begin:end].tobytes(), len(numbers)) for begin, end in spans])
    held_out = np.zeros(len(numbers), bool)
    held_out[np.random.default_rng(0).permutation(len(numbers))[: int(len(numbers) * val_fraction)]] = True
    validation = np.repeat(held_out[group], items.ends - items.begins)  # (symbols,)
    training: Ids = ids[~validation]
    return np.concatenate([training, ids[validation]]), len(training)


def target_mask(ids: NDArray[Any], newline: int, tab: int) -> NDArray[np.bool_]:
    """Which of the ids (symbols,) of pairs are predicted: those of targets, and the newlines.

    >>> target_mask(np.array([7, 7, 1, 8, 0, 7, 1, 8, 8, 0]), 0, 1).astype(int).tolist()
    [0, 0, 0, 1, 1, 0, 0, 1, 1, 1]
    """
    tabs, newlines = np.cumsum(ids == tab), np.cumsum(ids == newline)
    before = np.concatenate([np.zeros(1, np.int64), (tabs - newlines)[:-1]])  # open pairs before each symbol
    mask: NDArray[np.bool_] = before == 1
    return mask
