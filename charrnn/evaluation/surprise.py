"""What surprised a model: a text shaded by the bits that each character cost.

Eight shades from 0 bits to 8 and more, from pale to dark red; a character that the vocabulary lacks is blue.
In a terminal without colour a digit under each character says its bits, 9 for nine and more.
The HTML file is complete in itself: the text, its style, its figures and the few lines of script that show,
over a character, what the model expected there. ``#c17`` after its address shows this for character 17.
"""

from __future__ import annotations

import dataclasses
import html
import json
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.config import EvaluationConfig
from charrnn.evaluation.evaluator import Floats, Score, resets, unknown_nats
from charrnn.model.engine import Engine
from charrnn.model.file import ModelFile
from charrnn.text.scored import Text

# Backgrounds from 0 bits to 8 and more; every one of them leaves its foreground readable (contrast 4.5).
SHADES = ("#fff5f0", "#fee0d2", "#fcbba1", "#fc9272", "#fb6a4a", "#ef3b2c", "#cb181d", "#67000d")
INK = ("#000000",) * 6 + ("#ffffff",) * 2
UNKNOWN = "#2166ac"
TOP = 5
LONGEST = 100_000  # characters of one page: more than this no browser shows with pleasure


@dataclasses.dataclass(frozen=True)
class Surprise:
    """A text with what the model expected at each character.

    Attributes:
        characters: the text; of a byte model, a symbol for each byte.
        bits: (characters,) what each cost.
        known: (characters,) whether the vocabulary holds it.
        top_ids: (characters, TOP) the ids of the most probable symbols there, the most probable first.
        top: (characters, TOP) their probabilities.
        symbols: for each id, how it is shown.
        score: the figures of all these characters.
    """

    characters: list[str]
    bits: Floats
    known: NDArray[np.bool_]
    top_ids: NDArray[np.int64]
    top: Floats
    symbols: list[str]
    score: Score


def surprise(model: ModelFile, text: Text, config: EvaluationConfig | None = None) -> Surprise:
    """Reads at most the first LONGEST characters of the text, in one stream, by NumPy.

    Args:
        model: as ``load_model`` reads it.
        text: as ``read_text`` reads it, with this model.
        config: only ``reset`` is used.
    """
    characters = _characters(text)
    count = len(characters)
    unknown = text.unknown[text.unknown < count]
    known = np.ones(count, np.bool_)
    known[unknown] = False
    read = np.arange(count) if text.complete else np.flatnonzero(known)  # (symbols,) places with an id
    reset = resets(model, config or EvaluationConfig())
    starts = {0, *(text.newlines + 1).tolist()} if reset else {0}
    found, top_ids, top = _read(Engine(model), text, read, starts)
    width = top.shape[1]
    nats = np.zeros(count)
    nats[read] = -found
    nats[unknown] += unknown_nats(unknown, text.tokenizer)
    every_id, every = np.zeros((count, width), np.int64), np.zeros((count, width), np.float32)
    every_id[read], every[read] = top_ids, top
    if not text.complete:  # what was expected where an unread character stands: the next one's prediction
        following = text.place(unknown)  # (unknown,) places in the ids
        inside = following < len(read)
        every_id[unknown[inside]] = top_ids[following[inside]]
        every[unknown[inside]] = top[following[inside]]
    encoded = "".join(characters).encode("utf-8", "surrogatepass")
    size = count if text.tokenizer.kind == "byte" else len(encoded)
    score = Score(count, size, len(unknown), float(nats.sum()))
    bits = (nats / math.log(2)).astype(np.float32)
    return Surprise(characters, bits, known, every_id, every, _symbols(model), score)


def _characters(text: Text) -> list[str]:
    characters: list[str] = []
    for piece in text.pieces():
        shown = piece if isinstance(piece, str) else [chr(b) if b < 0x80 else f"\\x{b:02x}" for b in piece]
        characters += shown[: LONGEST - len(characters)]
        if len(characters) == LONGEST:
            break
    return characters


def _symbols(model: ModelFile) -> list[str]:
    """For each id what a person reads for it."""
    tokenizer = model.tokenizer
    if tokenizer.kind == "byte":
        return [shown(chr(id)) if id < 0x80 else f"\\x{id:02x}" for id in range(tokenizer.size)]
    return [
        "(unknown)" if id == tokenizer.unknown else shown(tokenizer.decode([id]))
        for id in range(tokenizer.size)
    ]


