"""The inspection's page: true figures, nothing from elsewhere, and pictures that a browser draws."""

from __future__ import annotations

import base64
import hashlib
import html.parser
import json
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from charrnn.inspection.cells import Unit
from charrnn.inspection.report import Inspection, add_gradients, add_memory, add_text, inspect_file
from charrnn.model.file import ModelFile, load_model, save_model
from charrnn.pages import inspection
from charrnn.pages.inspection import page
from charrnn.text.scored import text_of
from tests.conftest import PLAY, random_model

TEXT = "To be,\n\tor </script> nót <b>&amp; to be:\x1b[31m\n" * 8


def inspected(directory: Path, text: str = TEXT, model: ModelFile | None = None) -> Inspection:
    """What is found along a text, without gradients and memory."""
    model = model or random_model()
    path = directory / "model <1>.safetensors"
    save_model(path, model)
    found = inspect_file(path, model)
    add_text(found, model, text_of(text, model.tokenizer), 100_000)
    return found


class Reader(html.parser.HTMLParser):
    """Collects scripts, styles, addresses, event attributes and the policy."""

    def __init__(self, written: str) -> None:
        super().__init__()
        self.bodies: dict[str, list[str]] = {"script": [], "style": []}
        self.addresses: list[str] = []
        self.policy = ""
        self._in = ""
        self.feed(written)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Remembers where we are."""
        named = dict(attrs)
        self._in = tag
        self.addresses += [k for k, _ in attrs if k in ("src", "href", "style") or k.startswith("on")]
        if named.get("http-equiv") == "Content-Security-Policy":
            self.policy = named["content"] or ""

    def handle_data(self, data: str) -> None:
        """Takes the text of scripts and styles."""
        if self._in in self.bodies:
            self.bodies[self._in].append(data)

    def handle_endtag(self, tag: str) -> None:
        """Forgets where we were."""
        self._in = "" if tag else self._in


def figures(written: str) -> Any:
    """The page's data."""
    return json.loads(Reader(written).bodies["script"][0])


def unpacked(packed: dict[str, Any]) -> Any:
    """The numbers of a packed row."""
    levels = np.frombuffer(base64.b64decode(packed["data"]), np.uint8)
    return packed["low"] + levels / 255 * (packed["high"] - packed["low"])


def test_the_page_allows_itself_only(tmp_path: Path) -> None:
    """The policy names the hash of the one script and the one style, and there are no addresses."""
    written = page(inspected(tmp_path), None)
    reader = Reader(written)
    assert reader.addresses == []
    data, script = reader.bodies["script"]
    assert json.loads(data)
    (style,) = reader.bodies["style"]
    for body in (script, style):
        assert base64.b64encode(hashlib.sha256(body.encode()).digest()).decode() in reader.policy
    assert reader.policy.startswith("default-src 'none'; ")
    assert "unsafe" not in reader.policy
    assert written.count("http") == written.count("http-equiv") + written.count("http://www.w3.org/2000/svg")
    assert "model &lt;1&gt;" in written
    assert "%%" not in written.replace("100%%", "")


def test_the_page_holds_the_activations(tmp_path: Path) -> None:
    """Every unit's row is its activations along the text, to a 255th of their range."""
    found = inspected(tmp_path)
    along = found.along
    assert along is not None
    data = figures(page(found, Unit(1, 3, "forget")))["text"]
    assert "".join(data["shown"]) == TEXT.replace("\x1b", "U+001B")
    assert data["first"] == "1:3:forget"
    names = [unit["unit"] for unit in data["units"]]
    assert {f"{layer}:{unit}:cell" for layer in (0, 1) for unit in range(8)} <= set(names)
    assert data["places"] == along.script.places.tolist()  # ó is unknown
    for packed in data["units"]:
        layer, unit, signal = packed["unit"].split(":")
        values = along.shown[:, along.columns.column(Unit(int(layer), int(unit), signal))]
        expected = np.clip(values, packed["low"], packed["high"])
        np.testing.assert_allclose(unpacked(packed), expected, atol=(packed["high"] - packed["low"]) / 400)
    features = {feature.name: feature.values for feature in along.features}
    for packed in data["values"]:
        np.testing.assert_allclose(
            unpacked(packed), features[packed["feature"]], atol=(packed["high"] - packed["low"]) / 400
        )


