"""How the lines of a text end."""

from __future__ import annotations

import pytest

from charrnn.text import line_ends
from charrnn.text.line_ends import LineEnds, count_line_ends
from charrnn.text.tokenizer import ByteTokenizer, CharTokenizer, Tokenizer

TOKENIZERS = (ByteTokenizer(), CharTokenizer("\n\rab"))


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
@pytest.mark.parametrize("block", [1, 2, 3, 1 << 20])
def test_line_ends_are_counted(tokenizer: Tokenizer, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    r"""Each "\r\n" counts once, and the others by themselves, wherever a block ends."""
    monkeypatch.setattr(line_ends, "BLOCK", block)
    text = "a\r\nb\n\r\n\r\r\na\rb\n\nb\r"
    assert count_line_ends(tokenizer.encode(text), tokenizer) == LineEnds(pairs=3, newlines=3, returns=3)


def test_a_vocabulary_without_one_of_them() -> None:
    """What the vocabulary lacks does not occur."""
    lone = CharTokenizer("\rab")
    assert count_line_ends(lone.encode("a\rb\r"), lone) == LineEnds(0, 0, 2)
    assert count_line_ends(CharTokenizer("\nab").encode("a\nb\n"), CharTokenizer("\nab")) == LineEnds(0, 0, 0)


def test_what_they_say_of_a_text() -> None:
    """Lone returns outnumber newlines; mixed ends are frequent on both sides; other bytes say nothing."""
    assert LineEnds(0, 0, 5).lone_returns
    assert not LineEnds(5, 0, 0).lone_returns
    assert LineEnds(40, 60, 0).mixed
    assert not LineEnds(100, 0, 0).mixed
    assert not LineEnds(1, 99, 0).mixed
    assert not LineEnds(400, 3900, 3900).mixed  # a picture
