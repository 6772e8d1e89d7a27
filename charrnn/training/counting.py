"""Counts an n-gram of a text and writes it as a run: a model file and a log. Imports no torch."""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.config import MAX_ORDER, MOST_VALIDATED, CorpusConfig, NGramConfig
from charrnn.files import LOG_FILE, MODEL_FILE, write_atomically
from charrnn.model.file import ModelFile, figures, save_model
from charrnn.model.grams import pack
from charrnn.model.ngram import MOST_COUNTED, NGrams
from charrnn.runs import is_running, prepare_run, refuse_occupied
from charrnn.text.corpus import Corpus, read_corpus
from charrnn.text.items import begins_of, find_items
from charrnn.text.validated import is_itemized, validated
from charrnn.training.checks import require_enough, require_paths
from charrnn.training.lock import RunLock

DEFAULT_ORDER = 6  # where nothing is validated on
LEAST_BYTES, BYTES_PER_SYMBOL = 1 << 20, 4.0  # what the tensors may take, unless the order is given


@dataclasses.dataclass(frozen=True)
class Counted:
    """An n-gram that was counted and written.

    Attributes:
        corpus: what was counted.
        path: of the model file.
        model: what it holds.
        orders: (orders,) the validation loss of each order in nats a character; empty if nothing is held out.
        symbols: how many of the training split's symbols were counted, from its end.
        seconds: what counting, choosing the order and reading the text took.
        best: the order that was wanted: that of the model, unless its tensors would be too large.
    """

    corpus: Corpus
    path: Path
    model: ModelFile
    orders: NDArray[np.float64]
    symbols: int
    seconds: float
    best: int


def count_run(
    paths: Sequence[str],
    directory: Path,
    corpus_config: CorpusConfig,
    config: NGramConfig,
    *,
    force: bool = False,
    began: float | None = None,
) -> Counted:
    """Counts the texts at ``paths`` and writes the run in ``directory``.

    Args:
        paths: the corpus.
        directory: of the run, which is locked meanwhile.
        corpus_config: how the texts are read and split.
        config: the n-gram; its order is chosen by validation if it has none.
        force: whether a run that is there may be replaced.
        began: when the command was started, on the clock of ``time.monotonic``.

    Raises:
        CharrnnError: whatever is wrong with the texts or the directory.
    """
    began = time.monotonic() if began is None else began
    require_paths(paths)
    lock = RunLock(directory)
    if not force and not is_running(directory):
        refuse_occupied(directory)
    lock.acquire()
    try:
        if not force:
            refuse_occupied(directory)
        corpus = read_corpus(paths, corpus_config, directory=directory)
        require_enough(corpus, paths)
        found = count(corpus, config)
        prepare_run(directory, force=force, cache=corpus.cache, inputs=corpus.inputs)
        seconds = time.monotonic() - began
        training = {"seconds": round(seconds, 3)}
        model = dataclasses.replace(found.model, training=training)
        _log(directory, found.orders)
        save_model(directory / MODEL_FILE, model)
        return dataclasses.replace(found, path=directory / MODEL_FILE, model=model, seconds=seconds)
    finally:
        lock.release()


def count(
    corpus: Corpus, config: NGramConfig, most: int = MOST_VALIDATED, most_counted: int | None = None
) -> Counted:
    """The n-gram of a corpus's training split, of the order that predicts its validation split best.

    Args:
        corpus: what is counted.
        config: with an order, if it is not to be chosen.
        most: symbols that are scored at most.
        most_counted: symbols that are counted at most; MOST_COUNTED if None.
    """
    began = time.monotonic()
    grams, symbols = count_grams(corpus, config.order or MAX_ORDER, most_counted)
    orders, validated = validate(grams, corpus, most)
    best = config.order or (int(orders.argmin()) + 1 if validated else DEFAULT_ORDER)
    order = best = min(best, grams.longest)
    room = max(LEAST_BYTES, BYTES_PER_SYMBOL * symbols)
    while config.order is None and order > 1 and _size(grams, order) > room:
        order -= 1
    model = grams.of_order(order)
    quality: dict[str, Any] = {}
    if validated:
        quality = figures(float(orders[order - 1])) | {"characters": validated}
    file = ModelFile(
        {}, NGramConfig(order=order), corpus.tokenizer, corpus.describe(), {}, quality, grams=model
    )
    return Counted(corpus, Path(), file, orders, symbols, time.monotonic() - began, best)


def count_grams(corpus: Corpus, highest: int, most: int | None = None) -> tuple[NGrams, int]:
    """The grams of a corpus's training split, and how many of its symbols were counted, from its end."""
    ids, start, items = corpus.train, corpus.tokenizer.start, is_itemized(corpus)
    most = MOST_COUNTED if most is None else most
    if len(ids) > most:
        ids = ids[-most:]
        if items:
            ids = ids[int(find_items(ids, start).begins[1:2].sum()) :]
    return NGrams(ids, corpus.tokenizer.size, start, highest, items=items), len(ids)


def validate(grams: NGrams, corpus: Corpus, most: int) -> tuple[NDArray[np.float64], int]:
    """The validation loss of each order (orders,) in nats a symbol, and of how many symbols it is the mean.

    What is scored, ``most`` symbols or little more, is what a training of a network scores. With nothing to
    score, no orders and 0.
    """
    scored = validated(corpus, most)
    if scored.count == 0 or len(scored.ids) == 0:
        return np.zeros(0), 0
    begins = None if scored.ends is None else begins_of(scored.ends, len(scored.ids))
    sums = np.full(grams.highest, scored.unknown_nats)
    for place, found in grams.log_probabilities(scored.ids, begins):
        sums -= found @ scored.learnt[place : place + found.shape[1]]
    return sums / scored.count, scored.count


def _size(grams: NGrams, order: int) -> int:
    """The bytes that the tensors of one order take in a file."""
    return sum(tensor.nbytes for tensor in pack(grams.of_order(order)).values())


def _log(directory: Path, orders: NDArray[np.float64]) -> None:
    """Writes a line for each order with its validation loss."""
    lines = [
        json.dumps({"order": order, "val_loss": loss, "bits_per_character": loss / math.log(2)}) + "\n"
        for order, loss in enumerate(orders.tolist(), 1)
    ]
    write_atomically(directory / LOG_FILE, "".join(lines).encode())
