"""The heatmap: true figures, safe characters, and a page that a browser shows."""

from __future__ import annotations

import html.parser
import io
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from charrnn.cli.heatmap import terminal_legend, terminal_lines
from charrnn.evaluation.evaluator import Evaluator
from charrnn.evaluation.surprise import Surprise, shown, surprise
from charrnn.model.engine import Engine
from charrnn.model.file import load_model
from charrnn.pages.heatmap import INK, SHADES, UNKNOWN, page, shade
from charrnn.text.scored import text_of
from charrnn.use_config import EvaluationConfig
from tests.conftest import random_model

TEXT = "To be,\n\tor </script> nót <b>&amp; to be:\x1b[31m\n"


def found_in(text: str, *, unknown: bool = False) -> Surprise:
    """What a little random model makes of the text."""
    model = random_model(unknown=unknown)
    return surprise(model, text_of(text, model.tokenizer))


def rendered(found: Surprise, *, color: bool, width: int | None = None) -> str:
    """What a terminal would get."""
    console = Console(
        file=io.StringIO(), color_system="truecolor" if color else None, force_terminal=color, width=10_000
    )
    with console.capture() as captured:
        for line in terminal_lines(found, color=color, width=width):
            console.print(line, soft_wrap=True, highlight=False, markup=False, emoji=False)
    return captured.get()


@pytest.mark.parametrize("unknown", [False, True])
@pytest.mark.parametrize("reset", ["none", "lines", "3"])
def test_bits_are_those_of_evaluation(*, unknown: bool, reset: str) -> None:
    """Each character's bits, and their sum, are what evaluation says, unknown characters included."""
    model = random_model(unknown=unknown)
    config = EvaluationConfig(reset=reset)
    text = text_of(TEXT, model.tokenizer)
    found = surprise(model, text, config)
    scores = Evaluator(model, config).log_probabilities(text)
    assert found.bits * np.log(2) == pytest.approx(-scores, rel=1e-5)
    score = Evaluator(model, config).score(text)
    assert found.score.nats == pytest.approx(score.nats, rel=1e-6)
    assert (found.score.characters, found.score.bytes) == (score.characters, score.bytes)
    assert (~found.known).sum() == score.unknown == found.score.unknown


def test_top_five() -> None:
    """The five shown are the model's five most probable symbols there, the most probable first."""
    model = random_model()
    found = surprise(model, text_of("abc", model.tokenizer))
    logits = Engine(model).stream().read(np.array([model.tokenizer.start, *model.tokenizer.encode("ab")]))
    powers = np.exp(logits.astype(np.float64))
    probabilities = powers / powers.sum(axis=1, keepdims=True)
    expected = np.sort(probabilities, axis=1)[:, ::-1][:, :5]
    assert found.top == pytest.approx(expected, rel=1e-4)
    chosen = np.take_along_axis(probabilities, found.top_ids, axis=1)
    assert chosen == pytest.approx(expected, rel=1e-4)


def test_unknown_characters_show_what_was_expected() -> None:
    """Where an unknown character stands, the five are those for the character that the model reads next."""
    found = found_in("aéb")
    assert found.top_ids[1].tolist() == found.top_ids[2].tolist()
    assert found_in("aé").top[1].sum() == 0


def test_small_vocabulary() -> None:
    """A vocabulary of fewer than five symbols shows them all."""
    model = random_model(vocabulary="ab")
    found = surprise(model, text_of("ab", model.tokenizer))
    assert found.top.sum(axis=1) == pytest.approx([1, 1], rel=1e-5)


def test_long_texts_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a long text the beginning is shown, and the figures are the beginning's."""
    monkeypatch.setattr("charrnn.evaluation.surprise.MAX_SHOWN", 6)
    whole, beginning = found_in("to bé or not to bé"), found_in("to bé ")
    assert "".join(whole.characters) == "to bé "
    assert whole.score.nats == pytest.approx(beginning.score.nats)


