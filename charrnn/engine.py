"""Inference in NumPy: one character at a time, about as fast as the weights can be read from memory.

Everything is laid out once, at load. Activations stand in columns: one stream's hidden state is (hidden,),
N streams' is (hidden, N), and the same code steps both. The hidden states of all layers lie in one array,

    hidden = [h^0; h^1; ...; h^(L-1)]     (layers * hidden,) or (layers * hidden, N)

so that what layer l reads, its input h^(l-1) and its own past h^l, is one slice of it: an LSTM's or RNN's
layer is one product with [W | U] instead of two, and nothing is copied. The first layer's input product
is a row of a table, since there are only as many inputs as symbols.

Sigmoids come from the same call as the tanh beside them: sigma(a) = tanh(a / 2) / 2 + 1 / 2, where the
first division by two is in the weights already.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.checkpoint import ModelFile

Floats = NDArray[np.float32]

# Of what a file's blocks of rows (LSTM: i f g o; GRU: r z n) become here: the order that puts the sigmoids
# first, and how many blocks are sigmoids.
BLOCKS = {"lstm": ([0, 1, 3, 2], 3), "gru": ([0, 1, 2], 2), "rnn": ([0], 0)}

# A 0-d array: a ufunc takes it without converting a Python number at every call.
HALF = np.array(0.5, np.float32)


@dataclasses.dataclass(frozen=True)
class Layer:
    """One layer's weights, rows in the engine's order and sigmoid rows halved.

    Attributes:
        matrix: [W | U] (gates * hidden, 2 * hidden); the first layer's is U alone, whose W is in the table;
            a GRU's is U alone in every layer, since r * (U h) keeps the two apart.
        bias: (gates * hidden, 1 or nothing): what is added to the product with ``matrix``.
        inputs: of a GRU above the first layer, W (gates * hidden, hidden).
        input_bias: its bias.
    """

    matrix: Floats
    bias: Floats
    inputs: Floats | None = None
    input_bias: Floats | None = None


class Engine:
    """A model's weights, laid out for stepping; any number of streams may share them.

    Attributes:
        table: (vocabulary, gates * hidden): for each symbol, what the first layer makes of it.
        layers: from the bottom up.
        output: (vocabulary, hidden), and ``output_bias`` (vocabulary,).
    """

    def __init__(self, model: ModelFile) -> None:
        weights, config = model.weights, model.config
        self.config = config
        self.vocabulary = model.tokenizer.size
        gru = config.cell == "gru"
        self.layers: list[Layer] = []
        for index in range(config.num_layers):
            named = {
                role: self._lay_out(weights[f"layers.{index}.{role}"])
                for role in ("input.weight", "input.bias", "recurrent.weight", "recurrent.bias")
            }
            W, b = named["input.weight"], named["input.bias"]
            U, d = named["recurrent.weight"], named["recurrent.bias"]
            if index == 0:
                bias = b if gru else b + d
                self.table = weights["embedding.weight"] @ W.T + bias  # (vocabulary, gates * hidden)
                self.layers.append(Layer(U, d))
            elif gru:
                self.layers.append(Layer(U, d, W, b))
            else:
                self.layers.append(Layer(np.hstack([W, U]), b + d))
        self.output: Floats = weights["embedding.weight" if config.tied else "output.weight"]
        self.output_bias: Floats = weights["output.bias"]

    def _lay_out(self, array: Floats) -> Floats:
        """A weight matrix or bias with its blocks of rows reordered and its sigmoid rows halved."""
        order, sigmoids = BLOCKS[self.config.cell]
        blocks = array.reshape(len(order), self.config.hidden_size, *array.shape[1:])[order]
        blocks[:sigmoids] *= HALF
        return blocks.reshape(array.shape)

    def stream(self, count: int | None = None) -> Stream:
        """A stream at its beginning: all states zero; with ``count``, that many side by side."""
        return Stream(self, count)


class Stream:
    """The state of one text being read or written, or of N texts in lockstep.

    Attributes:
        hidden: (layers * hidden,) or (layers * hidden, N).
        cells: an LSTM's cells, (layers, hidden) or (layers, hidden, N).
    """

    def __init__(self, engine: Engine, count: int | None = None) -> None:
        config = engine.config
        self._engine, self._size = engine, config.hidden_size
        columns = () if count is None else (count,)
        size, rows = config.hidden_size, config.gates * config.hidden_size

        def zeros(*shape: int) -> Floats:
            return np.zeros((*shape, *columns), np.float32)

        def column(vector: Floats) -> Floats:
            return vector if count is None else vector[:, None]

        self.hidden = zeros(config.num_layers * size)
        self.cells = zeros(config.num_layers, size)
        self._rows, self._input_rows = zeros(rows), zeros(rows)  # products with the weights
        self._spare = zeros(size)
        self._logits = zeros(engine.vocabulary)
        self._output_bias = column(engine.output_bias)
        self._biases = [column(layer.bias) for layer in engine.layers]
        self._input_biases = [
            None if layer.input_bias is None else column(layer.input_bias) for layer in engine.layers
        ]
        # Views made once: slicing costs as much as a small product.
        own = [self.hidden[i * size : (i + 1) * size] for i in range(config.num_layers)]
        self._own, self._top = own, own[-1]
        self._both = [self.hidden[max(i - 1, 0) * size : (i + 1) * size] for i in range(len(own))]
        self._blocks = [self._rows[i * size : (i + 1) * size] for i in range(config.gates)]
        self._sigmoids = self._rows[: BLOCKS[config.cell][1] * size]
        self._advance = {"lstm": self._lstm, "gru": self._gru, "rnn": self._rnn}[config.cell]

    def step(self, ids: Any) -> Floats:
        """Reads one symbol a stream and returns the logits of the next.

        Args:
            ids: an int; with N streams, (N,) of integers.

        Returns:
            (vocabulary,) or (vocabulary, N): a buffer that the next step overwrites.
        """
        self.advance(ids)
        np.dot(self._engine.output, self._top, out=self._logits)  # (vocabulary, hidden) (hidden,)
        return np.add(self._logits, self._output_bias, out=self._logits)

    def advance(self, ids: Any) -> None:
        """Reads one symbol a stream without asking what comes next."""
        below = self._engine.table[ids].T  # (gates * hidden,) or (gates * hidden, N)
        for index in range(len(self._own)):
            self._advance(index, below)

    def read(self, ids: NDArray[Any]) -> Floats:
        """Reads a text and returns the logits after each symbol.

        Args:
            ids: (time,) of integers; for a single stream.

        Returns:
            (time, vocabulary), newly allocated.
        """
        top = np.empty((len(ids), self._size), np.float32)
        for time, id in enumerate(ids.tolist()):
            self.advance(id)
            top[time] = self._top
        return top @ self._engine.output.T + self._engine.output_bias

    def _lstm(self, index: int, below: Floats) -> None:
        """c' = f * c + i * g and h' = o * tanh(c'), all four gates from one product and one tanh."""
        rows, sigmoids, cell = self._rows, self._sigmoids, self.cells[index]
        i, f, o, g = self._blocks  # (hidden,) each, in rows (4 * hidden,)
        np.dot(self._engine.layers[index].matrix, self._both[index], out=rows)
        rows += below if index == 0 else self._biases[index]
        np.tanh(rows, out=rows)
        sigmoids *= HALF
        sigmoids += HALF
        cell *= f
        i *= g
        cell += i
        np.tanh(cell, out=self._spare)
        np.multiply(o, self._spare, out=self._own[index])

    def _gru(self, index: int, below: Floats) -> None:
        """h' = n + z * (h - n) with n = tanh(W x + r * (U h)), which keeps the two products apart."""
        layer, size, rows, own = (
            self._engine.layers[index],
            self._size,
            self._rows,
            self._own[index],
        )
        r, z, n = self._blocks  # (hidden,) each, in rows (3 * hidden,)
        inputs, bias = below, self._input_biases[index]
        if layer.inputs is not None and bias is not None:
            inputs = np.dot(layer.inputs, self._own[index - 1], out=self._input_rows)
            inputs += bias
        np.dot(layer.matrix, own, out=rows)
        rows += self._biases[index]
        sigmoids = self._sigmoids  # r and z, (2 * hidden,)
        sigmoids += inputs[: 2 * size]
        np.tanh(sigmoids, out=sigmoids)
        sigmoids *= HALF
        sigmoids += HALF
        n *= r
        n += inputs[2 * size :]
        np.tanh(n, out=n)
        own -= n
        own *= z
        own += n

    def _rnn(self, index: int, below: Floats) -> None:
        """h' = tanh(W x + U h)."""
        rows = self._rows  # (hidden,)
        np.dot(self._engine.layers[index].matrix, self._both[index], out=rows)
        rows += below if index == 0 else self._biases[index]
        np.tanh(rows, out=self._own[index])
