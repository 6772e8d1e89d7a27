"""How well a model of pairs answers: exact matches, character errors, nats and accuracy a target character.

The answers are given; who writes them is the caller's business. The character error rate is the sum of the
edit distances between answers and targets over the sum of the targets' lengths, as for speech and printed
text: it counts inserted, deleted and replaced characters, and may exceed 1.

The accuracy is the share of the targets' characters, line ends included, that are the most probable ones
after the true characters before them (teacher forcing), as Zaremba & Sutskever (2014, "Learning to execute")
count. It is kinder than exact matches: a wrong character does not spoil those after it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.evaluation.measure import Floats
from charrnn.text.pairs import target_mask
from charrnn.text.scored import ScoredText
from charrnn.text.tokenizer import Ids, code_points

TOGETHER = 64  # pairs that are read in lockstep


@dataclasses.dataclass(frozen=True)
class PairScore:
    """Sums over pairs.

    Attributes:
        pairs: how many there are.
        exact: how many answers are the target.
        errors: the sum of the edit distances.
        characters: of all targets, without line ends; of bytes for a byte model.
        nats: the negative natural-log probability of all targets and their line ends, given the sources.
        hits: of all targets and their line ends, the characters that teacher forcing finds.
        unknown: the number of characters of sources and targets that the vocabulary lacks.
    """

    pairs: int
    exact: int
    errors: int
    characters: int
    nats: float
    hits: int
    unknown: int = 0

    @property
    def exact_share(self) -> float:
        """The share of exact matches."""
        return self.exact / self.pairs

    @property
    def error_rate(self) -> float:
        """The character error rate."""
        return self.errors / self.characters

    @property
    def nats_per_character(self) -> float:
        """Nats a target character, each target's line end being one more."""
        return self.nats / (self.characters + self.pairs)

    @property
    def accuracy(self) -> float:
        """The share of the target characters, line ends included, that teacher forcing finds."""
        return self.hits / (self.characters + self.pairs)

    def __str__(self) -> str:
        """The most important figures, in one line."""
        return (
            f"{self.exact:,} of {self.pairs:,} exactly right ({self.exact_share:.2%}), "
            f"character error rate {self.error_rate:.4f}, accuracy {self.accuracy:.2%} with teacher forcing, "
            f"{self.nats_per_character:.4f} nats/char"
        )


@dataclasses.dataclass(frozen=True)
class Answered:
    """One pair and the answer to its source; texts of one character per symbol.

    Attributes:
        source, truth, answer: the source, the target and what the model wrote.
        nats: the negative natural-log probability of target and line end.
        hits: of target and line end, the characters that teacher forcing finds.
    """

    source: str
    truth: str
    answer: str
    nats: float
    hits: int

    @property
    def errors(self) -> int:
        """The edit distance between answer and truth."""
        return edit_distance(self.answer, self.truth)


def split_pair(line: str) -> tuple[str, str]:
    """Source and target of a line."""
    source, _, target = line.partition("\t")
    return source, target


def target_nats(text: ScoredText, scores: Floats, symbols: str) -> list[float]:
    """For each pair of a text, the nats that its target and line end cost.

    Args:
        text: of pairs, each line ending with a newline.
        scores: (characters,) from ``Evaluator.log_probabilities``, whose state was reset at each line.
        symbols: the whole text, a character per symbol.
    """
    points = code_points(symbols)  # (characters,)
    learnt = np.where(target_mask(points, ord("\n"), ord("\t")), scores, np.float32(0))
    sums: list[float] = np.add.reduceat(-learnt, _begins(text), dtype=np.float64).tolist()
    return sums


def _begins(text: ScoredText) -> NDArray[np.int64]:
    """The place of each pair's first character (pairs,)."""
    begins: NDArray[np.int64] = np.concatenate([np.zeros(1, np.int64), text.line_ends[:-1]])
    return begins


def all_hits(text: ScoredText, scores: Floats, symbols: str) -> NDArray[np.int64]:
    """For each pair (pairs,) what ``forced_hits`` finds, as far as scores tell; else -1.

    A character that has more than half of the probability is the most probable one. Where all of a target's
    have, it need not be read again.

    Args:
        text: as for ``target_nats``.
        scores: likewise.
        symbols: likewise.
    """
    mask, begins = target_mask(code_points(symbols), ord("\n"), ord("\t")), _begins(text)
    least = np.minimum.reduceat(np.where(mask, scores, np.float32(0)), begins)  # (pairs,)
    counts: NDArray[np.int64] = np.add.reduceat(mask, begins, dtype=np.int64)
    return np.where(least > math.log(0.5), counts, -1)


def forced_hits(engine: Any, pairs: Sequence[Ids], newline: int, tab: int, banned: list[int]) -> list[int]:
    """For each pair, how many symbols of its target and line end are the most probable after the true ones.

    Args:
        engine: the model's.
        pairs: each as ids that end with the newline.
        newline: the id that ends a pair.
        tab: the id between source and target.
        banned: ids that are never written, and so never the most probable.
    """
    hits = np.zeros(len(pairs), np.int64)
    order = sorted(range(len(pairs)), key=lambda number: len(pairs[number]))
    for begin in range(0, len(order), TOGETHER):
        chosen = order[begin : begin + TOGETHER]
        longest = len(pairs[chosen[-1]])
        ids = np.full((longest, len(chosen)), newline, np.int64)
        learnt = np.zeros(ids.shape, bool)
        for column, number in enumerate(chosen):
            pair = pairs[number]
            ids[: len(pair), column], learnt[: len(pair), column] = pair, target_mask(pair, newline, tab)
        streams, previous = engine.stream(len(chosen)), np.full(len(chosen), newline)
        for following, counts in zip(ids, learnt, strict=True):  # (pairs,) each
            logits = streams.step(previous).copy()  # (vocabulary, pairs)
            logits[banned] = -np.inf
            hits[chosen] += counts & (logits.argmax(0) == following)
            previous = following
    found: list[int] = hits.tolist()
    return found


def total(answered: Iterable[Answered], unknown: int = 0) -> PairScore:
    """The sums over pairs that were answered."""
    found = list(answered)
    return PairScore(
        pairs=len(found),
        exact=sum(one.answer == one.truth for one in found),
        errors=sum(one.errors for one in found),
        characters=sum(len(one.truth) for one in found),
        nats=math.fsum(one.nats for one in found),
        hits=sum(one.hits for one in found),
        unknown=unknown,
    )


def edit_distance(first: str, second: str) -> int:
    """How many insertions, deletions and replacements of characters turn one text into the other.

    The table of Levenshtein (1966) and Wagner & Fischer (1974), a row at a time.

    >>> edit_distance("kitten", "sitting"), edit_distance("", "abc"), edit_distance("same", "same")
    (3, 3, 0)
    """
    if first == second:
        return 0
    columns = code_points(second)
    along = np.arange(len(second) + 1)
    row = along
    for number, point in enumerate(code_points(first).tolist(), 1):
        changed = np.minimum(row[1:] + 1, row[:-1] + (columns != point))
        row = np.concatenate([[number], changed])
        # An insertion costs one more than the entry to the left: a running minimum once that is subtracted.
        row = np.minimum.accumulate(row - along) + along
    return int(row[-1])
