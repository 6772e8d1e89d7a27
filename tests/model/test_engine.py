"""The engine against a naive loop, against torch, against itself in a batch and in chunks."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from charrnn.config import Cell, Output
from charrnn.model.engine import THREADED, Engine, log_softmax
from charrnn.model.file import ModelFile
from tests.conftest import random_model

Doubles = NDArray[np.float64]

CELLS: list[Cell] = ["lstm", "gru", "rnn", "relu"]
MODELS = [
    pytest.param(model, id="-".join(map(str, model.values())))
    for cell in CELLS
    for layers in (1, 2, 3)
    for model in (
        {"cell": cell, "layers": layers, "embedding": 8},
        {"cell": cell, "layers": layers, "embedding": 5},
        {"cell": cell, "layers": layers, "embedding": 5, "output": "all"},
    )
]


def sigma(a: Doubles) -> Doubles:
    """The logistic function."""
    return 1 / (1 + np.exp(-a))


def naive_logits(model: ModelFile, ids: NDArray[Any]) -> Doubles:
    """Logits (time, vocabulary) in float64: gate by gate, layer by layer, straight from the equations."""
    weights = {name: array.astype(np.float64) for name, array in model.weights.items()}
    config = model.config
    hidden = [np.zeros(config.hidden_size) for _ in range(config.num_layers)]
    cells = [np.zeros(config.hidden_size) for _ in range(config.num_layers)]
    found = []
    for id in ids.tolist():
        x = weights["embedding.weight"][id]
        for layer in range(config.num_layers):
            at = f"layers.{layer}."
            W = np.split(weights[at + "input.weight"], config.gates)
            b = np.split(weights[at + "input.bias"], config.gates)
            U = np.split(weights[at + "recurrent.weight"], config.gates)
            d = np.split(weights[at + "recurrent.bias"], config.gates)
            h, c = hidden[layer], cells[layer]
            below = [W[gate] @ x + b[gate] for gate in range(config.gates)]
            past = [U[gate] @ h + d[gate] for gate in range(config.gates)]
            if config.cell == "lstm":
                i, f, g, o = (below[gate] + past[gate] for gate in range(4))
                cells[layer] = sigma(f) * c + sigma(i) * np.tanh(g)
                h = sigma(o) * np.tanh(cells[layer])
            elif config.cell == "gru":
                r, z = sigma(below[0] + past[0]), sigma(below[1] + past[1])
                n = np.tanh(below[2] + r * past[2])
                h = (1 - z) * n + z * h
            elif config.cell == "relu":
                h = np.maximum(below[0] + past[0], 0)
            else:
                h = np.tanh(below[0] + past[0])
            hidden[layer] = x = h
        output = weights["embedding.weight" if config.tied else "output.weight"]
        read = np.concatenate(hidden) if config.output == "all" else hidden[-1]
        found.append(output @ read + weights["output.bias"])
    return np.array(found)


def some_ids(model: ModelFile, length: int = 40) -> NDArray[np.int64]:
    """A text of this vocabulary, always the same."""
    return np.random.default_rng(5).integers(0, model.tokenizer.size, length)


@pytest.mark.parametrize("shape", MODELS)
def test_fused_step_is_the_equations(shape: dict[str, Any]) -> None:
    """The fused step gives the logits of a naive per-gate loop in float64."""
    model = random_model(**shape)
    ids = some_ids(model)
    stream = Engine(model).stream()
    found = np.array([stream.step(id).copy() for id in ids.tolist()])
    np.testing.assert_allclose(found, naive_logits(model, ids), atol=2e-5)


@pytest.mark.parametrize("shape", MODELS)
def test_engine_and_torch_agree(shape: dict[str, Any]) -> None:
    """Engine and torch module give the same logits for the same weights."""
    import torch

    from charrnn.model.network import build_model

    model = random_model(**shape)
    ids = some_ids(model)
    with torch.no_grad():
        expected, _ = build_model(model.config, model.weights)(torch.from_numpy(ids)[:, None])
    np.testing.assert_allclose(Engine(model).stream().read(ids), expected[:, 0].numpy(), atol=2e-5)


@pytest.mark.parametrize("shape", MODELS)
def test_a_batch_is_its_streams(shape: dict[str, Any]) -> None:
    """N texts in lockstep get the logits that each gets alone."""
    model = random_model(**shape)
    engine = Engine(model)
    texts = some_ids(model, 60).reshape(20, 3)  # (time, streams)
    together, alone = engine.stream(3), [engine.stream() for _ in range(3)]
    for ids in texts:
        found = together.step(ids)  # (vocabulary, streams)
        for column, stream in enumerate(alone):
            np.testing.assert_allclose(found[:, column], stream.step(int(ids[column])), atol=1e-5)


@pytest.mark.parametrize("layers", [2, 3])
@pytest.mark.parametrize(("cell", "hidden"), [("lstm", 256), ("rnn", 512)])
def test_widened_products_are_the_equations(
    cell: Cell, hidden: int, layers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where two threads share the first layer's product with idle columns, its logits are what they were."""
    model = random_model(cell, layers, hidden, scale=0.05)
    ids = some_ids(model, 12)
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")
    narrow = Engine(model)
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "2")
    wide = Engine(model)
    assert narrow.layers[0].matrix.shape[1] == hidden < wide.layers[0].matrix.shape[1]
    assert wide.layers[0].matrix.size >= THREADED
    stream = wide.stream()
    found = np.array([stream.step(id).copy() for id in ids.tolist()])
    np.testing.assert_allclose(found, naive_logits(model, ids), atol=2e-5)
    np.testing.assert_allclose(found, narrow.stream().read(ids), atol=2e-5)
    many = wide.stream(3)
    together = np.array([many.step(ids[time].repeat(3)).copy() for time in range(len(ids))])
    np.testing.assert_allclose(together, found[:, :, None].repeat(3, 2), atol=2e-5)


