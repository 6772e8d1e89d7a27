"""The optimizers: Muon for the layers' matrices, AdamW for the rest, one learning-rate schedule for both."""

from __future__ import annotations

import inspect
import math
from typing import Any

import torch
from torch import Tensor, nn

from charrnn.config import TrainingConfig
from charrnn.model.network import CharRNN, parameters_by_name
from charrnn.training.group import Group
from charrnn.training.replicas import Replicas, split

# The quintic whose iteration drives all singular values towards 1 from anywhere in (0, 1]
# (Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024).
QUINTIC = (3.4445, -4.7750, 2.0315)


# Five iterations bring most gradients' singular values to between 0.7 and 1.2. Three leave the smallest ones
# smaller, but generalized better here (by 0.005 nats a character after equal steps) at 0.6 of the cost.
ITERATIONS = 3

# Each matrix is updated at every fourth step only, at four times the learning rate, by a momentum that
# includes every gradient, and the matrices take turns. The loss after equal steps is the same (see the runs
# in benchmarks/README.md), and the iterations, else a fifth of a training's time, cost a quarter of that.
TURNS = 4


def orthogonalize(matrices: Tensor, dtype: torch.dtype, iterations: int = ITERATIONS) -> Tensor:
    """Matrices of the same singular vectors whose singular values are driven towards 1.

    Args:
        matrices: (count, rows, columns).
        dtype: of the products; bfloat16 is exact enough.
        iterations: of Newton and Schulz.

    Returns:
        (count, rows, columns) in float32.
    """
    a, b, c = QUINTIC
    tall = matrices.shape[-2] > matrices.shape[-1]
    X = matrices.to(dtype)
    X = X.mT if tall else X  # products with the smaller side
    X = X / (X.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(iterations):
        gram = X @ X.mT  # (count, smaller, smaller)
        polynomial = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)  # b gram + c gram^2
        X = torch.baddbmm(X, polynomial, X, beta=a)  # a X + (b gram + c gram^2) X
    result: Tensor = (X.mT if tall else X).float()
    return result


class PlainOptimizer(torch.optim.Optimizer):
    """An optimizer that torch's compiler need not know.

    torch's own methods import the compiler when they are first called, 800 modules that take longer than
    torch itself, only to tell it to leave them alone. Here the functions below these wrappers are called.
    """

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Adds parameters with settings of their own."""
        inspect.unwrap(torch.optim.Optimizer.add_param_group)(self, param_group)


class AdamW(PlainOptimizer, torch.optim.AdamW):
    """torch's AdamW."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Updates the parameters."""
        inspect.unwrap(torch.optim.AdamW.step)(self, closure)


