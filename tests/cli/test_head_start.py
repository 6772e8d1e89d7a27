"""What ``charrnn train`` says of the shipped model as a beginning."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from charrnn.cli.head_start import LONGEST
from tests.cli.test_texts import QUICK
from tests.conftest import PLAY, Charrnn

START = "start       the shipped model knows such text; begin with it: charrnn train "
ENGLISH = PLAY.read_text()[:12_000]


def said(charrnn: Charrnn, *arguments: object) -> list[str]:
    """The lines of a training's end that speak of a beginning."""
    result = charrnn("train", *arguments, *QUICK)
    assert result.status == 0, result.err
    return [line for line in result.out.splitlines() if line.startswith("start")]


def test_a_short_english_text_is_offered_it(charrnn: Charrnn, tmp_path: Path) -> None:
    """The command names the text, its settings and a new run, and it works."""
    (tmp_path / "a b.txt").write_text(ENGLISH)
    (line,) = said(charrnn, "a b.txt", "--min-count", 2)
    assert line == START + "'a b.txt' --min-count 2 --init-from shakespeare -o 'runs/a b-2'"
    again = ("-o", "more", "--init-from", "shakespeare", "--steps", 1, "--threads", 1)
    result = charrnn("train", "a b.txt", *again)
    assert result.status == 0, result.err
    assert "start " not in result.out


@pytest.mark.parametrize("options", [("--lines",), ("--tokenizer", "byte")])
def test_other_kinds_of_models_are_not(charrnn: Charrnn, tmp_path: Path, options: tuple[str, ...]) -> None:
    """Lines and bytes were not tried, and nothing is said."""
    (tmp_path / "a.txt").write_text(ENGLISH)
    assert said(charrnn, "a.txt", *options) == []


def test_a_text_that_it_does_not_know_is_not(charrnn: Charrnn, tmp_path: Path) -> None:
    """The same letters in another order are predicted worse than by their frequencies."""
    letters = list(ENGLISH)
    random.Random(1).shuffle(letters)
    (tmp_path / "a.txt").write_text("".join(letters))
    assert said(charrnn, "a.txt") == []


def test_a_long_text_is_not(charrnn: Charrnn, tmp_path: Path) -> None:
    """A long text has less to gain."""
    (tmp_path / "a.txt").write_text(ENGLISH * (2 * LONGEST // len(ENGLISH)))
    assert said(charrnn, "a.txt") == []