@pytest.mark.parametrize(
    ("cell", "layers", "hidden"), [("lstm", 1, 256), ("lstm", 2, 128), ("lstm", 2, 384), ("gru", 2, 300)]
)
def test_products_that_need_no_widening_get_none(
    cell: Cell, layers: int, hidden: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A product with nothing above it, too small for it, large enough without it, or a GRU's stays so."""
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "2")
    assert Engine(random_model(cell, layers, hidden)).layers[0].matrix.shape[1] == hidden


@pytest.mark.parametrize("cell", CELLS)
@given(cuts=st.lists(st.integers(0, 30), max_size=4))
def test_chunks_with_carried_state_are_the_whole(cell: Cell, cuts: list[int]) -> None:
    """A text read in pieces, cut anywhere, gets the logits of the text read at once."""
    model = random_model(cell)
    ids, engine = some_ids(model, 30), Engine(model)
    stream = engine.stream()
    pieces = np.split(ids, sorted(cuts))
    found = np.concatenate([stream.read(piece) for piece in pieces])
    np.testing.assert_allclose(found, engine.stream().read(ids), atol=1e-6)


@pytest.mark.parametrize("cell", CELLS)
def test_a_restored_state_goes_on_as_it_did(cell: Cell) -> None:
    """After ``restore``, a stream repeats to the bit what it did after ``save``; so does a column of many."""
    model = random_model(cell)
    engine = Engine(model)
    stream, many = engine.stream(), engine.stream(3)
    stream.read(some_ids(model))
    saved = stream.save()
    first = stream.step(3).copy()
    stream.step(4)
    stream.restore(saved)
    np.testing.assert_array_equal(stream.step(3), first)
    many.step(np.array([1, 2, 3]))
    many.restore(saved, [1])
    np.testing.assert_allclose(many.step(np.array([3, 3, 3]))[:, 1], first, atol=1e-5)
    many.restore(saved)
    np.testing.assert_allclose(many.step(np.array([3, 3, 3])), first[:, None].repeat(3, 1), atol=1e-5)


@pytest.mark.parametrize("kind", ["numpy", "torch"])
@pytest.mark.parametrize("cell", CELLS)
def test_states_of_some_columns_move_to_others(cell: Cell, kind: str) -> None:
    """Saves of some columns, gathered and restored at some places, move whole states."""
    from charrnn.model.torch_engine import TorchEngine

    model = random_model(cell)
    engine: Any = Engine(model) if kind == "numpy" else TorchEngine(model, "cpu")
    many, few = engine.stream(5), engine.stream(3)
    many.step(np.array([1, 2, 3, 4, 5]))
    saved = many.gather([many.save([4, 1]), many.save(), many.save([2])])  # of the streams 4 1 0 1 2 3 4 2
    few.restore(saved, places=[6, 0, 2])
    few.restore(many.gather([saved], [7]), [1])
    found = few.step(np.array([6, 6, 6])).copy()
    np.testing.assert_allclose(found, many.step(np.full(5, 6))[:, [4, 2, 0]], atol=1e-5)


