"""Columns of .csv and .tsv files, read by the standard library's csv.

The first row that is not blank is the header, as pandas reads it: a column without a name is "Unnamed: N",
with N counted from 0, and a name that was there before gets ".1", ".2" and so on.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Sequence

from charrnn.errors import CorpusError, counted

LONGEST_LIST = 10  # names of columns in a message


def read_rows(
    pieces: Iterable[str], delimiter: str, columns: Sequence[str], name: str
) -> Iterator[tuple[str, ...]]:
    """The cells of the given columns, row by row, without rows in which all of them are blank.

    White space around a cell is left out, and that within it becomes a space, since an item is a line.
    A row that ends before a column has a blank cell there.

    Args:
        pieces: the text of the table.
        delimiter: between its cells.
        columns: names from the header, or numbers that count from 1; a name takes precedence.
        name: of the table, for messages.

    Raises:
        CorpusError: a column is missing, a row has more cells than the header, or a quotation is damaged.

    >>> list(read_rows(["id,first name\\n1,Ann\\n", "\\n2,\\n3,'Zoe B.'"], ",", ["first name"], "names.csv"))
    [('Ann',), ("'Zoe B.'",)]
    """
    reader = csv.reader(_split_lines(pieces), delimiter=delimiter)
    try:
        rows = (row for row in reader if row)
        header = column_names(next(rows, []))
        places = [_place(column, header, name) for column in columns]
        for row in rows:
            if any(row[len(header) :]):
                raise CorpusError(
                    f"{name}: line {reader.line_num:,} has {len(row)} cells and the header {len(header)}; "
                    "put cells that contain the delimiter in quotation marks"
                )
            cells = tuple(" ".join(row[place].split()) if place < len(row) else "" for place in places)
            if any(cells):
                yield cells
    except csv.Error as error:
        remedy = "add --newlines unix" if "new-line" in str(error) else "is a quotation mark missing?"
        reason = str(error).partition(" - ")[0]
        raise CorpusError(f"{name}: line {reader.line_num:,}: {reason}; {remedy}") from None


def column_names(header: Sequence[str]) -> list[str]:
    """The names of the columns, as pandas makes them from a header.

    >>> column_names(["name", "", "name", "name"])
    ['name', 'Unnamed: 1', 'name.1', 'name.2']
    """
    names: dict[str, None] = {}  # as an ordered set
    cells = set(header)
    for number, cell in enumerate(header):
        name = plain = cell or f"Unnamed: {number}"
        count = 0
        while name in names or (count and name in cells):
            count += 1
            name = f"{plain}.{count}"
        names[name] = None
    return list(names)


def _place(column: str, header: Sequence[str], name: str) -> int:
    """The place of a column, counted from 0.

    Raises:
        CorpusError: the table has no such column.
    """
    if column in header:
        return header.index(column)
    if re.fullmatch("[0-9]{1,18}", column) and 1 <= int(column) <= len(header):
        return int(column) - 1
    shown = ", ".join(header[:LONGEST_LIST]) + (", ..." if len(header) > LONGEST_LIST else "")
    raise CorpusError(
        f"{name}: --column {column}: no such column; there are {counted(len(header), 'column')}: {shown}"
    )


def _split_lines(pieces: Iterable[str]) -> Iterator[str]:
    """The lines of a text with their newlines; other line breaks, which csv sees to, stay within them."""
    rest = ""
    for piece in pieces:
        lines = (rest + piece).split("\n")
        rest = lines.pop()
        yield from (line + "\n" for line in lines)
    if rest:
        yield rest
