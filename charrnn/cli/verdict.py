"""What ``charrnn train`` says of a training: what is learnt, how it went, and what to try next."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

from charrnn.cli.head_start import head_start
from charrnn.cli.heldout import held_out_verdict, warning
from charrnn.cli.model import sample_command
from charrnn.cli.options import changed_flags, written_duration
from charrnn.cli.output import LONGEST, one_line, shell_words
from charrnn.config import MOST_DROPOUT, ModelConfig
from charrnn.errors import counted
from charrnn.files import MODEL_FILE
from charrnn.runs import another_directory, run_name
from charrnn.settings import flag_of
from charrnn.text.corpus import Corpus
from charrnn.text.line_ends import count_line_ends
from charrnn.training.setup import Prepared
from charrnn.training.trainer import Trainer


def _shared_out(trainer: Trainer) -> str:
    """Among whom the batches are shared out; nothing where that is nobody."""
    counts = {"worker": trainer.group.size, "replica": trainer.step.replicas.count}
    shared = " of ".join(counted(count, thing) for thing, count in counts.items() if count > 1)
    return f", by {shared}" if shared else ""


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
        f"{machine.precision}{_shared_out(trainer)}",
    ]
    for name, size, text in corpus.expanded:
        lines.append(f"compressed: {name}, {size / 1e6:,.2f} MB, holds {text / 1e6:,.1f} MB of text")
    if prepared.reason is not None:
        lines.append(f"plan: {prepared.reason}")
    batch = f"{counted(batches.batch, 'sequence')} of {counted(batches.time, 'character')} a step"
    if corpus.config.pairs:
        lines.append(f"pairs: {batches.batch} a step, of {counted(batches.time, 'character')} on average")
    elif corpus.config.lines:
        lines.append(f"lines: {batches.batch} a step, of {counted(batches.time, 'character')} on average")
    elif (batches.batch, batches.time) == (wanted.batch_size, wanted.seq_length):
        lines.append(f"batch: {batch}")
    else:
        lines.append(f"a short text: {batch}, instead of {wanted.batch_size} of {wanted.seq_length}")
    lines += _validated(trainer, unit)
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
    return "\n".join(map(one_line, lines))


def _validated(trainer: Trainer, unit: str) -> Iterator[str]:
    """What is validated on, if that is not simply the split."""
    corpus, ids = trainer.corpus, trainer.validation.ids
    if corpus.val is not None:
        yield f"validation: {corpus.val.name}, {counted(corpus.val.characters, unit)}"
        if str(corpus.val.skipped):
            yield f"validation: {corpus.val.skipped}"
        if corpus.val.strangers:
            unix = ' (--newlines unix reads "\\r\\n" as "\\n")' if "\r" in corpus.val.strangers else ""
            yield f"validation: {len(corpus.val.unknown):,} of them are not in the corpus{unix}"
    if len(ids) < len(corpus.validation):
        which = "lines spread over them" if corpus.config.lines else "the first"
        yield f"validation: {len(ids):,} of {counted(len(corpus.validation), unit)}, {which}"
    yield from warning(trainer)


def _hints(corpus: Corpus) -> Iterator[str]:
    """What is unusual about a text, and what can be done about it."""
    ends = count_line_ends(corpus.ids, corpus.tokenizer)
    if ends.lone_returns:
        yield "line ends: carriage returns without newlines; --newlines unix learns them as newlines"
    elif ends.mixed:
        yield (
            f"line ends: {ends.pairs:,} of {ends.pairs + ends.newlines:,} lines end in \\r\\n, the others in "
            "\\n; --newlines unix learns all as \\n"
        )
    if corpus.config.lines and corpus.config.held_out and not len(corpus.validation):
        yield (
            "validation: none, since each line has too many copies to be held out with --val-fraction "
            f"{corpus.config.val_fraction:g}"
        )


def result_lines(prepared: Prepared, texts: tuple[str, ...]) -> list[str]:
    """Where the model is, how good it is, and how to use it; ``texts`` are what the command line named."""
    trainer = prepared.trainer
    path = trainer.directory / MODEL_FILE
    progress = trainer.progress
    assert progress.best is not None
    split = "validation" if len(trainer.corpus.validation) else "training"
    start = head_start(trainer, texts)
    return [
        f"model       {path}",
        f"{split:<12}{progress.best:.4f} nats/char, {progress.best / math.log(2):.4f} bits/char "
        f"(step {progress.best_step} of {progress.step})",
        f"verdict     {verdict(trainer, grows=prepared.grows)}",
        *([] if start is None else [f"start       {start}"]),
        f"sample      {sample_command(path, trainer.corpus.config)}",
    ]


def time_line(trainer: Trainer, after: float) -> str:
    """What the time of a training was spent on, over all sessions, and ``after`` it, in seconds."""
    progress = trainer.progress
    total, aside = progress.before + progress.seconds + after, progress.aside + after
    return (
        f"time: {_seconds(total)}, {_seconds(progress.before)} before the first step, "
        f"{_seconds(progress.seconds - progress.aside)} in steps, {_seconds(aside)} "
        "evaluating, saving and sampling"
    )


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
    if len(shell_words(texts)) > LONGEST // 2:  # whose commands would be cut
        texts, where = ["CORPUS"], ["-o", str(directory)]
    another = another_directory(directory)
    train, new = ["charrnn", "train", *texts], ["-o", str(another)]
    model = trainer.model.config  # whose other settings may have been chosen
    shape = ModelConfig(model.cell, model.num_layers, embedding_size=model.embedding_size)
    commands = {
        "extend it": [*train, "--resume", *longer, *where],
        "train anew for longer": [*train, *text_flags, *changed_flags(shape), *longer, *new],
        "begin with its model": [*train, *text_flags, "--init-from", run_name(directory / MODEL_FILE), *new],
    }
    return [one_line(f"{directory}: finished already; to go on,")] + [
        f"  {what}: {shell_words(command)}" for what, command in commands.items()
    ]


# Nats by which the validation loss exceeds the training loss when the model is said to memorize.
OVERFIT = 0.25


def verdict(trainer: Trainer, *, grows: bool) -> str:
    """What the losses say of the training, and which flag to try.

    Args:
        trainer: of a training that has ended.
        grows: whether a larger model would be chosen for more time.
    """
    progress, schedule, dropout = trainer.progress, trainer.schedule, trainer.model.config.dropout
    assert progress.best is not None
    gap = progress.best - progress.best_train
    skipped = ""
    if progress.skipped:
        were = "was" if progress.skipped == 1 else "were"
        skipped = f" ({counted(progress.skipped, 'step')} {were} skipped: not finite)"
    if not len(trainer.corpus.validation):
        return "no text was held out, so nothing can be said of overfitting" + skipped
    instead, lacking = held_out_verdict(trainer)
    if instead is not None:
        return instead + skipped
    skipped = lacking + skipped
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
            f"as good as {schedule.most_passes:g} passes make it: more text would help, more time only with "
            f"--patience 0{skipped}"
        )
    longer = "--time" if schedule.total_steps is None else "--steps or --epochs"
    larger = ", and a larger model comes with it" if grows else ""
    return f"still improving: give it more time ({longer}){larger}{skipped}"


def remedy(dropout: float, increase: float) -> str:
    """What helps against overfitting: more text, and more dropout as far as MOST_DROPOUT.

    >>> remedy(0.1, 0.15), remedy(0.5, 0.1)
    ('more text, or more dropout (--dropout 0.25)', 'more text')
    """
    recommended = f"{min(MOST_DROPOUT, dropout + increase):.2g}"
    if float(recommended) <= dropout:
        return "more text"
    return f"more text, or more dropout (--dropout {recommended})"
