"""A step's part: loss, gradients and state, however the machine computes them."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
import torch

from charrnn.config import Cell, ModelConfig
from charrnn.model.device import Machine, choose_machine
from charrnn.model.network import CharRNN, State
from charrnn.training.part import LOSS_SCALE, Given, Part, PartComputation

CPU = choose_machine("cpu", "fp32")
LANES, WINDOW, VOCABULARY = 6, 10, 11


def make_model(cell: Cell, device: str = "cpu") -> CharRNN:
    """A small network with two layers, both read by the output."""
    torch.manual_seed(2)
    return CharRNN(ModelConfig(cell, 2, 12, 5, output="all"), VOCABULARY).to(device)


def draw(
    cell: Cell, seed: int, device: str = "cpu"
) -> tuple[torch.Tensor, torch.Tensor, State, torch.Tensor]:
    """Inputs, targets, a state and masks."""
    torch.manual_seed(seed)
    inputs, targets = torch.randint(VOCABULARY, (2, WINDOW, LANES)).to(device)
    state = [
        tuple(torch.randn(1, LANES, 12).to(device) for _ in range(2 if cell == "lstm" else 1))
        for _ in range(2)
    ]
    masks = (torch.rand(2, 1, LANES, 12) > 0.3).float().to(device)
    return inputs, targets, state, masks


def distance(one: Part, other: Part) -> float:
    """The largest relative distance between two parts' tensors."""
    pairs = zip(
        [one.loss, *one.gradients, *itertools.chain(*one.hidden)],
        [other.loss, *other.gradients, *itertools.chain(*other.hidden)],
        strict=True,
    )
    return max(float((a - b).norm() / b.norm().clamp(min=1e-12)) for a, b in pairs)


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn", "relu"])
def test_gradients_are_those_of_the_mean_loss(cell: Cell) -> None:
    """Gradients and loss agree with torch's backward pass in float64."""
    model, given = make_model(cell), draw(cell, 0)
    part = PartComputation(model, CPU, alike=True)(Given(*given, None))
    exact = make_model(cell).double()
    state = [tuple(tensor.double() for tensor in layer) for layer in given[2]]
    logits, _ = exact(given[0], state, given[3].double())
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), given[1].flatten())
    gradients = torch.autograd.grad(loss, list(exact.parameters()))
    assert float(part.loss) == pytest.approx(float(loss.detach()), rel=1e-6)
    for found, gradient in zip(part.gradients, gradients, strict=True):
        assert torch.allclose(found.double(), gradient, rtol=1e-4, atol=1e-7)


def test_the_scale_leaves_loss_and_gradients_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loss scaled for float16 has the gradients of one that is not, to the last bit: by a power of two."""
    given = draw("lstm", 1)
    plain = PartComputation(make_model("lstm"), CPU, alike=True)
    scaled = PartComputation(make_model("lstm"), CPU, alike=True)
    monkeypatch.setattr(scaled, "_scale", LOSS_SCALE)
    assert distance(scaled(Given(*given, None)), plain(Given(*given, None))) == 0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn", "relu"])
def test_a_graph_computes_what_was_recorded(cell: Cell, bf16: bool) -> None:
    """Replayed on other inputs, states and weights, the graph gives what launching kernels gives."""
    machine = Machine(torch.device("cuda"), bf16=bf16)
    model = make_model(cell, "cuda")
    recorded = PartComputation(model, machine, alike=True)
    launched = PartComputation(model, machine, alike=False)
    for seed in range(4):
        inputs, targets, state, masks = draw(cell, seed, "cuda")
        for before in (state, None):
            given = Given(inputs, targets, before, masks, None)
            assert distance(recorded(given), launched(given)) == 0
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.01 * torch.randn_like(parameter))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_small_gradients_survive_float16() -> None:
    """Of many characters the gradients in half precision are those in float32, but for rounding."""
    machine = Machine(torch.device("cuda"), bf16=True)
    given = draw("lstm", 5, "cuda")
    half = PartComputation(make_model("lstm", "cuda"), machine, alike=False)
    full = PartComputation(make_model("lstm", "cuda"), dataclasses.replace(machine, bf16=False), alike=False)
    count = 30_000  # characters, of which these are a part
    assert distance(half(Given(*given, count)), full(Given(*given, count))) < 0.02
