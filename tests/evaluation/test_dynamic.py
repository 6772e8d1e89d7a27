"""Dynamic evaluation: adaptive, causal, and leaving the model as it was."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from charrnn.errors import CorpusError
from charrnn.evaluation.dynamic import DynamicEvaluator
from charrnn.evaluation.evaluator import Evaluator
from charrnn.evaluation.measure import Score
from charrnn.model.file import ModelFile, load_model
from charrnn.model.network import build_model
from charrnn.text.scored import text_of, unknown_nats
from charrnn.use_config import EvaluationConfig
from tests.conftest import ALPHABET, PLAY, random_model

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


@pytest.mark.parametrize("vocabulary", [ALPHABET, None])
@pytest.mark.parametrize("reset", ["none", "lines"])
@pytest.mark.parametrize("segment", [1, 7, 20])
def test_without_steps_it_is_static_at_every_reset(vocabulary: str | None, reset: str, segment: int) -> None:
    """Static and dynamic evaluation begin anew at the same places, for characters and bytes, as asked."""
    model = random_model(vocabulary=vocabulary)
    text = "Ann\nMia\n\nWilhelmina von und zu der Lippe\n" * 5 + "Bo"
    config = EvaluationConfig(reset=reset, dynamic_lr=1e-12, dynamic_decay=0.0, dynamic_segment=segment)
    score = DynamicEvaluator(model, text_of(TRAIN, model.tokenizer), config).score(
        text_of(text, model.tokenizer)
    )
    expected = Evaluator(model, config).score(text_of(text, model.tokenizer)).nats
    assert score.nats == pytest.approx(expected, rel=1e-5)


def test_a_model_of_lines_begins_anew_without_being_asked() -> None:
    """Unknown characters at line ends included, --reset auto is as the model was trained."""
    model = random_model()
    model.corpus["lines"] = True
    text = text_of("Ann\n語\nMia語\n" * 8, model.tokenizer)
    config = EvaluationConfig(dynamic_lr=1e-12, dynamic_decay=0.0)
    score = DynamicEvaluator(model, text_of(TRAIN, model.tokenizer), config).score(text)
    assert score.nats == pytest.approx(Evaluator(model).score(text).nats, rel=1e-5)


@pytest.mark.parametrize("reset", ["none", "lines"])
def test_squares_are_those_of_the_segment_in_its_place(reset: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A segment's gradient has the 80 characters before it as its past, or what its line has of them."""
    monkeypatch.setattr("charrnn.evaluation.dynamic.SEGMENTS", 1)  # at the text's beginning
    model = random_model(scale=0.3)
    text = (
        "the sea is deep and the bell is old, my lord, and so on it goes\nfor ever under\nthe tide, they say"
    )
    config = EvaluationConfig(reset=reset, dynamic_segment=20)
    evaluator = DynamicEvaluator(model, text_of(text[:100], model.tokenizer), config)
    begins = text.rindex("\n", 0, 80) + 1 if reset == "lines" else 0
    ids = torch.tensor([model.tokenizer.start, *model.tokenizer.encode(text[begins:100])])[:, None]
    network = build_model(model.config, model.weights)
    logits, _ = network(ids[:-1])  # (time, 1, vocabulary)
    own = slice(80 - begins, None)
    loss = torch.nn.functional.cross_entropy(logits[own].flatten(0, 1), ids[1:][own].flatten())
    gradient = torch.autograd.grad(loss, [network.output.bias])[0]
    names = [name for name, _ in network.named_parameters()]
    found = evaluator._squares[names.index("output.bias")]
    assert found == pytest.approx(gradient.square(), rel=1e-3, abs=1e-9)


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
