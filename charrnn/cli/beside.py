"""``charrnn train --with-ngram``: the n-gram of a training's text, written beside its network."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from charrnn.config import NGramConfig
from charrnn.evaluation.evaluator import Evaluator
from charrnn.evaluation.mixing import cross_fitted, fit_weights
from charrnn.files import MODEL_FILE
from charrnn.model.file import joined, load_model, save_model
from charrnn.text.validated import validated
from charrnn.training.counting import count

if TYPE_CHECKING:
    from charrnn.training.trainer import Trainer

UNFITTED = (0.7, 0.3)  # where nothing is held out


def add_ngram(trainer: Trainer) -> Iterator[str]:
    """Counts the n-gram of a finished training's text and writes it beside the network, unless it is there.

    The weights are fitted on the validation split. The quality in the file is measured on it, too, each half
    with weights that are fitted to the other.

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
    scored = validated(trainer.corpus, trainer.config.validate)
    if len(scored.ids):
        parts = Evaluator(both).part_probabilities(scored.ids, trainer.corpus.tokenizer.start, scored.ends)
        found = np.stack(list(parts))  # (2, symbols)
        first, second = fit_weights(found[:, scored.learnt]).tolist()
        both = joined(model, counted.model.grams, (first, second))
        mixed = cross_fitted(found, scored.learnt)  # (symbols,)
        nats = scored.unknown_nats - float(np.log(mixed[scored.learnt]).sum())
        nats /= scored.count
        if "nats_per_character" in quality:
            quality["network_nats_per_character"] = quality["nats_per_character"]
        quality |= {"nats_per_character": nats, "bits_per_character": nats / math.log(2)}
        told = f"{nats:.4f} nats/char, {nats / math.log(2):.4f} bits/char"
    save_model(path, dataclasses.replace(both, quality=quality))
    order, (first, second) = counted.model.grams.highest, both.mix
    return iter([f"both        {told} (weights: network {first:.3f}, {order}-gram {second:.3f})"])
