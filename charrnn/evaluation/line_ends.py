r"""Whether a text's lines end as those that a model learnt: in "\n", or in "\r\n".

A model file does not say how the lines of its text ended, and a model of bytes knows both. It is asked: where
a line of the text ends, one of the two is the more probable.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from charrnn.evaluation.evaluator import resets
from charrnn.model.engine import log_softmax
from charrnn.model.engines import make_engine
from charrnn.model.file import ModelFile
from charrnn.text.items import shift_right
from charrnn.text.line_ends import count_line_ends
from charrnn.text.scored import ScoredText
from charrnn.use_config import EvaluationConfig

PROBED = 1024  # symbols that are read
FEWEST = 3  # line ends that say something
CLEAR = 3.0  # nats, twenty times: by as much the other way to end a line is the more probable, on average


def foreign_line_ends(model: ModelFile, text: ScoredText, config: EvaluationConfig | None = None) -> str:
    r"""How a text's lines end, "\r\n" or "\n", if the model expects the other one; else nothing.

    Only the first PROBED symbols are read. A text of mixed ends is called by the more frequent one.

    Args:
        model: from ``load_model``.
        text: with the model's tokenizer.
        config: only ``reset`` is used.
    """
    ids, tokenizer = text.ids[:PROBED], text.tokenizer
    carriage_return, newline = (int(id) for id in tokenizer.lookup("\r\n"))
    if max(carriage_return, newline) >= tokenizer.size or len(ids) == 0:
        return ""
    ends = count_line_ends(ids, tokenizer)
    if max(ends.pairs, ends.newlines) < FEWEST:
        return ""
    pairs = ends.pairs > ends.newlines
    before = np.flatnonzero(ids == newline)  # (lines,) the places of newlines
    paired = (before > 0) & (ids[np.maximum(before - 1, 0)] == carriage_return)
    places = before[paired] - 1 if pairs else before[~paired]  # where a line of the text ends
    logs = log_softmax(
        _logits(make_engine(model), text, ids, each_line=resets(model, config or EvaluationConfig()))
    )
    found, other = (carriage_return, newline) if pairs else (newline, carriage_return)
    if float(np.mean(logs[places, other] - logs[places, found])) < CLEAR:
        return ""
    return "\r\n" if pairs else "\n"


def _logits(engine: Any, text: ScoredText, ids: np.ndarray, *, each_line: bool) -> np.ndarray:
    """The logits (symbols, vocabulary) of the first ids, the state reset at each line or carried on."""
    start = text.tokenizer.start
    ends = np.flatnonzero(ids == start) + 1 if each_line else np.empty(0, np.int64)
    parts = np.split(ids, ends)
    return np.concatenate([engine.stream().read(shift_right(part, start)) for part in parts if len(part)])
