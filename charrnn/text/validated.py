"""Which held-out symbols a network or an n-gram is validated on, and how they are read."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from charrnn.text.corpus import Corpus
from charrnn.text.items import find_items, some_items
from charrnn.text.pairs import target_mask
from charrnn.text.scored import unknown_nats
from charrnn.text.tokenizer import Ids, Places


@dataclasses.dataclass(frozen=True)
class Validated:
    """The part of the held-out text that is scored.

    Attributes:
        ids: (symbols,) the first of the held-out ones, or with lines some of the lines; of pairs whole ones.
        ends: (sections,) the positions after which the state is reset; None if it is carried.
        learnt: (symbols,) which have a loss: all, or of pairs the targets and their line ends.
        count: of how many characters the loss is the mean.
        unknown_nats: what the characters cost that the vocabulary lacks.
    """

    ids: Ids
    ends: Places | None
    learnt: NDArray[np.bool_]
    count: int
    unknown_nats: float = 0.0


def is_itemized(corpus: Corpus) -> bool:
    """Whether each line of the corpus is a sequence of its own."""
    return corpus.config.lines or corpus.config.pairs


def validated(corpus: Corpus, most: int) -> Validated:
    """What is scored: ``most`` symbols or little more, since it must not take longer than the training."""
    start, pairs = corpus.tokenizer.start, corpus.config.pairs
    if corpus.val is not None:
        text = corpus.val.beginning(most)
        ends = text.place(text.line_ends) if is_itemized(corpus) else None
        nats = float(unknown_nats(text.unknown, text.tokenizer).sum())
        return Validated(text.ids, ends, np.ones(len(text.ids), np.bool_), text.characters, nats)
    ids = some_items(corpus.validation, start, most) if corpus.config.lines else corpus.validation[:most]
    if pairs and len(ids):
        ids = ids[: np.flatnonzero(ids == start)[-1] + 1]
    learnt = np.ones(len(ids), np.bool_)
    if pairs and len(ids):
        learnt = target_mask(ids, start, int(corpus.tokenizer.lookup("\t")[0]))
    ends = find_items(ids, start).ends if is_itemized(corpus) else None
    return Validated(ids, ends, learnt, int(learnt.sum()))
