"""Scoring texts with a model: short texts in NumPy, long ones in torch; with an n-gram by its counts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.evaluation.measure import Floats, Piece, Score
from charrnn.model.counts import Doubles, Numbers
from charrnn.model.engine import Engine, log_softmax
from charrnn.model.file import ModelFile
from charrnn.model.mixture import TINY, match
from charrnn.model.ngram import KneserNey, blocks
from charrnn.text.items import begins_of, shift_right
from charrnn.text.scored import ScoredText, text_of, unknown_nats
from charrnn.text.tokenizer import Ids, Places
from charrnn.use_config import EvaluationConfig

# Scoring in NumPy for longer than this takes more time than importing torch, which then is faster.
NUMPY_SECONDS = 1.0
SECONDS_PER_SYMBOL, SECONDS_PER_WEIGHT = 7e-6, 3.5e-11  # of NumPy, roughly, on a current processor
LOGITS = 1 << 20  # logits in memory at once


class Evaluator:
    """Scores texts with a model: short texts in NumPy, long ones in torch.

    Attributes:
        used: how the last text was computed: library, arithmetic and number of streams, e.g. "numpy fp32 x1"
            or "torch bf16 x64".
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
        self._spent = 0.0  # seconds of scoring in NumPy
        self._engine: Engine | None = None
        self._parts: list[Evaluator] = []  # of a mixture
        self._torch: tuple[Any, Any] | None = None  # network and machine, once used

    def score(self, text: ScoredText) -> Score:
        """The score of a text, in constant memory; of a mixture, with eight bytes a symbol.

        Raises:
            ConfigError: the device or the arithmetic in the settings is not available.
        """
        nats = float(unknown_nats(text.unknown, text.tokenizer).sum())
        for _, found in self.pieces(text):
            nats -= float(found.sum(dtype=np.float64))
        return Score(text.characters, text.bytes, len(text.unknown), nats)

    def log_probabilities(self, text: ScoredText) -> Floats:
        """The natural-log probability of each character (characters,), unknown ones included."""
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

    def pieces(self, text: ScoredText) -> Iterator[Piece]:
        """The natural-log probabilities of the text's ids, piece by piece, in any order."""
        ends = section_ends(self.model, self.config, text)
        for piece in self.read(text.ids, text.tokenizer.start, ends):
            self._on_piece(len(piece[1]))
            yield piece

    def read(self, ids: Ids, start: int, ends: Places | None) -> Iterator[Piece]:
        """The natural-log probabilities of ids, piece by piece, in any order.

        Args:
            ids: (time,).
            start: the id that is read before the first one.
            ends: (sections,) the positions after which the state is reset; None if it is carried.
        """
        if self.model.parts:
            yield from self._mixed(ids, start, ends)
        elif self.model.grams is not None:
            self.used = "numpy fp64 x1"
            yield from count_pieces(self.model.grams, ids, start, ends, keep_input=self._windows)
        elif self._uses_numpy(len(ids)):
            began = time.perf_counter()
            yield from self._by_numpy(ids, start, ends)
            self._spent += time.perf_counter() - began
        else:
            yield from self._by_torch(ids, start, ends)

    def part_probabilities(self, ids: Ids, start: int, ends: Places | None) -> Iterator[Doubles]:
        """Of each part of a mixture, the probability (time,) of each of the ids.

        Args:
            ids: (time,) of the mixture's vocabulary.
            start: the id that is read before the first one.
            ends: (sections,) the positions after which the state is reset; None if it is carried.
        """
        for number in range(len(self.model.parts)):
            probabilities = np.zeros(len(ids))
            for where, logs in self._part_pieces(number, ids, start, ends):
                probabilities[where] = np.exp(logs)
            yield probabilities
        self.used = " + ".join(part.used for part in self._parts)

    def _mixed(self, ids: Ids, start: int, ends: Places | None) -> Iterator[Piece]:
        """What ``read`` yields of a mixture; the first part is read last, as it usually takes longest."""
        mixed = np.zeros(len(ids))
        for number in reversed(range(len(self.model.mix))):
            whole = True
            for where, logs in self._part_pieces(number, ids, start, ends):
                mixed[where] += self.model.mix[number] * np.exp(logs, dtype=np.float64)
                if number == 0 and isinstance(where, slice):
                    whole = False
                    yield where.start, np.log(np.maximum(mixed[where], TINY))
        self.used = " + ".join(part.used for part in self._parts)
        if whole:
            yield 0, np.log(np.maximum(mixed, TINY))

    def _part_pieces(
        self, number: int, ids: Ids, start: int, ends: Places | None
    ) -> Iterator[tuple[slice | Numbers, NDArray[np.floating[Any]]]]:
        """The natural-log probabilities under a part of a mixture, and where in ids they are.

        A slice where the part has all symbols; a part that does not read some has no probability for them.
        """
        if not self._parts:
            self._parts = [Evaluator(part, self.config) for part in self.model.parts]
        evaluator, part = self._parts[number], self.model.parts[number]
        matched = match(self.model.tokenizer, part.tokenizer)
        if matched.same:
            for place, found in evaluator.read(ids, start, ends):
                yield slice(place, place + len(found)), found
            return
        known = matched.reads[ids] >= 0
        read, places = ids[known], np.flatnonzero(known)
        own = matched.reads[read].astype(part.tokenizer.id_dtype)
        kept = None if ends is None else _kept_ends(ends, known)
        with np.errstate(divide="ignore"):
            factor = np.log(matched.factor)
        for place, found in evaluator.read(own, int(matched.reads[start]), kept):
            piece = slice(place, place + len(found))
            yield places[piece], found + factor[read[piece]]

    @property
    def _windows(self) -> bool:
        """Whether sections are windows, before which the character before is read."""
        return self.config.window is not None

    def _uses_numpy(self, symbols: int) -> bool:
        """Whether the settings allow NumPy, and it is faster than importing torch for so many symbols."""
        config = self.config
        if config.precision != "fp32" or (config.streams or 1) > 1 or config.device not in ("auto", "cpu"):
            return False
        weights = sum(array.size for array in self.model.weights.values())
        seconds = symbols * (SECONDS_PER_SYMBOL + weights * SECONDS_PER_WEIGHT)
        return self._torch is None and self._spent + seconds <= NUMPY_SECONDS

    def _by_numpy(self, ids: Ids, start: int, ends: Places | None) -> Iterator[Piece]:
        self.used = "numpy fp32 x1"
        self._engine = self._engine or Engine(self.model)
        begin = 0
        for end in [len(ids)] if ends is None else ends.tolist():
            for place, found in read_scores(self._engine, ids[begin:end], start):
                yield begin + place, found
            begin = end
            if self._windows and end:
                start = int(ids[end - 1])

    def _by_torch(self, ids: Ids, start: int, ends: Places | None) -> Iterator[Piece]:
        from charrnn.evaluation.torch_scorer import line_pieces, score_pieces, streams_for
        from charrnn.model.device import choose_machine, prepare_torch
        from charrnn.model.network import build_model

        if self._torch is None:
            prepare_torch()
            machine = choose_machine(self.config.device, self.config.precision)
            network = build_model(self.model.config, self.model.weights).to(machine.device)
            self._torch = network, machine
        network, machine = self._torch
        if ends is not None:
            self.used = f"torch {machine.precision} {'windows' if self._windows else 'lines'}"
            yield from line_pieces(network, ids, ends, start, machine, keep_input=self._windows)
            return
        streams = streams_for(len(ids), self.config.streams)
        self.used = f"torch {machine.precision} x{streams}"
        yield from score_pieces(network, ids, start, machine, streams)


