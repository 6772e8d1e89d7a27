"""The torch module: its equations, its gradients, its beginnings."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from charrnn.config import Cell, ModelConfig
from charrnn.model.network import (
    CharRNN,
    build_model,
    detach,
    export_weights,
    import_weights,
    parameters_by_name,
)
from charrnn.model.schema import expected_shapes
from tests.conftest import random_model

CELLS: list[Cell] = ["lstm", "gru", "rnn", "relu"]
every_cell = pytest.mark.parametrize("cell", CELLS)

Array = NDArray[np.float64]


def sigma(x: float) -> float:
    """The logistic function."""
    return 1 / (1 + math.exp(-x))


def naive_layer(cell: Cell, inputs: list[list[float]], weights: dict[str, Array]) -> list[list[float]]:
    """One layer over one stream by the equations of the docstring, unit by unit, without a matrix product.

    Args:
        cell: which equations.
        inputs: x_t for each time.
        weights: W (rows, below), b (rows,), U (rows, hidden) and d (rows,), blocks in the docstring's order.
    """
    W, b, U, d = (weights[name] for name in ("W", "b", "U", "d"))
    hidden = U.shape[1]
    h, c = [0.0] * hidden, [0.0] * hidden
    outputs = []
    for x in inputs:

        def from_input(block: int, unit: int, x: list[float] = x) -> float:
            row = block * hidden + unit
            return float(b[row]) + sum(float(W[row, k]) * x[k] for k in range(len(x)))

        def from_state(block: int, unit: int, h: list[float] = h) -> float:
            row = block * hidden + unit
            return float(d[row]) + sum(float(U[row, k]) * h[k] for k in range(hidden))

        new = []
        for unit in range(hidden):
            total = [from_input(g, unit) + from_state(g, unit) for g in range(len(W) // hidden)]
            if cell == "lstm":
                i, f, g, o = sigma(total[0]), sigma(total[1]), math.tanh(total[2]), sigma(total[3])
                c[unit] = f * c[unit] + i * g
                new.append(o * math.tanh(c[unit]))
            elif cell == "gru":
                r, z = sigma(total[0]), sigma(total[1])
                n = math.tanh(from_input(2, unit) + r * from_state(2, unit))
                new.append((1 - z) * n + z * h[unit])
            elif cell == "relu":
                new.append(max(0.0, total[0]))
            else:
                new.append(math.tanh(total[0]))
        h = new
        outputs.append(h)
    return outputs


def naive_logits(config: ModelConfig, weights: dict[str, Any], ids: list[int]) -> list[list[float]]:
    """Logits after each character of one stream, by loops."""
    activations = [[float(value) for value in weights["embedding.weight"][id]] for id in ids]
    for layer in range(config.num_layers):
        named = {
            short: weights[f"layers.{layer}.{name}"].astype(np.float64)
            for short, name in (
                ("W", "input.weight"),
                ("b", "input.bias"),
                ("U", "recurrent.weight"),
                ("d", "recurrent.bias"),
            )
        }
        activations = naive_layer(config.cell, activations, named)
    output = weights["embedding.weight" if config.tied else "output.weight"].astype(np.float64)
    return [
        [
            float(weights["output.bias"][symbol]) + sum(float(w) * a for w, a in zip(row, top, strict=True))
            for symbol, row in enumerate(output)
        ]
        for top in activations
    ]


@every_cell
@pytest.mark.parametrize(("layers", "hidden", "embedding"), [(1, 3, 2), (2, 4, 4), (3, 2, 5)])
def test_the_module_computes_the_equations(cell: Cell, layers: int, hidden: int, embedding: int) -> None:
    """Logits agree with the docstring's equations computed unit by unit, for each cell, tied or not."""
    model = random_model(cell, layers, hidden, embedding, "abcdef", scale=0.8)
    module = build_model(model.config, model.weights).double()
    streams = [[0, 5, 2, 2, 1, 4, 3], [3, 3, 1, 0, 5, 5, 2]]
    with torch.no_grad():
        logits, _ = module(torch.tensor(streams).T)  # (time, batch, vocabulary)
    for stream, ids in enumerate(streams):
        expected = naive_logits(model.config, model.weights, ids)
        np.testing.assert_allclose(logits[:, stream].numpy(), expected, rtol=1e-6, atol=1e-9)


