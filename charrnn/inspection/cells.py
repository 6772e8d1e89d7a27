"""Activations of every unit along a text, in NumPy: hidden states, an LSTM's cells, and the gates.

A text is read in blocks, and each block layer by layer: what the layer below contributes to all gates at all
times is one product, and only the recurrent product is a loop over time. The equations are those of
``charrnn.model.network``; the weights are laid out by ``charrnn.model.engine``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.config import ModelConfig
from charrnn.evaluation.evaluator import resets
from charrnn.model.engine import HALF, Engine
from charrnn.model.file import ModelFile
from charrnn.use_config import EvaluationConfig

Floats = NDArray[np.float32]

# What each cell computes for every unit. "hidden" is what the next layer sees; the gates are between 0 and 1.
SIGNALS: dict[str, tuple[str, ...]] = {
    "lstm": ("hidden", "cell", "input", "forget", "output"),
    "gru": ("hidden", "reset", "update"),
    "rnn": ("hidden",),
    "relu": ("hidden",),
}
GATES = frozenset({"input", "forget", "output", "reset", "update"})

BLOCK = 512  # characters read at once


@dataclasses.dataclass(frozen=True, order=True)
class Unit:
    """One unit's signal; layer and unit count from 0, as in the names of the model file's tensors."""

    layer: int
    unit: int
    signal: str

    def __str__(self) -> str:
        """As ``--unit`` takes it.

        >>> str(Unit(1, 123, "cell"))
        '1:123:cell'
        """
        return f"{self.layer}:{self.unit}:{self.signal}"


@dataclasses.dataclass(frozen=True)
class Columns:
    """The order in which a block holds signals: by layer, then signal, then unit."""

    config: ModelConfig

    @property
    def signals(self) -> tuple[str, ...]:
        """What every unit of this cell has."""
        return SIGNALS[self.config.cell]

    @property
    def main(self) -> str:
        """The signal that is shown unless another is asked for: an LSTM's cell, else the hidden state."""
        return "cell" if "cell" in self.signals else "hidden"

    @property
    def count(self) -> int:
        """How many columns there are."""
        return self.config.num_layers * len(self.signals) * self.config.hidden_size

    def of(self, layer: int, signal: str) -> slice:
        """The columns (hidden,) of one layer's signal."""
        first = (layer * len(self.signals) + self.signals.index(signal)) * self.config.hidden_size
        return slice(first, first + self.config.hidden_size)

    def column(self, unit: Unit) -> int:
        """The column of one unit."""
        return int(self.of(unit.layer, unit.signal).start) + unit.unit

    def unit(self, column: int) -> Unit:
        """Whose column this is."""
        group, unit = divmod(column, self.config.hidden_size)
        layer, signal = divmod(group, len(self.signals))
        return Unit(layer, unit, self.signals[signal])


class Reader:
    """Reads ids in order, the state carried from one block to the next.

    Attributes:
        columns: what stands where in a block.
        output: (vocabulary, hidden + 1): logits are its product with the top layer's hidden state and a 1.
    """

    def __init__(self, model: ModelFile) -> None:
        engine = Engine(model)
        self.columns, self.output = Columns(model.config), engine.output
        self._engine = engine
        config = model.config
        size = config.hidden_size
        step: dict[str, Step] = {"lstm": _lstm, "gru": _gru, "rnn": _rnn, "relu": _relu}
        self._step = step[config.cell]
        self._recurrent = [np.ascontiguousarray(layer.matrix[:, -size:]) for layer in engine.layers]
        self._state: Floats = np.zeros((config.num_layers, 2, size), np.float32)  # hidden and cell

    def read(self, ids: NDArray[Any], resets: Collection[int] = ()) -> Floats:
        """The activations after each of these ids.

        Args:
            ids: (time,).
            resets: places in ``ids`` before which the state is set to zero.

        Returns:
            (time, columns): see ``Columns``.
        """
        config, columns = self.columns.config, self.columns
        found: Floats = np.empty((len(ids), columns.count), np.float32)
        for index in range(config.num_layers):
            layer = self._engine.layers[index]
            if index == 0:
                below = self._engine.table[ids]  # (time, gates * hidden)
            else:
                hidden = found[:, columns.of(index - 1, "hidden")]  # (time, hidden)
                if layer.inputs is not None and layer.input_bias is not None:
                    below = hidden @ layer.inputs.T + layer.input_bias
                else:
                    below = hidden @ layer.matrix[:, : config.hidden_size].T + layer.bias
            signals = [found[:, columns.of(index, signal)] for signal in columns.signals]
            own = (self._recurrent[index], layer.bias)
            self._step(below, own, self._state[index], signals, resets)
        return found


def blocks(reader: Reader, ids: NDArray[Any], resets: NDArray[Any]) -> Iterator[tuple[int, Floats]]:
    """Reads all of ``ids`` in blocks; yields each block's place and activations (time, columns)."""
    for begin in range(0, len(ids), BLOCK):
        inside = resets[(resets >= begin) & (resets < begin + BLOCK)] - begin
        yield begin, reader.read(ids[begin : begin + BLOCK], frozenset(inside.tolist()))


