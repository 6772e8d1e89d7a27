"""The exported page as a file: what it holds, and that nothing in it can be anything but data."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import html.parser
import json
import re
from typing import Any
from unittest import mock

import numpy as np
import pytest

from charrnn.errors import ConfigError, ModelFileError
from charrnn.evaluation.evaluator import Evaluator
from charrnn.model import grams as grams_in_files
from charrnn.model.counts import discounts
from charrnn.model.engine import Engine
from charrnn.model.engines import make_engine
from charrnn.model.file import ModelFile, joined
from charrnn.model.mixture import mix_models
from charrnn.model.ngram import NGrams
from charrnn.pages.export import (
    DARK_INK,
    DARK_SHADES,
    Precision,
    facts,
    pack,
    page,
    policy,
    rounded,
    rounding_cost,
)
from charrnn.sampling.sampler import Sampler, log_probabilities
from charrnn.text.scored import text_of
from tests.conftest import random_model
from tests.pages.test_heatmap import contrast

HOSTILE = "".join(
    sorted("\x00\x07\n\x1b \"&'/<>\\`script\x85\u202e\u2028\u2029\ud800\udbff\udc00\udfff\ufeff😀🎈")
)
PRECISIONS: tuple[Precision, ...] = ("float32", "float16", "int8")


class Elements(html.parser.HTMLParser):
    """Every element of a page.

    Attributes:
        found: (tag, attributes) in order.
        scripts: the text of each script element, by its id or "" for the one that runs.
    """

    def __init__(self, written: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: dict[str, str] = {}
        self.style = ""
        self._open = False
        self.feed(written)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Remembers an element."""
        self.found.append((tag, dict(attrs)))
        self._open = True

    def handle_endtag(self, _tag: str) -> None:
        """What follows is not an element's text."""
        self._open = False

    def handle_data(self, data: str) -> None:
        """Keeps a script's or the style's text."""
        tag, attributes = self.found[-1] if self._open else ("", {})
        if tag == "script":
            name = attributes.get("id") or ""
            self.scripts[name] = self.scripts.get(name, "") + data
        elif tag == "style":
            self.style += data


def tensors_of(elements: Elements) -> dict[str, np.ndarray[Any, Any]]:
    """The weights that a page holds, read as its header describes them."""
    header = json.loads(elements.scripts["header"])
    data = base64.b64decode(elements.scripts["weights"])
    found = {}
    for tensor in header["tensors"]:
        count = int(np.prod(tensor["shape"]))
        values = np.frombuffer(data, tensor["type"], count, tensor["offset"]).reshape(tensor["shape"])
        found[tensor["name"]] = values.astype(np.float32)
        if "scales" in tensor:
            scales = np.frombuffer(data, np.float32, tensor["shape"][0], tensor["scales"])
            found[tensor["name"]] *= scales[:, None]
    return found


def beside(network: ModelFile, text: str, order: int = 3) -> ModelFile:
    """A network with the n-gram of a text in its vocabulary beside it."""
    tokenizer = network.tokenizer
    grams = NGrams(tokenizer.encode(text), tokenizer.size, tokenizer.start).of_order(order)
    return joined(network, grams, (0.7, 0.3))


def test_the_page_holds_the_ngram() -> None:
    """Its integers are in the page as in a model file, and its discounts are those of its counts."""
    model = beside(random_model(), "to be or not to be " * 90)
    grams = model.parts[1].grams
    assert grams is not None
    integers = grams_in_files.pack(grams)
    for one, weights in ((model, rounded(model, "float16").weights), (model.parts[1], {})):
        elements = Elements(page(one, "model"))
        found = tensors_of(elements)
        assert found.keys() == {*integers, *weights}
        for name, array in (integers | weights).items():
            np.testing.assert_array_equal(found[name], array, err_msg=name)
        header = json.loads(elements.scripts["header"])
        assert header["discounts"] == [discounts(counts.gram).tolist() for counts in grams.counts]
        assert header["mix"] == list(one.mix)
        assert ("cell" in header) == bool(weights)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_page_holds_the_weights(precision: Precision) -> None:
    """What a page's header and data say is the model at that precision, tensor by tensor."""
    model = random_model("gru", hidden=7, embedding=3)
    found = tensors_of(Elements(page(model, "model", precision)))
    expected = rounded(model, precision).weights
    assert found.keys() == expected.keys() == model.weights.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


def test_float32_is_exact_and_float16_is_the_nearest() -> None:
    """A float32 page has the model's own weights; a float16 page those of the model stored as float16."""
    model = random_model()
    for name, array in model.weights.items():
        np.testing.assert_array_equal(rounded(model, "float32").weights[name], array)
        half = array.astype(np.float16).astype(np.float32)
        np.testing.assert_array_equal(rounded(model, "float16").weights[name], half)


