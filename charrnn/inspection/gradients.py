"""How far gradients reach: an error at one step only, propagated back through the steps before it.

The loss is that of the character after a window's last one. Its gradient is taken with respect to three
things at each earlier step: the input's product W x of every layer, the hidden state of every layer, and an
LSTM's cell. For the plain RNN theory bounds the second in the top layer (Pascanu, Mikolov & Bengio, 2013):

    |dL/dh_k| <= (beta_W beta_h)^(t-k) |dL/dh_t|

where beta_W is the largest singular value of U and beta_h the largest slope of tanh or ReLU that occurred.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from charrnn.config import Cell, ModelConfig
from charrnn.errors import CorpusError
from charrnn.model.file import ModelFile
from charrnn.model.network import CharRNN, export_weights
from charrnn.model.torch_engine import cell_step
from charrnn.text.tokenizer import Ids

STEPS = 128
WINDOWS = 32
LEAST_STEPS = 8
FRESH: tuple[Cell, ...] = ("rnn", "relu", "gru", "lstm")

Doubles = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Reach:
    """How the gradient's norm falls with the distance from the error.

    Attributes:
        name: whose: "model", or the cell of a freshly initialized network.
        config: of the network.
        norms: for "input", "hidden" and, of an LSTM, "cell" the mean over windows of the norm of the
            gradient (layers, steps), the error's own step first.
        bound: (steps,) of a plain RNN, what theory allows the top layer's hidden state relative to the first.
    """

    name: str
    config: ModelConfig
    norms: dict[str, Doubles]
    bound: Doubles | None

    def relative(self, kind: str, layer: int) -> Doubles:
        """(steps,) norms as shares of the one at the error's own step."""
        norms = self.norms[kind][layer]
        shares: Doubles = norms / norms[0] if norms[0] > 0 else norms
        return shares

    @property
    def half_life(self) -> float | None:
        """Characters after which the bottom layer's input gradient is half of the last step's, or None."""
        return half_life(self.relative("input", 0))


def half_life(shares: Doubles) -> float | None:
    """Steps after which shares (steps,), which begin with 1, are 0.5 for the first time, or None.

    Between steps the logarithm is interpolated.

    >>> half_life(np.array([1.0, 0.5, 0.25])), half_life(np.array([1.0, 0.9, 0.8]))
    (1.0, None)
    """
    below = np.flatnonzero(shares <= 0.5)
    if len(below) == 0:
        return None
    step = int(below[0])
    before, after = (float(np.log(max(shares[at], 1e-300))) for at in (step - 1, step))
    return step - 1 + (before - float(np.log(0.5))) / (before - after)