def test_large_pages_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a page has room for few units, those that follow features are kept."""
    found = inspected(tmp_path)
    assert found.along is not None
    monkeypatch.setattr(inspection, "SHOWN_BYTES", 5 * len(found.along.shown))
    kept = [unit["unit"] for unit in figures(page(found, None))["text"]["units"]]
    assert len(kept) < len(set(kept)) + 1
    best = [followed.matches[0].unit for followed in found.along.followed]
    assert {str(unit) for unit in best} <= set(kept)


@pytest.mark.parametrize("text", ["a", "é", "\n"])
def test_texts_of_a_character(tmp_path: Path, text: str) -> None:
    """A text of one character, known or not, has a page."""
    data = figures(page(inspected(tmp_path, text), None))["text"]
    assert data["features"] == []


CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--virtual-time-budget=2000", "--enable-logging=stderr",
)  # fmt: skip


def opened(file: Path, profile: Path, fragment: str = "", *options: str) -> tuple[str, str]:
    """The document after its script ran, and what the browser said."""
    done = subprocess.run(
        [str(CHROMIUM), *OPTIONS, *options, f"--user-data-dir={profile}", "--dump-dom",
         file.as_uri() + fragment],
        capture_output=True, timeout=120, check=True,
    )  # fmt: skip
    return done.stdout.decode(), done.stderr.decode(errors="replace")


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
def test_browser(trained: Path, tmp_path: Path) -> None:
    """A real browser draws every part, shades the text by the address's unit, and complains of nothing."""
    path = trained / "model.safetensors"
    model = load_model(path)
    found = inspect_file(path, model)
    found.curves = [
        {"step": step, "train_loss": 3 / step, "val_loss": None, "lr": 0.1, "gradient_norm": 1.0}
        for step in range(1, 6)
    ]
    text = PLAY.read_text(encoding="utf-8")[:400]
    add_text(found, model, text_of(text, model.tokenizer), 100_000)
    add_gradients(found, model)
    add_memory(found, model)
    file = tmp_path / "page.html"
    file.write_text(page(found, None), encoding="utf-8")
    dom, said = opened(file, tmp_path / "profile", "#0:7:cell")
    assert not re.search(r"CONSOLE|Refused|Content Security", said), said
    for part in ("curves", "along", "saturation", "gradients", "memory"):
        section = dom[dom.index(f'<section id="{part}">') :]
        assert ("<svg" in section[: section.index("</section>")]) == (part != "along")
    assert 'class="line s0" d="M' in dom
    assert "NaN" not in dom[dom.index("<main") : dom.index("</main>")]
    assert "unit 0:7:cell" in dom
    assert found.along is not None
    values = found.along.shown[:, found.along.columns.column(Unit(0, 7, "cell"))]
    packed = next(
        u for u in figures(file.read_text(encoding="utf-8"))["text"]["units"] if u["unit"] == "0:7:cell"
    )
    share = (unpacked(packed) - packed["low"]) / (packed["high"] - packed["low"])
    expected = [f"k{int(np.floor(s * 9 + 0.5))}" for s in share]
    assert re.findall(r'<i class="(k\d)">', dom) == expected
    assert len(expected) == len(values)


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
@pytest.mark.slow
def test_a_full_page_is_small_and_opens_soon(tmp_path: Path) -> None:
    """A page of 2 x 256 units is below 3 MB, and opens not much later than an empty one."""
    model = random_model("lstm", 2, 256, 64, scale=0.08)
    text = PLAY.read_text(encoding="utf-8")[:6000]
    file, empty = tmp_path / "page.html", tmp_path / "empty.html"
    file.write_text(page(inspected(tmp_path, text, model), None), encoding="utf-8")
    empty.write_text("<!DOCTYPE html><title>x</title>", encoding="utf-8")
    assert file.stat().st_size < 3_000_000
    seconds: dict[Path, list[float]] = {file: [], empty: []}
    for _ in range(3):
        for which, taken in seconds.items():
            began = time.perf_counter()
            opened(which, tmp_path / "profile")
            taken.append(time.perf_counter() - began)
    assert min(seconds[file]) - min(seconds[empty]) < 3.0  # on a busy machine; a quiet one takes a third
