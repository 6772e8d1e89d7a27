"""Exact matches, character errors and nats of targets, against plain loops."""

from __future__ import annotations

import dataclasses
import doctest
import functools
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import charrnn.evaluation.pairs
from charrnn.evaluation.evaluator import Evaluator
from charrnn.evaluation.pairs import (
    TOGETHER,
    Answered,
    all_hits,
    edit_distance,
    forced_hits,
    target_nats,
    total,
)
from charrnn.model.engine import Engine
from charrnn.sampling.each import EachLine
from charrnn.sampling.session import SamplingSession
from charrnn.text.scored import text_of
from charrnn.use_config import SamplingConfig
from tests.conftest import random_model


def test_examples() -> None:
    """The examples in the docstrings hold."""
    assert doctest.testmod(charrnn.evaluation.pairs).failed == 0


@given(st.text("abc", max_size=7), st.text("abc", max_size=7))
def test_edit_distance_is_that_of_the_recursion(first: str, second: str) -> None:
    """The distance is the least number of edits, as its recursive definition says."""

    @functools.cache
    def distance(i: int, j: int) -> int:
        if not i or not j:
            return i + j
        changed = distance(i - 1, j - 1) + (first[i - 1] != second[j - 1])
        return min(changed, distance(i - 1, j) + 1, distance(i, j - 1) + 1)

    assert edit_distance(first, second) == distance(len(first), len(second))


def test_sums_over_pairs() -> None:
    """Exact matches, error rate and nats are sums over pairs, divided at the end."""
    score = total([Answered("a", "abcd", "abcd", 1.0, 5), Answered("b", "xy", "xz1", 2.5, 1)], unknown=1)
    assert (score.pairs, score.exact, score.errors, score.characters) == (2, 1, 2, 6)
    assert (score.exact_share, score.error_rate) == (0.5, 2 / 6)
    assert score.nats_per_character == pytest.approx(3.5 / 8)
    assert score.accuracy == 6 / 8
    assert score.unknown == 1


@pytest.mark.parametrize("vocabulary", ["\t\nabc", None])
def test_target_nats_are_those_of_the_targets_alone(vocabulary: str | None) -> None:
    """A pair's nats are those of its target and line end, the state beginning anew at each pair."""
    model = dataclasses.replace(random_model(vocabulary=vocabulary), corpus={"pairs": True})
    lines = ["ab\tc", "a\tbca", "ccc\ta"]
    symbols = "\n".join(lines) + "\n"
    text = text_of(symbols, model.tokenizer)
    found = target_nats(text, Evaluator(model).log_probabilities(text), symbols)
    for line, nats in zip(lines, found, strict=True):
        alone = Evaluator(model).log_probabilities(text_of(line + "\n", model.tokenizer))
        assert nats == pytest.approx(-float(alone[line.index("\t") + 1 :].sum()), abs=1e-4)


@pytest.mark.parametrize("vocabulary", ["\t\nabc", None])
def test_teacher_forcing_counts_what_is_most_probable_after_the_truth(vocabulary: str | None) -> None:
    """Hits are the target symbols, line end included, that one stream finds most probable at their place."""
    model = random_model(vocabulary=vocabulary, scale=1.0)
    tokenizer, engine = model.tokenizer, Engine(model)
    generator = np.random.default_rng(0)
    letters = np.array(list("abc"))
    lines = [
        "".join(generator.choice(letters, 3)) + "\t" + "".join(generator.choice(letters, size)) + "\n"
        for size in generator.integers(1, 9, 2 * TOGETHER + 5)
    ]
    tab = int(tokenizer.encode("\t")[0])
    banned = [tab, *range(65, 70)] if vocabulary is None else [tab]
    found = forced_hits(engine, [tokenizer.encode(line) for line in lines], tokenizer.start, tab, banned)
    for line, hits in zip(lines, found, strict=True):
        ids = tokenizer.encode(line).astype(np.int64)
        logits = engine.stream().read(np.concatenate([[tokenizer.start], ids[:-1]]))
        logits[:, banned] = -np.inf
        assert hits == (logits.argmax(1) == ids)[line.index("\t") + 1 :].sum()
    if vocabulary is not None:  # of 256 bytes, random weights find none
        assert 0 < sum(found) < sum(len(line) - line.index("\t") - 1 for line in lines)


@pytest.mark.parametrize(("unknown", "seed"), [(True, 5), (False, 24)])
def test_hits_that_scores_tell_are_those_of_reading_again(unknown: bool, seed: int) -> None:
    """Where scores decide, the hits are those of ``forced_hits``; unknown characters are never hits."""
    model = random_model(vocabulary="\t\nabc", scale=1.5, seed=seed, unknown=unknown)
    model = dataclasses.replace(model, corpus={"pairs": True})
    model.weights["output.bias"][[0, *range(5, model.tokenizer.size)]] -= 9  # never written
    model.weights["output.bias"][1] += 2  # so that answers are short
    tokenizer, engine = model.tokenizer, Engine(model)
    sources = ["".join(letters) for size in (1, 2, 3, 4) for letters in itertools.product("abc", repeat=size)]
    config = SamplingConfig(temperature=0.0, length=6)
    found = EachLine(SamplingSession(model, config)).texts([sources])
    lines = [f"{one.source}\t{one.text}{'?' * (at % 9 == 8)}\n" for at, one in enumerate(found)]
    text = text_of("".join(lines), tokenizer)
    banned = [0] if tokenizer.unknown is None else [0, tokenizer.unknown]
    pairs = np.split(text.ids, text.place(text.line_ends)[:-1])
    expected = forced_hits(engine, pairs, tokenizer.start, 0, banned)
    told = all_hits(text, Evaluator(model).log_probabilities(text), "".join(lines))
    assert 10 < (told >= 0).sum() < len(lines) - 20
    assert all(one in (-1, hits) for one, hits in zip(told.tolist(), expected, strict=True))
    assert (told[8::9] == -1).all()
