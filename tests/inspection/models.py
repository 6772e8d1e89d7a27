"""Models whose units do what their builder wanted, and a naive loop to check activations with."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.config import ModelConfig
from charrnn.model.file import ModelFile
from charrnn.model.schema import expected_shapes
from charrnn.text.tokenizer import CharTokenizer

Doubles = NDArray[np.float64]

LETTERS = '\n "()ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz.,'
COUNTER, QUOTER = 5, 9  # the built units


def sigma(a: Doubles) -> Doubles:
    """The logistic function."""
    return 1 / (1 + np.exp(-a))


def naive_activations(model: ModelFile, ids: list[int]) -> dict[str, Doubles]:
    """All signals (hidden, time) in float64, gate by gate, straight from the equations."""
    weights = {name: array.astype(np.float64) for name, array in model.weights.items()}
    config = model.config
    zeros = [np.zeros(config.hidden_size) for _ in range(config.num_layers)]
    hidden, cells = list(zeros), list(zeros)
    found: dict[str, list[Doubles]] = {}
    for id in ids:
        x = weights["embedding.weight"][id]
        for layer in range(config.num_layers):
            at = f"layers.{layer}."
            below = np.split(weights[at + "input.weight"] @ x + weights[at + "input.bias"], config.gates)
            past = np.split(
                weights[at + "recurrent.weight"] @ hidden[layer] + weights[at + "recurrent.bias"],
                config.gates,
            )
            seen: dict[str, Doubles] = {}
            if config.cell == "lstm":
                i, f, g, o = (a + b for a, b in zip(below, past, strict=True))
                cells[layer] = sigma(f) * cells[layer] + sigma(i) * np.tanh(g)
                x = sigma(o) * np.tanh(cells[layer])
                seen = {"cell": cells[layer], "input": sigma(i), "forget": sigma(f), "output": sigma(o)}
            elif config.cell == "gru":
                r, z = sigma(below[0] + past[0]), sigma(below[1] + past[1])
                n = np.tanh(below[2] + r * past[2])
                x = (1 - z) * n + z * hidden[layer]
                seen = {"reset": r, "update": z}
            else:
                total = below[0] + past[0]
                x = np.tanh(total) if config.cell == "rnn" else np.maximum(total, 0)
            hidden[layer] = x
            for name, values in {"hidden": x, **seen}.items():
                found.setdefault(f"{layer}.{name}", []).append(values)
    return {name: np.array(values).T for name, values in found.items()}


def counting_model() -> ModelFile:
    """A ReLU network of random units, one of which counts its place in the line.

    The counter adds 1 a character and is emptied by a newline.
    """
    size = 16
    tokenizer = CharTokenizer("".join(sorted(LETTERS)))
    config = ModelConfig("relu", 1, size, tokenizer.size + 1, dropout=0.0)
    generator = np.random.default_rng(0)
    weights: dict[str, Any] = {
        name: np.zeros(shape, np.float32) for name, shape in expected_shapes(config, tokenizer.size).items()
    }
    weights["embedding.weight"][:, : tokenizer.size] = np.eye(tokenizer.size)  # one-hot
    W, U = weights["layers.0.input.weight"], weights["layers.0.recurrent.weight"]
    W[:] = generator.normal(0, 0.5, W.shape)
    W[COUNTER] = 1
    W[COUNTER, tokenizer.encode("\n")[0]] = -1000
    U[COUNTER, COUNTER] = 1
    weights["output.weight"][:] = generator.normal(0, 0.05, weights["output.weight"].shape)
    return ModelFile(weights, config, tokenizer)


def quote_model() -> ModelFile:
    """An LSTM of random units, the cell of one of which is 1 inside quotes and -1 outside.

    Unit QUOTER holds its cell (forget gate open, input gate closed) until an opening or a closing mark comes,
    which forgets it and writes 1 or -1.
    """
    size = 16
    tokenizer = CharTokenizer("".join(sorted(LETTERS.replace('"', "") + "“”")))
    config = ModelConfig("lstm", 1, size, tokenizer.size + 1, dropout=0.0)
    generator = np.random.default_rng(0)
    weights: dict[str, Any] = {
        name: generator.normal(0, 0.3, shape).astype(np.float32)
        for name, shape in expected_shapes(config, tokenizer.size).items()
    }
    weights["embedding.weight"][:] = 0
    weights["embedding.weight"][:, : tokenizer.size] = np.eye(tokenizer.size)
    opening, closing = (int(tokenizer.encode(mark)[0]) for mark in "“”")
    rows = [block * size + QUOTER for block in range(4)]  # i f g o
    for name in ("input.weight", "recurrent.weight", "input.bias", "recurrent.bias"):
        weights[f"layers.0.{name}"][rows] = 0
    W, b = weights["layers.0.input.weight"], weights["layers.0.input.bias"]
    i, f, g, _ = rows
    b[i], b[f] = -20, 20
    for mark, value in ((opening, 10), (closing, -10)):
        W[i, mark], W[f, mark], W[g, mark] = 40, -40, value
    return ModelFile(weights, config, tokenizer)


def quoted_text(characters: int = 6000, marks: str = "“”") -> str:
    """Lines of random words, some of them in quotes, always the same."""
    generator = np.random.default_rng(3)
    words: list[str] = []
    inside, column = False, 0
    while sum(map(len, words)) < characters:
        word = "".join(generator.choice(list("abcdefghij"), generator.integers(1, 9)))
        if generator.random() < 0.15:
            word = marks[int(inside)] + word
            inside = not inside
        column += len(word) + 1
        broken = column > generator.integers(20, 60)
        words.append(word + ("\n" if broken else " "))
        column = 0 if broken else column
    return "".join(words)
