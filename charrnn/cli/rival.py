"""What a training says of the n-gram of its own text: where mixing the two pays, and how."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from charrnn.cli.output import one_line, resuming_command
from charrnn.config import NGramConfig
from charrnn.model.ngram import MOST_COUNTED
from charrnn.training.beside import SECONDS_PER_SYMBOL
from charrnn.training.counting import Counted, count

if TYPE_CHECKING:
    from charrnn.training.trainer import Trainer

LARGEST_SHARE = 0.05  # of the time that was given, for counting
AS_GOOD = 0.02  # nats by which a network is better than an n-gram that is as good
# Nats by which it is better than one that is not worth mixing in: on six texts networks that were better by
# less gained 0.03 to 0.12, those that were better by more 0.03 at most (benchmarks/README.md).
WORTH_MIXING = 0.15


def rival(trainer: Trainer) -> Counted | None:
    """The n-gram of a training's text; None where counting would take long for it, or nothing is held out."""
    progress, corpus = trainer.progress, trainer.corpus
    symbols = min(corpus.train_size, MOST_COUNTED) + len(trainer.validation.ids)
    if symbols * SECONDS_PER_SYMBOL > LARGEST_SHARE * (progress.before + progress.seconds):
        return None
    if not trainer.validation.count or not len(trainer.validation.ids):
        return None
    return count(corpus, NGramConfig(), trainer.config.validate)


def rival_lines(trainer: Trainer, corpus: tuple[str, ...], output_dir: Path | None) -> Iterator[str]:
    """A line for the results if the n-gram is nearly as good as the network: how good, and how to mix them.

    Args:
        trainer: whose training is finished.
        corpus: as the command line named it; the run's own where it did not.
        output_dir: likewise.
    """
    found = rival(trainer)
    best = trainer.progress.best
    if found is None or best is None or found.model.grams is None:
        return
    order, nats = found.model.grams.highest, found.model.quality["nats_per_character"]
    if best < nats - WORTH_MIXING:
        return
    verdict = "not far behind the network"
    if best >= nats - AS_GOOD:
        verdict = "better than the network" if nats < best else "as good as the network"
    yield one_line(
        f"n-gram      {nats:.4f} nats/char, {verdict}: the {order}-gram of the same text; best is both, "
        f"mixed: {resuming_command(corpus, output_dir, trainer.directory)} --with-ngram"
    )
