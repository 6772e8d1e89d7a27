"""What a model's cells do along a text: activations to show, features, and the units that follow them."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from numpy.typing import NDArray

from charrnn.evaluation.evaluator import resets, target_scores
from charrnn.inspection.cells import Columns, Reader, Unit, blocks
from charrnn.inspection.features import Feature, features
from charrnn.inspection.units import Followed, Matcher, Saturated, Saturation
from charrnn.model.file import ModelFile
from charrnn.text.scored import ScoredText, unknown_nats
from charrnn.use_config import EvaluationConfig

Floats = NDArray[np.float32]
Places = NDArray[np.int64]

LONGEST = 100_000  # characters that are read unless told otherwise
SHOWN_BYTES = 1_700_000  # units times characters that are kept to be shown, a byte each in a page
MOST_SHOWN = 20_000  # characters, however few units there are
SURPRISE = "surprise"


@dataclasses.dataclass(frozen=True)
class Script:
    """What a model reads of a text.

    Attributes:
        characters: the text, a character a symbol; of a byte model, one of the first 256 a byte.
        places: (read,) where in it the symbols stand that the model reads: all, where it knows all.
        inputs: (inputs,) the ids that it reads, start symbols among them.
        kept: (read,) where in ``inputs`` the text's own symbols stand.
        resets: where in ``inputs`` the state begins anew.
        charge: (characters,) what unknown characters cost beside what the model says, in nats.
    """

    characters: str
    places: Places
    inputs: Places
    kept: Places
    resets: Places
    charge: NDArray[np.float64]


def script(model: ModelFile, text: ScoredText, length: int = LONGEST) -> Script:
    """The first ``length`` characters of a text as the model reads them."""
    characters = _beginning(text, length)
    count = len(characters)
    unknown = text.unknown[text.unknown < count]
    known = np.ones(count, np.bool_)
    if not text.complete:
        known[unknown] = False
    places = np.flatnonzero(known)
    ids = np.asarray(text.ids[: len(places)], np.int64)
    starts = np.zeros(1, np.int64)
    if resets(model, EvaluationConfig()):
        begins = text.place(text.newlines[text.newlines < count] + 1)
        starts = np.unique(np.concatenate([starts, begins[begins < len(ids)]]))
    inputs = np.insert(ids, starts, text.tokenizer.start)
    at = starts + np.arange(len(starts))  # (starts,) places of the start symbols in the inputs
    kept = np.delete(np.arange(len(inputs)), at)
    charge = np.zeros(count)
    charge[unknown] = unknown_nats(unknown, text.tokenizer)
    return Script(characters, places, inputs, kept, at, charge)


def _beginning(text: ScoredText, length: int) -> str:
    """The first ``length`` symbols."""
    pieces, count = [], 0
    for piece in text.pieces():
        part = piece if isinstance(piece, str) else piece.decode("latin-1")
        pieces.append(part[: length - count])
        count += len(pieces[-1])
        if count >= length:
            break
    return "".join(pieces)


@dataclasses.dataclass(frozen=True)
class Along:
    """What a model does along a text.

    Attributes:
        columns: which unit stands where in ``shown``.
        script: what was read.
        bits: (characters,) what each character cost.
        features: every feature of every character, the surprise among them.
        followed: the features, and the units that follow them best.
        saturation: of every layer's gates.
        shown: (few, columns) the activations after the first characters that were read.
    """

    columns: Columns
    script: Script
    bits: Floats
    features: list[Feature]
    followed: list[Followed]
    saturation: list[Saturated]
    shown: Floats

    def best(self, feature: str) -> Unit | None:
        """The unit that follows a feature best, or None where none does."""
        for found in self.followed:
            if found.feature == feature and found.matches:
                return found.matches[0].unit
        return None

    def strongest(self) -> list[Followed]:
        """The features, the one that is followed best first."""
        return sorted(self.followed, key=lambda found: -found.strength)

    def default_unit(self) -> Unit | None:
        """The unit to show first: it follows best what takes memory to follow."""
        ordered = sorted(self.strongest(), key=lambda found: found.local)
        return ordered[0].matches[0].unit if ordered else None


def read_along(model: ModelFile, text: ScoredText, length: int = LONGEST) -> Along:
    """Reads the beginning of a text and compares every unit with every feature, in bounded memory.

    Args:
        model: as ``load_model`` reads it.
        text: as ``read_text`` reads it, with this model.
        length: how many characters to read.
    """
    read = script(model, text, length)
    reader = Reader(model)
    columns, count = reader.columns, len(read.places)
    known = features(read.characters)
    values = np.stack([feature.values for feature in known], axis=1)[read.places]  # (read, features)
    matcher = Matcher(columns, [*known, Feature(SURPRISE, np.zeros(0, np.float32), False)], count)
    saturation = Saturation(columns)
    shown = np.empty((shown_characters(columns, count), columns.count), np.float32)
    nats = np.zeros(count)
    last = np.zeros(model.config.read_size, np.float32)  # what the output reads, after the block before
    done = 0
    for begin, block in blocks(reader, read.inputs, read.resets):
        end = begin + len(block)
        own = read.kept[(read.kept >= begin) & (read.kept < end)] - begin  # (own,) places in the block
        layers = [block[:, columns.of(layer, "hidden")] for layer in model.config.read_layers]
        hidden = np.concatenate(layers, axis=1)  # (time, units that the output reads)
        before = np.concatenate([last[None], hidden[:-1]])[own]
        last = hidden[-1].copy()
        logits = before @ reader.output[:, :-1].T + reader.output[:, -1]  # (own, vocabulary)
        after = done + len(own)
        nats[done:after] = -target_scores(logits, read.inputs[begin:end][own].astype(np.uint32))
        nats[done:after] += read.charge[read.places[done:after]]
        kept = block[own]
        bits = (nats[done:after, None] / math.log(2)).astype(np.float32)
        matcher.add(kept, np.concatenate([values[done:after], bits], axis=1))
        saturation.add(kept)
        few = shown[done:after]
        few[:] = kept[: len(few)]
        done = after
    cost = read.charge.copy()
    cost[read.places] = nats
    all_bits = (cost / math.log(2)).astype(np.float32)
    found = [*known, Feature(SURPRISE, all_bits, False)]
    return Along(columns, read, all_bits, found, matcher.followed(), saturation.found(), shown)


def shown_characters(columns: Columns, count: int) -> int:
    """How many characters' activations are kept to be shown, of so many that are read."""
    units = columns.config.num_layers * columns.config.hidden_size
    return min(count, MOST_SHOWN, max(1000, SHOWN_BYTES // units))
