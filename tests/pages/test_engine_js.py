"""The page's engine against the one in NumPy, number by number, in Node.js where that is installed."""

from __future__ import annotations

import base64
import dataclasses
import json
import random
import shutil
import subprocess
from typing import Any

import numpy as np
import pytest

from charrnn.api import Model
from charrnn.config import Cell
from charrnn.model.engine import Engine
from charrnn.model.file import ModelFile
from charrnn.pages.export import _data, _packed, header
from charrnn.pages.template import template
from charrnn.sampling.sampler import Sampler, log_probabilities
from charrnn.use_config import SamplingConfig
from tests.conftest import random_model

NODE = shutil.which("node")
pytestmark = pytest.mark.skipif(NODE is None, reason="no Node.js here")

ENGINE = """
const input = JSON.parse(require("fs").readFileSync(0, "utf8"));
const made = (header, weights, plain) => makeEngine(header, fromBase64(weights), plain);
const run = %s;
process.stdout.write(JSON.stringify(run(input)));
"""


def in_node(function: str, value: Any) -> Any:
    """What a JavaScript function, written with the engine's names, makes of a value."""
    program = template("engine.js") + template("ngram.js") + ENGINE % function
    done = subprocess.run(
        [str(NODE), "-e", program], input=json.dumps(value).encode(), capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


def exported(model: ModelFile) -> dict[str, Any]:
    """A model as the engine takes it."""
    tensors, data = _data(_packed(model, "float32"))
    return {"header": header(model, tensors), "weights": base64.b64encode(data).decode()}


LOGITS = """({header, weights, ids, plain}) => {
  const engine = made(header, weights, plain);
  return ids.map(id => Array.from(engine.step(id)));
}"""


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize(("layers", "hidden", "embedding"), [(1, 8, 5), (2, 16, 16), (3, 37, 11)])
def test_logits(cell: Cell, layers: int, hidden: int, embedding: int, *, plain: bool) -> None:
    """Every logit is NumPy's but for rounding, in WebAssembly and in JavaScript, whatever the sizes."""
    model = random_model(cell, layers, hidden, embedding, scale=hidden**-0.5)  # tame, not chaotic
    ids = np.random.default_rng(1).integers(0, model.tokenizer.size, 60)
    found = in_node(LOGITS, exported(model) | {"ids": ids.tolist(), "plain": plain})
    np.testing.assert_allclose(found, Engine(model).stream().read(ids), atol=2e-5)


@pytest.mark.parametrize("layers", [1, 2])
def test_rectified_units(layers: int) -> None:
    """The ReLU cell is h' = max(0, W x + U h + b), computed here by its formula."""
    model = random_model("rnn", layers, 12, 6, scale=0.2)
    ids = [3, 1, 4, 1, 5, 9, 2, 6]
    value = exported(model)
    value["header"]["cell"] = "relu"
    weights, states = model.weights, [np.zeros(12)] * layers
    expected = []
    for id in ids:
        x: Any = weights["embedding.weight"][id]
        for layer in range(layers):
            W, b, U, d = (
                weights[f"layers.{layer}.{role}"].astype(np.float64)
                for role in ("input.weight", "input.bias", "recurrent.weight", "recurrent.bias")
            )
            x = states[layer] = np.maximum(0, W @ x + b + U @ states[layer] + d)
        expected.append(weights["output.weight"] @ x + weights["output.bias"])
    found = in_node(LOGITS, value | {"ids": ids, "plain": False})
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_an_output_that_reads_every_layer() -> None:
    """With hidden states side by side, the logits are the sum of each layer's share."""
    model = random_model("lstm", 2, 8, 5)
    engine, ids = Engine(model).stream(), [5, 6, 7, 8]
    wide = np.random.default_rng(2).normal(0, 0.5, (model.tokenizer.size, 16)).astype(np.float32)
    expected = []
    for id in ids:
        engine.advance(id)
        expected.append(wide @ engine.hidden[8:24] + model.weights["output.bias"])
    model.weights["output.weight"] = wide
    value = exported(model)
    assert value["header"]["output_layers"] == [0, 1]
    found = in_node(LOGITS, value | {"ids": ids, "plain": False})
    np.testing.assert_allclose(found, expected, atol=2e-5)


SEEDS = [0, 1, 2**32 - 1, 2**32, 2**40 + 7, 2**63 - 1]


def test_the_generator_is_pythons() -> None:
    """A seed means the same numbers as in Python, seeds beyond 32 bits included, to the last bit."""
    function = """seeds => seeds.map(seed => {
      const generator = new MersenneTwister(seed);
      return Array.from({length: 1500}, () => generator.random());
    })"""
    found = in_node(function, [str(seed) for seed in SEEDS])
    for seed, numbers in zip(SEEDS, found, strict=True):
        generator = random.Random(seed)
        assert numbers == [generator.random() for _ in range(1500)]


SETTINGS: list[dict[str, Any]] = [
    {"temperature": 1.0},
    {"temperature": 0.8},
    {"temperature": 0.0},
    {"temperature": 0.003},
    {"temperature": 1.0, "top_k": 4},
    {"temperature": 0.7, "top_k": 3},
    {"temperature": 1.0, "top_p": 0.6},
    {"temperature": 1.3, "top_p": 0.9},
    {"temperature": 1.0, "min_p": 0.2},
    {"temperature": 0.9, "top_k": 9, "top_p": 0.8, "min_p": 0.05},
    {"temperature": 1.0, "top_k": 1000, "top_p": 1.0, "min_p": 1.0},
]


@pytest.mark.parametrize("kind", ["Float32Array", "Float64Array"])
@pytest.mark.parametrize("forbidden", [None, 3])
def test_choices_are_those_of_the_sampler(kind: str, forbidden: int | None) -> None:
    """For the same logits, ties among them, and the same seed, each setting chooses the same ids."""
    generator = np.random.default_rng(3)
    logits: Any = generator.normal(0, 2, (300, 20))
    if kind == "Float32Array":
        logits = logits.astype(np.float32)
    logits[100:] = np.round(logits[100:])  # many equals
    logits[:, 3] += 1
    largest = float(np.abs(logits).max())
    function = """({logits, settings, forbidden, largest}) => settings.map(chosen => {
      const sampler = new Sampler(chosen, forbidden, largest);
      return logits.map(row => sampler.choose(KIND.from(row)));
    })""".replace("KIND", kind)
    defaults = {"top_k": 0, "top_p": 1.0, "min_p": 0.0, "seed": "12345678901"}
    value = {
        "logits": logits.tolist(),
        "settings": [defaults | chosen for chosen in SETTINGS],
        "forbidden": forbidden,
        "largest": largest,
    }
    found = in_node(function, value)
    for chosen, ids in zip(SETTINGS, found, strict=True):
        config = SamplingConfig(**{"seed": 12345678901} | chosen)
        sampler = Sampler(config, [] if forbidden is None else [forbidden], largest=largest)
        assert ids == [sampler(row) for row in logits], chosen
        assert forbidden not in ids


def test_logits_in_float64_are_not_rounded() -> None:
    """What float32 does not tell apart, top-k and top-p do, as in the sampler."""
    apart = 1 / 3
    less, more = (1 / (1 + np.exp(-d)) for d in sorted([apart, float(np.float32(apart))]))
    cases: list[tuple[list[float], dict[str, Any]]] = [
        ([0, -1, -1 - 1e-9], {"temperature": 0.8, "top_k": 2}),
        ([0, -apart], {"temperature": 1.0, "top_p": float(less + more) / 2}),
    ]
    function = """cases => cases.map(([logits, chosen]) => {
      const sampler = new Sampler(chosen, null, Infinity);
      return Array.from({length: 100}, () => sampler.choose(Float64Array.from(logits)));
    })"""
    defaults = {"top_k": 0, "top_p": 1.0, "min_p": 0.0, "seed": "1"}
    found = in_node(function, [[logits, defaults | chosen] for logits, chosen in cases])
    for (logits, chosen), ids in zip(cases, found, strict=True):
        sampler = Sampler(SamplingConfig(seed=1, **chosen))
        assert ids == [sampler(np.array(logits)) for _ in range(100)], chosen


def test_surprise_is_the_models_own() -> None:
    """Bits are those of the distribution before any setting, computed in float64."""
    logits = np.random.default_rng(4).normal(0, 3, 50).astype(np.float32)
    found = in_node("row => row.map((_, id) => surprise(Float32Array.from(row), id))", logits.tolist())
    assert found == pytest.approx((-log_probabilities(logits) / np.log(2)).tolist(), rel=1e-6, abs=1e-9)


def test_prompts() -> None:
    """Characters become ids, what the vocabulary lacks the unknown symbol or nothing; bytes are UTF-8."""
    function = """([described, text]) => new Tokenizer(described).encode(text)"""
    known = {"kind": "char", "points": [97, 0x1F600], "start": 0}
    assert in_node(function, [known | {"unknown": None}, "a😀éa"]) == {
        "ids": [0, 1, 0], "text": "a😀a", "missing": ["é"],
    }  # fmt: skip
    assert in_node(function, [known | {"unknown": 2}, "é"]) == {"ids": [2], "text": "é", "missing": []}
    assert in_node(function, [{"kind": "byte", "start": 10}, "é"])["ids"] == [195, 169]


@pytest.mark.parametrize(
    "settings", [{"temperature": 1.0}, {"temperature": 0.7, "top_k": 2}, {"temperature": 0.0}]
)
@pytest.mark.parametrize("prompt", ["", "ab", "abc\nc"])
def test_items_are_the_samplers(settings: dict[str, Any], prompt: str) -> None:
    """Of a model that learnt each line by itself the text is the sampler's, without empty lines."""
    model = random_model(vocabulary="\nabc", seed=21)
    model.weights["output.bias"][0] += 2
    model = dataclasses.replace(model, corpus={"lines": True})
    chosen = {"top_k": 0, "top_p": 1.0, "min_p": 0.0, "seed": 4} | settings
    expected = Model(model).sample(prompt, length=200, **chosen)
    function = """({header, weights, chosen, prompt}) => {
      const tokenizer = new Tokenizer(header.tokenizer), pieces = [];
      for (const step of write(made(header, weights), tokenizer, chosen, tokenizer.encode(prompt).ids)) {
        if (step) pieces.push(step.text);
        if (pieces.length === 200) return pieces.join("");
      }
    }"""
    value = exported(model) | {"chosen": chosen | {"seed": "4"}, "prompt": prompt}
    assert in_node(function, value) == expected
    lines = (prompt + expected).split("\n")[:-1]
    assert len(lines) > 20
    assert all(lines)