@every_cell
def test_gradients_agree_with_finite_differences(cell: Cell) -> None:
    """Every parameter's gradient is the slope of the loss, through time, layers and the given state."""
    torch.manual_seed(1)
    module = CharRNN(ModelConfig(cell, 2, 3, 2, dropout=0.0), 4).double()
    for drawn in module.parameters():
        torch.nn.init.normal_(drawn, std=0.6)
    ids = torch.randint(4, (5, 2))  # (time, batch)
    targets = torch.randint(4, (5, 2))
    with torch.no_grad():
        _, state = module(torch.randint(4, (3, 2)))

    def loss() -> Tensor:
        logits, _ = module(ids, state)
        return functional.cross_entropy(logits.flatten(0, 1), targets.flatten())

    loss().backward()  # type: ignore[no-untyped-call]
    step = 1e-6
    for name, parameter in parameters_by_name(module).items():
        assert parameter.grad is not None
        flat = parameter.data.view(-1)
        slopes = torch.empty_like(flat)
        with torch.no_grad():
            for place in range(len(flat)):
                kept = float(flat[place])
                flat[place] = kept + step
                above = loss()
                flat[place] = kept - step
                slopes[place] = (above - loss()) / (2 * step)
                flat[place] = kept
        assert float(slopes.abs().max()) > 1e-4, name
        torch.testing.assert_close(parameter.grad.view(-1), slopes, rtol=1e-5, atol=1e-8, msg=name)