def test_bytes() -> None:
    """Of a byte model each byte is a symbol of its own, shown by its number where it is not ASCII."""
    model = random_model(vocabulary=None)
    found = surprise(model, text_of("aé", model.tokenizer))
    assert found.characters == ["a", "\\xc3", "\\xa9"]
    assert found.score.bytes == 3


def test_shades() -> None:
    """A bit more is a shade more, from the first to the last."""
    assert [shade(bits) for bits in (-0.1, 0, 0.9, 1, 6.5, 7, 40)] == [0, 0, 0, 1, 6, 7, 7]


def contrast(one: str, other: str) -> float:
    """The contrast of two colours as #rrggbb (WCAG 2.2)."""

    def luminance(color: str) -> float:
        parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        r, g, b = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
        return 0.2126 * r + 0.7152 * g + 0.0722 * b

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_contrast() -> None:
    """Every shade leaves its character readable: a contrast of 4.5 and more (WCAG 2.2)."""
    for ink, background in [*zip(INK, SHADES, strict=True), ("#ffffff", UNKNOWN)]:
        assert contrast(ink, background) >= 4.5


# -- the terminal ------------------------------------------------------------------------------------------


def test_terminal_color() -> None:
    """Each character is on its shade, unknown ones on blue, and control characters are named, not sent."""
    found = found_in("Qé\x1b\n")
    out = rendered(found, color=True)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", out)
    assert plain == "QéU+001B \n"
    red, green, blue = (int(SHADES[shade(found.bits[0])][i : i + 2], 16) for i in (1, 3, 5))
    assert f"48;2;{red};{green};{blue}mQ" in out
    assert "48;2;33;102;172mé" in out


def test_terminal_digits() -> None:
    """Without colour a digit stands under each character, and nothing else that is not text."""
    found = found_in("Tóbe\n")
    lines = rendered(found, color=False).splitlines()
    digits = [str(min(9, round(float(b)))) for b in found.bits]
    digits[1] = "?"
    assert lines == ["Tóbe ", "".join(digits)]


def test_terminal_width() -> None:
    """Long lines are broken at the terminal's width, each piece over its own digits."""
    lines = rendered(found_in("abcdefgh"), color=False, width=3).splitlines()
    assert lines[::2] == ["abc", "def", "gh"]
    assert [len(line) for line in lines[1::2]] == [3, 3, 2]


MARKED = "un e\u0301te\u0301 \u0628\u064e\u064f \u2764\ufe0f\u4e2d \u0301x\n\u0301y"


@pytest.mark.parametrize("width", [None, 5, 7])
def test_terminal_digits_stand_under_their_cells(width: int | None) -> None:
    """Marks without a width share their character's digit, and no line is wider than the terminal."""
    lines = list(terminal_lines(found_in(MARKED), color=False, width=width))
    for text, digits in zip(lines[::2], lines[1::2], strict=True):
        assert text.cell_len == digits.cell_len
        if width:
            assert text.cell_len <= max(width, len("U+0301"))
    assert "".join(line.plain for line in lines[::2]).replace("\n", "") == (
        MARKED.replace("\n\u0301", " U+0301")
    )


def test_a_digit_is_for_a_character_and_its_marks() -> None:
    """The digit below a character with a mark is the bits of both, as if they were one."""
    model = random_model(vocabulary="e\u0301")
    found = surprise(model, text_of("e\u0301", model.tokenizer))
    _, digits = terminal_lines(found, color=False)
    assert digits.plain == str(min(9, round(float(found.bits.sum()))))


def test_terminal_legend() -> None:
    """The legend names every shade, or explains the digits."""
    assert terminal_legend(color=True).plain.split()[1:] == [
        "0-1",
        "1-2",
        "2-3",
        "3-4",
        "4-5",
        "5-6",
        "6-7",
        "7+",
        "unknown",
    ]
    assert "bits" in terminal_legend(color=False).plain


# -- the page ----------------------------------------------------------------------------------------------