def windows(ids: Ids, steps: int = STEPS, count: int = WINDOWS) -> NDArray[np.int64]:
    """Windows (steps + 1, count) spread over a text, each with the character after it.

    Raises:
        CorpusError: the text is too short.
    """
    steps = min(steps, len(ids) - 1)
    if steps < LEAST_STEPS:
        raise CorpusError(
            f"gradients: a text of {len(ids):,} characters that the model knows is too short; "
            f"give one of at least {LEAST_STEPS + 1}"
        )
    count = max(1, min(count, (len(ids) - 1) // steps))
    starts = np.linspace(0, len(ids) - steps - 1, count).astype(np.int64)
    found: NDArray[np.int64] = ids.astype(np.int64)[starts[None] + np.arange(steps + 1)[:, None]]
    return found


def reaches(model: ModelFile, ids: Ids, *, steps: int = STEPS, seed: int = 0) -> list[Reach]:
    """How far gradients reach in the model and in freshly initialized networks of its size.

    Args:
        model: as ``load_model`` reads it.
        ids: (time,) of a text.
        steps: characters to go back, fewer where the text is short.
        seed: of the fresh networks.

    Raises:
        CorpusError: the text is too short.
    """
    text = windows(ids, steps)
    networks: list[tuple[str, ModelConfig, dict[str, Any]]] = [("model", model.config, model.weights)]
    for cell in FRESH:
        config = dataclasses.replace(model.config, cell=cell)
        networks.append((cell, config, fresh_weights(config, model.tokenizer.size, seed)))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # thousands of small products, for which several threads only wait
    try:
        return [reach(*network, text) for network in networks]
    finally:
        torch.set_num_threads(threads)


def fresh_weights(config: ModelConfig, vocabulary: int, seed: int) -> dict[str, Any]:
    """The weights of a network before training, which leave the global generator as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return export_weights(CharRNN(config, vocabulary))


def reach(
    name: str, config: ModelConfig, weights: dict[str, Any], text: NDArray[np.int64],
    dtype: torch.dtype = torch.float32,
) -> Reach:  # fmt: skip
    """How far gradients reach in one network.

    Args:
        name: what it is called.
        config: its shape.
        weights: by the names of the model file.
        text: (steps + 1, windows) of ids, as ``windows`` cuts them; the state before each window is zero.
        dtype: of the arithmetic.
    """
    tensors = {key: torch.from_numpy(array).to(dtype) for key, array in weights.items()}
    nodes, loss = _unrolled(config, tensors, torch.from_numpy(text))
    norms = {}
    kinds = ("input", "hidden", "cell") if config.cell == "lstm" else ("input", "hidden")
    flat = [node for kind in kinds for layer in nodes[kind] for node in layer]
    gradients = iter(torch.autograd.grad(loss, flat))
    for kind in kinds:
        layers = [
            [float(next(gradients).norm(dim=1).double().mean()) for _ in layer] for layer in nodes[kind]
        ]
        norms[kind] = np.array(layers)[:, ::-1]  # (layers, steps), the last step first
    bound = None
    if config.gates == 1:
        bound = _bound(config, tensors, nodes["hidden"][-1])
    return Reach(name, config, norms, bound)


def _unrolled(
    config: ModelConfig, weights: dict[str, Tensor], text: Tensor
) -> tuple[dict[str, list[list[Tensor]]], Tensor]:
    """Every layer's input products, hidden states and cells of every step, and the loss of the last.

    The loss is summed over windows, which do not mix: each window's gradient is its own.
    """
    steps, count = len(text) - 1, text.shape[1]
    sequence = list(weights["embedding.weight"][text[:steps]])  # (windows, embedding) a step
    nodes: dict[str, list[list[Tensor]]] = {"input": [], "hidden": [], "cell": []}
    for index in range(config.num_layers):
        at = f"layers.{index}."
        hidden = sequence[0].new_zeros(count, config.hidden_size)
        cell = torch.zeros_like(hidden)
        for found in nodes.values():
            found.append([])
        for step in range(steps):
            product = sequence[step] @ weights[at + "input.weight"].T  # (windows, gates * hidden)
            product = product if product.requires_grad else product.requires_grad_()
            past = hidden @ weights[at + "recurrent.weight"].T + weights[at + "recurrent.bias"]
            below = product + weights[at + "input.bias"]
            hidden, cell = cell_step(config.cell, below, past, hidden, cell)
            for kind, tensor in (("input", product), ("hidden", hidden), ("cell", cell)):
                nodes[kind][-1].append(tensor)
        sequence = nodes["hidden"][-1]
    output = weights["embedding.weight" if config.tied else "output.weight"]
    read = torch.cat([nodes["hidden"][layer][-1] for layer in config.read_layers], dim=1)
    logits = read @ output.T + weights["output.bias"]  # (windows, vocabulary)
    return nodes, functional.cross_entropy(logits, text[-1], reduction="sum")


def _bound(config: ModelConfig, weights: dict[str, Tensor], hidden: list[Tensor]) -> Doubles:
    """(beta_W beta_h)^(t-k) (steps,) of a plain RNN's top layer."""
    U = weights[f"layers.{config.num_layers - 1}.recurrent.weight"]
    beta_w = float(torch.linalg.matrix_norm(U, 2))
    states = torch.stack(hidden).detach()
    slopes = 1 - states**2 if config.cell == "rnn" else (states > 0).to(states.dtype)
    factor = beta_w * float(slopes.max())
    bound: Doubles = factor ** np.arange(len(hidden), dtype=np.float64)
    return bound
