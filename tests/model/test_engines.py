"""Each kind of model has its engine."""

from __future__ import annotations

import pytest

from charrnn.model.engine import Engine
from charrnn.model.engines import make_engine
from charrnn.model.mixture import MixtureEngine, mix_models
from charrnn.model.ngram_engine import NGramEngine
from tests.conftest import random_model
from tests.model.test_mixture import ngram


def test_engines() -> None:
    """Networks, n-grams and mixtures are stepped by engines of their own, with one interface."""
    models = random_model(vocabulary="\nab"), ngram("ab\nba\n" * 5)
    engines = [make_engine(model) for model in (*models, mix_models(models, [1, 1]))]
    assert list(map(type, engines)) == [Engine, NGramEngine, MixtureEngine]
    for engine in engines:
        assert engine.vocabulary == 3
        assert engine.stream().step(0).shape == (3,)
        assert engine.stream(4).step([0, 0, 0, 0]).shape == (3, 4)
        assert engine.largest > 0


def test_torch() -> None:
    """On another device the networks of a mixture are stepped by torch."""
    pytest.importorskip("torch")
    from charrnn.model.torch_engine import TorchEngine

    models = random_model(vocabulary="\nab"), ngram("ab\nba\n" * 5)
    engine = make_engine(mix_models(models, [1, 1]), "auto")
    assert [type(part) for part, _, _ in engine.parts] == [TorchEngine, NGramEngine]
