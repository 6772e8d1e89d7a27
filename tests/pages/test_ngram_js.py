"""The page's n-grams and mixtures against those in NumPy, number by number, in Node.js where there is one."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from charrnn.api import Model
from charrnn.config import Cell, NGramConfig
from charrnn.model.engines import ItemStream, make_engine
from charrnn.model.file import ModelFile, joined
from charrnn.model.grams import pack
from charrnn.model.ngram import NGrams
from charrnn.text.tokenizer import ByteTokenizer, CharTokenizer, Tokenizer
from tests.conftest import PLAY, random_model
from tests.pages.test_engine_js import LOGITS, NODE, SETTINGS, exported, in_node

pytestmark = pytest.mark.skipif(NODE is None, reason="no Node.js here")

TEXT = PLAY.read_text()[:40_000]
KINDS = ("characters", "lines", "unknown", "bytes")


def tokenizer_of(kind: str) -> Tokenizer:
    """Of the text: of all its characters, of the 30 most frequent ones, or of bytes."""
    if kind == "bytes":
        return ByteTokenizer()
    known = sorted(set(TEXT), key=TEXT.count)[-30 if kind == "unknown" else 0 :]
    return CharTokenizer("".join(sorted(known)), unknown=kind == "unknown")


def counted(kind: str, order: int = 5) -> ModelFile:
    """The n-gram of the text."""
    tokenizer, lines = tokenizer_of(kind), kind == "lines"
    ids = tokenizer.encode(TEXT)
    grams = NGrams(ids, tokenizer.size, tokenizer.start, items=lines).of_order(order)
    return ModelFile({}, NGramConfig(order=order), tokenizer, {"lines": True} if lines else {}, grams=grams)


def mixed(kind: str, cell: Cell = "lstm", order: int = 5) -> ModelFile:
    """An untrained network and the n-gram of the text, with the same vocabulary."""
    ngram = counted(kind, order)
    assert ngram.grams is not None
    known = ngram.tokenizer.vocabulary if isinstance(ngram.tokenizer, CharTokenizer) else None
    network = random_model(cell, vocabulary=known, unknown=kind == "unknown", scale=0.3)
    return joined(dataclasses.replace(network, corpus=ngram.corpus), ngram.grams, (0.6, 0.4))


def read(model: ModelFile, ids: list[int]) -> np.ndarray[Any, Any]:
    """The logits (time, vocabulary) after each symbol, as ``charrnn sample`` computes them."""
    stream = make_engine(model).stream()
    if model.corpus.get("lines"):
        stream = ItemStream(stream, int(model.tokenizer.newline or 0))
    return np.stack([stream.step(id).copy() for id in ids])


def symbols(model: ModelFile) -> list[int]:
    """What is read: the text's beginning, a piece of it, its end, and symbols without an order.

    Nothing precedes the first grams, nothing follows the last, and no long gram has symbols without an order.
    """
    tokenizer = model.tokenizer
    strange = np.random.default_rng(0).integers(0, tokenizer.size, 60).tolist()
    known = tokenizer.encode(TEXT[:20] + TEXT[900:1200] + TEXT[-20:]).tolist()
    return [tokenizer.start, *known, *strange]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("order", range(1, 9))
def test_an_ngrams_logits(kind: str, order: int) -> None:
    """Each log probability is NumPy's to the last digits, and those of a step sum to one."""
    model = counted(kind, order)
    ids = symbols(model)
    found = np.array(in_node(LOGITS, exported(model) | {"ids": ids}))
    np.testing.assert_allclose(found, read(model, ids), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(np.exp(found).sum(axis=1), 1, rtol=1e-12)


@pytest.mark.parametrize("size", [300, 70_000])
def test_integers_of_any_width(size: int) -> None:
    """Vocabularies, counts and children that a byte does not hold, nor two, are read as well."""
    characters = "".join(map(chr, range(0x20000, 0x20000 + size)))
    pairs = np.stack([np.zeros(size, np.int64), np.arange(size)], axis=1)  # so that all follow and precede 0
    ids = np.concatenate([pairs.ravel(), np.random.default_rng(1).integers(0, 4, 3000)])
    grams = NGrams(ids, size, 0).of_order(3)
    packed = pack(grams)
    assert packed["grams.1.symbols"].itemsize == (2 if size == 300 else 4)
    assert packed["grams.1.children"].max() > 255
    assert len(packed["grams.1.more"]) > 0
    model = ModelFile({}, NGramConfig(order=3), CharTokenizer(characters), grams=grams)
    text = [0, 0, 2, 1, size - 1, 0, 0, 3, 2]
    found = in_node(LOGITS, exported(model) | {"ids": text})
    np.testing.assert_allclose(found, read(model, text), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cell", ["lstm", "relu"])
def test_a_mixtures_logits(kind: str, cell: Cell) -> None:
    """Each log probability is NumPy's but for the network's rounding, ReLU cells without a bound included."""
    model = mixed(kind, cell)
    ids = symbols(model)
    found = np.array(in_node(LOGITS, exported(model) | {"ids": ids}))
    np.testing.assert_allclose(found, read(model, ids), atol=2e-5)
    np.testing.assert_allclose(np.exp(found).sum(axis=1), 1, rtol=1e-12)


def test_a_mixture_is_the_weighted_sum() -> None:
    """The probabilities are those of the page's network and of its n-gram, times the weights."""
    model = mixed("characters")
    ids = symbols(model)
    both, network, ngram = (
        np.exp(in_node(LOGITS, exported(one) | {"ids": ids})) for one in (model, *model.parts)
    )
    network /= network.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(both, 0.6 * network + 0.4 * ngram, rtol=1e-12)


def test_grams_across_lines() -> None:
    """Of a model of lines a newline begins anew, whatever grams there are."""
    model = dataclasses.replace(counted("characters"), corpus={"lines": True})
    ids = symbols(model)
    assert ids.count(model.tokenizer.start) > 5
    found = in_node(LOGITS, exported(model) | {"ids": ids})
    np.testing.assert_allclose(found, read(model, ids), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("mix", [(0.6, 0.4), (1.0, 1e-320)])
def test_logits_beyond_what_exponentials_hold(mix: tuple[float, float]) -> None:
    """A network whose logits are in the thousands is mixed as well as any other, and no probability is 0."""
    model = dataclasses.replace(mixed("characters", "relu"), mix=mix)
    for part in (model, model.parts[0]):
        part.weights["output.bias"][:] = np.linspace(-5000, 5000, model.tokenizer.size)
    ids = symbols(model)[:20]
    found = in_node(LOGITS, exported(model) | {"ids": ids})
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found, read(model, ids), rtol=1e-6, atol=2e-3)


WRITE = """({header, weights, settings, prompt}) => settings.map(chosen => {
  const tokenizer = new Tokenizer(header.tokenizer), bits = [], pieces = [];
  for (const step of write(made(header, weights), tokenizer, chosen, tokenizer.encode(prompt).ids)) {
    if (step) {
      pieces.push(step.text);
      bits.push(step.bits);
    }
    if (bits.length === 200) return {text: pieces.join(""), bits};
  }
})"""


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("make", [mixed, counted])
def test_texts_are_the_samplers(make: Any, kind: str) -> None:
    """The same seed gives the same 200 characters as ``charrnn sample`` and the same bits."""
    model = make(kind, order=5)
    defaults = {"top_k": 0, "top_p": 1.0, "min_p": 0.0, "seed": 2**40 + 1}
    settings = [defaults | chosen for chosen in SETTINGS]
    as_text = [chosen | {"seed": str(chosen["seed"])} for chosen in settings]
    prompt = "The sea"
    written = in_node(WRITE, exported(model) | {"settings": as_text, "prompt": prompt})
    for found, chosen in zip(written, settings, strict=True):
        (sample,) = Model(model).samples(prompt, length=200, logprobs=1, **chosen)
        assert found["text"].rstrip("\ufffd") == sample.text.rstrip("\ufffd"), chosen
        assert sample.logprobs is not None
        expected = -np.array([choice.logprob for choice in sample.logprobs]) / np.log(2)
        if kind != "bytes":  # whose bits are held until a character is complete
            np.testing.assert_allclose(found["bits"], expected, atol=1e-4)
