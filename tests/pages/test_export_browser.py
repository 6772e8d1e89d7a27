"""The exported page in a real browser: it writes what ``charrnn sample`` writes, and nothing runs in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pytest

from charrnn.api import Model
from charrnn.config import Cell
from charrnn.model.file import ModelFile, load_model, save_model
from charrnn.pages.export import Precision, page, rounded
from tests.conftest import Charrnn, random_model
from tests.pages.browser import CHROMIUM, Browser
from tests.pages.test_export import HOSTILE
from tests.pages.test_ngram_js import KINDS, counted, mixed

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One browser for all these tests."""
    with Browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


class Page:
    """An exported page, open in the browser."""

    def __init__(self, browser: Browser, file: Path) -> None:
        self.browser, self.file = browser, file

    def open(self, **settings: Any) -> None:
        """Opens the page with settings after its address, and waits until it can write."""
        self.browser.messages.clear()
        self.browser.requests.clear()
        self.browser.open(f"{self.file.as_uri()}#{urlencode(settings)}")
        self.browser.wait("document.documentElement?.dataset.ready")

    def write(self, **settings: Any) -> str:
        """Opens the page, lets it write to the end and returns what it wrote, the prompt included."""
        self.open(**settings, write=1)
        self.wait()
        return self.written

    def wait(self) -> None:
        """Waits until the text is done."""
        self.browser.wait("document.documentElement.dataset.done")

    @property
    def written(self) -> str:
        """The text, surrogates joined to pairs as Python has them."""
        codes = self.browser.evaluate("Array.from({length: written.length}, (_, i) => written.charCodeAt(i))")
        return text_of_codes(codes)

    def text(self, id: str) -> str:
        """What an element shows."""
        return str(self.browser.evaluate(f"document.getElementById({id!r}).textContent"))


def text_of_codes(codes: list[int]) -> str:
    """The text of UTF-16 code units, lone surrogates kept."""
    return np.array(codes, "<u2").tobytes().decode("utf-16-le", "surrogatepass")


@pytest.fixture
def export(browser: Browser, tmp_path: Path) -> Any:
    """A function that opens a model's page."""

    def make(model: ModelFile, precision: Precision = "float32") -> Page:
        file = tmp_path / "page.html"
        file.write_text(page(model, "model", precision), encoding="utf-8")
        return Page(browser, file)

    return make


def sampled(model: ModelFile, prompt: str = "", **settings: Any) -> str:
    """What the sampler writes, the prompt included, of bytes what can be read of them."""
    (sample,) = Model(model).samples(prompt, **({"temperature": 1.0} | settings))
    data = prompt.encode() + model.tokenizer.decode_bytes(sample.ids)
    return data.decode("utf-8", "replace" if model.tokenizer.kind == "byte" else "surrogatepass")


@pytest.mark.parametrize("vocabulary", ["\n abcdefghijklmnopqrstuvwxyzé—😀", None])
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_greedy_text_is_equal(export: Any, cell: Cell, vocabulary: str | None) -> None:
    """Two thousand characters at temperature 0 are the sampler's, of each cell, characters and bytes."""
    text = None if vocabulary is None else "".join(sorted(vocabulary))
    model = random_model(cell, vocabulary=text, hidden=20, scale=0.4, seed=5)
    expected = sampled(model, "be", length=2000, temperature=0.0)
    found = export(model).write(prompt="be", length=2000, temperature=0)
    assert found.rstrip("\ufffd") == expected.rstrip("\ufffd")  # a character may end half-written


@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": 0.8, "seed": 1},
        {"temperature": 1.0, "seed": 2**63 - 1},
        {"temperature": 1.2, "seed": 7, "top_k": 12, "top_p": 0.9, "min_p": 0.02},
    ],
)
def test_the_same_seed_gives_the_same_text(export: Any, settings: dict[str, Any]) -> None:
    """Five hundred characters of a seed are the sampler's, whatever the settings."""
    model = random_model(hidden=20, scale=0.4, unknown=True)
    expected = sampled(model, "To be", length=500, **settings)
    assert export(model).write(prompt="To be", length=500, **settings) == expected


