"""Tables of aligned columns, for people and for awk; on a narrow terminal as several, one below the other."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Collection, Iterator, Sequence

from charrnn.cli.output import one_line

GAP = "  "
LEAST = 8  # columns of a terminal that a cell keeps, however narrow that is

Row = Sequence[str]


def terminal_width() -> int | None:
    """The columns of the terminal on stdout; None if it is none."""
    return shutil.get_terminal_size().columns if sys.stdout is not None and sys.stdout.isatty() else None


def table(
    header: Row, rows: Sequence[Row], left: Collection[str], *, keys: int = 1, width: int | None = None
) -> str:
    """Columns below a header, without colour; the last cell of a row that ends early is a remark.

    Where they do not fit, the columns follow in several tables, each of which begins with the first ``keys``
    columns. Of cells that are too long even so the middle is left out.

    Args:
        header: the names of the columns.
        rows: their cells.
        left: the names of the columns that are aligned to the left.
        keys: how many columns say what a row is about.
        width: of the terminal, in columns; None for a file or a pipe, where no table is broken.

    >>> rows = [("play", "1m", "1,000"), ("b", "a remark")]
    >>> print(table(("name", "age", "chars"), rows, {"name"}), end="")
    name  age  chars
    play   1m  1,000
    b     a remark
    >>> print(table(("name", "age", "chars"), rows, {"name"}, width=12), end="")
    name  age
    play   1m
    b
      a remark
    <BLANKLINE>
    name  chars
    play  1,000
    """
    cells = [(list(row), "") if len(row) == len(header) else (list(row[:-1]), row[-1]) for row in rows]
    whole = _aligned(header, cells, left)
    if width is None or max(map(len, whole)) <= width:
        return "".join(line + "\n" for line in whole)
    return "\n".join(
        "".join(line + "\n" for line in lines) for lines in _broken(header, cells, left, keys, width)
    )


def _aligned(header: Row, cells: Sequence[tuple[list[str], str]], left: Collection[str]) -> list[str]:
    """The lines of a table; remarks stand where their row ends."""
    every = [(list(header), ""), *cells]
    widths = [max(len(row[at]) for row, _ in every if at < len(row)) for at in range(len(header))]
    lines = []
    for row, remark in every:
        padded = [
            cell.ljust(width) if name in left else cell.rjust(width)
            for name, cell, width in zip(header, row, widths, strict=False)
        ]
        lines.append(GAP.join([*padded, remark]).rstrip())
    return lines


def _broken(
    header: Row, cells: Sequence[tuple[list[str], str]], left: Collection[str], keys: int, width: int
) -> Iterator[list[str]]:
    """The lines of each of several tables that are as wide as a terminal."""
    room = max(LEAST, width // (keys + 1) - len(GAP))  # of a key: one more column is to stand beside them
    every = [list(header), *(row for row, _ in cells)]
    names = [[len(one_line(row[at], room)) for row in every if at < len(row)] for at in range(keys)]
    beside = max(LEAST, width - sum(max(lengths) + len(GAP) for lengths in names))
    limits = [room] * keys + [beside] * (len(header) - keys)
    short = [[one_line(cell, limit) for cell, limit in zip(row, limits, strict=False)] for row in every]
    widths = [max(len(row[at]) for row in short if at < len(row)) for at in range(len(header))]
    groups: list[list[int]] = [[]]
    for at in range(keys, len(header)):
        if groups[-1] and sum(widths[other] + len(GAP) for other in groups[-1]) + widths[at] > beside:
            groups.append([])
        groups[-1].append(at)
    for number, group in enumerate(groups):
        chosen = [*range(keys), *group]
        remarks = [remark for _, remark in cells]
        shown = [
            ([row[at] for at in chosen if at < len(row)], "")
            for row, remark in zip(short[1:], remarks, strict=True)
            if not (number and remark)
        ]
        lines = _aligned([short[0][at] for at in chosen], shown, left)
        yield lines if number else list(_with_remarks(lines, ["", *remarks], width))


def _with_remarks(lines: Sequence[str], remarks: Sequence[str], width: int) -> Iterator[str]:
    """The lines, each with its remark below it, if it has one."""
    for line, remark in zip(lines, remarks, strict=True):
        yield line
        yield from textwrap.wrap(
            remark, max(2 * LEAST, width), initial_indent=GAP, subsequent_indent=GAP, break_on_hyphens=False
        )
