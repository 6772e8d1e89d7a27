"""The text that ships: written, long enough, and plain."""

from __future__ import annotations

import collections
import lzma

import pytest

from tests.conftest import PLAY, ROOT

TEXT = PLAY.read_text(encoding="utf-8")


def test_the_play_is_long_enough() -> None:
    """There are at least 120,000 characters to learn from."""
    assert len(TEXT) >= 120_000


def test_the_play_is_written_not_assembled() -> None:
    """The strongest compression leaves at least 0.30 of it, so it is no template filled in."""
    packed = lzma.compress(PLAY.read_bytes(), preset=9 | lzma.PRESET_EXTREME)
    assert len(packed) / PLAY.stat().st_size >= 0.30


def test_no_long_line_is_repeated() -> None:
    """No line of more than forty characters stands in it more than three times."""
    counts = collections.Counter(line for line in TEXT.splitlines() if len(line) > 40)
    assert counts.most_common(1)[0][1] <= 3


def test_the_play_is_plain_text() -> None:
    """It is ASCII with newlines only, without tabs or blanks at line ends, and ends with a newline."""
    assert TEXT.isascii()
    assert all(character == "\n" or character.isprintable() for character in TEXT)
    assert all(line == line.rstrip() for line in TEXT.split("\n"))
    assert TEXT.endswith("\n")
    assert not TEXT.endswith("\n\n")


def test_speakers_stand_on_their_own_lines() -> None:
    """Speakers are named in capitals on lines of their own, and there are several of them."""
    speakers = collections.Counter(
        line for line in TEXT.splitlines() if line.endswith(":") and line == line.upper()
    )
    assert len([name for name, lines in speakers.items() if lines >= 10]) >= 8


def test_the_shipped_texts_are_described() -> None:
    """The README beside the texts names each of them, its licence, and where the well-known ones are."""
    readme = ROOT / "corpora" / "README.md"
    if not readme.exists():
        pytest.fail("corpora/README.md is missing")
    text = readme.read_text(encoding="utf-8")
    for path in readme.parent.glob("*.txt"):
        assert path.name in text
    for name in ("CC0", "Shakespeare", "text8", "enwik8", "Nottingham", "Linux"):
        assert name in text, name
