"""``charrnn train``: learn a text."""

from __future__ import annotations

import math
import os
import shlex
import signal
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from charrnn.cli.options import Duration, given, quiet_option, setting
from charrnn.config import (
    MATRIX_RATES,
    Cell,
    CorpusConfig,
    Device,
    ModelConfig,
    Newlines,
    Output,
    Precision,
    Size,
    TokenizerKind,
    TrainingConfig,
    from_mapping,
)

if TYPE_CHECKING:
    from charrnn.training.listener import Listener
    from charrnn.training.trainer import Trainer


@click.command()
@click.argument("corpus", nargs=-1)
@click.option(
    "-o", "--output-dir", type=click.Path(path_type=Path), metavar="DIR",
    help="Where to write the run.  [default: runs/NAME, after the corpus]",
)  # fmt: skip
@click.option("--resume", is_flag=True, help="Go on with the run, exactly where it stopped.")
@click.option("--force", is_flag=True, help="Replace the run that is there.")
@click.option("--init-from", metavar="MODEL", help="Begin with the weights of this model or run.")
@setting(TrainingConfig, "time", "--time", "--max-time", type=Duration(), shown="3m")
@setting(TrainingConfig, "epochs", type=float)
@setting(TrainingConfig, "steps", "--steps", "--max-steps", type=int)
@setting(TrainingConfig, "size", type=Size)
@setting(ModelConfig, "cell", type=Cell)
@setting(ModelConfig, "num_layers")
@setting(ModelConfig, "hidden_size", "--hidden-size", "--rnn-size", shown="by --size")
@setting(ModelConfig, "embedding_size")
@setting(ModelConfig, "output", type=Output)
@setting(ModelConfig, "dropout", shown="0 to 0.5: more for short texts and many passes")
@setting(TrainingConfig, "lr", "--lr", "--learning-rate")
@setting(
    TrainingConfig,
    "matrix_lr",
    type=float,
    shown="{muon}; {adamw} with --optimizer adamw".format(**MATRIX_RATES),
)
@setting(TrainingConfig, "optimizer", type=click.Choice(["muon", "adamw"]))
@setting(TrainingConfig, "batch_size", shown="32, fewer where the text is short for the time")
@setting(TrainingConfig, "seq_length", "--seq-length", "--bptt")
@setting(TrainingConfig, "clip")
@setting(TrainingConfig, "weight_decay")
@setting(TrainingConfig, "warmup")
@setting(TrainingConfig, "patience")
@setting(TrainingConfig, "seed", "-s", "--seed", type=int)
@setting(CorpusConfig, "val_fraction")
@setting(CorpusConfig, "tokenizer", type=TokenizerKind)
@setting(CorpusConfig, "min_count")
@setting(CorpusConfig, "lines")
@setting(CorpusConfig, "encoding")
@setting(CorpusConfig, "newlines", type=Newlines)
@setting(TrainingConfig, "device", type=Device)
@setting(TrainingConfig, "precision", type=Precision)
@setting(TrainingConfig, "threads", type=int)
@setting(TrainingConfig, "eval_every", type=int)
@setting(TrainingConfig, "save_every", type=Duration())
@setting(TrainingConfig, "sample_every", type=Duration())
@click.option("--tensorboard", is_flag=True, help="Write curves for TensorBoard, where it is installed.")
@quiet_option
@click.pass_context
def train(
    context: click.Context,
    /,
    corpus: tuple[str, ...],
    output_dir: Path | None,
    resume: bool,
    force: bool,
    init_from: str | None,
    tensorboard: bool,
    quiet: bool,
    **settings: Any,
) -> int:
    """Learn to write like CORPUS: files, directories, .gz .bz2 .xz, or - for stdin."""
    if resume and init_from:
        raise click.UsageError("--resume goes on with a run and --init-from begins one; give one")
    if resume and force:
        raise click.UsageError("--resume goes on with a run and --force replaces it; give one")
    from charrnn.cli.output import note
    from charrnn.runs import find_model
    from charrnn.training.setup import Request, open_training

    if tensorboard:
        from charrnn.cli.extras import require_tensorboard

        require_tensorboard()
    request = Request(
        paths=corpus,
        directory=output_dir,
        corpus=from_mapping(CorpusConfig, settings),
        model=from_mapping(ModelConfig, settings),
        training=from_mapping(TrainingConfig, settings),
        resume=resume,
        force=force,
        init_from=None if init_from is None else find_model(init_from),
        given=frozenset(given(context)),
    )
    trainer = open_training(request)
    note(describe(trainer), quiet=quiet)
    if trainer.finished:
        note(f"{trainer.directory}: finished already; nothing to resume", quiet=quiet)
        return 0
    listener = watch(trainer, request.training.sample_every, tensorboard=tensorboard, quiet=quiet)
    stopped_by = run(trainer, listener)
    if stopped_by is not None:
        command = resuming_command(corpus, output_dir)
        note(f"saved at step {trainer.progress.step}; go on with: {command}")
        return 128 + stopped_by
    for line in result_lines(trainer):
        click.echo(line)
    return 0


def resuming_command(corpus: tuple[str, ...], output_dir: Path | None) -> str:
    """What a shell needs to go on with this run.

    >>> resuming_command(("a play.txt",), None)
    "charrnn train 'a play.txt' --resume"
    """
    where = [] if output_dir is None else ["--output-dir", str(output_dir)]
    return shlex.join(["charrnn", "train", *corpus, "--resume", *where])


