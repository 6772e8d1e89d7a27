"""The n-gram of a training's text, written beside its network when the training has ended."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from charrnn.config import NGramConfig
from charrnn.evaluation.evaluator import Evaluator
from charrnn.evaluation.mixing import cross_fitted, fit_weights
from charrnn.files import MODEL_FILE
from charrnn.model.file import (
    NATS,
    NETWORK_NATS,
    ModelFile,
    figures,
    joined,
    load_model,
    network_alone,
    save_model,
)
from charrnn.text.validated import Validated, validated
from charrnn.training.beside import symbols_counted
from charrnn.training.counting import count
from charrnn.training.lock import RunLock

if TYPE_CHECKING:
    from charrnn.training.trainer import Trainer

UNFITTED = (0.7, 0.3)  # where nothing is held out
LEAST_GAIN = 0.003  # nats a character of the held-out text, for which an n-gram that was not asked for stays


def settle_ngram(trainer: Trainer, *, decided: bool = False) -> Iterator[str]:
    """Writes the n-gram of a finished training's text beside its network, where it is wanted and not there.

    One that was asked for is written in any case, one that was not if it makes the held-out text more
    probable. With ``--without-ngram`` one that is there is taken out.

    Args:
        trainer: whose training has ended.
        decided: whether the command line said what is wanted, which the run's state then remembers.

    Yields:
        Lines for the results.

    Raises:
        CharrnnError: another process trains in the directory, or the model file is gone.
        OSError: there is no room for the file; the one that is there stays.
    """
    symbols = symbols_counted(trainer.config, trainer.corpus)
    if not symbols and not decided:
        return
    path, lock = trainer.directory / MODEL_FILE, RunLock(trainer.directory)
    lock.acquire()
    try:
        model = load_model(path)
        if decided:
            trainer.save()
        if not symbols:
            if model.parts:
                save_model(path, network_alone(model))
                yield "n-gram      taken out"
            return
        # A better network than the last time is written with the weights that were fitted to that one.
        if not model.parts or (NATS in model.quality and NETWORK_NATS not in model.quality):
            both = mixed(trainer, network_alone(model), symbols)
            if both is None:
                yield "n-gram      left out: the held-out text is no better predicted with it"
                return
            save_model(path, both)
            model = both
        yield line(model)
    finally:
        lock.release()


def mixed(trainer: Trainer, model: ModelFile, symbols: int) -> ModelFile | None:
    """A network and the n-gram of its text, with weights that are fitted on the validation split.

    The quality in the file is measured on it, too, each half with weights that are fitted to the other.

    Args:
        trainer: whose training has ended.
        model: its best network.
        symbols: how many of the training split's, from its end, are counted.

    Returns:
        Both; None if the n-gram was not asked for and gains too little, or nothing shows what it gains.
    """
    config, corpus = trainer.config, trainer.corpus
    counted = count(corpus, NGramConfig(), config.validate, symbols)
    grams = counted.model.grams
    assert grams is not None
    scored = validated(corpus, config.validate)
    if not len(scored.ids):
        return joined(model, grams, UNFITTED) if config.with_ngram else None
    best = trainer.best_logs  # None where another session found the best network
    logs = logs_of(model, scored) if best is None else best.astype(np.float64)
    found = np.exp(np.stack([logs, logs_of(counted.model, scored)]))  # (2, symbols)
    first, second = fit_weights(found[:, scored.learnt]).tolist()
    better = float(np.log(cross_fitted(found, scored.learnt)[scored.learnt]).sum())
    network = float(logs[scored.learnt].sum(dtype=np.float64))
    if config.with_ngram is None and better - network < LEAST_GAIN * scored.count:
        return None
    quality = model.quality | figures((scored.unknown_nats - better) / scored.count)
    if NATS in model.quality:
        quality[NETWORK_NATS] = model.quality[NATS]
    return dataclasses.replace(joined(model, grams, (first, second)), quality=quality)


def logs_of(model: ModelFile, scored: Validated) -> NDArray[np.float64]:
    """The natural-log probabilities (symbols,) of the validated symbols under a model."""
    logs = np.empty(len(scored.ids))
    for place, piece in Evaluator(model).read(scored.ids, model.tokenizer.start, scored.ends):
        logs[place : place + len(piece)] = piece
    return logs


def line(both: ModelFile) -> str:
    """How good network and n-gram are together."""
    told, (first, second) = "not validated", both.mix
    if NATS in both.quality:
        told = f"{both.quality[NATS]:.4f} nats/char, {both.quality['bits_per_character']:.4f} bits/char"
    assert both.ngram is not None
    return (
        f"both        {told}: the network and the {both.ngram.highest}-gram of its text, "
        f"mixed with weights {first:.3f} and {second:.3f}"
    )
