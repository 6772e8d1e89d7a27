"""``charrnn train``: learn a text."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from charrnn.cli.options import Duration, PathName, config_option, given, quiet_option
from charrnn.config import CorpusConfig, ModelConfig, NGramConfig, TrainingConfig
from charrnn.settings import rules
from charrnn.system import launched

if TYPE_CHECKING:
    from charrnn.system import Launch
    from charrnn.training.listener import Listener
    from charrnn.training.setup import Prepared
    from charrnn.training.trainer import Trainer


@click.command()
@click.argument("corpus", nargs=-1)
@click.option(
    "-o", "--output-dir", type=PathName(), metavar="DIR",
    help="Where to write the run.  [default: runs/NAME, after the corpus]",
)  # fmt: skip
@click.option("--resume", is_flag=True, help="Go on with the run, exactly where it stopped.")
@click.option("--force", is_flag=True, help="Replace the run that is there.")
@click.option("--init-from", metavar="MODEL", help="Begin with the weights of this model or run.")
@config_option(TrainingConfig, "time", "--time", "--max-time", type=Duration())
@config_option(TrainingConfig, "epochs")
@config_option(TrainingConfig, "steps", "--steps", "--max-steps")
@config_option(TrainingConfig, "size")
@config_option(ModelConfig, "cell", type=click.Choice((*rules(ModelConfig)["cell"].choices, "ngram")))
@config_option(NGramConfig, "order")
@config_option(ModelConfig, "num_layers")
@config_option(ModelConfig, "hidden_size", "--hidden-size", "--rnn-size")
@config_option(ModelConfig, "embedding_size")
@config_option(ModelConfig, "output")
@config_option(ModelConfig, "dropout")
@config_option(TrainingConfig, "lr", "--lr", "--learning-rate")
@config_option(TrainingConfig, "matrix_lr")
@config_option(TrainingConfig, "optimizer")
@config_option(TrainingConfig, "batch_size")
@config_option(TrainingConfig, "seq_length", "--seq-length", "--bptt")
@config_option(TrainingConfig, "clip")
@config_option(TrainingConfig, "weight_decay")
@config_option(TrainingConfig, "warmup")
@config_option(TrainingConfig, "patience")
@config_option(TrainingConfig, "with_ngram", "--with-ngram/--without-ngram")
@config_option(TrainingConfig, "seed", "-s", "--seed")
@config_option(CorpusConfig, "val_fraction")
@config_option(CorpusConfig, "val", metavar="FILE")
@config_option(CorpusConfig, "tokenizer")
@config_option(CorpusConfig, "min_count")
@config_option(CorpusConfig, "lines")
@config_option(CorpusConfig, "pairs")
@config_option(CorpusConfig, "column", metavar="NAME|N")
@config_option(CorpusConfig, "encoding")
@config_option(CorpusConfig, "newlines")
@config_option(TrainingConfig, "device")
@config_option(TrainingConfig, "precision")
@config_option(TrainingConfig, "threads")
@config_option(TrainingConfig, "replicas")
@config_option(TrainingConfig, "eval_every")
@config_option(TrainingConfig, "save_every", type=Duration())
@config_option(TrainingConfig, "keep_every", type=Duration())
@config_option(TrainingConfig, "sample_every", type=Duration())
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
    began = time.monotonic()
    if resume and init_from:
        raise click.UsageError("--resume goes on with a run and --init-from begins one; give one")
    if resume and force:
        raise click.UsageError("--resume goes on with a run and --force replaces it; give one")
    asked, launch = given(context), launched()
    if settings["cell"] == "ngram":
        from charrnn.cli.ngram import train_ngram

        follows = launch is not None and launch.rank > 0  # one process counts
        return 0 if follows else train_ngram(corpus, output_dir, asked, began)
    if "order" in asked:
        raise click.UsageError("--order is for --cell ngram; leave it out")
    asked = {name: value for name, value in asked.items() if name in settings}
    if launch is not None and launch.rank > 0:
        return work(launch, asked)
    from charrnn.cli.beside import settle_ngram
    from charrnn.cli.idle import idle_in_training
    from charrnn.cli.output import note, note_lines, resuming_command
    from charrnn.cli.unused import unused
    from charrnn.cli.verdict import describe, ways_on
    from charrnn.runs import find_model
    from charrnn.training.setup import Request, open_training

    for line in unused(context):
        note(line, quiet=quiet)
    if tensorboard:
        from charrnn.cli.extras import require_tensorboard

        require_tensorboard()
    prepared = open_training(
        Request(
            paths=corpus,
            directory=output_dir,
            settings=asked,
            resume=resume,
            force=force,
            init_from=None if init_from is None else find_model(init_from),
            began=began,
        )
    )
    trainer = prepared.trainer
    for line in (*describe(prepared).split("\n"), *idle_in_training(trainer, given(context))):
        note(line, quiet=quiet)
    if trainer.finished:
        note_lines("\n".join(ways_on(trainer, corpus, output_dir)), quiet=quiet)
        # A training may not have come to it, if it was killed.
        for line in settle_ngram(trainer, decided="with_ngram" in asked):
            note(line, quiet=quiet)
        return 0
    listener = watch(trainer, settings["sample_every"], tensorboard=tensorboard, quiet=quiet)
    stopped_by = run(trainer, listener)
    if stopped_by is not None:
        command = resuming_command(corpus, output_dir, trainer.directory)
        note(f"saved at step {trainer.progress.step}; go on with: {command}")
        return 128 + stopped_by
    print_results(prepared, corpus, output_dir, quiet=quiet)
    return 0


def print_results(
    prepared: Prepared, corpus: tuple[str, ...], output_dir: Path | None, *, quiet: bool
) -> None:
    """Prints what a training that has ended led to; what it took goes to stderr, this included."""
    from charrnn.cli.beside import settle_ngram
    from charrnn.cli.output import note, one_line
    from charrnn.cli.rival import rival_lines
    from charrnn.cli.verdict import result_lines, time_line
    from charrnn.errors import CharrnnError
    from charrnn.training.beside import symbols_counted

    ended, trainer = time.monotonic(), prepared.trainer
    beside: list[str] = []
    failure: BaseException | None = None
    try:
        if symbols_counted(trainer.config, trainer.corpus):
            beside += settle_ngram(trainer)
        elif trainer.config.with_ngram is None:
            beside += rival_lines(trainer, corpus, output_dir)
    except (CharrnnError, OSError, MemoryError, KeyboardInterrupt) as error:
        failure = error  # the network is written all the same
    *results, sample = result_lines(prepared, corpus)
    note(time_line(trainer, time.monotonic() - ended), quiet=quiet)
    for line in (*results, *beside, sample):
        click.echo(one_line(line))
    if failure is not None:
        if trainer.config.with_ngram or isinstance(failure, KeyboardInterrupt):
            raise failure
        note(f"the n-gram is left out: {str(failure) or 'not enough memory'}")


def work(launch: Launch, settings: dict[str, Any]) -> int:
    """Trains for the first of torchrun's processes, which alone decides when to stop."""
    from charrnn.training.follower import follow

    follow(launch, settings)
    return 0


