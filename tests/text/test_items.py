"""Inputs and targets; line mode: items, their split, their batches."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

import charrnn.training.batches
from charrnn.config import CorpusConfig
from charrnn.errors import CorpusError
from charrnn.text.corpus import read_corpus
from charrnn.text.items import shift_right, split_items
from charrnn.text.tokenizer import CharTokenizer
from charrnn.training.batches import IGNORED, ItemBatches, Shape
from tests.conftest import Charrnn

LETTERS = CharTokenizer("\nabc")
LINES = st.lists(st.text("abc", max_size=9), min_size=1, max_size=60)


def encoded(lines: list[str]) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    """The ids of the lines, each with its newline."""
    return np.asarray(LETTERS.encode("".join(line + "\n" for line in lines)), np.uint8)


@given(LINES, st.floats(0, 0.9))
def test_splitting_keeps_every_line_that_is_not_blank(lines: list[str], fraction: float) -> None:
    """The parts together are the lines that are not blank; none is in both, and no more are held out."""
    ids, size = split_items(encoded(lines), LETTERS.start, fraction)
    training = LETTERS.decode(ids[:size]).split("\n")[:-1]
    validation = LETTERS.decode(ids[size:]).split("\n")[:-1]
    assert Counter(training) + Counter(validation) == Counter(line for line in lines if line)
    if "" not in lines:
        assert len(validation) <= int(len(lines) * fraction)
    if "" not in lines and len(set(lines)) == len(lines):
        assert len(validation) == int(len(lines) * fraction)
    assert not {*training} & {*validation}


def test_a_last_line_without_its_end_gets_one() -> None:
    """The last line is an item whether or not a newline ends it."""
    with_end, _ = split_items(encoded(["ab", "ca"]), LETTERS.start, 0.0)
    without, _ = split_items(encoded(["ab", "ca"])[:-1], LETTERS.start, 0.0)
    assert LETTERS.decode(without) == LETTERS.decode(with_end) == "ab\nca\n"


def batches_of(lines: list[str], batch: int = 3, time: int = 5, seed: int = 1) -> ItemBatches:
    """Batches of the lines on the processor."""
    return ItemBatches(encoded(lines), LETTERS.start, Shape(batch, time), seed, torch.device("cpu"))


def items_of(targets: torch.Tensor) -> list[str]:
    """The items that a window predicts."""
    columns = targets.T.tolist()
    return [LETTERS.decode([id for id in column if id != IGNORED]) for column in columns]


@given(st.lists(st.text("abc", min_size=1, max_size=9), min_size=2, max_size=40), st.integers(0, 5))
@example(["a"] * 6 + ["a" * 9], 0)
def test_an_epoch_reads_no_item_twice(lines: list[str], epoch: int) -> None:
    """The items of an epoch's batches are lines of the text, none more often than there."""
    batches = batches_of(lines)
    read: Counter[str] = Counter()
    for step in range(batches.steps_per_epoch):
        _, targets = batches.window(epoch * batches.steps_per_epoch + step)
        read.update(items_of(targets))
    # ``batch`` is the mean, rounded.
    assert abs(sum(read.values()) / batches.steps_per_epoch - batches.batch) <= 0.5
    assert not read - Counter(line + "\n" for line in lines)


def test_each_item_is_predicted_from_the_start_symbol_and_itself() -> None:
    """Inputs are the start symbol and then the item, so that nothing of another item is seen."""
    batches = batches_of(["abc", "b", "ca", "cccc"])
    for step in range(batches.steps_per_epoch):
        inputs, targets = batches.window(step)
        for given_, wanted in zip(inputs.T.tolist(), targets.T.tolist(), strict=True):
            length = sum(id != IGNORED for id in wanted)
            assert given_[:length] == [LETTERS.start, *wanted[: length - 1]]
            assert wanted[length:] == [IGNORED] * (len(wanted) - length)
        assert batches.starts_epoch(step)


def test_epochs_are_shuffled_and_repeatable() -> None:
    """Another epoch is another order; the same step of the same seed is the same batch."""
    lines = [f"{'abc'[i % 3]}{'abc'[i // 3 % 3]}{'abc'[i // 9 % 3]}" for i in range(27)]
    one, two = batches_of(lines), batches_of(lines)
    epochs = [
        [items_of(one.window(epoch * one.steps_per_epoch + step)[1]) for step in range(one.steps_per_epoch)]
        for epoch in (0, 1)
    ]
    assert epochs[0] != epochs[1]
    last = one.steps_per_epoch - 1
    assert items_of(two.window(last)[1]) == epochs[0][last]


def test_long_items_are_read_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """An item longer than LONGEST becomes several that together are it."""
    monkeypatch.setattr(charrnn.training.batches, "LONGEST_PIECE", 4)
    batches = batches_of(["abcabcabca"], batch=1, time=4)
    assert batches.steps_per_epoch == 3
    pieces = [items_of(batches.window(step)[1])[0] for step in range(3)]
    assert sorted(pieces) == sorted(["abca", "bcab", "ca\n"])


def test_one_line_is_no_list(tmp_path: Path) -> None:
    """A text without a newline is refused by name, since there is nothing to tell items apart."""
    path = tmp_path / "one.txt"
    path.write_text("abc" * 100)
    with pytest.raises(CorpusError, match=r"one\.txt: a single line; --lines"):
        read_corpus([str(path)], CorpusConfig(lines=True))


@pytest.mark.slow
def test_lines_that_follow_each_other_are_not_learnt(charrnn: Charrnn, tmp_path: Path) -> None:
    """Where lines alternate, a text model learns which comes next and a line model cannot.

    Of the two lines, chosen evenly, one costs ln 2 = 0.693 nats over its 4 characters: 0.173 a character.
    """
    path = tmp_path / "alternating.txt"
    path.write_text("aaa\nbbb\n" * 400)
    found = {}
    # Neither of two lines could be held out: the line model is validated on the text that it learns.
    for name, flags in (("text", []), ("lines", ["--lines", "--val", path])):
        result = charrnn(
            "train", path, "-o", name, "--steps", 150, "--hidden-size", 16, "--dropout", 0, "-s", 1,
            "--batch-size", 8, "--seq-length", 16, "--precision", "fp32", *flags,
        )  # fmt: skip
        assert result.status == 0, result.err
        line = next(line for line in result.out.splitlines() if line.startswith("validation"))
        found[name] = float(line.split()[1])
    assert found["text"] < 0.1
    assert abs(found["lines"] - np.log(2) / 4) < 0.03


@given(ids=st.lists(st.integers(0, 200), max_size=20), start=st.integers(0, 200))
def test_inputs_are_the_targets_one_later(ids: list[int], start: int) -> None:
    """The inputs of targets are the start symbol and then each target, without the last."""
    assert shift_right(np.array(ids, np.uint8), start).tolist() == [start, *ids][: len(ids)]


def test_each_column_has_its_own_start() -> None:
    """Targets side by side may each begin after another symbol."""
    targets = np.array([[1, 2], [3, 4], [5, 6]])
    assert shift_right(targets, np.array([8, 9])).tolist() == [[8, 9], [1, 2], [3, 4]]
