"""What ``charrnn train`` says of a training: what is learnt, how it went, and what to try next."""

from __future__ import annotations

import math

from charrnn.cli.output import one_line, shell_words
from charrnn.config import MOST_DROPOUT
from charrnn.errors import counted
from charrnn.files import MODEL_FILE
from charrnn.runs import run_name
from charrnn.training.schedule import MOST_PASSES
from charrnn.training.setup import Prepared
from charrnn.training.trainer import Trainer


def describe(prepared: Prepared) -> str:
    """The text, the model, the batches and the start of a training, a line each."""
    trainer = prepared.trainer
    corpus, config, batches = trainer.corpus, trainer.model.config, trainer.step.batches
    machine, wanted = trainer.machine, trainer.config
    files = f" in {counted(corpus.files, 'file')}" if corpus.files > 1 else ""
    skipped = ""
    if corpus.skipped:
        skipped = f", {counted(corpus.skipped, 'file')} skipped (hidden, empty or not text)"
    unit = "byte" if corpus.tokenizer.kind == "byte" else "character"
    parameters = sum(parameter.numel() for parameter in trainer.model.parameters())
    lines = [
        f"text: {counted(corpus.characters, unit)}{files}, {corpus.tokenizer.size} different{skipped}",
        f"model: {config.num_layers} x {config.hidden_size} {config.cell.upper()}, "
        f"{counted(parameters, 'parameter')}, dropout {config.dropout:g}, on {machine.device.type} in "
        f"{machine.precision}",
    ]
    if prepared.reason is not None:
        lines.append(f"plan: {prepared.reason}")
    batch = f"{counted(batches.batch, 'sequence')} of {counted(batches.time, 'character')} a step"
    if corpus.config.lines:
        lines.append(f"lines: {batches.batch} a step, of {counted(batches.time, 'character')} on average")
    elif (batches.batch, batches.time) == (wanted.batch_size, wanted.seq_length):
        lines.append(f"batch: {batch}")
    else:
        lines.append(f"a short text: {batch}, instead of {wanted.batch_size} of {wanted.seq_length}")
    if len(trainer.validation) < len(corpus.validation):
        lines.append(f"validation: the first {len(trainer.validation):,} of {len(corpus.validation):,}")
    if prepared.transfer is not None:
        lines.append(f"start: {prepared.transfer}")
    if prepared.resumed_at:
        lines.append(f"resumed at step {prepared.resumed_at}")
    lines.append(f"seed {wanted.seed}, run {trainer.directory}")
    return "\n".join(map(one_line, lines))


def result_lines(trainer: Trainer) -> list[str]:
    """Where the model is, how good it is, and how to use it."""
    path = trainer.directory / MODEL_FILE
    progress = trainer.progress
    assert progress.best is not None
    split = "validation" if len(trainer.corpus.validation) else "training"
    return [
        f"model       {path}",
        f"{split:<12}{progress.best:.4f} nats/char, {progress.best / math.log(2):.4f} bits/char "
        f"(step {progress.best_step} of {progress.step})",
        f"verdict     {verdict(trainer)}",
        f"sample      charrnn sample -m {shell_words([run_name(path)])}",
    ]


# Nats by which the validation loss exceeds the training loss when the model is said to memorize.
OVERFIT = 0.25


def verdict(trainer: Trainer) -> str:
    """What the losses say of the training, and which flag to try."""
    progress, schedule, dropout = trainer.progress, trainer.schedule, trainer.model.config.dropout
    assert progress.best is not None
    gap = progress.best - progress.best_train
    skipped = ""
    if progress.skipped:
        were = "was" if progress.skipped == 1 else "were"
        skipped = f" ({counted(progress.skipped, 'step')} {were} skipped: not finite)"
    if not len(trainer.corpus.validation):
        return "no text was held out, so nothing can be said of overfitting" + skipped
    if progress.stale and progress.best_step < 0.9 * progress.step:
        return (
            f"overfitting since step {progress.best_step}, which was kept: {remedy(dropout, 0.15)}{skipped}"
        )
    if gap > OVERFIT:
        return (
            f"memorizing a little (training {progress.best_train:.2f}, validation {progress.best:.2f}): "
            f"{remedy(dropout, 0.1)}{skipped}"
        )
    if progress.step >= schedule.most_steps:
        return (
            f"as good as {MOST_PASSES:g} passes make it: more text would help, more time only with "
            f"--patience 0{skipped}"
        )
    longer = "--time" if schedule.total_steps is None else "--steps or --epochs"
    return f"still improving: give it more time ({longer}), and a larger model comes with it{skipped}"


def remedy(dropout: float, increase: float) -> str:
    """What helps against overfitting: more text, and more dropout as far as MOST_DROPOUT.

    >>> remedy(0.1, 0.15), remedy(0.5, 0.1)
    ('more text, or more dropout (--dropout 0.25)', 'more text')
    """
    recommended = f"{min(MOST_DROPOUT, dropout + increase):.2g}"
    if float(recommended) <= dropout:
        return "more text"
    return f"more text, or more dropout (--dropout {recommended})"