class Muon(PlainOptimizer):
    """Momentum with orthogonalized updates: every direction of a matrix learns at the same rate.

    A layer's matrix stacks one block of rows for each gate; each block is orthogonalized by itself.

    Matrices take turns: the one at index i of its group is updated at the steps t where TURNS divides t + i,
    at TURNS times the learning rate; its momentum includes every gradient. Like the rate, the group's
    ``step`` is set by ``update`` before each step, so that a resumed training goes on with the same turns.

    Args:
        parameters: matrices (blocks * hidden, columns).
        hidden: rows of a block.
        lr: the learning rate as if every matrix were updated at every step.
        momentum: the coefficient of Nesterov momentum.
        weight_decay: decoupled.
        dtype: of the iteration's products.
        replicas: among which the blocks are shared out.
        group: of processes, among which they are as well, where these have no accelerator.
    """

    def __init__(
        self,
        parameters: list[Tensor],
        hidden: int,
        *,
        lr: float,
        weight_decay: float,
        momentum: float = 0.95,
        dtype: torch.dtype = torch.float32,
        replicas: Replicas | None = None,
        group: Group | None = None,
    ) -> None:
        self._hidden, self._dtype = hidden, dtype
        self._replicas, self._group = replicas or Replicas(), group or Group()
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "step": 0}
        super().__init__(parameters, defaults)

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Updates every momentum with its gradient, and the parameters whose turn it is."""
        assert closure is None
        for group in self.param_groups:
            for index, parameter in enumerate(group["params"]):
                assert parameter.grad is not None
                state = self.state[parameter]
                if not state:
                    state["momentum"] = torch.zeros_like(parameter)
                average = state["momentum"].lerp_(parameter.grad, 1 - group["momentum"])
                if (group["step"] + index) % TURNS == 0:
                    direction = parameter.grad.lerp(average, group["momentum"])
                    self._move(parameter, direction, TURNS * group["lr"], group["weight_decay"])

    def _move(self, parameter: Tensor, direction: Tensor, lr: float, weight_decay: float) -> None:
        width = parameter.shape[1]
        blocks = direction.view(-1, self._hidden, width)  # (blocks, hidden, width)
        update = self._orthogonalized(blocks).reshape(-1, width)
        scale = math.sqrt(max(1.0, self._hidden / width))  # activations change alike for any shape
        parameter.mul_(1 - lr * weight_decay).add_(update, alpha=-lr * scale)

    def _orthogonalized(self, blocks: Tensor) -> Tensor:
        """The blocks (blocks, hidden, width) orthogonalized, some by each replica of each process."""
        first, last = 0, len(blocks)
        together = self._group.size > 1 and blocks.device.type == "cpu"
        if together:
            first, last = split(0, len(blocks), self._group.size)[self._group.rank]
        found = torch.zeros_like(blocks) if together else torch.empty_like(blocks)

        def work(begin: int, end: int) -> None:
            if begin < end:
                found[begin:end] = orthogonalize(blocks[begin:end], self._dtype)

        self._replicas.map(work, *zip(*split(first, last, self._replicas.count), strict=True))
        if together:
            self._group.sum(found)
        return found


def build_optimizers(
    model: CharRNN,
    config: TrainingConfig,
    *,
    bf16: bool,
    replicas: Replicas | None = None,
    group: Group | None = None,
) -> list[torch.optim.Optimizer]:
    """The optimizers of a model; each group's ``peak`` is its peak learning rate.

    Muon, or AdamW where the config says so, updates the layers' matrices; AdamW (Loshchilov & Hutter, 2019)
    the embedding, the output and the biases. Biases have no weight decay.
    """
    named = parameters_by_name(model)
    matrices = [p for name, p in named.items() if name.startswith("layers.") and p.ndim == 2]
    tables = [p for name, p in named.items() if not name.startswith("layers.") and p.ndim == 2]
    biases = [p for p in named.values() if p.ndim == 1]
    optimizers: list[torch.optim.Optimizer] = []
    if config.optimizer == "muon":
        muon = Muon(
            matrices,
            model.config.hidden_size,
            lr=config.matrix_rate,
            weight_decay=config.weight_decay,
            dtype=torch.bfloat16 if bf16 else torch.float32,
            replicas=replicas,
            group=group,
        )
        optimizers.append(muon)
        matrices = []
    groups: list[dict[str, Any]] = [
        {"params": matrices, "weight_decay": config.weight_decay, "lr": config.matrix_rate},
        {"params": tables, "weight_decay": config.weight_decay},
        {"params": biases, "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    optimizers.append(AdamW(groups, lr=config.lr, betas=(0.9, 0.99), fused=True))
    for optimizer in optimizers:
        for settings in optimizer.param_groups:
            settings["peak"] = settings["lr"]
    return optimizers


def clip_gradients(parameters: list[nn.Parameter], most: float) -> Tensor:
    """The global norm of the gradients on a CPU, before they are scaled down to at most ``most``.

    Small gradients, as nearly all are, are not multiplied at all. torch's own ``get_total_norm`` takes 1.5
    times as long.
    """
    norms = [torch.linalg.vector_norm(p.grad) for p in parameters if p.grad is not None]
    norm: Tensor = torch.linalg.vector_norm(torch.stack(norms))
    if float(norm) > most:
        nn.utils.clip_grads_with_norm_(parameters, most, norm)
    return norm


def clip_flat(gradients: Tensor, most: float, loss: Tensor) -> tuple[Tensor, Tensor]:
    """The norm of gradients before they are scaled down to at most ``most``, and whether all is finite.

    Where gradients or loss are not, the gradients become zero. Nothing waits for the device.

    Args:
        gradients: of all parameters (count,).
        most: the largest norm.
        loss: that they are of, a scalar.
    """
    norm: Tensor = torch.linalg.vector_norm(gradients)
    finite = torch.isfinite(norm + loss)
    gradients.mul_((most / (norm + 1e-6)).clamp_(max=1.0)).masked_fill_(~finite, 0.0)
    return norm, finite


def update(optimizers: list[torch.optim.Optimizer], step: int, rate: float) -> None:
    """Makes the training's ``step``-th update of all weights, at a share ``rate`` of the peak rates."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"], group["step"] = group["peak"] * rate, step
        optimizer.step()