def test_the_page_against_the_command(charrnn: Charrnn, trained: Path, export: Any, tmp_path: Path) -> None:
    """A page of float16 writes what ``charrnn sample`` writes of the model stored as float16."""
    model = load_model(trained / "model.safetensors")
    save_model(tmp_path / "half.safetensors", model, half=True)
    shown = export(model, "float16")
    for settings in ({"temperature": 0.0, "length": 2000}, {"temperature": 0.8, "length": 500, "seed": 1}):
        flags = [part for name, value in settings.items() for part in (f"--{name}", value)]
        result = charrnn("sample", "-m", "half.safetensors", "-p", "The ", *flags)
        assert result.status == 0, result.err
        assert shown.write(prompt="The ", **settings) == result.out


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("make", [mixed, counted])
def test_ngrams_write_what_the_sampler_writes(export: Any, make: Any, kind: str) -> None:
    """A mixture's texts and an n-gram's are the sampler's: greedy ones, and those of a seed with filters."""
    model = make(kind)
    shown = export(model)
    for settings in (
        {"temperature": 0.0, "length": 1000},
        {"temperature": 0.8, "length": 500, "seed": 1},
        {"temperature": 1.0, "length": 500, "seed": 2**40 + 1, "top_k": 9, "top_p": 0.95, "min_p": 0.01},
    ):
        expected = sampled(model, "The sea", **settings)
        found = shown.write(prompt="The sea", **settings)
        assert found.rstrip("\ufffd") == expected.rstrip("\ufffd"), settings
    assert shown.browser.messages == []


def test_a_mixtures_page_against_the_command(charrnn: Charrnn, export: Any, tmp_path: Path) -> None:
    """A page of float16 writes what ``charrnn sample`` writes with both models of a file of float16."""
    model = mixed("characters")
    save_model(tmp_path / "both.safetensors", model, half=True)
    result = charrnn("sample", "-m", "both.safetensors", "-p", "The ", "-n", 500, "--temp", 0.8, "--seed", 1)
    assert result.status == 0, result.err
    assert export(model, "float16").write(prompt="The ", length=500, temperature=0.8, seed=1) == result.out


def test_int8_writes_what_its_weights_say(export: Any) -> None:
    """A page of int8 writes what the sampler writes with the same rounded weights."""
    model = random_model("gru", hidden=20, embedding=20, scale=0.4)
    expected = sampled(rounded(model, "int8"), length=500, temperature=0.8, seed=3)
    assert export(model, "int8").write(length=500, temperature=0.8, seed=3) == expected


def test_hostile_characters_are_text(export: Any) -> None:
    """Markup, quotes, separators, surrogates, controls and emoji are written as text; nothing runs."""
    model = random_model(vocabulary=HOSTILE, unknown=True, scale=0.2)
    shown = export(model)
    found = shown.write(length=3000, temperature=1.0, seed=1)
    assert found == text_of_codes(
        list(memoryview(sampled(model, length=3000, seed=1).encode("utf-16-le", "surrogatepass")).cast("H"))
    )
    # Neighbouring halves of a pair become one character.
    halves = {character for character in HOSTILE if "\ud800" <= character <= "\udfff"}
    assert set(HOSTILE) - halves <= set(found)
    tags = "Array.from(document.getElementById('text').querySelectorAll('*'), e => e.tagName)"
    assert set(shown.browser.evaluate(tags)) == {"SPAN"}
    visible = shown.text("text")
    assert "U+001B" in visible
    assert "\x1b" not in visible
    assert "</" in visible or "<" in visible
    assert shown.browser.messages == []


def test_the_page_asks_for_nothing(export: Any) -> None:
    """Opening and writing load the page and its own thread, and the policy lets nothing else through."""
    shown = export(random_model())
    shown.write(length=50, seed=1)
    assert [request.partition(":")[0] for request in shown.browser.requests] == ["file", "blob"]
    assert shown.browser.messages == []
    refused = shown.browser.evaluate("fetch('data:,x').then(() => 'loaded', () => 'refused')")
    assert refused == "refused"
    script = "Object.assign(document.createElement('script'), {textContent: 'window.ran = 1'})"
    shown.browser.evaluate(f"document.body.append({script})")
    assert shown.browser.evaluate("window.ran === undefined")


