"""Inference in NumPy: one character at a time, about as fast as the weights can be read from memory.

The weights are laid out once, on loading. Activations are columns: the hidden state is (hidden,) for one
stream, (hidden, N) for N streams, and the same code steps both. All layers' states are in one array,

    hidden = [0; h^0; h^1; ...; h^(L-1); 1]     ((layers + 1) * hidden + 1,), or that by N

so that the inputs of layer l, h^(l-1) and its own previous state h^l, are one slice: a layer of an LSTM or
RNN is one product with [W | U] instead of two, without copies. The first layer's input product is a row of a
table with one row per symbol. The 1 at the end multiplies the output's bias; ``_widened`` explains the zeros.

Sigmoids are computed in the same call as the tanh of the other gates: sigma(a) = tanh(a / 2) / 2 + 1 / 2,
where the division of a by two is already in the weights.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.model.file import ModelFile
from charrnn.system import blas_threads

Floats = NDArray[np.float32]

# The order of a file's blocks of rows (LSTM: i f g o; GRU: r z n) that puts the sigmoids first, and the
# number of blocks that are sigmoids.
BLOCKS = {"lstm": ([0, 1, 3, 2], 3), "gru": ([0, 1, 2], 2), "rnn": ([0], 0), "relu": ([0], 0)}

# A 0-d array, which saves a ufunc the conversion of a Python number at every call.
HALF = np.array(0.5, np.float32)

# Elements of a matrix from which OpenBLAS, part of NumPy's wheels, multiplies a vector in two threads.
THREADED = 460_800

CACHE_LINE = 64  # bytes
ALL = slice(None)


@dataclasses.dataclass(frozen=True)
class Layer:
    """One layer's weights, with rows in the engine's order and sigmoid rows halved.

    Attributes:
        matrix: [W | U] (gates * hidden, 2 * hidden). In the first layer, whose W is in the table, U alone or,
            widened, [anything | U]; in all layers of a GRU U alone, since r * (U h) needs it separately.
        bias: (gates * hidden,) added to the product with ``matrix``.
        inputs: W (gates * hidden, hidden) of a GRU's layers above the first.
        input_bias: the bias of ``inputs``.
    """

    matrix: Floats
    bias: Floats
    inputs: Floats | None = None
    input_bias: Floats | None = None


class Engine:
    """A model's weights, laid out for stepping; shared by any number of streams.

    Attributes:
        table: (vocabulary, gates * hidden): each symbol's input product in the first layer.
        layers: in the order in which data passes through them.
        output: (vocabulary, units that the output reads + 1); the last column is the bias.
        largest: what no logit's magnitude can exceed; infinite for ReLU cells.
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
                # Vector by vector: a product of matrices is rounded otherwise by two threads than by one.
                products = [W @ embedding for embedding in weights["embedding.weight"]]
                self.table = np.stack(products) + bias  # (vocabulary, gates * hidden)
                self.layers.append(Layer(_side_by_side(U), d))
            elif gru:
                self.layers.append(Layer(_side_by_side(U), d, _side_by_side(W), b))
            else:
                self.layers.append(Layer(_side_by_side(W, U), b + d))
        if not gru:
            self.layers[:2] = _widened(*self.layers[:2])
        output = weights["embedding.weight" if config.tied else "output.weight"]
        self.output: Floats = np.hstack([output, weights["output.bias"][:, None]])
        # No unit exceeds 1, unless it is a ReLU, so no logit can exceed this.
        largest = float(np.abs(self.output).sum(axis=1).max())
        self.largest = math.inf if config.cell == "relu" else largest

    @functools.cached_property
    def columns(self) -> Floats:
        """The table as (gates * hidden, vocabulary), for several streams; computed on first use."""
        return np.ascontiguousarray(self.table.T)

    def _lay_out(self, array: Floats) -> Floats:
        """A weight matrix or bias with reordered blocks of rows and halved sigmoid rows."""
        order, sigmoids = BLOCKS[self.config.cell]
        blocks = array.reshape(len(order), self.config.hidden_size, *array.shape[1:])[order]
        blocks[:sigmoids] *= HALF
        return blocks.reshape(array.shape)

    def stream(self, count: int | None = None) -> Stream:
        """A new stream with all states zero; ``count`` streams in lockstep if given."""
        return Stream(self, count)


def _side_by_side(*matrices: Floats) -> Floats:
    """The matrices (rows, sum of columns), aligned to a cache line: loads across two lines cost double."""
    rows, columns = len(matrices[0]), sum(matrix.shape[1] for matrix in matrices)
    memory = np.empty(4 * rows * columns + CACHE_LINE, np.uint8)
    begin = -memory.ctypes.data % CACHE_LINE
    joined = memory[begin : begin + 4 * rows * columns].view(np.float32).reshape(rows, columns)
    return np.concatenate(matrices, axis=1, out=joined)


