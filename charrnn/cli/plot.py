"""Curves in a terminal: a plot of letters on a grid, and rows of blocks of eight heights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

BLOCKS = "▁▂▃▄▅▆▇█"


def blocks(values: Sequence[float], width: int, low: float, high: float) -> str:
    """A row of at most ``width`` blocks whose heights say where each value stands between two others.

    Where there are more values than columns, each column shows the mean of its own.

    >>> blocks([0.0, 0.5, 1.0], 10, 0.0, 1.0)
    '▁▅█'
    """
    parts = np.array_split(np.asarray(values, np.float64), min(width, len(values)))
    heights = [(float(part.mean()) - low) / ((high - low) or 1.0) for part in parts]
    return "".join(BLOCKS[round(min(1.0, max(0.0, height)) * (len(BLOCKS) - 1))] for height in heights)


Points = Sequence[tuple[float, float | None]]


def grid(series: Mapping[str, Points], width: int, height: int) -> list[str]:
    """Lines that plot series over a common x, each with the first letter of its name.

    Where two fall on one place the later one is seen. A value that is None is left out.

    Args:
        series: for each name its points.
        width: columns in all.
        height: lines of the grid, without the one that names x.
    """
    known = {name: [(x, y) for x, y in points if y is not None] for name, points in series.items()}
    xs = [x for points in known.values() for x, _ in points]
    ys = [y for points in known.values() for _, y in points]
    if not xs:
        return []
    left, right, low, high = min(xs), max(xs), min(ys), max(ys)
    labels = [f"{high - (high - low) * row / max(1, height - 1):.2f}" for row in range(height)]
    margin = max(map(len, labels))
    columns = max(8, width - margin - 2)
    cells = [[" "] * columns for _ in range(height)]
    for name, points in known.items():
        for x, y in points:
            column = round((x - left) / ((right - left) or 1) * (columns - 1))
            row = round((high - y) / ((high - low) or 1) * (height - 1))
            cells[row][column] = name[0]
    lines = [
        f"{label.rjust(margin)} |{''.join(row)}".rstrip() for label, row in zip(labels, cells, strict=True)
    ]
    first, last = f"{left:,.0f}", f"{right:,.0f}"
    return [*lines, " " * (margin + 2) + first + last.rjust(columns - len(first))]