def test_buttons_and_keys(export: Any) -> None:
    """Stop ends a long text, Write on goes on where it was, Ctrl+Enter begins anew and Esc stops."""
    shown = export(random_model(hidden=64, scale=0.12))
    press = "dispatchEvent(new KeyboardEvent('keydown', {key: %r, ctrlKey: %s}))"
    click = "document.getElementById(%r).click()"
    shown.open(length=100_000, temperature=1, seed=1)
    assert shown.written == ""
    shown.browser.evaluate(click % "write")
    shown.browser.wait("Number(document.documentElement.dataset.count) > 10")
    shown.browser.evaluate(click % "stop")
    shown.wait()
    first = shown.written
    assert 10 < len(first) < 100_000
    assert shown.text("status").endswith("Seed 1.")
    shown.browser.evaluate("document.getElementById('length').value = 40")
    shown.browser.evaluate(click % "more")
    shown.wait()
    assert len(shown.written) == len(first) + 40
    assert shown.written == sampled(random_model(hidden=64, scale=0.12), length=len(first) + 40, seed=1)
    shown.browser.evaluate("document.getElementById('length').value = 90000")
    shown.browser.evaluate(press % ("Enter", "true"))
    shown.browser.wait("written.length > 5")
    shown.browser.evaluate(press % ("Escape", "false"))
    shown.wait()
    assert first.startswith(shown.written[:5])


def test_a_new_text_replaces_one_that_is_being_written(export: Any) -> None:
    """Write while it writes begins anew; nothing of the old text gets into the new one."""
    model = random_model(hidden=64, scale=0.12)
    shown = export(model)
    shown.open(length=100_000, temperature=1, seed=1)
    shown.browser.evaluate("start()")
    shown.browser.wait("written.length > 0")
    shown.browser.evaluate(
        "document.getElementById('seed').value = 2, document.getElementById('length').value = 300, start()"
    )
    shown.wait()
    assert shown.written == sampled(model, length=300, seed=2)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("temperature", "-1", "Temperature -1: must be 0 or greater."),
        ("temperature", "hot", "Temperature hot: must be 0 or greater."),
        ("length", "0", "Length 0: must be a whole number from 1 to 100000."),
        ("top_k", "1.5", "Top-k 1.5: must be a whole number 0 or greater."),
        ("top_p", "0", "Top-p 0: must be greater than 0 and at most 1."),
        ("min_p", "2", "Min-p 2: must be from 0 to 1."),
        ("seed", "-3", "Seed -3: must be a whole number from 0 to 2^63 - 1."),
        ("seed", str(2**63), f"Seed {2**63}: must be a whole number from 0 to 2^63 - 1."),
    ],
)
def test_bad_settings(export: Any, field: str, value: str, message: str) -> None:
    """A setting out of range is named with its range, marked and focused, and nothing is written."""
    shown = export(random_model())
    shown.open(**{field: value}, write=1)
    shown.browser.wait("!document.getElementById('problem').hidden")
    assert shown.text("problem") == message
    assert shown.browser.evaluate("document.activeElement.id") == field
    assert (
        shown.browser.evaluate(f"document.getElementById({field!r}).getAttribute('aria-invalid')") == "true"
    )
    assert shown.written == ""


def test_a_prompt_that_the_vocabulary_lacks(export: Any) -> None:
    """Characters that the model never saw are left out of the beginning, and named."""
    model = random_model()
    shown = export(model)
    assert shown.write(prompt="Tó be", length=20, temperature=0) == sampled(
        model, "T be", length=20, temperature=0.0
    )
    assert "ó (U+00F3)" in shown.text("problem")


def test_shading(export: Any) -> None:
    """Each character is on the shade of its bits, which are the model's own."""
    model = random_model(scale=1.0)
    (sample,) = Model(model).samples(length=200, temperature=1.0, seed=1, logprobs=1)
    assert sample.logprobs is not None
    choices, ids = [-choice.logprob / float(np.log(2)) for choice in sample.logprobs], sample.ids
    shown = export(model)
    shown.write(length=200, temperature=1, seed=1)
    spans = "Array.from(document.querySelectorAll('#text span'), e => [e.className, e.textContent])"
    found = [(style, character) for style, text in shown.browser.evaluate(spans) for character in text]
    assert [character for _, character in found] == list(model.tokenizer.decode(ids))
    wrong = [
        (style, bits)
        for (style, _), bits in zip(found, choices, strict=True)
        if style != f"b{min(7, int(bits))}" and abs(bits - round(bits)) > 1e-4
    ]
    assert wrong == []
    shown.browser.evaluate("document.getElementById('shading').click()")
    background = "getComputedStyle(document.querySelector('#text .b7')).backgroundColor"
    assert shown.browser.evaluate(background) == "rgb(103, 0, 13)"
