"""Tables that fit: whole where there is room, and on a narrow terminal in parts that lose nothing."""

from __future__ import annotations

import os
import pty
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.cli.tables import LEAST, table
from tests.conftest import ModelWriter, command, environment, random_model, run_charrnn

HEADER = ("name", "text", "chars", "bits", "state")
LEFT = {"name", "text", "state"}
WORDS = st.text("abcdef", min_size=1, max_size=7)


@given(st.lists(st.tuples(WORDS, WORDS, WORDS, WORDS, WORDS), min_size=1, max_size=4), st.integers(24, 60))
def test_parts_hold_what_the_whole_holds(rows: list[tuple[str, ...]], width: int) -> None:
    """Every line fits, each part begins with the key, and the parts side by side are the whole table."""
    parts = [part.splitlines() for part in table(HEADER, rows, LEFT, width=width).split("\n\n")]
    assert all(len(line) <= width for part in parts for line in part)
    cells = [[line.split() for line in part] for part in parts]
    for part in cells:
        assert [line[0] for line in part] == ["name", *(row[0] for row in rows)]
    joined = [sum((part[at][1:] for part in cells), cells[0][at][:1]) for at in range(len(rows) + 1)]
    assert joined == [list(HEADER), *map(list, rows)]
    whole = table(HEADER, rows, LEFT)
    assert [line.split() for line in whole.splitlines()] == joined
    if max(map(len, whole.splitlines())) <= width:
        assert len(parts) == 1


def test_long_cells_and_remarks_on_a_narrow_terminal() -> None:
    """Long cells lose their middle, and a remark stands in full below its row, in the first part only."""
    rows = [("a" * 50, "b" * 50, "1,000", "2.5", "finished"), ("cut", "not a whole file; copy it again")]
    assert table(HEADER, rows, LEFT, width=30) == (
        "name           text\n"
        "aaaaaaa...aaa  bbbbbbbb...bbbb\n"
        "cut\n"
        "  not a whole file; copy it\n"
        "  again\n"
        "\n"
        "name           chars  bits\n"
        "aaaaaaa...aaa  1,000   2.5\n"
        "\n"
        "name           state\n"
        "aaaaaaa...aaa  finished\n"
    )
    wide = table(HEADER, rows, LEFT).splitlines()
    assert wide[2] == "cut".ljust(52) + "not a whole file; copy it again"
    assert table(HEADER, rows, LEFT, keys=2, width=1)  # LEAST columns a cell, however narrow
    assert max(map(len, table(HEADER, rows[:1], LEFT, width=1).splitlines())) == 2 * LEAST + 2


def shown(width: int, *arguments: object, cwd: Path) -> str:
    """What a command prints on a terminal of so many columns."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        command(*arguments), stdout=theirs, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, cwd=cwd,
        env=environment({"COLUMNS": str(width)}),
    ):  # fmt: skip
        os.close(theirs)
        data = b""
        try:
            while piece := os.read(ours, 1 << 16):
                data += piece
        except OSError:  # the terminal is closed
            pass
    os.close(ours)
    return data.decode().replace("\r\n", "\n")


@pytest.mark.parametrize("width", [40, 60])
@pytest.mark.parametrize("name", ["list", "evaluate", "pairs"])
def test_commands_fit_the_terminal(tmp_path: Path, write_model: ModelWriter, name: str, width: int) -> None:
    """On a terminal of 40 or 60 columns no line of a table is longer, and all columns are there."""
    model = random_model(vocabulary="\t\n abcdefghijklmnopqrstuvwxyz")
    if name == "pairs":
        model.corpus["pairs"] = True
    path = write_model(model, "runs/a-run-with-a-long-name/model.safetensors")
    (tmp_path / "text.txt").write_text("a\tb\nbc\tcd\n" if name == "pairs" else "abc\nabd\n")
    arguments = ["list"] if name == "list" else ["evaluate", "-m", path.parent, "text.txt"]
    narrow = shown(width, *arguments, cwd=tmp_path)
    piped = run_charrnn(*arguments, cwd=tmp_path).out
    header = piped.splitlines()[0]
    assert max(map(len, piped.splitlines())) > width >= max(map(len, narrow.splitlines()))
    assert set(header.split()) <= set(narrow.split())
    assert len(narrow.split("\n\n")) > 1
