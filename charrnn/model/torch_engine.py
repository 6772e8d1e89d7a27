"""Inference in torch, for models that a GPU steps faster than NumPy does.

It has the interface of ``charrnn.model.engine``, NumPy arrays included, and is imported only if ``--device``
asks for it. On CUDA a step is captured once as a graph and replayed, which needs one launch per character
instead of dozens.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from charrnn.config import Cell, Device
from charrnn.model.device import choose_machine, prepare_torch
from charrnn.model.engine import ALL
from charrnn.model.file import ModelFile

Floats = NDArray[np.float32]

WARM_UP = 3  # steps before the capture, in which libraries allocate their workspaces


def cell_step(kind: Cell, below: Tensor, past: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
    """One step of one layer: the new hidden state and, of an LSTM, the new cell, (N, hidden) each.

    Args:
        kind: of the cell.
        below: W x + b (N, gates * hidden).
        past: U h + d (N, gates * hidden).
        hidden: h (N, hidden).
        cell: c (N, hidden), which all but an LSTM return as it is.
    """
    if kind == "rnn":
        return torch.tanh(below + past), cell
    if kind == "relu":
        return torch.relu(below + past), cell
    if kind == "gru":
        (r_x, z_x, n_x), (r_h, z_h, n_h) = below.chunk(3, 1), past.chunk(3, 1)
        n = torch.tanh(n_x + torch.sigmoid(r_x + r_h) * n_h)
        return n + torch.sigmoid(z_x + z_h) * (hidden - n), cell
    i, f, g, o = (below + past).chunk(4, 1)
    cell = torch.sigmoid(f) * cell + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(cell), cell


class TorchEngine:
    """A model's weights on a device.

    Attributes:
        weights: by the names in the model file.
        largest: what no logit's magnitude can exceed; infinite for ReLU cells.

    Raises:
        ConfigError: the device is not available.
    """

    def __init__(self, model: ModelFile, device: Device) -> None:
        prepare_torch()
        self.device = choose_machine(device, "fp32").device
        self.config, self.vocabulary = model.config, model.tokenizer.size
        self.weights = {name: torch.from_numpy(w).to(self.device) for name, w in model.weights.items()}
        self.output = self.weights["embedding.weight" if model.config.tied else "output.weight"]
        bias = self.weights["output.bias"]
        bounded = model.config.cell != "relu"  # as in charrnn.model.engine
        self.largest = float((self.output.abs().sum(1) + bias.abs()).max()) if bounded else math.inf

    def stream(self, count: int | None = None) -> TorchStream:
        """A new stream with all states zero; ``count`` streams in lockstep if given."""
        return TorchStream(self, count)


class TorchStream:
    """The state of one text, or of N in lockstep: ``hidden`` and ``cells`` are (layers, N, hidden)."""

    def __init__(self, engine: TorchEngine, count: int | None) -> None:
        self._engine, self._single = engine, count is None
        config, columns = engine.config, count or 1
        self.hidden = torch.zeros(config.num_layers, columns, config.hidden_size, device=engine.device)
        self.cells = torch.zeros_like(self.hidden)
        self._ids = torch.zeros(columns, dtype=torch.long, device=engine.device)
        self._logits = torch.zeros(columns, engine.vocabulary, device=engine.device)
        self._graph: Any = None
        if engine.device.type == "cuda":
            self._capture()

    def _capture(self) -> None:
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM_UP):
                self._compute()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._compute()
        self._graph = graph
        self.hidden.zero_()
        self.cells.zero_()

    @torch.no_grad()
    def _compute(self) -> None:
        """One step on tensors that stay at the same addresses, as a CUDA graph requires."""
        weights, config = self._engine.weights, self._engine.config
        x = weights["embedding.weight"][self._ids]  # (N, embedding)
        for index in range(config.num_layers):
            at, hidden = f"layers.{index}.", self.hidden[index]  # (N, hidden)
            below = torch.addmm(weights[at + "input.bias"], x, weights[at + "input.weight"].T)
            past = torch.addmm(weights[at + "recurrent.bias"], hidden, weights[at + "recurrent.weight"].T)
            x, cell = cell_step(config.cell, below, past, hidden, self.cells[index])  # (N, hidden) each
            hidden.copy_(x)
            if config.cell == "lstm":
                self.cells[index].copy_(cell)
        if config.output == "all":
            x = torch.cat(list(self.hidden), dim=1)  # (N, layers * hidden)
        torch.addmm(weights["output.bias"], x, self._engine.output.T, out=self._logits)

    def advance(self, ids: Any) -> None:
        """Reads one symbol per stream."""
        if self._single:
            self._ids.fill_(int(ids))
        else:
            self._ids.copy_(torch.from_numpy(np.asarray(ids, np.int64)))
        if self._graph is not None:
            self._graph.replay()
        else:
            self._compute()

    def step(self, ids: Any) -> Floats:
        """Reads one symbol per stream; returns the logits (vocabulary,) or (vocabulary, N) of the next."""
        self.advance(ids)
        logits: Floats = self._logits.cpu().numpy()  # (N, vocabulary)
        return logits[0] if self._single else logits.T

    def read(self, ids: NDArray[Any]) -> Floats:
        """Reads a text; returns the logits (time, vocabulary) after each symbol."""
        found = [self.step(id).copy() for id in ids.tolist()]
        return np.array(found, np.float32).reshape(len(ids), self._engine.vocabulary)

    def save(self, columns: Any = ALL) -> tuple[Tensor, Tensor]:
        """Copies of the state, for ``restore``; of N streams those of all, or of some ``columns``."""
        return self.hidden[:, columns].clone(), self.cells[:, columns].clone()

    def restore(self, saved: tuple[Tensor, Tensor], columns: Any = ALL, places: Any = ALL) -> None:
        """Restores a saved state; ``columns`` of N streams that of a single one, or those at ``places``."""
        for mine, other in zip((self.hidden, self.cells), saved, strict=True):
            mine[:, columns] = other[:, places]

    @staticmethod
    def gather(saved: Sequence[tuple[Tensor, Tensor]], places: Any = ALL) -> tuple[Tensor, ...]:
        """The saved states of several times N streams as one: all of them, or those at ``places``."""
        return tuple(torch.cat(parts, dim=1)[:, places] for parts in zip(*saved, strict=True))

    def select(self, columns: NDArray[np.int64]) -> None:
        """Gives each of N streams the state of another one: stream i that of ``columns[i]`` (N,)."""
        chosen = torch.from_numpy(columns).to(self._engine.device)
        self.hidden.copy_(self.hidden[:, chosen])
        self.cells.copy_(self.cells[:, chosen])