def resets(model: ModelFile, config: EvaluationConfig) -> bool:
    """Whether the state is reset at each line: if requested, or for models of lines and of pairs."""
    items = bool(model.corpus.get("lines") or model.corpus.get("pairs"))
    return config.reset == "lines" or (config.reset == "auto" and items)


def section_ends(model: ModelFile, config: EvaluationConfig, text: ScoredText) -> Places | None:
    """The position in the text's ids after each section (sections,); None if the state is never reset.

    Sections are lines, or windows of ``config.window`` characters. The model reads the start symbol before
    each line. Before a window it reads the character before it, as a transformer does that is scored on
    windows: its first character is predicted from one character, its last from all of the window.
    """
    if config.window:
        every = np.arange(config.window, text.characters, config.window, dtype=np.int64)
        return text.place(np.append(every, text.characters))
    return text.place(text.line_ends) if resets(model, config) else None


def _kept_ends(ends: Places, kept: NDArray[np.bool_]) -> Places:
    """The ends of sections (sections,) in the ids that are kept (time,), without sections that are empty."""
    counts = np.concatenate([np.zeros(1, np.int64), np.cumsum(kept, dtype=np.int64)])
    found: Places = np.unique(counts[ends])
    return found[found > 0]


def count_pieces(
    grams: KneserNey, ids: Ids, start: int, ends: Places | None, *, keep_input: bool = False
) -> Iterator[Piece]:
    """The natural-log probabilities of ids under an n-gram, in float64, piece by piece, in order.

    Args:
        grams: the n-gram.
        ids: (time,) ids.
        start: the id that is read before the first one.
        ends: (sections,) the positions after which the state is reset; None if it is carried.
        keep_input: whether the id before a section is read there, and not ``start``.
    """
    begins = None if ends is None else begins_of(ends, len(ids))
    for begin, contexts, symbols in blocks(grams, ids, start, begins, keep_input=keep_input):
        yield begin, np.log(grams.probabilities(contexts, symbols))


def read_scores(engine: Engine, ids: Ids, start: int) -> Iterator[Piece]:
    """The natural-log probabilities of ids, read as one sequence in NumPy, piece by piece, in order.

    Args:
        engine: the model.
        ids: (time,) ids.
        start: the id that is read before the first one.
    """
    stream, previous = engine.stream(), start
    block = max(16, LOGITS // engine.vocabulary)
    for begin in range(0, len(ids), block):
        targets = ids[begin : begin + block]  # (time,)
        yield begin, target_scores(stream.read(shift_right(targets, previous)), targets)
        previous = int(targets[-1])


def target_scores(logits: Floats, targets: Ids) -> Floats:
    """The natural-log probability (time,) of each target under its logits (time, vocabulary)."""
    found: Floats = log_softmax(logits)[np.arange(len(targets)), targets].astype(np.float32)
    return found


def score_text(model: ModelFile, text: str) -> Floats:
    """The natural-log probability of each character of a text, given the characters before it.

    Args:
        model: from ``load_model``.
        text: any str; unknown characters cost what ``charrnn.evaluation.measure`` says.

    Returns:
        (characters,) float32; for a byte model, sums over the bytes of each character.
    """
    if not text:
        return np.empty(0, np.float32)
    scores = Evaluator(model).log_probabilities(text_of(text, model.tokenizer))
    if len(scores) == len(text):
        return scores
    sizes = [len(model.tokenizer.to_symbols(character)) for character in text]
    first = np.cumsum([0, *sizes[:-1]])
    summed: Floats = np.add.reduceat(scores, first)
    return summed
