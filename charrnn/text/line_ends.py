r"""How the lines of a text end: in "\n", in "\r\n", or in "\r" as on old Macintoshes."""

from __future__ import annotations

import dataclasses

import numpy as np

from charrnn.text.tokenizer import Ids, Tokenizer

BLOCK = 1 << 20  # symbols at a time
SOME = 0.02  # of the lines, from which on a second way to end them is no accident


@dataclasses.dataclass(frozen=True)
class LineEnds:
    r"""How often each of them occurs.

    Attributes:
        pairs: "\r\n".
        newlines: "\n" without "\r" before it.
        returns: "\r" without "\n" after it.
    """

    pairs: int
    newlines: int
    returns: int

    @property
    def lone_returns(self) -> bool:
        r"""Whether lines seem to end in "\r" alone."""
        return self.returns > 2 * (self.newlines + self.pairs)

    @property
    def mixed(self) -> bool:
        r"""Whether some lines end in "\n" and others in "\r\n"; in what is no text, "\r" stands anywhere."""
        ends = self.pairs + self.newlines
        return min(self.pairs, self.newlines) > SOME * ends and self.returns < SOME * ends


def count_line_ends(ids: Ids, tokenizer: Tokenizer) -> LineEnds:
    r"""The line ends of a text's ids (symbols,), counted in blocks of bounded memory."""
    carriage_return, newline = (int(id) for id in tokenizer.lookup("\r\n"))
    if carriage_return >= tokenizer.size:
        return LineEnds(0, 0, 0)  # which does not interest anyone
    pairs = newlines = returns = 0
    for begin in range(0, len(ids), BLOCK):
        block = ids[begin : begin + BLOCK]
        newlines += int(np.count_nonzero(block == newline))
        found = np.flatnonzero(block == carriage_return) + begin
        returns += len(found)
        following = found[found + 1 < len(ids)] + 1
        pairs += int(np.count_nonzero(ids[following] == newline))
    if newline >= tokenizer.size:
        newlines = pairs = 0
    return LineEnds(pairs, newlines - pairs, returns - pairs)
