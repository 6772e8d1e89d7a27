"""The heat map in a terminal: shaded, or without colour with a digit for the bits below each character."""

from __future__ import annotations

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
    for character, bits, known in zip(found.characters, found.bits, found.known, strict=True):
        if width and line.cell_len >= width:
            yield from (line,) if color else (line, Line(digits))
            line, digits = Line(), ""
        # Control characters would act on the terminal, and some others have no width: show code points.
        cell = " " if character == "\n" else character if character.isprintable() else shown(character)
        style = f"{INK[shade(bits)]} on {SHADES[shade(bits)]}" if known else f"#ffffff on {UNKNOWN}"
        before = line.cell_len
        line.append(cell, style if color else "")
        digits += (str(min(9, round(float(bits)))) if known else "?").ljust(line.cell_len - before)
        if character == "\n":
            yield from (line,) if color else (line, Line(digits))
            line, digits = Line(), ""
    if digits:
        yield from (line,) if color else (line, Line(digits))


def terminal_legend(*, color: bool) -> Any:
    """The legend of the shades, or of the digits."""
    from rich.text import Text as Line

    if not color:
        return Line("below each character: its bits, 9 for more, ? where the vocabulary lacks it")
    line = Line("bits  ")
    for index, background in enumerate(SHADES):
        line.append(f" {range_of(index)} ", f"{INK[index]} on {background}")
    line.append(" unknown ", f"#ffffff on {UNKNOWN}")
    return line
