"""The heat map: a page that shades a text by the bits that each character costs.

There are eight shades, from pale (0 bits) to dark red (7 bits and more); unknown characters are blue. The
page is self-contained: text, style, figures, and a short script that shows the model's best guesses at the
character under the pointer. ``#c17`` after the page's address shows them for character 17.
"""

from __future__ import annotations

import html
import json
from collections.abc import Iterator

import numpy as np

from charrnn.evaluation.surprise import Surprise, shown
from charrnn.pages.template import template

# Background and text colour of each shade; their contrast is at least 4.5.
SHADES = ("#fff5f0", "#fee0d2", "#fcbba1", "#fc9272", "#fb6a4a", "#ef3b2c", "#cb181d", "#67000d")
INK = ("#000000",) * 6 + ("#ffffff",) * 2
UNKNOWN = "#2166ac"


def shade(bits: float) -> int:
    """The number of the shade for so many bits."""
    return max(0, min(len(SHADES) - 1, int(bits)))


def range_of(index: int) -> str:
    """The range of bits of a shade, for the legend."""
    return f"{index}-{index + 1}" if index < len(SHADES) - 1 else f"{index}+"


def page(found: Surprise, title: str, model: str) -> str:
    """A self-contained HTML page with the shaded text, a legend, and the best guesses under the pointer.

    Args:
        found: from ``surprise``.
        title: the text's name.
        model: the model's name.
    """
    facts = f"{model}: {found.score}"
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
    """One HTML element for each character."""
    for character, bits, known in zip(found.characters, found.bits, found.known, strict=True):
        style = f"b{shade(bits)}" if known else "u"
        if character == "\n":
            yield f'<i class="{style}">↵</i>\n'
        else:
            visible = character if character.isprintable() or character == "\t" else shown(character)
            yield f'<i class="{style}">{html.escape(visible)}</i>'
