"""Dynamic evaluation: adaptive, causal, and leaving the model as it was."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from charrnn.config import EvaluationConfig
from charrnn.errors import CorpusError
from charrnn.evaluation.dynamic import DynamicEvaluator
from charrnn.evaluation.evaluator import Evaluator
from charrnn.evaluation.measure import Score, unknown_nats
from charrnn.model.file import ModelFile, load_model
from charrnn.text.scored import text_of
from tests.conftest import PLAY, random_model

TRAIN = PLAY.read_text()[:3000]


@pytest.fixture(autouse=True)
def _few_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Squared gradients of fifty segments are enough for a little model."""
    monkeypatch.setattr("charrnn.evaluation.dynamic.SEGMENTS", 50)


@pytest.fixture(scope="module")
def model(trained: Path) -> ModelFile:
    """A little model of the play."""
    return load_model(trained / "model.safetensors")


def dynamic(model: ModelFile, text: str, lr: float = 1e-3, decay: float = 0.0) -> Score:
    """The dynamic score of a text."""
    config = EvaluationConfig(dynamic_lr=lr, dynamic_decay=decay)
    return DynamicEvaluator(model, text_of(TRAIN, model.tokenizer), config).score(
        text_of(text, model.tokenizer)
    )


def static(model: ModelFile, text: str) -> Score:
    """The static score of a text."""
    return Evaluator(model).score(text_of(text, model.tokenizer))


def test_without_steps_it_is_static(model: ModelFile) -> None:
    """With a learning rate next to nothing the figure is the static one."""
    text = TRAIN[:500]
    assert dynamic(model, text, lr=1e-12).nats == pytest.approx(static(model, text).nats, rel=1e-5)


@pytest.mark.parametrize("window", [1, 7, 64, 1000])
def test_without_steps_windows_are_static(model: ModelFile, window: int) -> None:
    """With a learning rate next to nothing and --reset N, the figure is the static one with --reset N."""
    config = EvaluationConfig(dynamic_lr=1e-12, dynamic_decay=0.0, reset=str(window))
    text = text_of(TRAIN[:300], model.tokenizer)
    evaluator = DynamicEvaluator(model, text_of(TRAIN, model.tokenizer), config)
    assert evaluator.score(text).nats == pytest.approx(Evaluator(model, config).score(text).nats, rel=1e-5)


def test_it_adapts(model: ModelFile) -> None:
    """A text that repeats itself costs less the longer it is learnt."""
    text = "The bell, the bell, the bell beneath the sea! " * 30
    assert dynamic(model, text).nats < 0.9 * static(model, text).nats


def test_no_character_is_seen_before_it_is_scored(model: ModelFile) -> None:
    """A text of one segment has its static figure at any rate, and what comes new after it is a surprise."""
    text = TRAIN[:20]  # one segment
    assert dynamic(model, text, lr=0.1).nats == pytest.approx(static(model, text).nats, rel=1e-5)
    assert dynamic(model, text + "z" * 20, lr=0.1).nats > static(model, text).nats + 20 * math.log(5)


def test_decay_pulls_back(model: ModelFile) -> None:
    """The strongest pull back to the trained weights leaves the figure nearer to the static one."""
    text = "The bell, the bell, the bell beneath the sea! " * 10
    free, held = dynamic(model, text), dynamic(model, text, decay=0.9)
    assert static(model, text).nats - held.nats < 0.7 * (static(model, text).nats - free.nats)


def test_the_model_stays(model: ModelFile) -> None:
    """The model's weights are afterwards what they were, and a second text begins with them."""
    before = {name: weight.copy() for name, weight in model.weights.items()}
    evaluator = DynamicEvaluator(model, text_of(TRAIN, model.tokenizer), EvaluationConfig(dynamic_lr=1e-2))
    text = text_of(TRAIN[:200], model.tokenizer)
    assert evaluator.score(text) == evaluator.score(text)
    assert all((model.weights[name] == weight).all() for name, weight in before.items())


def test_unknown_characters_are_charged(model: ModelFile) -> None:
    """Unknown characters cost what they cost in static evaluation."""
    plain, text = TRAIN[:100], text_of(TRAIN[:50] + "語" + TRAIN[50:100], model.tokenizer)
    evaluator = DynamicEvaluator(model, text_of(TRAIN, model.tokenizer))
    charge = unknown_nats(text.unknown, text.tokenizer).sum()
    assert evaluator.score(text).nats == pytest.approx(
        dynamic(model, plain, 1e-4, 0.001).nats + charge, rel=1e-6
    )


def test_short_training_text() -> None:
    """A training text shorter than a segment is enough; one without a known character is refused."""
    model = random_model(vocabulary="abc", hidden=3)
    evaluator = DynamicEvaluator(model, text_of("ab", model.tokenizer))
    assert math.isfinite(evaluator.score(text_of("abcabc", model.tokenizer)).nats)
    with pytest.raises(CorpusError, match="--train"):
        DynamicEvaluator(model, text_of("é", model.tokenizer))
