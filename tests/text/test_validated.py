"""What is scored of the held-out text: how much, in which sections, and which symbols have a loss."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from charrnn.config import CorpusConfig
from charrnn.text.corpus import Corpus, read_corpus
from charrnn.text.validated import validated

NAMES = "".join(f"{first}{last}\n" for first in "BDKLMN" for last in ("ana", "o", "elle", "ir"))


def corpus(directory: Path, text: str, **settings: Any) -> Corpus:
    """The corpus of a file with this text."""
    (directory / "t.txt").write_text(text)
    return read_corpus([str(directory / "t.txt")], CorpusConfig(**settings))


def test_running_text_is_scored_from_its_beginning(tmp_path: Path) -> None:
    """The first of the held-out symbols, as one section; all of them have a loss."""
    found = corpus(tmp_path, NAMES * 3, val_fraction=0.5)
    scored = validated(found, 20)
    assert np.array_equal(scored.ids, found.validation[:20])
    assert scored.ends is None
    assert scored.learnt.all()
    assert (scored.count, scored.unknown_nats) == (20, 0.0)
    assert validated(found, 10**6).count == len(found.validation)


def test_lines_are_scored_whole(tmp_path: Path) -> None:
    """Each section is a line with its end."""
    found = corpus(tmp_path, NAMES, lines=True, val_fraction=0.5)
    scored = validated(found, 20)
    assert scored.ends is not None
    lines = [found.tokenizer.decode(part) for part in np.split(scored.ids, scored.ends[:-1])]
    assert all(line.count("\n") == 1 and line.endswith("\n") for line in lines)
    assert {*lines} <= {*found.tokenizer.decode(found.validation).splitlines(keepends=True)}
    longest = max(map(len, lines))
    assert 20 - longest < scored.count == len(scored.ids) < 20 + longest


def test_of_pairs_the_targets_have_a_loss(tmp_path: Path) -> None:
    """Whole pairs are read, as sections; counted are the targets and their line ends."""
    text = "".join(f"{number}\t{number * 7}\n" for number in range(40))
    found = corpus(tmp_path, text, pairs=True, val_fraction=0.5)
    scored = validated(found, 30)
    assert scored.ends is not None
    pairs = found.tokenizer.decode(scored.ids).splitlines(keepends=True)
    assert all(pair.endswith("\n") and "\t" in pair for pair in pairs)
    assert len(scored.ends) == len(pairs)
    targets = "".join(pair.split("\t")[1] for pair in pairs)
    assert found.tokenizer.decode(scored.ids[scored.learnt]) == targets
    assert scored.count == len(targets)


@pytest.mark.parametrize("lines", [False, True])
def test_another_text_is_charged_for_what_is_unknown(tmp_path: Path, lines: bool) -> None:
    """With --val its characters count, unknown ones included, which cost something; lines are sections."""
    (tmp_path / "v.txt").write_text("Bana\nXo\nMir")
    found = corpus(tmp_path, NAMES, lines=lines, val=str(tmp_path / "v.txt"))
    scored = validated(found, 10**6)
    assert found.tokenizer.decode(scored.ids).rstrip("\n") == "Bana\no\nMir"
    assert scored.count >= 11
    assert scored.unknown_nats > 0
    assert (scored.ends is not None) == lines
    if scored.ends is not None:
        assert scored.ends[:2].tolist() == [5, 7]


def test_nothing_held_out_is_nothing_scored(tmp_path: Path) -> None:
    """No symbols, whatever the kind of text."""
    for settings in ({}, {"lines": True}):
        scored = validated(corpus(tmp_path, NAMES, val_fraction=0.0, **settings), 100)
        assert (len(scored.ids), scored.count) == (0, 0)