def test_int8_is_within_half_a_step_of_each_row() -> None:
    """A matrix's numbers are off by at most half of 1/127 of their row's largest; biases not at all."""
    model = random_model(scale=3)
    model.weights["embedding.weight"][2] = 0  # a row without a scale
    for name, array in rounded(model, "int8").weights.items():
        exact = model.weights[name]
        if exact.ndim == 1:
            np.testing.assert_array_equal(array, exact)
        else:
            step = np.abs(exact).max(axis=1, keepdims=True) / 127
            assert (np.abs(array - exact) <= step * 0.5001).all()
            assert pack({name: exact}, "int8")[name].values.dtype == np.int8


def test_weights_beyond_float16_are_refused() -> None:
    """A weight that float16 does not hold is an error that names the tensor and the remedy."""
    model = random_model()
    model.weights["output.bias"][0] = 1e6
    with pytest.raises(ModelFileError, match=r"^output\.bias: a weight is too large .* --float32"):
        page(model, "model")
    page(model, "model", "int8")


def test_a_model_beyond_browsers_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page too long for a browser is an error with a remedy."""
    monkeypatch.setattr("charrnn.pages.export.LARGEST", 100)
    both = beside(random_model(), "to be or not to be")
    with pytest.raises(ModelFileError, match=r"more than browsers take; export with --int8, or train a"):
        page(random_model(), "model")
    with pytest.raises(
        ModelFileError, match=r"more than browsers take; export with --int8 or --without-ngram"
    ):
        page(both, "model")
    with pytest.raises(ModelFileError, match=r"more than browsers take; train with a lower --order"):
        page(both.parts[1], "model")


def test_mixtures_of_several_files_are_refused() -> None:
    """Only what one model file holds is a page."""
    both = beside(random_model(), "to be or not to be")
    with pytest.raises(ConfigError, match="several models are not one network"):
        page(mix_models(both.parts, both.mix), "model")


def test_the_cost_of_rounding() -> None:
    """Exact weights cost nothing, 8 bits more than 16, and neither changes a text's loss by much."""
    model = random_model(hidden=24, scale=0.7)
    exact, half, eighth = (rounding_cost(model, precision) for precision in PRECISIONS)
    assert exact == 0
    assert 0 < half < 1e-4
    assert half < eighth < 0.01
    # On a text that the model did not write, the loss moves by about as much, up or down.
    text = text_of("To be or not to be, that is the question.\n" * 20, model.tokenizer)
    losses = [
        Evaluator(judge).score(text).nats / text.characters for judge in (model, rounded(model, "int8"))
    ]
    assert abs(losses[1] - losses[0]) < 0.02


def test_the_cost_of_rounding_in_a_mixture() -> None:
    """It is the mixture's divergence: none if all is exact, and less than the network's by itself."""
    network = random_model(hidden=24, scale=0.7)
    model = beside(network, "To be or not to be, that is the question.\n" * 20)
    assert rounding_cost(model, "float32") == 0
    alone, cost = rounding_cost(network, "int8"), rounding_cost(model, "int8")
    assert 0 < cost < alone
    # At the first symbol, computed from the parts' probabilities.
    start = model.tokenizer.start
    (exact, off), counts = (
        [
            np.exp(log_probabilities(Engine(one).stream().step(start)))
            for one in (network, rounded(network, "int8"))
        ],
        np.exp(make_engine(model.parts[1]).stream().step(start)),
    )
    logs, others = (np.log(0.7 * found + 0.3 * counts) for found in (exact, off))
    with mock.patch("charrnn.pages.export.JUDGED", 1):
        assert rounding_cost(model, "int8") == pytest.approx(
            float((np.exp(logs) * (logs - others)).sum()), rel=1e-4
        )


def test_the_cost_of_rounding_items() -> None:
    """Of a model of items, what follows a newline is judged from a zero state, as it is written."""
    model = dataclasses.replace(random_model(hidden=24, scale=0.7), corpus={"lines": True})
    start = model.tokenizer.start
    logs, others = (
        log_probabilities(Engine(one).stream().step(start)) for one in (model, rounded(model, "int8"))
    )
    with mock.patch.object(Sampler, "choose_many", lambda _, logits: np.full(logits.shape[1], start)):
        cost = rounding_cost(model, "int8")
    assert cost == pytest.approx(float((np.exp(logs) * (logs - others)).sum()), rel=1e-4)


@pytest.mark.parametrize("name", ["</script><script>alert(1)</script>", "a & b", "%%HEADER%%"])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_nothing_in_a_page_comes_from_outside(precision: Precision, name: str) -> None:
    """Whatever the vocabulary and the names, the page has its own elements only, and no address."""
    model = random_model(vocabulary=HOSTILE, unknown=True)
    model = dataclasses.replace(model, corpus={"name": f"{name}\u2028", "characters": 1})
    plain = Elements(page(random_model(), "plain", precision))
    written = page(model, name, precision)
    elements = Elements(written)
    assert [tag for tag, _ in elements.found] == [tag for tag, _ in plain.found]
    assert elements.scripts[""] == plain.scripts[""]
    assert elements.scripts["thread"] == plain.scripts["thread"]
    for _, attributes in elements.found:
        assert not {"src", "href", "action", "style", "onclick", "onload"} & attributes.keys()
    assert not re.search(r"https?:|url\(|@import", written)
    written.encode("utf-8")  # no lone surrogate is left in it


