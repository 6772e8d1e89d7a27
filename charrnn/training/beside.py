"""The n-gram that a training counts of its own text in the end: of how much, and how long that takes."""

from __future__ import annotations

from pathlib import Path

from charrnn.config import TrainingConfig
from charrnn.errors import ModelFileError
from charrnn.files import MODEL_FILE
from charrnn.model.file import load_model, read_header
from charrnn.model.ngram import MOST_COUNTED, KneserNey
from charrnn.system import available_memory
from charrnn.text.corpus import Corpus

SECONDS_PER_SYMBOL = 2.5e-6  # of counting all orders and validating them, roughly
LARGEST_SHARE = 0.15  # of --time, for counting, unless it was asked for
MOST_UNASKED = 1 << 22  # symbols that are counted unless it was asked for; more make a large file
BYTES_PER_SYMBOL = 700  # of memory, while random bytes are counted; a language takes a fifth of it


def symbols_counted(config: TrainingConfig, corpus: Corpus) -> int:
    """How many of the training split's symbols, from its end, are counted when the training has ended.

    With --time they are as many as there is time and memory for, if something is held out that shows whether
    they help. Unless it is asked for, none are without --time, so that --steps and --epochs mean the network
    alone, and none of pairs, whose targets follow from more than the last few characters.
    """
    if config.with_ngram:
        return min(corpus.train_size, MOST_COUNTED)
    unwanted = config.with_ngram is False or corpus.config.pairs
    if unwanted or config.time is None or not len(corpus.validation):
        return 0
    in_time = LARGEST_SHARE * config.time / SECONDS_PER_SYMBOL
    return int(min(corpus.train_size, MOST_UNASKED, in_time, available_memory() / BYTES_PER_SYMBOL))


def counting_seconds(config: TrainingConfig, corpus: Corpus) -> float:
    """How long counting takes in the end, roughly."""
    symbols = symbols_counted(config, corpus)
    return SECONDS_PER_SYMBOL * (symbols + min(len(corpus.validation), config.validate)) if symbols else 0.0


def ngram_beside(directory: Path) -> tuple[KneserNey, tuple[float, ...]] | None:
    """The n-gram beside the network in a run's model file, and the weights of both, if there is one."""
    path = directory / MODEL_FILE
    try:
        model = load_model(path) if "mix" in read_header(path, "model") else None
    except (ModelFileError, OSError):  # which is no reason not to go on: the training will write another
        return None
    return None if model is None or model.ngram is None else (model.ngram, model.mix)
