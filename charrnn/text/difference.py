"""How far a held-out text is from the training text, by the frequencies of their symbols."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.text.tokenizer import Ids, Tokenizer

BLOCK = 1 << 20  # symbols at a time

# Nats a symbol from which two parts are different texts. The last tenth of every ordinary corpus that was
# tried stays below 0.15: plays, prose, tunes and directories of Python sources, from 5,000 characters on; a
# few hundred characters of a script below 0.3. Four characters in a hundred that training lacks exceed it.
GROSS = 0.5


@dataclasses.dataclass(frozen=True)
class Difference:
    """What a held-out text has that the training text has not, or has rarely.

    Attributes:
        symbols: the number of held-out symbols.
        missing: how many of them the training text lacks.
        kinds: the different ones among these, for people to read, the most frequent first.
        excess: the cross-entropy of the held-out symbols under the training text's frequencies (each count
            plus one), less their own entropy and what chance adds to that in so short a text, in nats a
            symbol; at least 0.
    """

    symbols: int
    missing: int
    kinds: tuple[str, ...]
    excess: float

    @property
    def share(self) -> float:
        """The share of the held-out symbols that the training text lacks."""
        return self.missing / max(1, self.symbols)

    @property
    def gross(self) -> bool:
        """Whether the two are different texts, so that one says little of the other."""
        return self.excess >= GROSS


def difference(
    train: Ids,
    held_out: Ids,
    tokenizer: Tokenizer,
    strangers: Mapping[str, int] | None = None,
    unknown: int = 0,
) -> Difference:
    """The difference between a training text and a held-out one.

    Args:
        train: (symbols,) ids.
        held_out: (symbols,) ids; without those symbols that the vocabulary lacks, unless it has an unknown
            symbol.
        tokenizer: of both.
        strangers: how often each character occurs in the held-out text that the vocabulary lacks.
        unknown: how many such characters there are.
    """
    learnt, found = _counts(train, tokenizer.size), _counts(held_out, tokenizer.size)
    lacking = np.flatnonzero((found > 0) & (learnt == 0))
    kinds = dict(strangers or {})
    missing = unknown + int(found[lacking].sum())
    if tokenizer.unknown is None and unknown:
        learnt, found = np.append(learnt, 0), np.append(found, unknown)
    elif unknown:  # folded into one symbol, which may be one of those that are lacking
        lacking = lacking[lacking != tokenizer.unknown]
        missing = unknown + int(found[lacking].sum())
    kinds |= {tokenizer.label(id): int(found[id]) for id in lacking.tolist()}
    names = tuple(sorted(kinds, key=lambda kind: -kinds[kind]))
    return Difference(int(found.sum()), missing, names, _excess(learnt, found))


def _counts(ids: Ids, size: int) -> NDArray[np.int64]:
    """How often each id below ``size`` occurs (size,), counted in blocks of bounded memory."""
    counts = np.zeros(size, np.int64)
    for begin in range(0, len(ids), BLOCK):
        counts += np.bincount(ids[begin : begin + BLOCK], minlength=size)
    return counts


def _excess(learnt: NDArray[Any], found: NDArray[Any]) -> float:
    """The Kullback-Leibler divergence of the held-out frequencies from the training ones, less its bias.

    Where both come from one source with K symbols, twice the divergence times the N held-out symbols is
    distributed as chi squared with K - 1 degrees of freedom (the G-test), of which the mean is K - 1.
    """
    total = int(found.sum())
    if total == 0:
        return 0.0
    kinds = int(((learnt + found) > 0).sum())
    there = found > 0
    held_out = found[there] / total
    training = (learnt[there] + 1) / (learnt.sum() + kinds)
    divergence = float((held_out * np.log(held_out / training)).sum())
    return max(0.0, divergence - (kinds - 1) / (2 * total))
