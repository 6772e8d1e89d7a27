"""A model that scores texts: by NumPy while they are short, then by torch."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from charrnn.config import EvaluationConfig
from charrnn.evaluation.measure import Floats, Score, unknown_nats
from charrnn.model.engine import Engine
from charrnn.model.file import ModelFile
from charrnn.text.scored import Places, Text, text_of
from charrnn.text.tokenizer import Ids

# Importing torch takes about as long as this much scoring by NumPy, after which torch is faster.
PATIENCE = 1.0
SECONDS_PER_SYMBOL, SECONDS_PER_WEIGHT = 7e-6, 3.5e-11  # of NumPy, roughly, on a processor of today
LOGITS = 1 << 20  # logits in memory at once

Piece = tuple[int, Floats]  # a place in a text's ids, and the log probabilities (n,) of what stands there


class Evaluator:
    """A model that scores texts: by NumPy while they are short, then by torch.

    Attributes:
        used: how the last text was computed, e.g. "numpy fp32 x1" or "torch bf16 x64": library,
            arithmetic and streams.
    """

    def __init__(
        self,
        model: ModelFile,
        config: EvaluationConfig | None = None,
        on_piece: Callable[[int], None] = lambda _: None,
    ) -> None:
        self.model = model
        self.config = config or EvaluationConfig()
        self.used = ""
        self._on_piece = on_piece
        self._spent = 0.0  # seconds of NumPy
        self._engine: Engine | None = None
        self._torch: tuple[Any, Any] | None = None

    def score(self, text: Text) -> Score:
        """The sums over a text, in memory that does not grow with it.

        Raises:
            ConfigError: the device or the arithmetic asked for is not to be had.
        """
        nats = float(unknown_nats(text.unknown, text.tokenizer).sum())
        for _, found in self.pieces(text):
            nats -= float(found.sum(dtype=np.float64))
        return Score(text.characters, text.bytes, len(text.unknown), nats)

    def log_probabilities(self, text: Text) -> Floats:
        """The natural-log probability of each character (characters,), unknown ones as they are charged."""
        symbols = np.empty(len(text.ids), np.float32)
        for place, found in self.pieces(text):
            symbols[place : place + len(found)] = found
        charge = -unknown_nats(text.unknown, text.tokenizer).astype(np.float32)  # (unknown,)
        if text.complete:
            symbols[text.unknown] += charge
            return symbols
        scores = np.empty(text.characters, np.float32)
        known = np.ones(text.characters, np.bool_)
        known[text.unknown] = False
        scores[known], scores[text.unknown] = symbols, charge
        return scores

    def pieces(self, text: Text) -> Iterator[Piece]:
        """The natural-log probabilities of the text's ids, piece by piece; those of torch in no order."""
        ends = text.place(text.line_ends) if resets(self.model, self.config) else None
        long = self._is_long(len(text.ids))
        streams, precision = self.config.streams or 1, self.config.precision
        numpy = precision == "fp32" and streams == 1 and not long and self._torch is None
        numpy = numpy and self.config.device in ("auto", "cpu")
        began = time.perf_counter()
        for piece in self._by_numpy(text, ends) if numpy else self._by_torch(text, ends):
            self._on_piece(len(piece[1]))
            yield piece
        if numpy:
            self._spent += time.perf_counter() - began

    def _is_long(self, symbols: int) -> bool:
        weights = sum(array.size for array in self.model.weights.values())
        return self._spent + symbols * (SECONDS_PER_SYMBOL + weights * SECONDS_PER_WEIGHT) > PATIENCE

    def _by_numpy(self, text: Text, ends: Places | None) -> Iterator[Piece]:
        self.used = "numpy fp32 x1"
        self._engine = self._engine or Engine(self.model)
        begin, start = 0, text.tokenizer.start
        for end in [len(text.ids)] if ends is None else ends.tolist():
            for place, found in read_scores(self._engine, text.ids[begin:end], start):
                yield begin + place, found
            begin = end

    def _by_torch(self, text: Text, ends: Places | None) -> Iterator[Piece]:
        from charrnn.evaluation.torch_scorer import line_pieces, score_pieces, streams_for
        from charrnn.model.device import choose_machine
        from charrnn.model.network import build_model

        if self._torch is None:
            machine = choose_machine(self.config.device, self.config.precision)
            network = build_model(self.model.config, self.model.weights).to(machine.device)
            self._torch = network, machine
        network, machine = self._torch
        start = text.tokenizer.start
        if ends is not None:
            self.used = f"torch {machine.precision} lines"
            yield from line_pieces(network, text.ids, ends, start, machine)
            return
        streams = streams_for(len(text.ids), self.config.streams)
        self.used = f"torch {machine.precision} x{streams}"
        yield from score_pieces(network, text.ids, start, machine, streams)


def resets(model: ModelFile, config: EvaluationConfig) -> bool:
    """Whether the state begins anew at each line: if asked for, or if the model learnt single lines."""
    return config.reset == "lines" or (config.reset == "auto" and bool(model.corpus.get("lines")))


def read_scores(engine: Engine, ids: Ids, start: int) -> Iterator[Piece]:
    """The natural-log probabilities of ids (time,) read in one stream by NumPy, in order.

    Args:
        engine: the model.
        ids: (time,) of ids.
        start: the id read before the first.
    """
    stream = engine.stream()
    block = max(16, LOGITS // engine.vocabulary)
    for begin in range(0, len(ids), block):
        targets = ids[begin : begin + block]  # (time,)
        inputs = np.empty(len(targets), np.int64)
        inputs[0] = ids[begin - 1] if begin else start
        inputs[1:] = targets[:-1]
        yield begin, log_softmax(stream.read(inputs), targets)


def log_softmax(logits: Floats, targets: Ids) -> Floats:
    """ln softmax(logits)[targets]: (time, vocabulary) and (time,) become (time,) float32.

    >>> log_softmax(np.log(np.array([[1, 3]], np.float32)), np.array([1], np.uint8)).round(4).tolist()
    [-0.28769999742507935]
    """
    logits = logits - logits.max(axis=1, keepdims=True)
    total = np.exp(logits).sum(axis=1, dtype=np.float64)  # (time,)
    found: Floats = (logits[np.arange(len(targets)), targets] - np.log(total)).astype(np.float32)
    return found


def score_text(model: ModelFile, text: str) -> Floats:
    """The natural-log probability of each character of the text, given all before it.

    Args:
        model: as ``load_model`` reads it.
        text: any string; characters that the vocabulary lacks are charged as this module says.

    Returns:
        (characters,) float32, empty for an empty text. A byte model's is the sum over a character's bytes.
    """
    if not text:
        return np.empty(0, np.float32)
    scores = Evaluator(model).log_probabilities(text_of(text, model.tokenizer))
    if model.tokenizer.kind == "char":
        return scores
    sizes = [len(character.encode("utf-8", "surrogateescape")) for character in text]
    first = np.cumsum([0, *sizes[:-1]])
    summed: Floats = np.add.reduceat(scores, first)
    return summed
