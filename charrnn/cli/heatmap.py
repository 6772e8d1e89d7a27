"""The heat map in a terminal: shaded, or without colour with a digit for the bits below each character."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from charrnn.evaluation.surprise import Surprise, shown
from charrnn.pages.heatmap import INK, SHADES, UNKNOWN, range_of, shade


def terminal_lines(found: Surprise, *, color: bool, width: int | None = None) -> Iterator[Any]:
    """The text as rich Texts, one for each line: shaded, or followed by a line of digits.

    Args:
        found: from ``surprise``.
        color: whether to use colours.
        width: cells after which lines are broken; None for no limit.
    """
    from rich.text import Text as Line

    line, digits = Line(), ""
    for cluster in clusters(found):
        if width and digits and len(digits) + cluster.width > width:
            yield from (line,) if color else (line, Line(digits))
            line, digits = Line(), ""
        bits = cluster.bits
        style = f"{INK[shade(bits)]} on {SHADES[shade(bits)]}" if cluster.known else f"#ffffff on {UNKNOWN}"
        line.append(cluster.shown, style if color else "")
        digits += (str(min(9, round(bits))) if cluster.known else "?").ljust(cluster.width)
        if cluster.ends_line:
            yield from (line,) if color else (line, Line(digits))
            line, digits = Line(), ""
    if digits:
        yield from (line,) if color else (line, Line(digits))


@dataclasses.dataclass
class Cluster:
    """What shares cells in a terminal: a character, with the marks that stand on it.

    Attributes:
        shown: how it is printed.
        width: in cells, at least 1.
        bits: of all its characters.
        known: whether the vocabulary has all of them.
        ends_line: whether it is a newline.
    """

    shown: str
    width: int
    bits: float
    known: bool
    ends_line: bool = False


def clusters(found: Surprise) -> Iterator[Cluster]:
    """The text in clusters. A mark that has no character to stand on is shown as its code point."""
    from rich.cells import cell_len

    last: Cluster | None = None
    for character, bits, known in zip(found.characters, found.bits.tolist(), found.known, strict=True):
        # Control characters would act on the terminal, and some others have no width: show code points.
        cell = " " if character == "\n" else character if character.isprintable() else shown(character)
        if last is not None:
            width = cell_len(last.shown + cell)
            if not last.ends_line and (cell_len(cell) == 0 or width == last.width):
                last = Cluster(last.shown + cell, width, last.bits + bits, last.known and bool(known))
                continue
            yield last
        if cell_len(cell) == 0:
            cell = f"U+{ord(character):04X}"
        last = Cluster(cell, cell_len(cell), bits, bool(known), character == "\n")
    if last is not None:
        yield last


def terminal_legend(*, color: bool) -> Any:
    """The legend of the shades, or of the digits."""
    from rich.text import Text as Line

    if not color:
        return Line(
            "below each character: its bits and its marks', 9 for more, ? where the vocabulary lacks it"
        )
    line = Line("bits  ")
    for index, background in enumerate(SHADES):
        line.append(f" {range_of(index)} ", f"{INK[index]} on {background}")
    line.append(" unknown ", f"#ffffff on {UNKNOWN}")
    return line
