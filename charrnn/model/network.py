"""The network in torch, for training and for scoring in bulk: embedding, recurrent layers, output.

With x_t the character read at time t, E the embedding and L layers:

    a_t^0 = E[x_t]                        (batch, embedding)
    h_t^l = cell(a_t^(l-1), h_(t-1)^l)    (batch, hidden), and a_t^l = dropout(h_t^l)
    logits_t = W a_t^L + b                (batch, vocabulary), of the character at t + 1

The engine computes the same in NumPy; tests hold the two to each other.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from charrnn.config import ModelConfig

# For each layer its tensors from step to step, (1, batch, hidden) each: (h, c) of an LSTM, else (h,).
State = list[tuple[Tensor, ...]]

CELLS: dict[str, Callable[[int, int], nn.LSTM | nn.GRU | nn.RNN]] = {
    "lstm": nn.LSTM,
    "gru": nn.GRU,
    "rnn": nn.RNN,
    "relu": functools.partial(nn.RNN, nonlinearity="relu"),
}


class CharRNN(nn.Module):
    """A character-level recurrent network over a vocabulary of ``vocabulary`` ids.

    Each layer is one of these, with sigma the logistic function, * element by element, and every
    product with a weight matrix followed by its bias:

    LSTM (Hochreiter & Schmidhuber, 1997; forget gates by Gers et al., 2000; no peepholes):
        i, f, o = sigma(W_i x + U_i h), sigma(W_f x + U_f h), sigma(W_o x + U_o h)
        g = tanh(W_g x + U_g h);  c' = f * c + i * g;  h' = o * tanh(c')
    GRU, as torch and cuDNN compute it:
        r, z = sigma(W_r x + U_r h), sigma(W_z x + U_z h)
        n = tanh(W_n x + r * (U_n h));  h' = (1 - z) * n + z * h
      Cho et al. (2014) reset the state before the product, U_n (r * h), which cannot be fused with the
      gates' products, and let z keep what here 1 - z keeps.
    RNN (Elman, 1990):
        h' = tanh(W x + U h)
    ReLU RNN (Le, Jaitly & Hinton, 2015), whose U begins as the identity:
        h' = max(0, W x + U h)

    Blocks of rows stand in the order i f g o, or r z n.
    """

    def __init__(self, config: ModelConfig, vocabulary: int) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(vocabulary, config.embedding_size)
        sizes = [config.embedding_size] + [config.hidden_size] * config.num_layers
        cell = CELLS[config.cell]
        # One torch module a layer: dropout between them is ours, and so each takes oneDNN's fast path.
        self.layers = nn.ModuleList([cell(sizes[i], sizes[i + 1]) for i in range(config.num_layers)])
        self.output = nn.Linear(config.hidden_size, vocabulary)
        if config.tied:
            self.output.weight = self.embedding.weight
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Orthogonal recurrent blocks (Saxe et al., 2014), forget bias 1 (Jozefowicz et al., 2015).

        A ReLU RNN's recurrent matrices are the identity (Le et al., 2015).
        """
        hidden = self.config.hidden_size
        for name, parameter in parameters_by_name(self).items():
            if name in ("embedding.weight", "output.weight"):
                nn.init.normal_(parameter, std=1 / math.sqrt(parameter.shape[1]))
            elif name.endswith("input.weight"):
                nn.init.xavier_uniform_(parameter)
            elif name.endswith("recurrent.weight") and self.config.cell == "relu":
                nn.init.eye_(parameter)
            elif name.endswith("recurrent.weight"):
                for block in parameter.data.view(-1, hidden, hidden):  # (hidden, hidden) for each gate
                    nn.init.orthogonal_(block)
            else:
                nn.init.zeros_(parameter)
            if self.config.cell == "lstm" and name.endswith("input.bias"):
                parameter.data[hidden : 2 * hidden] = 1.0

    def forward(self, ids: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Logits after every character, and the state after the last.

        Args:
            ids: (time, batch) of integers.
            state: as returned before; None for zeros.

        Returns:
            logits (time, batch, vocabulary) and the new state, still attached to the graph.
        """
        activations = self.embedding(ids)  # (time, batch, embedding)
        after: State = []
        for index, layer in enumerate(self.layers):
            before = _packed(state[index]) if state is not None else None
            hidden, last = layer(activations, before)  # (time, batch, hidden)
            after.append(last if isinstance(last, tuple) else (last,))
            activations = self._drop(hidden)  # (time, batch, hidden)
        return self.output(activations), after

    def loss(self, ids: Tensor, targets: Tensor, state: State | None) -> tuple[Tensor, State]:
        """The mean of -log P in nats over the targets, padding's aside, and the state after the last.

        Args:
            ids: (time, batch) of integers.
            targets: (time, batch), what follows each.
            state: as in ``forward``.
        """
        logits, state = self(ids, state)  # (time, batch, vocabulary)
        return functional.cross_entropy(logits.float().flatten(0, 1), targets.flatten()), state

    def _drop(self, hidden: Tensor) -> Tensor:
        """Dropout with one mask for all times of a window (Gal & Ghahramani, 2016).

        It generalizes as well as a mask for every time, and draws that many fewer random numbers, which
        on a processor had cost a tenth of the training.
        """
        rate = self.config.dropout
        if not self.training or rate == 0:
            return hidden
        kept = torch.rand(1, *hidden.shape[1:], device=hidden.device) >= rate  # (1, batch, hidden)
        return hidden * (kept / (1 - rate)).to(hidden.dtype)  # (time, batch, hidden)


def _packed(state: tuple[Tensor, ...]) -> Tensor | tuple[Tensor, ...]:
    """A layer's state as torch's modules want it: a pair for an LSTM, a bare tensor for the others."""
    return state if len(state) == 2 else state[0]


def detach(state: State) -> State:
    """The same state in float32, cut from the graph: where truncated BPTT truncates."""
    return [tuple(tensor.detach().float() for tensor in layer) for layer in state]


def parameters_by_name(model: CharRNN) -> dict[str, Tensor]:
    """The parameters under the names of the model file; a tied output appears once, as the embedding."""
    named: dict[str, Tensor] = {"embedding.weight": model.embedding.weight}
    for index, layer in enumerate(model.layers):
        for role, suffix in (("input", "ih"), ("recurrent", "hh")):
            for kind in ("weight", "bias"):
                parameter = getattr(layer, f"{kind}_{suffix}_l0")
                named[f"layers.{index}.{role}.{kind}"] = parameter
    if not model.config.tied:
        named["output.weight"] = model.output.weight
    named["output.bias"] = model.output.bias
    return named


def export_weights(model: CharRNN) -> dict[str, NDArray[np.float32]]:
    """Copies of the parameters as float32 arrays, under the names of the model file."""
    return {
        name: parameter.detach().to("cpu", torch.float32, copy=True).numpy()
        for name, parameter in parameters_by_name(model).items()
    }


@torch.no_grad()
def import_weights(model: CharRNN, weights: dict[str, NDArray[np.float32]]) -> None:
    """Copies arrays into the parameters of the same names and shapes."""
    for name, parameter in parameters_by_name(model).items():
        parameter.copy_(torch.from_numpy(weights[name]))


def build_model(config: ModelConfig, weights: dict[str, NDArray[np.float32]]) -> CharRNN:
    """The network of a model file, ready to score: no dropout."""
    model = CharRNN(config, len(weights["embedding.weight"]))
    import_weights(model, weights)
    return model.eval()
