"""``charrnn train --with-ngram``: the n-gram of a training's text, written beside its network."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from charrnn.config import NGramConfig
from charrnn.evaluation.evaluator import Evaluator
from charrnn.evaluation.mixing import fit_weights
from charrnn.files import MODEL_FILE
from charrnn.model.file import ModelFile, joined, load_model, save_model
from charrnn.text.items import find_items
from charrnn.text.pairs import target_mask
from charrnn.text.scored import unknown_nats
from charrnn.training.counting import count, is_itemized

if TYPE_CHECKING:
    from charrnn.text.corpus import Corpus
    from charrnn.text.tokenizer import Ids
    from charrnn.training.trainer import Trainer

UNFITTED = (0.7, 0.3)  # where nothing is held out


def add_ngram(trainer: Trainer) -> Iterator[str]:
    """Counts the n-gram of a finished training's text and writes it beside the network, unless it is there.

    The weights are fitted on the validation split, which the quality in the file is measured on, too.

    Returns:
        Lines for the results.
    """
    path = trainer.directory / MODEL_FILE
    model = load_model(path)
    if model.parts:
        return iter(())
    counted = count(trainer.corpus, NGramConfig(), trainer.config.validate)
    assert counted.model.grams is not None
    both = joined(model, counted.model.grams, UNFITTED)
    quality, told = dict(model.quality), "not validated"
    if len(trainer.validation.ids):
        found = held_out(both, trainer.corpus, trainer.validation.ids)
        first, second = fit_weights(found).tolist()
        both = joined(model, counted.model.grams, (first, second))
        nats = -float(np.log(np.array([first, second]) @ found).sum())
        if trainer.corpus.val is not None:
            text = trainer.corpus.val.beginning(trainer.config.validate)
            nats += float(unknown_nats(text.unknown, text.tokenizer).sum())
        nats /= trainer.validation.count
        if "nats_per_character" in quality:
            quality["network_nats_per_character"] = quality["nats_per_character"]
        quality |= {"nats_per_character": nats, "bits_per_character": nats / math.log(2)}
        told = f"{nats:.4f} nats/char, {nats / math.log(2):.4f} bits/char"
    save_model(path, dataclasses.replace(both, quality=quality))
    order, (first, second) = counted.model.grams.highest, both.mix
    return iter([f"both        {told} (weights: network {first:.3f}, {order}-gram {second:.3f})"])


def held_out(both: ModelFile, corpus: Corpus, ids: Ids) -> NDArray[np.float64]:
    """The probabilities (2, symbols) of the symbols that are validated on: of pairs, the targets'."""
    start, ends, wanted = corpus.tokenizer.start, None, np.ones(len(ids), bool)
    if is_itemized(corpus):
        ends = find_items(ids, start).ends
        if corpus.val is not None:
            text = corpus.val
            ends = text.place(text.line_ends)
            ends = np.append(ends[ends < len(ids)], len(ids))
    if corpus.config.pairs:
        wanted = target_mask(ids, start, int(corpus.tokenizer.lookup("\t")[0]))
    return np.stack([found[wanted] for found in Evaluator(both).part_probabilities(ids, start, ends)])
