"""``charrnn train --cell ngram``: counts instead of learning; what is said of it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from charrnn.cli.model import sample_command
from charrnn.cli.output import note, one_line
from charrnn.config import CorpusConfig, ModelConfig, NGramConfig, TrainingConfig
from charrnn.errors import counted
from charrnn.settings import flag_of, from_mapping, rules
from charrnn.training.checks import require_one_validation, run_directory
from charrnn.training.counting import BYTES_PER_SYMBOL, Counted, count_run


def train_ngram(corpus: tuple[str, ...], output_dir: Path | None, asked: dict[str, Any], began: float) -> int:
    """Counts a corpus, and says on stderr what was found, on stdout what there is to use.

    Args:
        corpus: as the command line names it.
        output_dir: of the run; runs/NAME if None.
        asked: the options that were given, by name.
        began: when the command was started, on the clock of ``time.monotonic``.

    Raises:
        click.UsageError: an option has no meaning for an n-gram.
    """
    refuse_options(asked)
    directory = run_directory(corpus, output_dir)
    require_one_validation(asked)
    found = count_run(
        corpus,
        directory,
        from_mapping(CorpusConfig, asked),
        from_mapping(NGramConfig, asked),
        force=bool(asked.get("force")),
        began=began,
    )
    for line in describe(found):
        note(one_line(line), quiet=bool(asked.get("quiet")))
    for line in result_lines(found):
        click.echo(one_line(line))
    return 0


def refuse_options(asked: dict[str, Any]) -> None:
    """Refuses options that have no meaning for an n-gram.

    Raises:
        click.UsageError: names the first one.
    """
    learning = {*rules(TrainingConfig), *rules(ModelConfig), "resume", "init_from", "tensorboard"} - {"cell"}
    for name, value in asked.items():
        if name in learning:
            flag = flag_of(name) if value is not False else "--without-ngram"
            raise click.UsageError(
                f"{flag} has no meaning with --cell ngram, which counts once; leave it out"
            )


def describe(found: Counted) -> Iterator[str]:
    """The text, the n-gram, and how well each order predicts, a line each."""
    corpus, grams = found.corpus, found.model.grams
    assert grams is not None
    files = f" in {counted(corpus.files, 'file')}" if corpus.files > 1 else ""
    skipped = f", {corpus.skipped}" if str(corpus.skipped) else ""
    unit = "byte" if corpus.tokenizer.kind == "byte" else "character"
    yield f"text: {counted(corpus.characters, unit)}{files}, {corpus.tokenizer.size} different{skipped}"
    yield from corpus.skipped.reasons()
    if found.symbols < corpus.train_size:
        yield f"counted: the last {found.symbols:,} of the {counted(corpus.train_size, unit)} to learn from"
    if len(found.orders):
        losses = ", ".join(f"{order}: {loss:.4f}" for order, loss in enumerate(found.orders.tolist(), 1))
        yield f"validation by order, nats/char: {losses}"
    if grams.highest < found.best:
        yield (
            f"order {found.best} would take over {BYTES_PER_SYMBOL:g} bytes a character; "
            f"--order {found.best} takes it anyway"
        )
    total = sum(map(len, grams.symbols))
    yield (
        f"model: {grams.highest}-gram, {counted(total, 'gram')}, modified Kneser-Ney, "
        f"{found.path.stat().st_size / 1e6:.2f} MB, {found.seconds:.1f} s"
    )
    yield f"run {found.path.parent}"


def result_lines(found: Counted) -> list[str]:
    """Where the model is, how good it is, and how to use it."""
    lines = [f"model       {found.path}"]
    nats = found.model.quality.get("nats_per_character")
    if nats is not None:
        assert found.model.grams is not None
        order = found.model.grams.highest
        lines.append(f"validation  {nats:.4f} nats/char, {nats / math.log(2):.4f} bits/char (order {order})")
    return [*lines, f"sample      {sample_command(found.path, found.corpus.config)}"]
