"""Muon, AdamW and the schedule."""

from __future__ import annotations

import dataclasses
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from charrnn.config import MATRIX_RATES, Cell, ModelConfig, TrainingConfig
from charrnn.model.network import CharRNN, parameters_by_name
from charrnn.settings import default_of
from charrnn.training.optimizer import (
    AdamW,
    Muon,
    build_optimizers,
    clip_flat,
    clip_gradients,
    orthogonalize,
    update,
)
from charrnn.training.rate import rate_at
from tests.conftest import PLAY


@pytest.mark.parametrize("shape", [(4, 16, 16), (2, 32, 16), (3, 16, 48), (1, 1, 7), (1, 64, 64)])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e4])
def test_five_iterations_bring_singular_values_near_one(shape: tuple[int, ...], scale: float) -> None:
    """Whatever the matrices' size and shape, five iterations leave all singular values in 0.6 to 1.3."""
    torch.manual_seed(0)
    U, _, V = torch.linalg.svd(torch.randn(shape), full_matrices=False)
    # from 1 down to 0.1, as a gradient's may lie
    values = torch.linspace(1, 0.1, U.shape[-1])
    matrices = scale * (U * values) @ V
    found = torch.linalg.svdvals(orthogonalize(matrices, torch.float32, 5))
    assert float(found.min()) > 0.6
    assert float(found.max()) < 1.3


def test_orthogonalizing_keeps_the_directions() -> None:
    """Singular vectors stay as they are: the result is U f(S) V', with f by the quintic on numbers."""
    torch.manual_seed(0)
    matrix = torch.randn(1, 6, 9, dtype=torch.float64).float()
    U, S, V = np.linalg.svd(matrix[0].numpy().astype(np.float64), full_matrices=False)
    S /= np.sqrt((S**2).sum())
    for iterations in (1, 2, 5):
        values = S.copy()
        for _ in range(iterations):
            values = 3.4445 * values - 4.7750 * values**3 + 2.0315 * values**5
        expected = (U * values) @ V
        found = orthogonalize(matrix, torch.float32, iterations)[0].numpy()
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_orthogonalizing_takes_each_matrix_by_itself() -> None:
    """Matrices that go through the iteration together come out as they would alone."""
    torch.manual_seed(0)
    matrices = torch.randn(3, 8, 5) * torch.tensor([1e-3, 1.0, 1e3])[:, None, None]
    together = orthogonalize(matrices, torch.float32)
    for index in range(3):
        alone = orthogonalize(matrices[index : index + 1], torch.float32)
        torch.testing.assert_close(together[index : index + 1], alone)


def test_a_gradient_of_zero_moves_nothing() -> None:
    """Zeros are orthogonalized to zeros, not to nan."""
    assert orthogonalize(torch.zeros(2, 3, 4), torch.float32).tolist() == torch.zeros(2, 3, 4).tolist()


def test_muon_moves_each_gate_by_itself() -> None:
    """Steps are those of the definition, each matrix at every fourth one and at four times the rate.

    That is: momentum at every step, Nesterov's direction, decay, each gate's block orthogonalized.
    """
    torch.manual_seed(0)
    hidden, width, lr, decay, momentum = 4, 3, 0.1, 0.05, 0.9
    parameters = [torch.randn(2 * hidden, width, requires_grad=True) for _ in range(6)]
    expected = [parameter.detach().clone() for parameter in parameters]
    averages = [torch.zeros_like(value) for value in expected]
    muon = Muon(parameters, hidden, lr=lr, weight_decay=decay, momentum=momentum)
    turns = [[0, 4], [3], [2], [1, 5]]
    for step in range(8):
        for parameter in parameters:
            parameter.grad = torch.randn(2 * hidden, width)
        muon.param_groups[0]["step"] = step
        muon.step()
        for index, parameter in enumerate(parameters):
            assert parameter.grad is not None
            averages[index] = momentum * averages[index] + (1 - momentum) * parameter.grad
            if index in turns[step % 4]:
                direction = momentum * averages[index] + (1 - momentum) * parameter.grad
                blocks = torch.stack([direction[:hidden], direction[hidden:]])
                moved = torch.cat(list(orthogonalize(blocks, torch.float32)))
                expected[index] *= 1 - 4 * lr * decay
                expected[index] -= 4 * lr * math.sqrt(hidden / width) * moved
            torch.testing.assert_close(parameter.detach(), expected[index])


