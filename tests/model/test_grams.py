"""The tensors of an n-gram: what comes back, how small they are, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.errors import ModelFileError
from charrnn.model.grams import Tensors, check_layout, pack, unpack
from charrnn.model.ngram import NGrams
from tests.conftest import PLAY

TYPES = {"uint8": "U8", "uint16": "U16", "uint32": "U32", "int64": "I64", "float32": "F32"}


def layout_of(tensors: Tensors) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Types and shapes, as a file's header has them."""
    return {name: (TYPES[str(tensor.dtype)], tensor.shape) for name, tensor in tensors.items()}


def check(tensors: Tensors, order: int, vocabulary: int) -> None:
    """All that a reader checks."""
    check_layout(layout_of(tensors), order, vocabulary)
    unpack(tensors, vocabulary)


@given(
    train=st.lists(st.integers(0, 5), min_size=1, max_size=300),
    order=st.integers(1, 8),
    vocabulary=st.sampled_from([6, 300, 70_000, 1_000_000]),
    items=st.booleans(),
)
def test_what_is_packed_comes_back(train: list[int], order: int, vocabulary: int, items: bool) -> None:
    """Grams, counts and probabilities are those that were packed, to the last bit."""
    ids = np.array(train) * (vocabulary // 6)
    grams = NGrams(ids, vocabulary, start=0, highest=8, items=items)
    model = grams.of_order(min(order, grams.longest))
    tensors = pack(model)
    check(tensors, model.highest, vocabulary)
    found = unpack(tensors, vocabulary)
    assert (found.vocabulary, found.highest) == (vocabulary, model.highest)
    for codes, ours, theirs, ours_counts in zip(
        found.codes, model.codes, found.counts, model.counts, strict=True
    ):
        assert np.array_equal(codes, ours)
        for name in ("gram", "total", "kept", "shared"):
            assert np.array_equal(getattr(theirs, name), getattr(ours_counts, name))


def test_counts_that_need_more_than_a_byte() -> None:
    """Counts from 255 on are kept exactly."""
    model = NGrams(np.array([0] * 254 + [1] * 255 + [2] * 70_000), 3, start=2, highest=1).of_order(1)
    tensors = pack(model)
    assert tensors["grams.1.counts"].tolist() == [254, 255, 255]
    assert tensors["grams.1.more"].tolist() == [255, 70_001]
    assert unpack(tensors, 3).counts[0].gram.tolist() == [254, 255, 70_001, 0]


def test_size() -> None:
    """A text takes less than four bytes a character, at any order up to 7."""
    text = PLAY.read_bytes()
    grams = NGrams(np.frombuffer(text, np.uint8), 256, start=10)
    for order in range(1, 8):
        size = sum(tensor.nbytes for tensor in pack(grams.of_order(order)).values())
        assert size < 4 * len(text), order


def trigram() -> Tensors:
    """The tensors of a little 3-gram over five symbols."""
    return pack(NGrams(np.array([0, 1, 2, 0, 1, 3, 0, 1, 2, 2] * 3), 5, start=4, highest=3).of_order(3))


Change = Callable[[Tensors], Any]
WRONG: dict[str, tuple[Change, str]] = {
    "no counts": (lambda t: t.pop("grams.2.counts"), "grams.2.counts: expected it, found none"),
    "one tensor more": (lambda t: t.update(x=np.zeros(1, np.uint8)), "x: expected no such tensor"),
    "children of the last": (
        lambda t: t.update({"grams.3.children": t["grams.3.counts"]}),
        "grams.3.children: expected no such tensor",
    ),
    "another length": (lambda t: t.update({"grams.2.counts": t["grams.2.counts"][1:]}), "grams.2.counts"),
    "none": (lambda t: t.update({f"grams.3.{p}": np.zeros(0, np.uint8) for p in ("symbols", "counts")}), "3"),
    "two dimensions": (lambda t: t.update({"grams.2.counts": t["grams.2.counts"][None]}), "row of numbers"),
    "signed": (lambda t: t.update({"grams.2.symbols": t["grams.2.symbols"].astype(np.int64)}), "found I64"),
    "wide counts": (
        lambda t: t.update({"grams.2.counts": t["grams.2.counts"].astype(np.uint16)}), "expected U8"
    ),
    "too many children": (
        lambda t: t.update({"grams.1.children": t["grams.1.children"] + 1}), "as grams.1.children says"
    ),
    "symbols out of order": (
        lambda t: t.update({"grams.1.symbols": t["grams.1.symbols"][::-1].copy()}), "ids, ascending"
    ),
    "a symbol twice": (
        lambda t: t.update({"grams.1.symbols": t["grams.1.symbols"] * 0}), "grams.1.symbols: expected"
    ),
    "a symbol that is none": (
        lambda t: t.update({"grams.3.symbols": t["grams.3.symbols"] + 4}), "grams.3.symbols: expected"
    ),
    "more without need": (
        lambda t: t.update({"grams.2.more": np.array([300], np.uint32)}), "grams.2.more: expected 0"
    ),
    "more missing": (
        lambda t: t.update({"grams.2.counts": t["grams.2.counts"] * 0 + 255}), "grams.2.more: expected"
    ),
    "more too little": (
        lambda t: t.update(
            {"grams.1.counts": np.full(5, 255, np.uint8), "grams.1.more": np.ones(5, np.uint32)}
        ),
        "grams.1.more: expected 5 numbers from 255",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_what_is_no_tree_of_grams_is_refused(what: str) -> None:
    """Tensors that are missing, of another type or shape, or that contradict each other, name the first."""
    change, message = WRONG[what]
    tensors = {name: tensor.copy() for name, tensor in trigram().items()}
    check(tensors, 3, 5)
    change(tensors)
    with pytest.raises(ModelFileError, match=message):
        check(tensors, 3, 5)


@given(st.randoms(use_true_random=False))
def test_any_counts_make_a_distribution(draw: Any) -> None:
    """Whatever counts a file claims, the probabilities are positive and sum to one."""
    tensors = {name: tensor.copy() for name, tensor in trigram().items()}
    for k in range(1, 4):
        counts = tensors[f"grams.{k}.counts"]
        counts[:] = [draw.choice((0, 0, 1, 2, 3, 4, 254)) for _ in range(len(counts))]
    model = unpack(tensors, 5)
    contexts = model.follow(model.fresh(), np.array([4, 0, 1, 2, 3, 3, 0, 1]))
    found = model.distributions(contexts)
    assert (found > 0).all()
    assert found.sum(axis=1) == pytest.approx(np.ones(8), abs=1e-12)
