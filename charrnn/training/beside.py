"""The n-gram that a training counts of its own text in the end: of how much, and how long that takes."""

from __future__ import annotations

from charrnn.config import TrainingConfig
from charrnn.model.ngram import MOST_COUNTED
from charrnn.text.corpus import Corpus

SECONDS_PER_SYMBOL = 2.5e-6  # of counting all orders and validating them, roughly
LARGEST_SHARE = 0.15  # of --time, for counting, unless it was asked for
MOST_UNASKED = 1 << 22  # symbols that are counted unless it was asked for; more make a large file


def symbols_counted(config: TrainingConfig, corpus: Corpus) -> int:
    """How many of the training split's symbols, from its end, are counted when the training has ended.

    With --time they are as many as there is time for, if something is held out that shows whether they help.
    Unless it is asked for, none are without --time, so that --steps and --epochs mean the network alone, and
    none of pairs, whose targets follow from more than the last few characters.
    """
    if config.with_ngram:
        return min(corpus.train_size, MOST_COUNTED)
    unwanted = config.with_ngram is False or corpus.config.pairs
    if unwanted or config.time is None or not len(corpus.validation):
        return 0
    affordable = int(LARGEST_SHARE * config.time / SECONDS_PER_SYMBOL)
    return min(corpus.train_size, MOST_UNASKED, affordable)


def counting_seconds(config: TrainingConfig, corpus: Corpus) -> float:
    """How long counting takes in the end, roughly."""
    symbols = symbols_counted(config, corpus)
    return SECONDS_PER_SYMBOL * (symbols + min(len(corpus.validation), config.validate)) if symbols else 0.0