def shown(character: str) -> str:
    """A character as something that can be seen.

    >>> shown("a"), shown(" "), shown("\\n"), shown("\\x1b")
    ('a', '␣', '↵', 'U+001B')
    """
    named = {" ": "␣", "\n": "↵", "\t": "⇥"}.get(character)
    return named or (character if character.isprintable() else f"U+{ord(character):04X}")


def _read(
    engine: Engine, text: Text, places: NDArray[np.int64], starts: set[int]
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float32]]:
    """Log probabilities (symbols,), top ids and their probabilities (symbols, TOP), one step at a time."""
    width = min(TOP, engine.vocabulary)
    scores = np.empty(len(places))
    ids = np.empty((len(places), width), np.int64)
    top = np.empty((len(places), width), np.float32)
    stream, previous, line = engine.stream(), text.tokenizer.start, -1
    ordered = np.array(sorted(starts))
    lines = np.searchsorted(ordered, places, side="right")  # which line each character is in
    for index, id in enumerate(text.ids[: len(places)].tolist()):
        if lines[index] != line:
            stream, previous, line = engine.stream(), text.tokenizer.start, lines[index]
        logits = stream.step(previous).astype(np.float64)  # (vocabulary,)
        logits -= logits.max()
        logits -= np.log(np.exp(logits).sum())
        best = np.argsort(-logits, kind="stable")[:width]
        scores[index], ids[index], top[index] = logits[id], best, np.exp(logits[best])
        previous = id
    return scores, ids, top


def shade(bits: float) -> int:
    """Which of the shades so many bits have."""
    return max(0, min(len(SHADES) - 1, int(bits)))


# -- the terminal ------------------------------------------------------------------------------------------


def terminal_lines(found: Surprise, *, color: bool, width: int | None = None) -> Iterator[Any]:
    """The text as rich Texts, one for each line: shaded, or with the bits as digits below.

    Args:
        found: what ``surprise`` found.
        color: whether there are colours.
        width: cells after which a line is broken; None for no such limit.
    """
    from rich.text import Text as Line

    line, digits = Line(), ""
    for character, bits, known in zip(found.characters, found.bits, found.known, strict=True):
        if width and line.cell_len >= width:
            yield from (line,) if color else (line, Line(digits))
            line, digits = Line(), ""
        # Control characters would be obeyed, and some others have no width: both are shown by name.
        cell = " " if character == "\n" else character if character.isprintable() else shown(character)
        style = f"{INK[shade(bits)]} on {SHADES[shade(bits)]}" if known else f"#ffffff on {UNKNOWN}"
        before = line.cell_len
        line.append(cell, style if color else "")
        digits += (str(min(9, round(float(bits)))) if known else "?").ljust(line.cell_len - before)
        if character == "\n":
            yield from (line,) if color else (line, Line(digits))
            line, digits = Line(), ""
    if digits:
        yield from (line,) if color else (line, Line(digits))


def terminal_legend(*, color: bool) -> Any:
    """What the shades, or the digits, mean."""
    from rich.text import Text as Line

    if not color:
        return Line("below each character: its bits, 9 for more, ? where the vocabulary lacks it")
    line = Line("bits  ")
    for index, background in enumerate(SHADES):
        line.append(f" {_range(index)} ", f"{INK[index]} on {background}")
    line.append(" unknown ", f"#ffffff on {UNKNOWN}")
    return line


def _range(index: int) -> str:
    return f"{index}-{index + 1}" if index < len(SHADES) - 1 else f"{index}+"


# -- the page ----------------------------------------------------------------------------------------------


def page(found: Surprise, title: str, model: str) -> str:
    """One self-contained HTML page: the shaded text, a legend, and the expectations under the pointer.

    Args:
        found: what ``surprise`` found.
        title: the text's name.
        model: the model's name.
    """
    from charrnn.pages.heatmap import PAGE

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
        "LEGEND": "".join(f'<b class="b{i}">{_range(i)}</b>' for i in range(len(SHADES)))
        + '<b class="u">not in the vocabulary</b>',
        "TEXT": "".join(_spans(found)),
        "DATA": data,
    }
    return "".join(parts.get(part, part) for part in PAGE.split("%%"))


def _spans(found: Surprise) -> Iterator[str]:
    """An element for each character, in order."""
    for character, bits, known in zip(found.characters, found.bits, found.known, strict=True):
        style = f"b{shade(bits)}" if known else "u"
        if character == "\n":
            yield f'<i class="{style}">↵</i>\n'
        else:
            visible = character if character.isprintable() or character == "\t" else shown(character)
            yield f'<i class="{style}">{html.escape(visible)}</i>'