def test_updates_follow_the_rate() -> None:
    """A rate of a half moves a matrix half as far as the peak rate does, and one of zero not at all."""
    moved = {}
    for rate in (0.0, 0.5, 1.0):
        torch.manual_seed(0)
        model, optimizers = build()
        before = [parameter.detach().clone() for parameter in model.parameters()]
        for group in (group for optimizer in optimizers for group in optimizer.param_groups):
            group["weight_decay"] = 0.0
        for parameter in model.parameters():
            parameter.grad = torch.randn_like(parameter)
        for step in range(4):  # each matrix has its turn
            update(optimizers, step, rate)
        moved[rate] = [new.detach() - old for new, old in zip(model.parameters(), before, strict=True)]
    for none, half, whole in zip(*moved.values(), strict=True):
        assert float(none.abs().max()) == 0.0
        assert float(whole.abs().max()) > 1e-3
        torch.testing.assert_close(whole, 2 * half, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("most", [0.5, 100.0])
def test_gradients_are_clipped_by_their_common_norm(most: float) -> None:
    """The norm is that of all gradients together; beyond the most all are scaled to it, else none changes."""
    model, _ = build()
    torch.manual_seed(0)
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    before = {name: p.grad.numpy().copy() for name, p in model.named_parameters() if p.grad is not None}
    norm = math.sqrt(sum(float((gradient.astype(np.float64) ** 2).sum()) for gradient in before.values()))
    assert 0.5 < norm < 100.0
    assert float(clip_gradients(list(model.parameters()), most)) == pytest.approx(norm, rel=1e-5)
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        expected = before[name] * min(1.0, most / norm)
        np.testing.assert_allclose(parameter.grad.numpy(), expected, rtol=1e-4 if most < norm else 0)


@pytest.mark.parametrize("most", [0.5, 50.0])
def test_gradients_are_clipped_without_looking_at_them(most: float) -> None:
    """As an accelerator does it: scaled down to the largest norm, zero where anything is not finite."""
    torch.manual_seed(0)
    before = torch.randn(40)
    norm = float(before.norm())
    gradients = before.clone()
    found, finite = clip_flat(gradients, most, torch.tensor(1.0))
    assert float(found) == pytest.approx(norm, rel=1e-6)
    assert bool(finite)
    assert torch.allclose(gradients, before * min(1.0, most / norm), rtol=1e-5)
    for loss, broken in ((math.nan, 1.0), (1.0, math.inf), (1.0, math.nan)):
        gradients = before.clone()
        gradients[3] *= broken
        _, finite = clip_flat(gradients, most, torch.tensor(loss))
        assert not finite
        assert not gradients.any()


def build(
    cell: Cell = "lstm", embedding: int = 4, **settings: str
) -> tuple[CharRNN, list[torch.optim.Optimizer]]:
    """A small network and its optimizers."""
    model = CharRNN(ModelConfig(cell, 2, 6, embedding), 9)
    config = dataclasses.replace(TrainingConfig(weight_decay=0.5), **settings)  # type: ignore[arg-type]
    return model, build_optimizers(model, config, bf16=False)


@pytest.mark.parametrize("embedding", [4, 6])
@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_every_parameter_has_one_optimizer(embedding: int, optimizer: str) -> None:
    """Each parameter, a tied one too, is moved by exactly one group of one optimizer."""
    model, optimizers = build("gru", embedding, optimizer=optimizer)
    held = [id(p) for o in optimizers for group in o.param_groups for p in group["params"]]
    assert len(set(held)) == len(held)
    assert set(held) == {id(p) for p in model.parameters()}


def test_muon_has_the_layers_matrices() -> None:
    """Muon moves the layers' matrices at its own rate, AdamW everything else; biases are not decayed."""
    model, optimizers = build()
    groups = {
        id(parameter): (type(optimizer).__name__, group["peak"], group["weight_decay"])
        for optimizer in optimizers
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    for name, parameter in parameters_by_name(model).items():
        if name.endswith("bias"):
            expected = ("AdamW", default_of(TrainingConfig, "lr"), 0.0)
        elif name.startswith("layers."):
            expected = ("Muon", MATRIX_RATES["muon"], 0.5)
        else:
            expected = ("AdamW", default_of(TrainingConfig, "lr"), 0.5)
        assert groups[id(parameter)] == expected, name


def test_adamw_alone_takes_all() -> None:
    """With ``--optimizer adamw`` there is no Muon, and matrices learn at a rate that suits AdamW."""
    model, optimizers = build(optimizer="adamw")
    assert [type(optimizer).__name__ for optimizer in optimizers] == ["AdamW"]
    matrix = parameters_by_name(model)["layers.0.input.weight"]
    decayed = optimizers[0].param_groups[0]
    assert any(matrix is parameter for parameter in decayed["params"])
    assert (decayed["peak"], decayed["weight_decay"]) == (MATRIX_RATES["adamw"], 0.5)
    chosen = TrainingConfig(optimizer="adamw", matrix_lr=0.5)
    assert build_optimizers(model, chosen, bf16=False)[0].param_groups[0]["peak"] == 0.5


@pytest.mark.parametrize(
    ("progress", "rate"),
    [
        (0.0, 0.0),
        (0.1, 0.5),
        (0.2, 1.0),
        (0.4, 0.1 + 0.9 * (1 + math.sqrt(0.5)) / 2),  # a quarter of the cosine's way: cos 45 degrees
        (0.6, 0.55),  # half of it: half-way between 1 and the floor
        (1.0, 0.1),
        (1.5, 0.1),
    ],
)
def test_the_schedule_has_its_corners(progress: float, rate: float) -> None:
    """The rate rises from 0 to its peak, falls along a cosine to the floor, and stays there."""
    config = TrainingConfig(warmup=0.2, floor=0.1)
    assert rate_at(progress, config) == pytest.approx(rate, abs=1e-12)


def test_without_warmup_the_rate_begins_at_its_peak() -> None:
    """A warm-up of 0 is no division by zero."""
    config = TrainingConfig(warmup=0.0, floor=0.1)
    assert rate_at(0.0, config) == 1.0
    assert rate_at(0.5, config) == pytest.approx(0.55)


def test_adamw_is_torch_s() -> None:
    """Ten updates with weight decay and changing rates are those of torch's own class, to the bit."""
    found = []
    for kind in (AdamW, torch.optim.AdamW):
        torch.manual_seed(0)
        weights = [torch.randn(5, 3, requires_grad=True), torch.randn(4, requires_grad=True)]
        groups = [{"params": weights[:1], "weight_decay": 0.1}, {"params": weights[1:], "weight_decay": 0.0}]
        optimizer = kind(groups, lr=0.01, betas=(0.9, 0.99), fused=True)
        for number in range(10):
            for weight in weights:
                weight.grad = torch.randn_like(weight)
            for group in optimizer.param_groups:
                group["lr"] = 0.01 / (number + 1)
            optimizer.step()
        found.append([*weights, *(optimizer.state[weight]["exp_avg_sq"] for weight in weights)])
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def test_training_does_not_import_torch_s_compiler(tmp_path: Path) -> None:
    """A training loads neither torch's compiler nor sympy, which take longer than torch itself."""
    program = (
        "import sys\n"
        "from charrnn.cli.main import run\n"
        f"status = run(['train', {str(PLAY)!r}, '--steps', '2', '--hidden-size', '8', '-q', '-o', 'run'])\n"
        "sys.exit(status or sorted({'torch._dynamo', 'sympy'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
