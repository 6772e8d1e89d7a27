"""Gradients against finite differences, the theory's bound, and half-lives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from charrnn.config import Cell, ModelConfig, Output
from charrnn.errors import CorpusError
from charrnn.inspection.gradients import Reach, fresh_weights, half_life, reach, reaches, windows
from charrnn.model.file import ModelFile
from tests.conftest import random_model
from tests.inspection.models import sigma

CELLS: list[Cell] = ["lstm", "gru", "rnn", "relu"]
Doubles = NDArray[np.float64]


def naive_loss(model: ModelFile, ids: list[int], kind: str, at: tuple[int, int], nudge: Doubles) -> float:
    """The loss of the last id in float64, where one layer's input product, state or cell is nudged at a step.

    Args:
        model: its weights.
        ids: those read, and the one to be predicted.
        kind: what is nudged.
        at: the layer and the step.
        nudge: what is added.
    """
    weights = {name: array.astype(np.float64) for name, array in model.weights.items()}
    config = model.config
    hidden = [np.zeros(config.hidden_size) for _ in range(config.num_layers)]
    cells = [np.zeros(config.hidden_size) for _ in range(config.num_layers)]
    x = hidden[0]
    for step, id in enumerate(ids[:-1]):
        x = weights["embedding.weight"][id]
        for layer in range(config.num_layers):
            name = f"layers.{layer}."
            added = {
                k: nudge if (k, layer, step) == (kind, *at) else 0.0 for k in ("input", "hidden", "cell")
            }
            product = weights[name + "input.weight"] @ x + weights[name + "input.bias"] + added["input"]
            past = weights[name + "recurrent.weight"] @ hidden[layer] + weights[name + "recurrent.bias"]
            below, beside = np.split(product, config.gates), np.split(past, config.gates)
            if config.cell == "lstm":
                i, f, g, o = (a + b for a, b in zip(below, beside, strict=True))
                # The hidden state reads the cell before it is nudged: the nudge is of what is carried on.
                cell = sigma(f) * cells[layer] + sigma(i) * np.tanh(g) + added["cell"]
                cells[layer], x = cell, sigma(o) * np.tanh(cell)
            elif config.cell == "gru":
                r, z = sigma(below[0] + beside[0]), sigma(below[1] + beside[1])
                n = np.tanh(below[2] + r * beside[2])
                x = (1 - z) * n + z * hidden[layer]
            else:
                total = below[0] + beside[0]
                x = np.tanh(total) if config.cell == "rnn" else np.maximum(total, 0)
            hidden[layer] = x = x + added["hidden"]
    output = weights["embedding.weight" if config.tied else "output.weight"]
    read = np.concatenate(hidden) if config.output == "all" else x
    logits = output @ read + weights["output.bias"]
    return float(np.log(np.exp(logits - logits.max()).sum()) + logits.max() - logits[ids[-1]])


@pytest.mark.parametrize("output", ["top", "all"])
@pytest.mark.parametrize("cell", CELLS)
def test_gradients_are_finite_differences(cell: Cell, output: Output) -> None:
    """Each norm is that of the slopes of a naive loss in float64, to 1e-5, at every layer and step."""
    model = random_model(cell, 2, 4, 3, "abcdef", seed=2, output=output)
    ids = [0, 3, 5, 1, 1, 4, 2, 0, 5]
    found = reach("model", model.config, model.weights, np.array(ids)[:, None], torch.float64)
    assert set(found.norms) == ({"input", "hidden", "cell"} if cell == "lstm" else {"input", "hidden"})
    epsilon = 1e-5
    for kind, norms in found.norms.items():
        size = 4 * (model.config.gates if kind == "input" else 1)
        for layer in range(2):
            for back in range(8):
                at = (layer, 7 - back)
                slopes = [
                    (
                        naive_loss(model, ids, kind, at, epsilon * row)
                        - naive_loss(model, ids, kind, at, -epsilon * row)
                    )
                    / (2 * epsilon)
                    for row in np.eye(size)
                ]
                expected = np.linalg.norm(slopes)
                assert norms[layer, back] == pytest.approx(expected, rel=1e-5, abs=1e-9), (kind, at)


def test_norms_are_means_over_windows() -> None:
    """Several windows' norms are the mean of each window's own."""
    model = random_model("gru", vocabulary="abcdef")
    text = np.random.default_rng(0).integers(0, 6, (12, 3))
    together = reach("model", model.config, model.weights, text).norms["hidden"]
    alone = [reach("m", model.config, model.weights, text[:, [n]]).norms["hidden"] for n in range(3)]
    np.testing.assert_allclose(together, np.mean(alone, axis=0), rtol=1e-4)


@pytest.mark.parametrize("cell", ["rnn", "relu"])
def test_the_bound_holds(cell: Cell) -> None:
    """No window's gradient exceeds what theory allows, whether gradients grow or fade."""
    for scale in (0.1, 0.5, 0.9):
        model = random_model(cell, 2, vocabulary="abcdef", scale=scale)
        text = np.random.default_rng(1).integers(0, 6, (40, 1))
        found = reach("model", model.config, model.weights, text)
        assert found.bound is not None
        assert (found.relative("hidden", 1) <= found.bound * (1 + 1e-4)).all()
    assert reach("m", random_model("gru").config, random_model("gru").weights, text).bound is None


def test_half_lives() -> None:
    """A gradient that falls by a factor a step has the half-life of that factor, or none in its range."""
    assert half_life(0.9 ** np.arange(50.0)) == pytest.approx(np.log(0.5) / np.log(0.9))
    assert half_life(np.array([1.0, 1.5, 0.6])) is None


def test_untrained_cells_keep_gradients_in_this_order() -> None:
    """At one layer of 64, the GRU forgets first, then the tanh RNN, then the LSTM; the ReLU RNN does not."""
    text = np.random.default_rng(1).integers(0, 30, (129, 16))
    found: dict[str, Reach] = {}
    for cell in CELLS:
        config = ModelConfig(cell, 1, 64, 16)
        found[cell] = reach(cell, config, fresh_weights(config, 30, 0), text)
    left = {cell: float(one.relative("input", 0)[127]) for cell, one in found.items()}
    assert left["gru"] < 1e-6 < left["lstm"]
    assert left["rnn"] < left["relu"]
    assert left["relu"] > 0.3
    assert found["relu"].bound is not None
    assert found["relu"].bound[-1] == pytest.approx(1.0)


def test_windows_are_of_the_text() -> None:
    """Windows are pieces of the text, each with the character after it; a short text has shorter ones."""
    ids = np.arange(200, dtype=np.uint8)
    found = windows(ids, 10, 5)
    assert found.shape == (11, 5)
    assert (np.diff(found, axis=0) == 1).all()
    assert (found[0, 0], found[-1, -1]) == (0, 199)
    assert windows(ids[:20]).shape == (20, 1)
    with pytest.raises(CorpusError, match=r"gradients: a text of 5 characters .* at least 9"):
        windows(ids[:5])


def test_fresh_networks_leave_the_generator_alone() -> None:
    """Measuring draws nothing from torch's global generator, and the same seed gives the same figures."""
    model = random_model(vocabulary="abcdef")
    ids: Any = np.random.default_rng(0).integers(0, 6, 60).astype(np.uint8)
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first = reaches(model, ids)
    assert torch.equal(torch.rand(1), expected)
    assert [one.name for one in first] == ["model", "rnn", "relu", "gru", "lstm"]
    for one, other in zip(first, reaches(model, ids), strict=True):
        np.testing.assert_array_equal(one.norms["input"], other.norms["input"])
