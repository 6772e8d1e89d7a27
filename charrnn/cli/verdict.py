"""What ``charrnn train`` says of a training: what is learnt, how it went, and what to try next."""

from __future__ import annotations

import itertools
import math
import shlex
from collections.abc import Iterator
from pathlib import Path

from charrnn.cli.options import changed_flags, written_duration
from charrnn.config import MOST_DROPOUT, ModelConfig
from charrnn.errors import counted
from charrnn.files import MODEL_FILE
from charrnn.runs import run_name
from charrnn.settings import flag_of
from charrnn.text.corpus import Corpus
from charrnn.text.scored import ScoredText
from charrnn.training.schedule import MOST_PASSES
from charrnn.training.setup import Prepared
from charrnn.training.trainer import Trainer


def _validated_on(text: ScoredText, unit: str) -> Iterator[str]:
    """A line on the text of --val, and one each on what was passed over and what the corpus lacks."""
    yield f"validation: {text.name}, {counted(text.characters, unit)}"
    if str(text.skipped):
        yield f"validation: {text.skipped}"
    if text.strangers:
        yield f"validation: {len(text.unknown):,} of them are not in the corpus"


def describe(prepared: Prepared) -> str:
    """The text, the model, the batches and the start of a training, a line each."""
    trainer = prepared.trainer
    corpus, config, batches = trainer.corpus, trainer.model.config, trainer.step.batches
    machine, wanted = trainer.machine, trainer.config
    files = f" in {counted(corpus.files, 'file')}" if corpus.files > 1 else ""
    skipped = f", {corpus.skipped}" if str(corpus.skipped) else ""
    unit = "byte" if corpus.tokenizer.kind == "byte" else "character"
    parameters = sum(parameter.numel() for parameter in trainer.model.parameters())
    lines = [
        f"text: {counted(corpus.characters, unit)}{files}, {corpus.tokenizer.size} different{skipped}",
        *corpus.skipped.reasons(),
        *_hints(corpus),
        f"model: {config.num_layers} x {config.hidden_size} {config.cell.upper()}, "
        f"{counted(parameters, 'parameter')}, dropout {config.dropout:g}, on {machine.device.type} in "
        f"{machine.precision}",
    ]
    for name, size, text in corpus.expanded:
        lines.append(f"compressed: {name}, {size / 1e6:,.2f} MB, holds {text / 1e6:,.1f} MB of text")
    if prepared.reason is not None:
        lines.append(f"plan: {prepared.reason}")
    batch = f"{counted(batches.batch, 'sequence')} of {counted(batches.time, 'character')} a step"
    if corpus.config.lines:
        lines.append(f"lines: {batches.batch} a step, of {counted(batches.time, 'character')} on average")
    elif (batches.batch, batches.time) == (wanted.batch_size, wanted.seq_length):
        lines.append(f"batch: {batch}")
    else:
        lines.append(f"a short text: {batch}, instead of {wanted.batch_size} of {wanted.seq_length}")
    if corpus.val is not None:
        lines += _validated_on(corpus.val, unit)
    if len(trainer.validation) < len(corpus.validation):
        which = "lines spread over them" if corpus.config.lines else "the first"
        lines.append(
            f"validation: {len(trainer.validation):,} of {counted(len(corpus.validation), unit)}, {which}"
        )
    if prepared.transfer is not None:
        lines.append(f"start: {prepared.transfer}")
    if prepared.resumed_at:
        lines.append(f"resumed at step {prepared.resumed_at}")
    before = prepared.before
    lines.append(
        f"before the first step: {before.total:.1f} s (loading torch {before.loading:.1f}, reading the text "
        f"{before.reading:.1f}, measuring and making the model {before.rest:.1f})"
    )
    lines.append(f"seed {wanted.seed}, run {trainer.directory}")
    return "\n".join(lines)


def _hints(corpus: Corpus) -> Iterator[str]:
    """What is unusual about a text, and what can be done about it."""
    if corpus.lone_returns and corpus.config.newlines == "keep":
        yield "line ends: carriage returns without newlines; --newlines unix learns them as newlines"
    if corpus.config.lines and corpus.config.held_out and not len(corpus.validation):
        yield "validation: none, since every line has too many copies to be held out"


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
        f"time        {_seconds(progress.before + progress.seconds)}: {_seconds(progress.before)} before the "
        f"first step, {_seconds(progress.seconds - progress.aside)} in steps, {_seconds(progress.aside)} "
        "evaluating, saving and sampling",
        f"verdict     {verdict(trainer)}",
        f"sample      charrnn sample -m {shlex.quote(run_name(path))}",
    ]


def _seconds(seconds: float) -> str:
    """A length of time: to a tenth of a second where it is short.

    >>> _seconds(8.25), _seconds(180.4)
    ('8.2 s', '3m')
    """
    return f"{seconds:.1f} s" if seconds < 60 else written_duration(round(seconds))


def ways_on(trainer: Trainer, corpus: tuple[str, ...], output_dir: Path | None) -> list[str]:
    """How to go on with a run that is finished, as commands: longer, anew for longer, or from its model.

    Args:
        trainer: of the finished run.
        corpus: as the command line named it; the run's own where it did not.
        output_dir: likewise.
    """
    config, directory = trainer.config, trainer.directory
    length = next(name for name in ("time", "epochs", "steps") if getattr(config, name) is not None)
    twice = 2 * getattr(config, length)
    longer = [flag_of(length), written_duration(twice) if length == "time" else f"{twice:g}"]
    texts = list(corpus or trainer.corpus.paths)
    text_flags = changed_flags(trainer.corpus.config)
    where = [] if output_dir is None else ["-o", str(directory)]
    another = next(path for n in itertools.count(2) if not (path := Path(f"{directory}-{n}")).exists())
    train, new = ["charrnn", "train", *texts], ["-o", str(another)]
    model = trainer.model.config  # whose other settings may have been chosen
    shape = ModelConfig(model.cell, model.num_layers, embedding_size=model.embedding_size)
    commands = {
        "extend it": [*train, "--resume", *longer, *where],
        "train anew for longer": [*train, *text_flags, *changed_flags(shape), *longer, *new],
        "begin with its model": [*train, *text_flags, "--init-from", run_name(directory / MODEL_FILE), *new],
    }
    return [f"{directory}: finished already; to go on,"] + [
        f"  {what}: {shlex.join(command)}" for what, command in commands.items()
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
    if schedule.read_often:
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
