"""The heat map: a page that shades a text by the bits that each character cost.

Eight shades from 0 bits to 8 and more, from pale to dark red; a character that the vocabulary lacks is blue.
The page is complete in itself: the text, its style, its figures and the few lines of script that show, over a
character, what the model expected there. ``#c17`` after its address shows this for character 17.
"""

from __future__ import annotations

import html
import json
from collections.abc import Iterator

import numpy as np

from charrnn.evaluation.surprise import Surprise, shown
from charrnn.pages.template import template

# Backgrounds from 0 bits to 8 and more; every one of them leaves its foreground readable (contrast 4.5).
SHADES = ("#fff5f0", "#fee0d2", "#fcbba1", "#fc9272", "#fb6a4a", "#ef3b2c", "#cb181d", "#67000d")
INK = ("#000000",) * 6 + ("#ffffff",) * 2
UNKNOWN = "#2166ac"


def shade(bits: float) -> int:
    """Which of the shades so many bits have."""
    return max(0, min(len(SHADES) - 1, int(bits)))


def range_of(index: int) -> str:
    """The bits that a shade stands for, as a legend says them."""
    return f"{index}-{index + 1}" if index < len(SHADES) - 1 else f"{index}+"


def page(found: Surprise, title: str, model: str) -> str:
    """One self-contained HTML page: the shaded text, a legend, and the expectations under the pointer.

    Args:
        found: what ``surprise`` found.
        title: the text's name.
        model: the model's name.
    """
    score = found.score
    facts = (
        f"{model}: {score.characters:,} characters, {score.unknown:,} unknown, "
        f"{score.bits_per_character:.4f} bits/char, perplexity {score.perplexity:.4f}"
    )
    figures = {
        "symbols": found.symbols,
        "bits": [round(float(b), 2) for b in found.bits],
        "ids": found.top_ids.tolist(),
        "top": np.round(found.top * 100, 1).astype(np.float64).round(1).tolist(),
    }
    # "<" would end the script element where the text holds "</script>"
    data = json.dumps(figures, separators=(",", ":")).replace("<", "\\u003c")
    parts = {
        "TITLE": html.escape(title),
        "FACTS": html.escape(facts),
        "STYLE": "".join(
            f".b{index}{{background:{background};color:{INK[index]}}}"
            for index, background in enumerate(SHADES)
        )
        + f".u{{background:{UNKNOWN};color:#fff}}",
        "LEGEND": "".join(f'<b class="b{i}">{range_of(i)}</b>' for i in range(len(SHADES)))
        + '<b class="u">not in the vocabulary</b>',
        "TEXT": "".join(_spans(found)),
        "DATA": data,
    }
    return "".join(parts.get(part, part) for part in template("heatmap.html").split("%%"))


def _spans(found: Surprise) -> Iterator[str]:
    """An element for each character, in order."""
    for character, bits, known in zip(found.characters, found.bits, found.known, strict=True):
        style = f"b{shade(bits)}" if known else "u"
        if character == "\n":
            yield f'<i class="{style}">↵</i>\n'
        else:
            visible = character if character.isprintable() or character == "\t" else shown(character)
            yield f'<i class="{style}">{html.escape(visible)}</i>'
