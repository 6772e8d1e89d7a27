"""Scores of mixtures, and weights that are fitted."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.errors import CorpusError
from charrnn.evaluation import evaluator
from charrnn.evaluation.evaluator import Evaluator
from charrnn.evaluation.mixing import (
    LEAST,
    CrossFitted,
    cross_fitted,
    fit_mix,
    fit_weights,
    learnt_symbols,
    probabilities_of,
)
from charrnn.model.engines import make_engine
from charrnn.model.file import ModelFile
from charrnn.model.mixture import match, mix_models
from charrnn.text.scored import text_of, unknown_nats
from charrnn.use_config import EvaluationConfig
from tests.conftest import random_model
from tests.model.test_mixture import ngram

TEXT = "ab cab\n\nz dab z\ncab" * 3


def stepped(model: ModelFile, text: str, resets: set[int], *, keep_input: bool = False) -> Iterator[float]:
    """The log probability of each id of a text, one step after the other."""
    scored = text_of(text, model.tokenizer)
    engine, stream = make_engine(model), make_engine(model).stream()
    last = model.tokenizer.start
    for place, id in enumerate(scored.ids.tolist()):
        if place in resets:
            stream = engine.stream()
            last = last if keep_input else model.tokenizer.start
        yield float(stream.step(last)[id])
        last = id


@pytest.fixture(params=["same", "unknown", "unread"])
def mixed(request: pytest.FixtureRequest) -> ModelFile:
    """Mixtures of a network and an n-gram of other texts, which match in different ways."""
    network = random_model(vocabulary="\n abcd", unknown=request.param == "unknown")
    other = ngram(
        {"same": "\n abcd" * 9, "unknown": "abcd e\nb" * 9, "unread": "abc e\nb" * 9}[request.param]
    )
    return mix_models([network, other], [2, 1])


@pytest.mark.parametrize("reset", ["none", "lines", "5"])
@pytest.mark.parametrize("torch", [False, True])
def test_scores_are_those_of_steps(
    mixed: ModelFile, reset: str, torch: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A text's score is the sum over the engine's steps, and what unknown characters cost beside."""
    if torch:
        monkeypatch.setattr(evaluator, "NUMPY_SECONDS", 0)
    config = EvaluationConfig(reset=reset)
    text = text_of(TEXT, mixed.tokenizer)
    ends = evaluator.section_ends(mixed, config, text)
    resets = set() if ends is None else set(ends.tolist())
    found = Evaluator(mixed, config)
    expected = -sum(stepped(mixed, TEXT, resets, keep_input=reset == "5"))
    expected += float(unknown_nats(text.unknown, mixed.tokenizer).sum())
    # The character before a window may be unread: a scorer has read the one before it, the engine has not.
    exact = reset != "5" or all(match(mixed.tokenizer, part.tokenizer).complete for part in mixed.parts)
    assert found.score(text).nats == pytest.approx(expected, rel=1e-5 if exact else 1e-2)
    assert found.used.startswith("torch fp32" if torch else "numpy fp32 x1")
    assert found.used.endswith(" + numpy fp64 x1")


@given(st.lists(st.floats(0.01, 0.99), min_size=4, max_size=4), st.floats(0, 1))
def test_no_other_weights_are_better(rows: list[float], other: float) -> None:
    """The fitted weights make the text at least as probable as any others."""
    probabilities = np.array(rows).reshape(2, 2)
    weights = fit_weights(probabilities)
    assert weights.sum() == pytest.approx(1)
    found = float(np.log(weights @ probabilities).sum())
    against = float(np.log(np.array([other, 1 - other]) @ probabilities).sum())
    assert found >= against - 1e-4


def test_weights_of_what_is_useless() -> None:
    """A model that never expects what comes keeps the least weight; no text leaves them equal."""
    assert fit_weights(np.array([[0.5, 0.5], [0.0, 0.0]])).tolist() == pytest.approx([1 - LEAST, LEAST])
    assert fit_weights(np.zeros((2, 3))).tolist() == [0.5, 0.5]