@every_cell
@pytest.mark.parametrize("cuts", [[1], [4, 5], [2, 2, 9]])
def test_chunks_with_carried_state_equal_the_whole(cell: Cell, cuts: list[int]) -> None:
    """A text read in pieces, the state carried, has the logits of the text read whole."""
    model = random_model(cell, 2, 5, 3, "abcdef", scale=0.8)
    module = build_model(model.config, model.weights)
    ids = torch.randint(6, (12, 3), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        whole, last = module(ids)
        state, pieces = None, []
        for piece in torch.tensor_split(ids, cuts):
            if len(piece):
                logits, state = module(piece, state)
                pieces.append(logits)
    torch.testing.assert_close(torch.cat(pieces), whole, rtol=1e-5, atol=1e-6)
    assert state is not None
    for layer, expected in zip(state, last, strict=True):
        torch.testing.assert_close(layer, expected, rtol=1e-5, atol=1e-6)


@every_cell
def test_streams_do_not_mix(cell: Cell) -> None:
    """What one stream of a batch reads changes nothing of another's logits."""
    model = random_model(cell, 2, 5, 3, "abcdef")
    module = build_model(model.config, model.weights)
    ids = torch.randint(6, (8, 2), generator=torch.Generator().manual_seed(0))
    other = ids.clone()
    other[:, 1] = (other[:, 1] + 1) % 6
    with torch.no_grad():
        torch.testing.assert_close(module(ids)[0][:, 0], module(other)[0][:, 0])
        assert not torch.allclose(module(ids)[0][:, 1], module(other)[0][:, 1])


def test_a_tied_output_is_the_embedding() -> None:
    """Where sizes agree, output and embedding are one matrix in memory, and stay it when loaded."""
    module = CharRNN(ModelConfig("lstm", 1, 6, 6), 9)
    assert module.output.weight.data_ptr() == module.embedding.weight.data_ptr()
    import_weights(module, random_model("lstm", 1, 6, 6, "abcdefghi").weights)
    assert module.output.weight.data_ptr() == module.embedding.weight.data_ptr()
    with torch.no_grad():
        module.embedding.weight[2, 3] = 77.0
    assert module.output.weight[2, 3] == 77.0
    untied = CharRNN(ModelConfig("lstm", 1, 6, 5), 9)
    assert untied.output.weight.shape == (9, 6)


def test_forget_gates_begin_open() -> None:
    """The LSTM's forget bias is 1 in all, and every other bias of every cell is 0."""
    for cell in CELLS:
        module = CharRNN(ModelConfig(cell, 2, 6, 4), 9)
        for layer in range(2):
            named = parameters_by_name(module)
            total = named[f"layers.{layer}.input.bias"] + named[f"layers.{layer}.recurrent.bias"]
            expected = torch.zeros(len(total))
            if cell == "lstm":
                expected[6:12] = 1.0  # i f g o: the second block
            assert total.tolist() == expected.tolist()
        assert module.output.bias.tolist() == [0.0] * 9


def test_relu_recurrent_matrices_begin_as_the_identity() -> None:
    """An untrained ReLU RNN of several layers passes each layer's positive state on unchanged."""
    named = parameters_by_name(CharRNN(ModelConfig("relu", 2, 6, 4), 9))
    for layer in range(2):
        assert torch.equal(named[f"layers.{layer}.recurrent.weight"], torch.eye(6))


@pytest.mark.parametrize("cell", [cell for cell in CELLS if cell != "relu"])
def test_recurrent_blocks_begin_orthogonal(cell: Cell) -> None:
    """Each gate's recurrent matrix is orthogonal by itself, and no two are the same."""
    config = ModelConfig(cell, 2, 12, 4)
    named = parameters_by_name(CharRNN(config, 9))
    blocks = [
        block for layer in range(2) for block in named[f"layers.{layer}.recurrent.weight"].view(-1, 12, 12)
    ]
    assert len(blocks) == 2 * config.gates
    for block in blocks:
        torch.testing.assert_close(block @ block.T, torch.eye(12), rtol=0, atol=1e-5)
    for first, second in itertools.pairwise(blocks):
        assert not torch.allclose(first, second)


@every_cell
@pytest.mark.parametrize("embedding", [4, 6])
def test_parameters_have_the_names_of_the_file(cell: Cell, embedding: int) -> None:
    """Names and shapes are those that the model file expects, and no parameter is left out."""
    config = ModelConfig(cell, 3, 6, embedding)
    module = CharRNN(config, 9)
    named = parameters_by_name(module)
    assert {name: tuple(p.shape) for name, p in named.items()} == expected_shapes(config, 9)
    assert {id(p) for p in named.values()} == {id(p) for p in module.parameters()}


def test_exported_weights_are_copies() -> None:
    """Training on does not change the weights that were exported, and importing restores them."""
    module = CharRNN(ModelConfig("gru", 2, 5, 3), 7)
    exported = export_weights(module)
    before = {name: weight.copy() for name, weight in exported.items()}
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(1.0)
    assert all((exported[name] == before[name]).all() for name in before)
    import_weights(module, exported)
    again = export_weights(module)
    assert all((again[name] == before[name]).all() for name in before)


def test_detached_states_stop_the_gradient() -> None:
    """What is carried to the next window has the same values, in float32, and no past."""
    module = CharRNN(ModelConfig("lstm", 2, 5, 3, dropout=0.0), 7)
    _, state = module(torch.randint(7, (4, 2)))
    assert all(tensor.requires_grad for layer in state for tensor in layer)
    for before, after in zip(state, detach(state), strict=True):
        for old, new in zip(before, after, strict=True):
            assert not new.requires_grad
            assert new.dtype == torch.float32
            assert torch.equal(old, new)


def test_masks_multiply_each_layer() -> None:
    """A unit that a mask silences counts as if nothing read it, in its stream alone."""
    torch.manual_seed(3)
    module = CharRNN(ModelConfig("rnn", 2, 6, 8, dropout=0.3), 7)
    ids = torch.randint(7, (5, 3))  # (time, batch)
    masks = torch.ones(2, 1, 3, 6)
    with torch.no_grad():
        whole = module(ids)[0]
        assert torch.equal(module(ids, None, masks)[0], whole)
        masks[0, :, 1, 2] = masks[1, :, 1, 4] = 0.0  # of the second stream only
        masked = module(ids, None, masks)[0]
        assert torch.equal(masked[:, [0, 2]], whole[:, [0, 2]])
        assert not torch.equal(masked[:, 1], whole[:, 1])
        named = parameters_by_name(module)
        named["layers.1.input.weight"][:, 2] = 0.0
        named["output.weight"][:, 4] = 0.0
        torch.testing.assert_close(module(ids)[0][:, 1], masked[:, 1])


def test_a_share_of_the_loss_has_the_count_of_the_whole() -> None:
    """The losses of a batch's parts, divided by all targets, sum up to that of the whole batch."""
    torch.manual_seed(4)
    module = CharRNN(ModelConfig("gru", 1, 6, 8), 7)
    ids, targets = torch.randint(7, (2, 5, 4))  # (time, batch) each
    targets[3:, 0] = -100  # padding
    whole, _ = module.loss(ids, targets, None)
    parts = [module.loss(ids[:, part], targets[:, part], None, count=18)[0] for part in ([0], [1, 2, 3])]
    torch.testing.assert_close(sum(parts), whole)