def watch(trainer: Trainer, sample_every: float | None, *, tensorboard: bool, quiet: bool) -> Listener:
    """Who watches: the screen, with samples where they are asked for, and TensorBoard."""
    from charrnn.cli.extras import Group, Samples, TensorBoard
    from charrnn.cli.progress import choose_listener

    screen = choose_listener(quiet=quiet)
    listeners: list[Listener] = [screen]
    if sample_every is not None and not quiet:
        listeners.append(Samples(sample_every, screen.show))
    if tensorboard:
        listeners.append(TensorBoard(trainer.directory, trainer.progress.step))
    return Group(listeners)


def run(trainer: Trainer, listener: Listener) -> int | None:
    """Trains to the end, or until a signal asks to stop; returns that signal's number.

    The first Ctrl-C (or SIGTERM) saves and stops, a second one quits at once.
    """
    from charrnn.training.trainer import Interrupted

    received: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        if received:
            os._exit(128 + number)
        received.append(number)
        trainer.stopping = True

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        trainer.run(listener)
    except Interrupted:
        return received[0]
    finally:
        listener.close()
        for number, handler in before.items():
            signal.signal(number, handler)
    return None


def describe(trainer: Trainer) -> str:
    """What is being learnt, with what, in a few lines."""
    corpus, config, streams = trainer.corpus, trainer.model.config, trainer.streams
    machine, wanted = trainer.machine, trainer.config
    files = f" in {corpus.files} files" if corpus.files > 1 else ""
    skipped = f", {corpus.skipped} files skipped (hidden, empty or not text)" if corpus.skipped else ""
    unit = "bytes" if corpus.tokenizer.kind == "byte" else "characters"
    parameters = sum(parameter.numel() for parameter in trainer.model.parameters())
    lines = [
        f"text: {corpus.characters:,} {unit}{files}, {corpus.tokenizer.size} different{skipped}",
        f"model: {config.num_layers} x {config.hidden_size} {config.cell.upper()}, "
        f"{parameters:,} parameters, dropout {config.dropout:g}, on {machine.device.type} in "
        f"{machine.precision}",
    ]
    if trainer.reason is not None:
        lines.append(f"plan: {trainer.reason}")
    if corpus.config.lines:
        lines.append(f"lines: {streams.batch} a step, of {streams.time} characters on average")
    elif (streams.batch, streams.time) == (wanted.batch_size, wanted.seq_length):
        lines.append(f"batch: {streams.batch} streams of {streams.time} characters a step")
    else:
        lines.append(
            f"a short text: {streams.batch} streams of {streams.time} characters a step, "
            f"instead of {wanted.batch_size} of {wanted.seq_length}"
        )
    if len(trainer.validation) < len(corpus.validation):
        lines.append(f"validation: the first {len(trainer.validation):,} of {len(corpus.validation):,}")
    if trainer.transfer is not None:
        lines.append(f"start: {trainer.transfer}")
    if trainer.progress.step:
        lines.append(f"resumed at step {trainer.progress.step}")
    lines.append(f"seed {wanted.seed}, run {trainer.directory}")
    return "\n".join(lines)


def result_lines(trainer: Trainer) -> list[str]:
    """Where the model is, how good it is, and how to use it."""
    from charrnn.files import MODEL_FILE
    from charrnn.runs import run_name

    path = trainer.directory / MODEL_FILE
    progress = trainer.progress
    assert progress.best is not None
    split = "validation" if len(trainer.corpus.validation) else "training"
    return [
        f"model       {path}",
        f"{split:<12}{progress.best:.4f} nats/char, {progress.best / math.log(2):.4f} bits/char "
        f"(step {progress.best_step} of {progress.step})",
        f"verdict     {verdict(trainer)}",
        f"sample      charrnn sample -m {shlex.quote(run_name(path))}",
    ]


OVERFIT = 0.25  # nats by which validation may lie above training before one speaks of memorizing


def verdict(trainer: Trainer) -> str:
    """What the curves say, and the flag to try."""
    from charrnn.training.schedule import MOST_PASSES

    progress, plan = trainer.progress, trainer.plan
    assert progress.best is not None
    gap = progress.best - progress.best_train
    skipped = f" ({progress.skipped} steps were skipped: not finite)" if progress.skipped else ""
    if not len(trainer.corpus.validation):
        return "no text was held out, so nothing can be said of overfitting" + skipped
    if progress.stale and progress.best_step < 0.9 * progress.step:
        return (
            f"overfitting since step {progress.best_step}, which was kept: more text, or more dropout "
            f"(--dropout {min(0.6, trainer.model.config.dropout + 0.15):.2g}){skipped}"
        )
    if gap > OVERFIT:
        return (
            f"memorizing a little (training {progress.best_train:.2f}, validation {progress.best:.2f}): "
            f"more text, or --dropout {min(0.6, trainer.model.config.dropout + 0.1):.2g}{skipped}"
        )
    if progress.step >= plan.most_steps:
        return (
            f"as good as {MOST_PASSES:g} passes make it: more text would help, more time only with "
            f"--patience 0{skipped}"
        )
    longer = "--time" if plan.total_steps is None else "--steps or --epochs"
    return f"still improving: give it more time ({longer}), and a larger model comes with it{skipped}"
