"""The bits that each character of a text costs under a model, and the model's best guesses there."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.evaluation.evaluator import resets
from charrnn.evaluation.measure import Floats, Score
from charrnn.model.engine import log_softmax
from charrnn.model.engines import make_engine
from charrnn.model.file import ModelFile
from charrnn.text.items import shift_right
from charrnn.text.reading import as_utf8
from charrnn.text.scored import ScoredText, unknown_nats
from charrnn.use_config import EvaluationConfig

TOP = 5  # best guesses per character
MAX_SHOWN = 100_000  # characters; with more, browsers become slow


@dataclasses.dataclass(frozen=True)
class Surprise:
    """A text with the bits that each character costs, and the model's best guesses.

    Attributes:
        characters: of the text; for a byte model, the label of each byte.
        bits: (characters,) the negative binary logarithm of each character's probability.
        known: (characters,) whether the character is in the vocabulary.
        top_ids: (characters, TOP) ids of the most probable symbols, best first.
        top: (characters, TOP) probabilities of ``top_ids``.
        symbols: for each id, how it is shown.
        score: of all these characters.
    """

    characters: list[str]
    bits: Floats
    known: NDArray[np.bool_]
    top_ids: NDArray[np.int64]
    top: Floats
    symbols: list[str]
    score: Score


def surprise(model: ModelFile, text: ScoredText, config: EvaluationConfig | None = None) -> Surprise:
    """Scores at most the first MAX_SHOWN characters of a text, in NumPy.

    Args:
        model: from ``load_model``.
        text: from ``read_text`` with this model's tokenizer.
        config: only ``reset`` is used.
    """
    characters, size = _beginning(text)
    count = len(characters)
    unknown = text.unknown[text.unknown < count]
    known = np.ones(count, np.bool_)
    known[unknown] = False
    read = np.arange(count) if text.complete else np.flatnonzero(known)  # (symbols,) positions with an id
    config = config or EvaluationConfig()
    starts = {0, *(text.newlines + 1).tolist()} if resets(model, config) else {0}
    if config.window:
        starts = set(range(0, count, config.window))
    found, top_ids, top = _read(make_engine(model), text, read, starts, keep_input=config.window is not None)
    width = top.shape[1]
    nats = np.zeros(count)
    nats[read] = -found
    nats[unknown] += unknown_nats(unknown, text.tokenizer)
    every_id, every = np.zeros((count, width), np.int64), np.zeros((count, width), np.float32)
    every_id[read], every[read] = top_ids, top
    if not text.complete:  # The guesses at a character that was left out are those at the next one.
        following = text.place(unknown)  # (unknown,) positions in the ids
        inside = following < len(read)
        every_id[unknown[inside]] = top_ids[following[inside]]
        every[unknown[inside]] = top[following[inside]]
    score = Score(count, size, len(unknown), float(nats.sum()))
    bits = (nats / math.log(2)).astype(np.float32)
    return Surprise(characters, bits, known, every_id, every, _symbols(model), score)


def _beginning(text: ScoredText) -> tuple[list[str], int]:
    """At most MAX_SHOWN characters, or labels of bytes, and their size as UTF-8."""
    characters: list[str] = []
    size = 0
    for whole in text.pieces():
        piece = whole[: MAX_SHOWN - len(characters)]
        characters += piece if isinstance(piece, str) else map(text.tokenizer.label, piece)
        size += len(as_utf8(piece))
        if len(characters) == MAX_SHOWN:
            break
    return characters, size


def _symbols(model: ModelFile) -> list[str]:
    """How each id is shown."""
    tokenizer = model.tokenizer
    return [
        "(unknown)" if id == tokenizer.unknown else shown(tokenizer.label(id)) for id in range(tokenizer.size)
    ]


def shown(character: str) -> str:
    """A visible form of a character: a sign for white space, the code point if it is not printable.

    >>> shown("a"), shown(" "), shown("\\n"), shown("\\x1b")
    ('a', '␣', '↵', 'U+001B')
    """
    named = {" ": "␣", "\n": "↵", "\t": "⇥"}.get(character)
    return named or (character if character.isprintable() else f"U+{ord(character):04X}")


def _read(
    engine: Any, text: ScoredText, places: NDArray[np.int64], starts: set[int], *, keep_input: bool
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float32]]:
    """Log probabilities (symbols,), best guesses and their probabilities (symbols, TOP) of the first ids.

    Args:
        engine: the model.
        text: whose first ids are read.
        places: (symbols,) positions of these ids in the text.
        starts: positions in the text at which the state is reset; 0 is one.
        keep_input: whether to read the id before these positions there, instead of the start symbol.
    """
    width = min(TOP, engine.vocabulary)
    scores = np.empty(len(places))
    ids = np.empty((len(places), width), np.int64)
    top = np.empty((len(places), width), np.float32)
    targets, start = text.ids[: len(places)], text.tokenizer.start
    lines = np.searchsorted(np.array(sorted(starts)), places, side="right")  # (symbols,) numbers from 1
    resets_here = np.diff(lines, prepend=0) != 0  # (symbols,)
    inputs = np.where(resets_here & (not keep_input), start, shift_right(targets, start))
    stream = engine.stream()
    for index, (id, target) in enumerate(zip(inputs.tolist(), targets.tolist(), strict=True)):
        if resets_here[index]:
            stream = engine.stream()
        logs = log_softmax(stream.step(id).astype(np.float64))  # (vocabulary,)
        best = np.argsort(-logs, kind="stable")[:width]
        scores[index], ids[index], top[index] = logs[target], best, np.exp(logs[best])
    return scores, ids, top
