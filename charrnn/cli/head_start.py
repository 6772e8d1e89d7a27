"""Whether a short text would be learned better from the shipped model's weights, said at a training's end."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from charrnn.cli.options import changed_flags
from charrnn.cli.output import shell_words
from charrnn.runs import SHIPPED, another_directory

if TYPE_CHECKING:
    from charrnn.training.trainer import Trainer

NAME = "shakespeare"
# Texts of 20,000 to 160,000 characters were tried (see the README); a long one has less to gain.
LONGEST = 250_000
READ = 2000  # characters of the held-out part, that the shipped model is tried on
# In nats a character, by which the shipped model must beat the frequencies of the text's own characters. For
# English prose and plays it does so by 1.3 and 1.7; for tunes, names, source code and French it is worse than
# they are.
BETTER = 0.5


def head_start(trainer: Trainer, texts: tuple[str, ...]) -> str | None:
    """The command that begins with the shipped model, and why; None where it would not help or was not tried.

    Args:
        trainer: of a training that has ended.
        texts: the corpus as the command line named it; the run's own where it did not.
    """
    corpus = trainer.corpus
    plain = corpus.tokenizer.kind == "char" and not corpus.config.lines and not corpus.config.pairs
    if not plain or corpus.train_size > LONGEST or not len(corpus.validation):
        return None
    from charrnn.evaluation.evaluator import Evaluator
    from charrnn.model.file import load_model
    from charrnn.text.scored import text_of

    shipped = load_model(SHIPPED / f"{NAME}.safetensors")
    if dataclasses.replace(trainer.model.config, dropout=shipped.config.dropout) == shipped.config:
        return None  # it began so already, or is as large
    text = corpus.tokenizer.decode(corpus.validation[:READ])
    untrained = Evaluator(shipped).score(text_of(text, shipped.tokenizer)).nats_per_character
    counts = np.bincount(corpus.validation, minlength=corpus.tokenizer.size)
    shares = counts[counts > 0] / counts.sum()
    if untrained > -(shares * np.log(shares)).sum() - BETTER:
        return None
    command = ["charrnn", "train", *(texts or corpus.paths), *changed_flags(corpus.config)]
    command += ["--init-from", NAME, "-o", str(another_directory(trainer.directory))]
    return f"the shipped model knows such text; begin with it: {shell_words(command)}"