def watch(trainer: Trainer, sample_every: float | None, *, tensorboard: bool, quiet: bool) -> Listener:
    """Who watches: the screen, with samples where they are asked for, and TensorBoard."""
    from charrnn.cli.extras import Group, Samples, TensorBoard
    from charrnn.cli.progress import choose_listener

    screen = choose_listener(quiet=quiet)
    listeners: list[Listener] = [screen]
    if sample_every is not None and not quiet:
        listeners.append(Samples(sample_every, screen.show, trainer.model_file, shown_pairs(trainer)))
    if tensorboard:
        listeners.append(TensorBoard(trainer.directory, trainer.progress.step))
    return Group(listeners)


def shown_pairs(trainer: Trainer) -> list[str]:
    """A few of the held-out pairs, for samples; of the training pairs, if none are held out."""
    corpus = trainer.corpus
    if not corpus.config.pairs:
        return []
    ids = corpus.validation if len(corpus.validation) else corpus.train
    from charrnn.text.pairs import LONGEST_PAIR

    return corpus.tokenizer.decode(ids[: 4 * LONGEST_PAIR]).removesuffix("\n").split("\n")[:4]


def run(trainer: Trainer, listener: Listener) -> int | None:
    """Trains to the end, or until a signal asks to stop; returns that signal's number.

    The first Ctrl-C (or SIGTERM, or the SIGHUP of a terminal that is closed) saves and stops, a second one
    quits at once. A SIGHUP that is ignored, as under nohup, stays so.
    """
    from charrnn.training.group import WorkerLost
    from charrnn.training.trainer import Interrupted

    received: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        if received:
            os._exit(128 + number)
        received.append(number)
        trainer.stopping = True

    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        trainer.run(listener)
    except Interrupted:
        return received[0]
    except WorkerLost:
        before.clear()  # so that torchrun, which now ends all, does not do so before the reason is printed
        raise
    finally:
        listener.close()
        for number, handler in before.items():
            signal.signal(number, handler)
    return None
