"""The network in torch, for training and for scoring in bulk: embedding, recurrent layers, output.

With x_t the character read at time t, E the embedding and L layers:

    a_t^0 = E[x_t]                        (batch, embedding)
    h_t^l = cell(a_t^(l-1), h_(t-1)^l)    (batch, hidden), and a_t^l = dropout(h_t^l)
    logits_t = W a_t^L + b                (batch, vocabulary), of the character at t + 1

or, if the output reads all layers (Graves, 2013, "Generating sequences with recurrent neural networks"),

    logits_t = W [a_t^1; ...; a_t^L] + b = b + sum over l of W^l a_t^l

``charrnn.model.engine`` computes the same in NumPy; tests compare the two.
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

# The recurrent state: for each layer (h, c) of an LSTM, else (h,); tensors of (1, batch, hidden).
State = list[tuple[Tensor, ...]]
# What a network does for those who only score: ids (time, batch) and a state to logits and the next state.
Forward = Callable[[Tensor, State | None], tuple[Tensor, State]]

CELLS: dict[str, Callable[[int, int], nn.LSTM | nn.GRU | nn.RNN]] = {
    "lstm": nn.LSTM,
    "gru": nn.GRU,
    "rnn": nn.RNN,
    "relu": functools.partial(nn.RNN, nonlinearity="relu"),
}


class CharRNN(nn.Module):
    """A character-level recurrent network over a vocabulary of ``vocabulary`` ids.

    Each layer is one of these, where sigma is the logistic function, * is elementwise, and a bias is added to
    every product with a weight matrix:

    LSTM (Hochreiter & Schmidhuber, 1997; forget gates by Gers et al., 2000; no peepholes):
        i, f, o = sigma(W_i x + U_i h), sigma(W_f x + U_f h), sigma(W_o x + U_o h)
        g = tanh(W_g x + U_g h);  c' = f * c + i * g;  h' = o * tanh(c')
    GRU, as torch and cuDNN compute it:
        r, z = sigma(W_r x + U_r h), sigma(W_z x + U_z h)
        n = tanh(W_n x + r * (U_n h));  h' = (1 - z) * n + z * h
      Cho et al. (2014) instead reset the state before the product, U_n (r * h), which cannot be fused with
      the gates' products, and exchange the roles of z and 1 - z.
    RNN (Elman, 1990):
        h' = tanh(W x + U h)
    ReLU RNN (Le, Jaitly & Hinton, 2015), whose U begins as the identity:
        h' = max(0, W x + U h)

    The blocks of rows in weights and biases are in the order i f g o, or r z n.
    """

    def __init__(self, config: ModelConfig, vocabulary: int) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(vocabulary, config.embedding_size)
        sizes = [config.embedding_size] + [config.hidden_size] * config.num_layers
        cell = CELLS[config.cell]
        # One torch module per layer, since dropout between them is our own; each takes oneDNN's fast path.
        self.layers = nn.ModuleList([cell(sizes[i], sizes[i + 1]) for i in range(config.num_layers)])
        self.output = nn.Linear(config.read_size, vocabulary)
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

    def forward(
        self, ids: Tensor, state: State | None = None, masks: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """Logits after every character, and the state after the last one.

        Args:
            ids: (time, batch) integers.
            state: as returned by an earlier call; None for zeros.
            masks: (layers, 1, batch, hidden), dropout's factors of each layer's activations; None for none.

        Returns:
            logits (time, batch, vocabulary) and the new state, attached to the autograd graph.
        """
        activations = self.embedding(ids)  # (time, batch, embedding)
        read: list[Tensor] = []
        after: State = []
        for index, layer in enumerate(self.layers):
            before = _packed(state[index]) if state is not None else None
            hidden, last = layer(activations, before)  # (time, batch, hidden)
            after.append(last if isinstance(last, tuple) else (last,))
            activations = hidden if masks is None else hidden * masks[index].to(hidden.dtype)
            read.append(activations)
        if self.config.output == "all" and len(read) > 1:
            activations = torch.cat(read, dim=-1)  # (time, batch, layers * hidden)
        return self.output(activations), after

    def loss(
        self,
        ids: Tensor,
        targets: Tensor,
        state: State | None,
        masks: Tensor | None = None,
        count: int | Tensor | None = None,
    ) -> tuple[Tensor, State]:
        """The cross-entropy in nats, summed over the targets without padding and divided, and the new state.

        Args:
            ids: (time, batch) integers.
            targets: (time, batch), the id that follows each; torch's ignore index for padding.
            state: as in ``forward``.
            masks: likewise.
            count: what the sum is divided by; the number of these targets if None.
        """
        logits, state = self(ids, state, masks)  # (time, batch, vocabulary)
        flat = logits.float().flatten(0, 1)  # (time * batch, vocabulary)
        if count is None:
            return functional.cross_entropy(flat, targets.flatten()), state
        return functional.cross_entropy(flat, targets.flatten(), reduction="sum") / count, state


def _packed(state: tuple[Tensor, ...]) -> Tensor | tuple[Tensor, ...]:
    """A layer's state as torch's modules expect it: a pair for an LSTM, else a tensor."""
    return state if len(state) == 2 else state[0]


def detach(state: State) -> State:
    """The state in float32, detached from the autograd graph, as truncated BPTT requires."""
    return [tuple(tensor.detach().float() for tensor in layer) for layer in state]


def parameters_by_name(model: CharRNN) -> dict[str, Tensor]:
    """The parameters by their names in the model file; a tied output is listed only as the embedding."""
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
    """Copies of the parameters as float32 arrays, by their names in the model file."""
    return {
        name: parameter.detach().to("cpu", torch.float32, copy=True).numpy()
        for name, parameter in parameters_by_name(model).items()
    }


@torch.no_grad()
def import_weights(model: CharRNN, weights: dict[str, NDArray[np.float32]]) -> None:
    """Copies arrays into the parameters with the same names and shapes."""
    for name, parameter in parameters_by_name(model).items():
        parameter.copy_(torch.from_numpy(weights[name]))


def build_model(config: ModelConfig, weights: dict[str, NDArray[np.float32]]) -> CharRNN:
    """The network of a model file, in evaluation mode."""
    model = CharRNN(config, len(weights["embedding.weight"]))
    import_weights(model, weights)
    return model.eval()
