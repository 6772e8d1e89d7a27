"""``charrnn evaluate``: how well a model predicts a text."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import click

from charrnn.cli.options import model_option, quiet_option, setting
from charrnn.config import Device, EvaluationConfig, EvaluationPrecision, Reset, from_mapping

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from charrnn.checkpoint import ModelFile
    from charrnn.cli.report import Row
    from charrnn.evaluation import Evaluator
    from charrnn.texts import Text


@click.command()
@click.argument("text", nargs=-1)
@model_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")
@click.option("--per-line", is_flag=True, help="Print a tab-separated row for each line instead.")
@setting(EvaluationConfig, "reset", type=Reset)
@setting(EvaluationConfig, "precision", type=EvaluationPrecision)
@setting(EvaluationConfig, "streams", type=int)
@setting(EvaluationConfig, "device", type=Device)
@click.option("--encoding", help="How the texts are encoded.  [default: as the model's corpus]")
@quiet_option
def evaluate(
    text: tuple[str, ...],
    model: str | None,
    as_json: bool,
    per_line: bool,
    encoding: str | None,
    quiet: bool,
    **settings: Any,
) -> None:
    """Say how well a model predicts each TEXT: files, directories, or - for stdin.

    Without any, the model's own validation split.
    """
    config = from_mapping(EvaluationConfig, settings)
    if as_json and per_line:
        raise click.UsageError("--json and --per-line are different outputs; give one")

    from charrnn.checkpoint import load_model
    from charrnn.cli.output import byte_writer, note
    from charrnn.cli.report import Row, progress, summary, table, to_json, with_totals
    from charrnn.evaluation import Evaluator
    from charrnn.runs import find_model, run_name

    write = byte_writer()
    path = find_model(model)
    loaded = load_model(path)
    name = run_name(path)
    evaluator = Evaluator(loaded, config, progress(quiet=quiet))
    texts = read_texts(text, loaded, encoding)
    if per_line:
        rows = list(write_lines(texts, evaluator, name, write))
        note(summary(with_totals(rows)), quiet=quiet)
        return
    rows = [Row(item.name, name, evaluator.score(item), evaluator.used) for item in texts]
    shown = to_json(rows, str(path)) if as_json else table(with_totals(rows))
    write(shown.encode())


def read_texts(names: tuple[str, ...], model: ModelFile, encoding: str | None) -> Iterator[Text]:
    """The texts to score, one after the other; without a name, the model's validation split."""
    from charrnn.texts import read_text, validation_text

    if not names:
        yield validation_text(model)
    for name in names:
        yield read_text(name, model, encoding)


def write_lines(
    texts: Iterator[Text], evaluator: Evaluator, name: str, write: Callable[[bytes], None]
) -> Iterator[Row]:
    """Prints a row for each line, numbered through all texts as ``cat -n`` would; yields the texts' sums."""
    from charrnn.cli.report import LINE_HEADER, Row, line_rows
    from charrnn.evaluation import sum_of

    first = 1
    for text in texts:
        scores = evaluator.log_probabilities(text)
        rows = line_rows(text, scores, first)
        if first == 1:
            rows = itertools.chain([LINE_HEADER], rows)
        while block := "".join(itertools.islice(rows, 4096)):
            write(block.encode())
        first += len(text.line_ends)
        yield Row(text.name, name, sum_of(text, scores), evaluator.used)