@pytest.mark.parametrize("cell", CELLS)
def test_streams_of_one_engine_do_not_mix(cell: Cell) -> None:
    """What one stream reads changes nothing for another of the same engine."""
    model = random_model(cell)
    engine = Engine(model)
    expected = engine.stream().read(some_ids(model))
    one, other = engine.stream(), engine.stream()
    found = []
    for id in some_ids(model).tolist():
        found.append(one.step(id).copy())
        other.advance(7)
    np.testing.assert_allclose(np.array(found), expected, atol=1e-5)


def test_the_model_keeps_its_weights() -> None:
    """Laying the weights out for the engine leaves the model file's arrays as they were."""
    model = random_model("lstm")
    before = {name: array.copy() for name, array in model.weights.items()}
    Engine(model).stream().read(some_ids(model))
    for name, array in model.weights.items():
        np.testing.assert_array_equal(array, before[name])


@pytest.mark.parametrize("cell", [cell for cell in CELLS if cell != "relu"])
def test_no_logit_exceeds_the_bound(cell: Cell) -> None:
    """``largest`` bounds every logit's magnitude, even of a network driven into saturation."""
    model = random_model(cell, scale=20.0)
    engine = Engine(model)
    assert np.abs(engine.stream().read(some_ids(model))).max() <= engine.largest * (1 + 1e-5)


def test_the_bound_is_reached() -> None:
    """A symbol's logit comes as near to the bound as saturated units take it, whatever the others have."""
    model = random_model("rnn", layers=1, vocabulary="ab")
    model.weights["output.weight"][...] = [[3.0], [0.1]]
    model.weights["output.bias"][...] = [2.0, 50.0]
    model.weights["layers.0.recurrent.bias"][...] = 100.0
    engine = Engine(model)
    assert engine.largest == pytest.approx(50.8)
    assert engine.stream().step(0).tolist() == pytest.approx([26.0, 50.8])


@pytest.mark.parametrize("cell", CELLS)
def test_streams_can_be_exchanged(cell: Cell) -> None:
    """``select`` gives a stream the whole state of another one, ``restore`` that of a single one."""
    engine = Engine(random_model(cell))
    texts = np.array([[1, 2, 3, 4], [9, 8, 7, 6], [5, 5, 0, 5]])
    batch, singles = engine.stream(3), [engine.stream() for _ in texts]
    for ids in texts.T:
        batch.step(ids)
    for single, ids in zip(singles, texts, strict=True):
        single.read(ids)
    saved = [single.save() for single in singles]
    batch.select(np.array([2, 0, 0]))
    batch.restore(saved[1], [1])
    for single, state in zip(singles, (saved[2], saved[1], saved[0]), strict=True):
        single.restore(state)
    for id in (3, 1, 2):
        found = batch.step(np.full(3, id)).T
        np.testing.assert_allclose(found, [single.step(id) for single in singles], atol=1e-5)


def test_rows_of_very_different_size_have_their_own_softmax() -> None:
    """What is far below another row's maximum is not lost."""
    logits = np.array([[0.0, 0.0], [-1e4, -1e4], [5e3, -5e3]], np.float32)
    expected = [[-math.log(2)] * 2, [-math.log(2)] * 2, [0, -1e4]]
    np.testing.assert_allclose(log_softmax(logits), expected, rtol=1e-6)


def test_relu_logits_have_no_bound() -> None:
    """A ReLU network's logits may be of any size, and both engines say so."""
    from charrnn.model.torch_engine import TorchEngine

    model = random_model("relu")
    assert Engine(model).largest == TorchEngine(model, "cpu").largest == np.inf


@pytest.mark.parametrize("output", ["top", "all"])
@pytest.mark.parametrize("cell", CELLS)
def test_the_torch_engine_agrees(cell: Cell, output: Output) -> None:
    """The engine for other devices gives the same logits to 1e-4, alone, in a batch and after a restore."""
    from charrnn.model.torch_engine import TorchEngine

    model = random_model(cell, embedding=8, output=output)
    ours, theirs, ids = Engine(model), TorchEngine(model, "cpu"), some_ids(model)
    stream = theirs.stream()
    np.testing.assert_allclose(stream.read(ids), ours.stream().read(ids), atol=1e-4)
    saved = stream.save()
    after = stream.step(3).copy()
    many, expected = theirs.stream(2), ours.stream(2)
    for pair in ids.reshape(-1, 2):
        np.testing.assert_allclose(many.step(pair), expected.step(pair), atol=1e-4)
    many.restore(saved, [0])
    np.testing.assert_allclose(many.step(np.array([3, 5]))[:, 0], after, atol=1e-4)
    many.restore(saved)
    np.testing.assert_allclose(many.step(np.array([3, 3])), after[:, None].repeat(2, 1), atol=1e-4)