def _widened(first: Layer, *second: Layer) -> tuple[Layer, ...]:
    """The lowest two layers, with the first layer's matrix large enough for OpenBLAS to use two threads.

    A product on one core needs its whole matrix in that core's cache, besides half of each product that two
    cores share. If all products are shared, each core needs half of everything, which fits for 2 x 256. So
    three matrices are stored side by side, [W^1 | U^1 | U^0]. The second layer uses the first two; the first
    layer uses U^0 and as many columns of U^1 as make it large enough, which are multiplied by the zeros
    before h^0: more arithmetic, but less time.
    """
    rows, size = first.matrix.shape
    line = CACHE_LINE // first.matrix.itemsize
    wide = -(-THREADED // rows // line) * line  # columns, in whole cache lines
    if not second or not size < wide <= 2 * size or blas_threads() == 1:
        return first, *second
    matrices = _side_by_side(second[0].matrix, first.matrix)  # (gates * hidden, 3 * hidden)
    return (
        dataclasses.replace(first, matrix=matrices[:, -wide:]),
        dataclasses.replace(second[0], matrix=matrices[:, : 2 * size]),
    )


class Stream:
    """The state of one text that is being read or written, or of N texts in lockstep.

    Attributes:
        hidden: ((layers + 1) * hidden + 1,) or that by N; see the module's docstring.
        cells: an LSTM's cells, (layers, hidden) or (layers, hidden, N).
    """

    def __init__(self, engine: Engine, count: int | None = None) -> None:
        config = engine.config
        self._count, self._size = count, config.hidden_size
        self._table, self._output = engine.table, engine.output
        self._columns = engine.table if count is None else engine.columns
        columns = () if count is None else (count,)
        rows = config.gates * config.hidden_size
        self.hidden: Floats = np.zeros(((config.num_layers + 1) * self._size + 1, *columns), np.float32)
        self.hidden[-1] = 1
        # Each layer's gates, followed by its cell, so that the cell is next to the gate g.
        work: Floats = np.zeros((config.num_layers, rows + self._size, *columns), np.float32)
        self.cells: Floats = work[:, rows:]
        self._logits: Floats = np.zeros((engine.vocabulary, *columns), np.float32)
        self._below: Floats = np.zeros((rows, *columns), np.float32)
        make = {"lstm": lstm_layer, "gru": gru_layer, "rnn": rnn_layer, "relu": relu_layer}[config.cell]
        self._layers = [make(layer, self.hidden, work[at], at) for at, layer in enumerate(engine.layers)]
        self._read = self.hidden[-config.read_size - 1 :]  # what the output reads, including the 1

    def step(self, ids: Any) -> Floats:
        """Reads one symbol per stream and returns the logits of the next one.

        Args:
            ids: an int; for N streams, (N,) integers.

        Returns:
            (vocabulary,) or (vocabulary, N), a buffer that the next step overwrites.
        """
        self.advance(ids)
        return np.dot(self._output, self._read, self._logits)  # (vocabulary, units + 1) (units + 1,)

    def advance(self, ids: Any) -> None:
        """Reads one symbol per stream without computing logits."""
        below = self._table[ids] if self._count is None else self._gather(ids)
        for layer in self._layers:
            layer(below)

    def _gather(self, ids: Any) -> Floats:
        """The table's columns (gates * hidden, N) in the layout of the products; transposing is slow."""
        # The default mode, "raise", would make a copy first.
        return self._columns.take(ids, 1, self._below, "clip")

    def read(self, ids: NDArray[Any]) -> Floats:
        """Reads a text and returns the logits after each symbol.

        Args:
            ids: (time,) integers; only for a single stream.

        Returns:
            (time, vocabulary), newly allocated.
        """
        read = np.empty((len(ids), len(self._read)), np.float32)
        for time, id in enumerate(ids.tolist()):
            self.advance(id)
            read[time] = self._read
        return read @ self._output.T

    def save(self, columns: Any = ALL) -> tuple[Floats, Floats]:
        """Copies of the state, for ``restore``; of N streams those of all, or of some ``columns``."""
        return self.hidden[..., columns].copy(), self.cells[..., columns].copy()

    def restore(self, saved: tuple[Floats, Floats], columns: Any = ALL, places: Any = ALL) -> None:
        """Restores a saved state; ``columns`` of N streams that of a single one, or those at ``places``."""
        for mine, other in zip((self.hidden, self.cells), saved, strict=True):
            mine[..., columns] = other[..., places] if other.ndim == mine.ndim else other[..., None]

    @staticmethod
    def gather(saved: Sequence[tuple[Floats, Floats]], places: Any = ALL) -> tuple[Floats, ...]:
        """The saved states of several times N streams as one: all of them, or those at ``places``."""
        return tuple(np.concatenate(parts, axis=-1)[..., places] for parts in zip(*saved, strict=True))

    def select(self, columns: NDArray[np.int64]) -> None:
        """Gives each of N streams the state of another one: stream i that of ``columns[i]`` (N,)."""
        self.hidden[...], self.cells[...] = self.hidden[:, columns], self.cells[:, :, columns]


# -- layers: what stays the same from step to step is bound once, when a stream is created -------------------

Advance = Callable[[Floats], None]


def lstm_layer(layer: Layer, hidden: Floats, work: Floats, index: int) -> Advance:
    """c' = f * c + i * g and h' = o * tanh(c'), all four gates from one product and one tanh."""
    size = len(work) // 5
    own = hidden[(index + 1) * size : (index + 2) * size]  # (hidden,)
    product, matrix, read = _product(layer, hidden, index, size)
    bias, first = _column(layer.bias, hidden), index == 0
    rows, sigmoids = work[: 4 * size], work[: 3 * size]
    i, f, o, g, cell = (work[block * size : (block + 1) * size] for block in range(5))  # (hidden,) each
    i_and_f, g_and_cell = work[: 2 * size], work[3 * size :]
    add, multiply, tanh, half = np.add, np.multiply, np.tanh, HALF

    def advance(below: Floats) -> None:
        product(matrix, read, rows)
        add(rows, below if first else bias, rows)
        tanh(rows, rows)
        multiply(sigmoids, half, sigmoids)
        add(sigmoids, half, sigmoids)
        multiply(i_and_f, g_and_cell, i_and_f)  # i * g and f * c
        add(i, f, cell)
        tanh(cell, g)
        multiply(o, g, own)

    return advance


def gru_layer(layer: Layer, hidden: Floats, work: Floats, index: int) -> Advance:
    """h' = n + z * (h - n) with n = tanh(W x + r * (U h)), which keeps the two products apart."""
    size = len(work) // 4
    previous, own = (hidden[at * size : (at + 1) * size] for at in (index, index + 1))  # (hidden,)
    rows = work[: 3 * size]  # U h
    products = np.zeros_like(rows)  # W x, above the first layer
    r, z, n = (work[block * size : (block + 1) * size] for block in range(3))  # (hidden,) each
    sigmoids = work[: 2 * size]
    matrix, bias = layer.matrix, _column(layer.bias, hidden)
    weights = layer.inputs
    input_bias = bias if layer.input_bias is None else _column(layer.input_bias, hidden)
    dot, add, subtract, multiply, tanh, half = np.dot, np.add, np.subtract, np.multiply, np.tanh, HALF

    def advance(below: Floats) -> None:
        if weights is not None:
            below = products
            dot(weights, previous, below)
            add(below, input_bias, below)
        dot(matrix, own, rows)
        add(rows, bias, rows)
        add(sigmoids, below[: 2 * size], sigmoids)
        tanh(sigmoids, sigmoids)
        multiply(sigmoids, half, sigmoids)
        add(sigmoids, half, sigmoids)
        multiply(n, r, n)
        add(n, below[2 * size :], n)
        tanh(n, n)
        subtract(own, n, own)
        multiply(own, z, own)
        add(own, n, own)

    return advance


def rnn_layer(layer: Layer, hidden: Floats, work: Floats, index: int) -> Advance:
    """h' = tanh(W x + U h)."""
    return _plain_layer(layer, hidden, work, index, np.tanh)


def relu_layer(layer: Layer, hidden: Floats, work: Floats, index: int) -> Advance:
    """h' = max(0, W x + U h)."""
    zero = np.zeros((), np.float32)
    return _plain_layer(layer, hidden, work, index, lambda rows, own: np.maximum(rows, zero, out=own))


def _plain_layer(layer: Layer, hidden: Floats, work: Floats, index: int, function: Any) -> Advance:
    """h' = function(W x + U h); ``function`` takes what it is of, and where its result goes."""
    size = len(work) // 2
    own, rows = hidden[(index + 1) * size : (index + 2) * size], work[:size]  # (hidden,)
    product, matrix, read = _product(layer, hidden, index, size)
    bias, first = _column(layer.bias, hidden), index == 0

    def advance(below: Floats) -> None:
        product(matrix, read, rows)
        np.add(rows, below if first else bias, rows)
        function(rows, own)

    return advance


def _product(layer: Layer, hidden: Floats, index: int, size: int) -> tuple[Any, Floats, Floats]:
    """A layer's product: the function, the matrix, and the slice of ``hidden`` that it reads."""
    matrix, end = layer.matrix, (index + 2) * size
    if index == 0 and hidden.ndim > 1:
        matrix = matrix[:, -size:]  # the product of several streams is large enough without it
    function = np.dot if matrix.flags.c_contiguous else np.matmul  # np.dot would copy a slice
    return function, matrix, hidden[end - matrix.shape[1] : end]


def _column(vector: Floats, hidden: Floats) -> Floats:
    """A bias in the shape that is added to the rows of one stream, or of N."""
    return vector if hidden.ndim == 1 else vector[:, None]


def log_softmax(logits: NDArray[Any]) -> NDArray[np.float64]:
    """ln softmax(logits) over the last axis; exponentials in the type of the logits, sums in float64.

    >>> log_softmax(np.log(np.array([1.0, 3.0]))).round(4).tolist()
    [-1.3863, -0.2877]
    """
    shifted = logits - logits.max(axis=-1, keepdims=True)
    total = np.exp(shifted).sum(axis=-1, keepdims=True, dtype=np.float64)  # (..., 1)
    found: NDArray[np.float64] = shifted - np.log(total)
    return found
