"""An evaluation done again by other means: float64, one gate and one character at a time, from the file."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open

Doubles = NDArray[np.float64]


def sigmoid(x: Doubles) -> Doubles:
    """The logistic function."""
    result: Doubles = 1 / (1 + np.exp(-x))
    return result


class Reference:
    """The model of a file, computed as the papers write it."""

    def __init__(self, path: Path) -> None:
        with safe_open(path, framework="numpy") as file:
            self.described: dict[str, Any] = json.loads(file.metadata()["charrnn"])
            self.weights = {name: file.get_tensor(name).astype(np.float64) for name in file.keys()}  # noqa: SIM118
        self.architecture = self.described["architecture"]
        self.size: int = self.architecture["hidden_size"]
        layers: int = self.architecture["num_layers"]
        self.hidden = [np.zeros(self.size) for _ in range(layers)]
        self.cells = [np.zeros(self.size) for _ in range(layers)]

    def gates(self, layer: int, x: Doubles, h: Doubles) -> list[tuple[Doubles, Doubles]]:
        """For each gate W x + b and U h + d."""
        name = f"layers.{layer}"
        rows = len(self.weights[f"{name}.input.bias"])
        found = []
        for first in range(0, rows, self.size):
            own = slice(first, first + self.size)
            found.append(
                (
                    self.weights[f"{name}.input.weight"][own] @ x + self.weights[f"{name}.input.bias"][own],
                    self.weights[f"{name}.recurrent.weight"][own] @ h
                    + self.weights[f"{name}.recurrent.bias"][own],
                )
            )
        return found

    def step(self, id: int) -> Doubles:
        """Reads a symbol and gives the natural-log probabilities of the next (vocabulary,)."""
        x = self.weights["embedding.weight"][id]
        for layer, h in enumerate(self.hidden):
            gates = self.gates(layer, x, h)
            if self.architecture["cell"] == "lstm":
                i, f, g, o = (a + b for a, b in gates)
                self.cells[layer] = sigmoid(f) * self.cells[layer] + sigmoid(i) * np.tanh(g)
                x = sigmoid(o) * np.tanh(self.cells[layer])
            elif self.architecture["cell"] == "gru":
                r, z = (sigmoid(a + b) for a, b in gates[:2])
                n = np.tanh(gates[2][0] + r * gates[2][1])
                x = (1 - z) * n + z * h
            elif self.architecture["cell"] == "relu":
                x = np.maximum(gates[0][0] + gates[0][1], 0)
            else:
                x = np.tanh(gates[0][0] + gates[0][1])
            self.hidden[layer] = x
        output = self.weights.get("output.weight", self.weights["embedding.weight"])
        read = np.concatenate(self.hidden) if self.architecture["output"] == "all" else x
        logits = output @ read + self.weights["output.bias"]
        result: Doubles = logits - logits.max() - np.log(np.exp(logits - logits.max()).sum())
        return result

    def scores(self, ids: Sequence[int], start: int) -> Doubles:
        """The natural-log probability of each id (time,), read after ``start``."""
        found = []
        for before, id in zip([start, *ids[:-1]], ids, strict=True):
            found.append(self.step(before)[id])
        return np.array(found)


class Coder:
    """An arithmetic coder (Witten, Neal & Cleary, 1987) over counts that sum to 2^SCALE."""

    SCALE, BITS = 24, 48

    def __init__(self) -> None:
        self.low, self.high = 0, (1 << self.BITS) - 1

    def narrow(self, begin: int, end: int) -> None:
        """Keeps the part of the interval from begin to end, in 2^SCALE-ths."""
        width = self.high - self.low + 1
        self.high = self.low + (width * end >> self.SCALE) - 1
        self.low = self.low + (width * begin >> self.SCALE)

    def shifts(self) -> list[tuple[int, bool]]:
        """Doubles the interval while a half or the middle holds it; what was subtracted, and which."""
        quarter = 1 << (self.BITS - 2)
        done: list[tuple[int, bool]] = []
        while True:
            if self.high < 2 * quarter:
                offset, middle = 0, False
            elif self.low >= 2 * quarter:
                offset, middle = 2 * quarter, False
            elif self.low >= quarter and self.high < 3 * quarter:
                offset, middle = quarter, True
            else:
                return done
            self.low, self.high = 2 * (self.low - offset), 2 * (self.high - offset) + 1
            done.append((offset, middle))


def cumulated(probabilities: Doubles) -> NDArray[np.int64]:
    """Counts that sum to 2^SCALE, none of them 0, as sums from 0 up (vocabulary + 1,)."""
    total = 1 << Coder.SCALE
    counts = np.floor(probabilities * (total - len(probabilities))).astype(np.int64) + 1
    counts[counts.argmax()] += total - counts.sum()
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])


Next = Callable[[int], Doubles]  # reads a symbol, gives the probabilities of the next


def encode(ids: Sequence[int], start: int, step: Next) -> list[int]:
    """The bits of ids, each coded with the probabilities that ``step`` gives after the one before."""
    coder, bits, waiting, before = Coder(), [], 0, start
    for id in ids:
        sums = cumulated(step(before))
        coder.narrow(int(sums[id]), int(sums[id + 1]))
        for offset, middle in coder.shifts():
            if middle:
                waiting += 1
                continue
            bit = int(offset > 0)
            bits += [bit, *[1 - bit] * waiting]
            waiting = 0
        before = id
    bit = int(coder.low >= 1 << (coder.BITS - 2))
    return [*bits, bit, *[1 - bit] * (waiting + 1)]


def decode(bits: list[int], count: int, start: int, step: Next) -> list[int]:
    """The ``count`` ids that ``encode`` made these bits of."""
    coder, before, place = Coder(), start, coder_bits()
    value = int("".join(map(str, (bits + [0] * place)[:place])), 2)
    ids: list[int] = []
    for _ in range(count):
        sums = cumulated(step(before))
        width = coder.high - coder.low + 1
        wanted = ((value - coder.low + 1) << Coder.SCALE) - 1
        before = int(np.searchsorted(sums, wanted // width, side="right")) - 1
        ids.append(before)
        coder.narrow(int(sums[before]), int(sums[before + 1]))
        for offset, _ in coder.shifts():
            value = 2 * (value - offset) + (bits[place] if place < len(bits) else 0)
            place += 1
    return ids


def coder_bits() -> int:
    """How many bits the decoder reads ahead."""
    return Coder.BITS