def activations(model: ModelFile, ids: NDArray[Any]) -> dict[str, Floats]:
    """The activations after each symbol of a text that is read from its beginning.

    A model that learnt each line by itself reads each from a zero state and a start symbol.

    Args:
        model: as ``load_model`` reads it.
        ids: (time,) of the text, without the start symbol, which is read before them.

    Returns:
        (hidden, time) float32 for each layer and signal, named as in "0.hidden", "1.cell", "1.forget".
    """
    reader = Reader(model)
    columns = reader.columns
    begins = np.zeros(1, np.int64)
    if resets(model, EvaluationConfig()):
        after = np.flatnonzero(ids == model.tokenizer.newline) + 1
        begins = np.append(begins, after[after < len(ids)])
    inputs = np.insert(ids.astype(np.int64), begins, model.tokenizer.start)
    starts = begins + np.arange(len(begins))  # places of the start symbols in the inputs
    pieces = [block for _, block in blocks(reader, inputs, starts)]
    found = np.delete(np.concatenate(pieces), starts, axis=0).T  # (columns, time)
    return {
        f"{layer}.{signal}": np.ascontiguousarray(found[columns.of(layer, signal)])
        for layer in range(model.config.num_layers)
        for signal in columns.signals
    }


# -- one layer over a block: W x + b is given for all times, and what is found goes into the columns ---------

Own = tuple[Floats, Floats]  # U (gates * hidden, hidden), and the bias that is not in W x + b yet
Step = Callable[[Floats, Own, Floats, list[Floats], Collection[int]], None]


def _lstm(below: Floats, own: Own, state: Floats, signals: list[Floats], resets: Collection[int]) -> None:
    """i, f, o and g as in the engine: sigmoids by tanh of half the sum, which the weights have halved."""
    hiddens, cells, *gates = signals  # (time, hidden) each
    U, (h, c) = own[0], state
    size = len(h)
    product = np.empty(4 * size, np.float32)
    dot, add, multiply, tanh, half = np.dot, np.add, np.multiply, np.tanh, HALF
    for time, rows in enumerate(below):
        if time in resets:
            state[:] = 0
        dot(U, h, product)
        add(rows, product, rows)
        tanh(rows, rows)
        sigmoids, g = rows[: 3 * size], rows[3 * size :]
        multiply(sigmoids, half, sigmoids)
        add(sigmoids, half, sigmoids)
        i, f, o = rows[:size], rows[size : 2 * size], rows[2 * size : 3 * size]
        multiply(f, c, c)
        multiply(i, g, g)
        add(c, g, c)
        cells[time] = c
        tanh(c, g)
        multiply(o, g, h)
        hiddens[time] = h
    for index, gate in enumerate(gates):
        gate[:] = below[:, index * size : (index + 1) * size]


def _gru(below: Floats, own: Own, state: Floats, signals: list[Floats], resets: Collection[int]) -> None:
    """r, z and n; the update gate z is the share of the state that is kept."""
    hiddens, *gates = signals
    (U, bias), h = own, state[0]
    size = len(h)
    past = np.empty(3 * size, np.float32)
    for time, rows in enumerate(below):
        if time in resets:
            state[:] = 0
        np.dot(U, h, past)
        np.add(past, bias, past)
        sigmoids, n = rows[: 2 * size], rows[2 * size :]
        np.add(sigmoids, past[: 2 * size], sigmoids)
        np.tanh(sigmoids, sigmoids)
        np.multiply(sigmoids, HALF, sigmoids)
        np.add(sigmoids, HALF, sigmoids)
        np.add(n, rows[:size] * past[2 * size :], n)
        np.tanh(n, n)
        np.subtract(h, n, h)
        np.multiply(h, rows[size : 2 * size], h)
        np.add(h, n, h)
        hiddens[time] = h
    for index, gate in enumerate(gates):
        gate[:] = below[:, index * size : (index + 1) * size]


def _rnn(below: Floats, own: Own, state: Floats, signals: list[Floats], resets: Collection[int]) -> None:
    """h' = tanh(W x + U h)."""
    _plain(np.tanh, below, own, state, signals, resets)


def _relu(below: Floats, own: Own, state: Floats, signals: list[Floats], resets: Collection[int]) -> None:
    """h' = max(0, W x + U h)."""
    _plain(lambda rows: np.maximum(rows, 0), below, own, state, signals, resets)


def _plain(
    function: Callable[[Floats], Floats], below: Floats, own: Own, state: Floats, signals: list[Floats],
    resets: Collection[int],
) -> None:  # fmt: skip
    h = state[0]
    for time, rows in enumerate(below):
        if time in resets:
            state[:] = 0
        h[:] = function(rows + own[0] @ h)
        signals[0][time] = h