def test_fitting(tmp_path: Path) -> None:
    """Weights are fitted on the first model's validation split, and make it more probable than others do."""
    from charrnn.config import CorpusConfig, NGramConfig
    from charrnn.model.file import load_model
    from charrnn.training.counting import count_run
    from tests.conftest import PLAY

    play, models = PLAY.read_text(), []
    for name, half in (("a", play[:80_000]), ("b", play[80_000:])):
        (tmp_path / f"{name}.txt").write_text(half)
        config = CorpusConfig(), NGramConfig(order=5)
        models.append(load_model(count_run([str(tmp_path / f"{name}.txt")], tmp_path / name, *config).path))
    found, text = fit_mix(models)
    assert (text.name, text.characters) == ("a (validation)", 8000)
    best = Evaluator(found).score(text).nats
    for weight in (0.01, 0.1, 0.3, 0.5):
        assert best < Evaluator(mix_models(models, [weight, 1 - weight])).score(text).nats + 1e-6
    assert best < min(Evaluator(model).score(text).nats for model in models)
    assert math.isclose(sum(found.mix), 1)
    gone = dataclasses.replace(models[0], corpus={})
    with pytest.raises(CorpusError, match="give the weights yourself, with --mix"):
        fit_mix([gone, models[1]])


@given(st.integers(0, 10_000), st.integers(1, 40), st.booleans())
def test_no_half_has_a_part_in_its_own_weights(seed: int, count: int, pairs: bool) -> None:
    """Each half has weights fitted to the other, and the text is no more probable than with the best ones."""
    generator = np.random.default_rng(seed)
    found = generator.uniform(0.01, 1, (2, count))
    learnt = generator.random(count) < 0.6 if pairs else np.ones(count, np.bool_)
    mixed = cross_fitted(found, learnt)
    half = next(at for at in range(count + 1) if learnt[:at].sum() == learnt.sum() // 2)
    if learnt[half:].any():  # unlearnt symbols between the halves may be in either
        half += int(learnt[half:].argmax())
    first, second = (fit_weights(part[:, kept]) for part, kept in (
        (found[:, :half], learnt[:half]), (found[:, half:], learnt[half:])
    ))  # fmt: skip
    np.testing.assert_allclose(mixed[:half][learnt[:half]], (second @ found[:, :half])[learnt[:half]])
    np.testing.assert_allclose(mixed[half:][learnt[half:]], (first @ found[:, half:])[learnt[half:]])
    best = np.log(fit_weights(found[:, learnt]) @ found[:, learnt]).sum()
    assert np.log(mixed[learnt]).sum() <= best + 1e-4 * count


def test_the_text_that_weights_were_fitted_to(mixed: ModelFile) -> None:
    """``CrossFitted`` scores a text with the probabilities of ``cross_fitted``, whatever the parts lack."""
    text = text_of(TEXT, mixed.tokenizer)
    found = probabilities_of(mixed, text)
    expected = float(unknown_nats(text.unknown, mixed.tokenizer).sum())
    expected -= np.log(cross_fitted(found, np.ones(found.shape[1], np.bool_))).sum()
    assert CrossFitted(mixed).score(text).nats == pytest.approx(expected)


def test_sources_have_no_part_in_the_weights_of_pairs() -> None:
    """Weights of models of pairs are those under which the targets are most probable."""
    parts = [random_model(vocabulary="\t\nabc", seed=seed, scale=1.5) for seed in (0, 1)]
    parts[0] = dataclasses.replace(parts[0], corpus={"pairs": True})
    text = text_of("ab\tc\ncab\tba\nb\tcc\n" * 5, parts[0].tokenizer)
    found, _ = fit_mix(parts, text)
    mask = learnt_symbols(found, text.ids)
    assert "".join(np.array(list("ab\tc\ncab\tba\n"))[mask[:12]]) == "c\nba\n"
    expected = fit_weights(probabilities_of(mix_models(parts, [1, 1]), text)[:, mask])
    assert found.mix == pytest.approx(expected)
    assert abs(found.mix[0] - fit_weights(probabilities_of(found, text))[0]) > 0.01