def test_the_vocabulary_is_the_models() -> None:
    """Every character is there by its code point, lone surrogates beside each other included."""
    model = random_model(vocabulary=HOSTILE, unknown=True)
    header = json.loads(Elements(page(model, "model")).scripts["header"])
    assert header["tokenizer"]["points"] == [ord(character) for character in HOSTILE]
    assert header["tokenizer"]["unknown"] == len(HOSTILE) == model.tokenizer.unknown
    assert header["vocabulary"] == len(HOSTILE) + 1


def test_the_policy_names_what_is_there() -> None:
    """The policy's hashes are those of the script and the style as they stand, and all else is forbidden."""
    elements = Elements(page(random_model(), "model"))
    (content,) = [a["content"] for tag, a in elements.found if a.get("http-equiv")]
    assert content is not None
    directives = dict(part.split(" ", 1) for part in content.split("; "))
    assert directives["default-src"] == directives["base-uri"] == directives["form-action"] == "'none'"
    for directive, text in (("script-src", elements.scripts[""]), ("style-src", elements.style)):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert directives[directive].split()[0] == f"'sha256-{digest}'"
    assert "unsafe-inline" not in content
    assert "'unsafe-eval'" not in content
    assert policy("a", "b") != policy("b", "a")


def described(cell: str, **corpus: Any) -> ModelFile:
    """A little model with what a training writes about it."""
    model = random_model(cell, layers=1)  # type: ignore[arg-type]
    quality = {"bits_per_character": 1.9349} if corpus else {}
    return dataclasses.replace(model, corpus=corpus, quality=quality)


def test_facts() -> None:
    """The line says cell, shape, weights, text and score; of what is not known, nothing."""
    trained = described("gru", name="jigs.abc", characters=12345)
    count = sum(array.size for array in trained.weights.values())
    assert facts(trained, "int8") == (
        f"A GRU with 1 layer of 8 units ({count:,} weights as int8), trained on 12,345 characters of "
        "jigs.abc; 1.93 bits a character on held-out text."
    )
    assert facts(described("rnn"), "float16").endswith("weights as float16).")


def test_facts_of_an_ngram() -> None:
    """The line names both models of a mixture with their weights, or the n-gram alone.

    "to be to be" after a newline has 6 different characters, and 7 different runs of two and of three.
    """
    both = beside(described("lstm", name="x.txt", characters=1000), "to be to be", order=3)
    count = sum(array.size for array in both.weights.values())
    assert facts(both, "float16") == (
        f"An LSTM with 1 layer of 8 units ({count:,} weights as float16), mixed 70 % to 30 % with a 3-gram "
        "(20 counts) of the same text, trained on 1,000 characters of x.txt; 1.93 bits a character on "
        "held-out text."
    )
    assert facts(both.parts[1], "float16") == "A 3-gram (20 counts), trained on 1,000 characters of x.txt."
    assert facts(beside(described("gru"), "to be to be", order=8).parts[1], "int8").startswith("An 8-gram (")


def test_dark_shades_are_readable() -> None:
    """Every shade of the dark page leaves its character readable: a contrast of 4.5 and more (WCAG 2.2)."""
    for ink, background in zip(DARK_INK, DARK_SHADES, strict=True):
        assert contrast(ink, background) >= 4.5


def test_colours_are_readable() -> None:
    """Text, quiet text and buttons have a contrast of 4.5 and more, light and dark."""
    style = Elements(page(random_model(), "model")).style
    palettes = [
        dict(re.findall(r"--([\w-]+): (#\w+)", block)) for block in re.findall(r":root {([^}]*)}", style)
    ]
    assert len(palettes) == 2
    for palette in palettes:
        full = {
            name: "#" + "".join(c * 2 for c in v[1:]) if len(v) == 4 else v for name, v in palette.items()
        }
        for back in ("paper", "panel"):
            for ink in ("ink", "quiet", "accent"):
                assert contrast(full[ink], full[back]) >= 4.5, (ink, back)
            assert contrast(full["line"], full[back]) >= 3, back
        assert contrast(full["on-accent"], full["accent"]) >= 4.5


def test_every_control_has_a_name() -> None:
    """Every input has a label or a name of its own, every description that is referred to exists."""
    found = Elements(page(random_model(), "model")).found
    ids = [attributes["id"] for _, attributes in found if "id" in attributes]
    assert len(ids) == len(set(ids))
    labels = {attributes.get("for") for tag, attributes in found if tag == "label"}
    for position, (tag, attributes) in enumerate(found):
        if tag in ("input", "textarea"):
            within = found[position - 1][0] == "label"
            assert attributes["id"] in labels or "aria-label" in attributes or within, attributes
        if "aria-describedby" in attributes:
            assert attributes["aria-describedby"] in ids