class Reader(html.parser.HTMLParser):
    """Collects the text of the <pre>, its elements' classes, and every tag and attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.text, self.classes, self.links = "", list[str](), list[str]()
        self.scripts = list[str]()
        self._in = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Remembers where we are."""
        self._in = tag if tag in ("pre", "script", "i") else ""
        self.links += [f"{name}={value}" for name, value in attrs if name in ("src", "href")]
        if tag == "i":
            self.classes.append(dict(attrs)["class"] or "")

    def handle_data(self, data: str) -> None:
        """Takes text."""
        if self._in == "i":
            self.text += data
        if self._in == "script":
            self.scripts.append(data)

    def handle_endtag(self, tag: str) -> None:
        """Forgets where we were."""
        self._in = "" if tag in ("i", "script") else self._in


def read(written: str) -> Reader:
    """The page, parsed."""
    reader = Reader()
    reader.feed(written)
    return reader


def test_page_holds_the_text() -> None:
    """The page shows every character, whatever means something in HTML, on its shade."""
    found = found_in(TEXT)
    reader = read(page(found, "a <text>", "model & co"))
    assert reader.text == TEXT.replace("\n", "↵").replace("\x1b", "U+001B")
    expected = [f"b{shade(b)}" if k else "u" for b, k in zip(found.bits, found.known, strict=True)]
    assert reader.classes == expected
    assert "a &lt;text&gt;" in page(found, "a <text>", "model & co")


def test_page_is_self_contained() -> None:
    """The page asks for nothing: no address, no source, one script and one style inside."""
    written = page(found_in(TEXT), "text", "model")
    assert read(written).links == []
    assert "http" not in written
    assert "url(" not in written
    assert "@import" not in written
    assert written.count("<script>") == written.count("</script>") == 1
    assert "%%" not in written


def test_page_figures() -> None:
    """The script's figures are the model's: bits, ids and per cent of the top five, for each character."""
    found = found_in(TEXT)
    (script,) = read(page(found, "text", "model")).scripts
    start = script.index("{")
    figures, _ = json.JSONDecoder().raw_decode(script[start:])
    assert figures["bits"] == pytest.approx(found.bits.tolist(), abs=0.006)
    assert figures["ids"] == found.top_ids.tolist()
    assert np.array(figures["top"]) == pytest.approx(found.top * 100, abs=0.06)
    assert figures["symbols"][0] == "↵"


def test_shown() -> None:
    """What cannot be seen is named."""
    assert [shown(c) for c in "a \t\n\x00"] == ["a", "␣", "⇥", "↵", "U+0000"]


CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
def test_browser(trained: Path, tmp_path: Path) -> None:
    """A real browser shows the text, and over a character its bits and the model's five guesses."""
    model = load_model(trained / "model.safetensors")
    text = text_of("The bell is the bell.\n", model.tokenizer)
    found = surprise(model, text)
    file = tmp_path / "page.html"
    file.write_text(page(found, "bell", "model"), encoding="utf-8")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=2000"]
    done = subprocess.run(
        [str(CHROMIUM), *options, f"--user-data-dir={tmp_path}/profile", "--dump-dom", f"{file.as_uri()}#c5"],
        capture_output=True, timeout=60, check=True,
    )  # fmt: skip
    dom = done.stdout.decode()
    tip = dom[dom.index('id="tip"') : dom.index("<script>")]
    assert "display: block" in tip
    assert f"{found.bits[5]:.2f} bits" in tip
    cells = re.findall(r"<td>([^<]*)</td>", tip)
    assert len(cells) == 10
    assert [float(cell.removesuffix(" %")) for cell in cells[1::2]] == pytest.approx(
        found.top[5] * 100, abs=0.06
    )
    symbols = [found.symbols[id] for id in found.top_ids[5]]
    assert [cell.replace("&amp;", "&") for cell in cells[::2]] == symbols
    assert 'class="b' in dom
    assert dom.count("<i class") == len("The bell is the bell.\n")
