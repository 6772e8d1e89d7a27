"""What surprised a model: the bits that each character of a text cost, and what was expected there."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from numpy.typing import NDArray

from charrnn.config import EvaluationConfig
from charrnn.evaluation.evaluator import resets
from charrnn.evaluation.measure import Floats, Score, unknown_nats
from charrnn.model.engine import Engine
from charrnn.model.file import ModelFile
from charrnn.text.scored import Text

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
