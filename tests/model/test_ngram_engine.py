"""Stepping an n-gram: one text, many in lockstep and whole texts agree, and so do states that come back."""

from __future__ import annotations

import numpy as np
import pytest

from charrnn.model.counts import Numbers
from charrnn.model.ngram import KneserNey, NGrams, blocks
from charrnn.model.ngram_engine import NGramEngine
from tests.conftest import PLAY


@pytest.fixture(scope="module")
def ids() -> Numbers:
    """A play as ids, of 62 symbols."""
    points = [ord(c) for c in PLAY.read_text()[:30_000]]
    return np.unique(points, return_inverse=True)[1].astype(np.int64)


@pytest.fixture(scope="module", params=[1, 2, 6])
def model(request: pytest.FixtureRequest, ids: Numbers) -> KneserNey:
    """N-grams of its beginning."""
    return NGrams(ids[:20_000], int(ids.max()) + 1, start=0).of_order(request.param)


def test_steps_are_what_reading_gives(model: KneserNey, ids: Numbers) -> None:
    """Logits step by step, in lockstep and of a whole text are one, and log probabilities that sum to 1."""
    text = ids[20_000:20_300]
    engine = NGramEngine(model)
    read = engine.stream().read(text)
    single, many = engine.stream(), engine.stream(3)
    for time, id in enumerate(text.tolist()):
        assert single.step(id) == pytest.approx(read[time], abs=1e-12)
        columns = many.step(np.array([id, 0, id]))
        assert columns.shape == (model.vocabulary, 3)
        assert columns[:, 0] == pytest.approx(read[time], abs=1e-12)
        assert columns[:, 2] == pytest.approx(read[time], abs=1e-12)
    assert np.exp(read).sum(axis=1) == pytest.approx(np.ones(300), abs=1e-12)
    assert np.abs(read.max(axis=1)).max() <= engine.largest


def test_steps_are_what_scoring_gives(model: KneserNey, ids: Numbers) -> None:
    """The probability of each symbol is the one that scores are made of."""
    text = ids[20_000:20_300]
    ((_, contexts, symbols),) = blocks(model, text, 0)
    read = NGramEngine(model).stream().read(np.concatenate([[0], text[:-1]]))
    assert np.exp(read[np.arange(300), text]) == pytest.approx(
        model.probabilities(contexts, symbols), rel=1e-12
    )


def test_reading_in_pieces(model: KneserNey, ids: Numbers,
                           monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    """A text read in pieces, and in blocks, gives the logits of the whole."""
    text = ids[20_000:20_100]
    whole = NGramEngine(model).stream().read(text)
    monkeypatch.setattr("charrnn.model.ngram_engine.READ", 7 * model.vocabulary)
    stream = NGramEngine(model).stream()
    pieces = [stream.read(text[:33]), stream.step(int(text[33]))[None].copy(), stream.read(text[34:])]
    assert np.concatenate(pieces) == pytest.approx(whole, abs=1e-12)


def test_saved_states(model: KneserNey, ids: Numbers) -> None:
    """A restored state goes on as it would have, in one stream, in all and in one of many."""
    engine = NGramEngine(model)
    stream = engine.stream()
    stream.read(ids[:50])
    saved = stream.save()
    expected = stream.step(5).copy()
    stream.step(7)
    stream.restore(saved)
    assert np.array_equal(stream.step(5), expected)
    many = engine.stream(4)
    many.restore(saved)
    assert many.step(np.array([5, 5, 5, 5])) == pytest.approx(np.tile(expected[:, None], 4), abs=1e-12)
    many.restore(saved, [2])
    assert many.step(np.array([7, 7, 5, 7]))[:, 2] == pytest.approx(expected, abs=1e-12)
    many.restore(many.gather([many.save([2]), many.save()], [0, 1, 1]), [3, 0, 1], [0, 1, 2])
    many.select(np.array([2, 3, 0, 1]))
    after = many.step(np.array([9, 9, 9, 9]))
    assert np.array_equal(after[:, 0], after[:, 1])
    both = many.gather([many.save([3]), many.save(np.array([0, 1]))], [1, 0, 2])
    assert np.array_equal(both, many.contexts[:, [0, 3, 1]])
    kept = many.save()
    once = many.step(np.array([1, 2, 3, 4]))
    many.restore(kept)
    assert np.array_equal(many.step(np.array([1, 2, 3, 4])), once)
