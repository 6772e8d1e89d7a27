"""How far back models look that were built to look so far."""

from __future__ import annotations

import numpy as np
import pytest

from charrnn.errors import CorpusError
from charrnn.evaluation.evaluator import score_text, target_scores
from charrnn.inspection.memory import Memory, measure_memory
from charrnn.model.engine import Engine
from charrnn.model.file import ModelFile
from tests.conftest import random_model


def measured(model: ModelFile, text: str) -> Memory:
    """How far back the model looks in a text."""
    nats = -score_text(model, text).astype(np.float64)
    return measure_memory(model, model.tokenizer.encode(text), nats)


def random_text(count: int) -> str:
    """Random letters, always the same."""
    return "".join(np.random.default_rng(0).choice(list("abcdef"), count))


def without_memory() -> ModelFile:
    """A plain RNN whose recurrent matrix is zero: it knows the last character only."""
    model = random_model("rnn", 1, vocabulary="abcdef", scale=1.0)
    model.weights["layers.0.recurrent.weight"][:] = 0
    return model


def test_a_model_without_memory_needs_one_character() -> None:
    """Where the state does not matter, one character is as good as all, and shuffling changes nothing."""
    found = measured(without_memory(), random_text(1300))
    assert found.lengths == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]
    np.testing.assert_allclose(found.cut, found.whole, rtol=1e-5)
    np.testing.assert_allclose(found.shuffled, found.whole, rtol=1e-5)
    np.testing.assert_allclose(found.cut_error, 0, atol=1e-5)
    assert found.near == 1


def test_losses_are_those_of_texts_cut_by_hand() -> None:
    """The loss at k is the mean over the same characters, each read from a zero state k characters before."""
    model = random_model("lstm", vocabulary="abcdef", scale=0.8)
    text = random_text(200)
    ids = model.tokenizer.encode(text)
    found = measured(model, text)
    assert found.lengths[-1] == 64
    places = np.unique(np.linspace(64, 199, found.targets).astype(int))
    assert len(places) == found.targets
    for k, loss in zip(found.lengths, found.cut, strict=True):
        expected = [
            -target_scores(Engine(model).stream().read(ids[p - k : p])[-1:], ids[p : p + 1])[0]
            for p in places
        ]
        assert loss == pytest.approx(float(np.mean(expected)), rel=1e-4)
    whole = -score_text(model, text)
    assert found.whole == pytest.approx(float(whole[places].mean()), rel=1e-5)
    assert len(found.shuffled) == len(found.lengths) - 1


def test_near_is_the_first_within_a_hundredth() -> None:
    """The reported k is the smallest whose loss is within 1 % of the whole's."""
    found = measured(random_model("gru", vocabulary="abcdef", scale=1.0), random_text(800))
    assert found.near is not None
    index = found.lengths.index(found.near)
    assert found.cut[index] <= found.whole * 1.01
    assert all(loss > found.whole * 1.01 for loss in found.cut[:index])


def test_what_cannot_be_measured_says_why() -> None:
    """A text that is too short, and a model of single lines, are refused in one line."""
    model = random_model(vocabulary="abcdef")
    with pytest.raises(CorpusError, match=r"a text of 10 characters .* at least 64"):
        measured(model, random_text(10))
    lines = ModelFile(model.weights, model.config, model.tokenizer, {"lines": True})
    with pytest.raises(CorpusError, match="learnt single lines"):
        measured(lines, random_text(100))
