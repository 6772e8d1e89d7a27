"""``charrnn evaluate`` for a model of pairs: answers to all sources, compared with the targets."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import click
import numpy as np

from charrnn.cli import tables
from charrnn.cli.output import note, one_line
from charrnn.cli.report import WIDEST
from charrnn.evaluation.evaluator import Evaluator
from charrnn.evaluation.pairs import (
    Answered,
    PairScore,
    all_hits,
    forced_hits,
    split_pair,
    target_nats,
    total,
)
from charrnn.sampling.each import EachLine
from charrnn.sampling.session import SamplingSession
from charrnn.text.scored import ScoredText
from charrnn.use_config import SamplingConfig

HEADER = ("text", "model", "pairs", "exact", "exact %", "error rate", "char %", "nats/char", "unknown")
LINE_HEADER = "line\texact\terrors\tnats\tsource\tanswer\ttruth\n"
REFUSED = ("heatmap", "html", "baselines", "dynamic")
BLOCK = 1024  # sources that are answered at a time


def evaluate_pairs(
    evaluator: Evaluator,
    texts: Iterable[ScoredText],
    options: Mapping[str, Any],
    names: tuple[str, str],
    write: Callable[[bytes], None],
) -> None:
    """Writes how well a model of pairs answers the sources of texts.

    Args:
        evaluator: of the model.
        texts: of pairs.
        options: of the command, by name.
        names: of the model, and of its file.
        write: takes the results.

    Raises:
        click.UsageError: an option has no meaning for pairs.
    """
    for name in REFUSED:
        if options[name]:
            raise click.UsageError(f"this is a model of pairs, whose targets are scored: leave out --{name}")
    if options["reset"] == "none":
        raise click.UsageError("this is a model of pairs, each read by itself: leave out --reset none")
    results: list[tuple[str, PairScore]] = []
    first = 1
    for text in texts:
        answered: list[Answered] = []
        if options["per_line"] and first == 1:
            write(LINE_HEADER.encode())
        for one in answers(evaluator, text):
            answered.append(one)
            if options["per_line"]:
                write(_line(first, one))
            first += 1
        results.append((text.name, total(answered, len(text.unknown))))
    if options["per_line"]:
        for name, score in results:
            note(f"{name}: {score}", quiet=options["quiet"])
    elif options["as_json"]:
        write(to_json(results, names).encode())
    else:
        width = tables.terminal_width()
        write(table(results, names[0], width).encode("utf-8", "replace"))


def answers(evaluator: Evaluator, text: ScoredText) -> Iterator[Answered]:
    """The greedy answer to each source of a text of pairs, with source and target.

    Characters that the vocabulary lacks are read as the unknown symbol; without one they are left out.
    """
    model, tokenizer = evaluator.model, text.tokenizer
    session = SamplingSession(model, SamplingConfig(temperature=0.0, seed=0))
    pieces = list(text.pieces())
    # One character per symbol; bytes are read as Latin-1, so that bytes and characters go the same way.
    symbols = "".join(piece if isinstance(piece, str) else piece.decode("latin-1") for piece in pieces)
    scores = evaluator.log_probabilities(text)
    nats, hits = target_nats(text, scores, symbols), all_hits(text, scores, symbols)
    pairs = [split_pair(line) for line in symbols.split("\n")[:-1]]
    sources = [_typed(source, tokenizer.kind) for source, _ in pairs]
    blocks = (sources[at : at + BLOCK] for at in range(0, len(sources), BLOCK))
    writer = EachLine(session, skip_unknown=tokenizer.unknown is None)
    ids = np.split(text.ids, text.place(text.line_ends)[:-1])
    tab = int(tokenizer.lookup("\t")[0])
    again = np.flatnonzero(hits < 0)  # pairs that the scores do not decide
    hits[again] = forced_hits(
        session.engine, [ids[at] for at in again], tokenizer.start, tab, session.forbidden
    )
    for (source, truth), cost, right, found in zip(
        pairs, nats, hits.tolist(), writer.texts(blocks), strict=True
    ):
        yield Answered(source, truth, tokenizer.symbols(found.ids), cost, right)


def _typed(symbols: str, kind: str) -> str:
    """A source as a user would give it, from one character per symbol."""
    return symbols.encode("latin-1").decode("utf-8", "surrogateescape") if kind == "byte" else symbols


def _line(number: int, one: Answered) -> bytes:
    """A row of --per-line."""
    exact = int(one.answer == one.truth)
    row = f"{number}\t{exact}\t{one.errors}\t{one.nats:.4f}\t{one.source}\t{one.answer}\t{one.truth}\n"
    return row.encode("utf-8", "replace")


def table(results: list[tuple[str, PairScore]], model: str, width: int | None = None) -> str:
    """Aligned columns below a header, for a terminal of so many columns; None if it is none."""
    rows = [
        (
            one_line(name, WIDEST), one_line(model, WIDEST), str(score.pairs), str(score.exact),
            f"{score.exact_share:.2%}", f"{score.error_rate:.4f}", f"{score.accuracy:.2%}",
            f"{score.nats_per_character:.4f}",
            str(score.unknown),
        )
        for name, score in results
    ]  # fmt: skip
    return tables.table(HEADER, rows, {"text", "model"}, keys=2, width=width)


def to_json(results: list[tuple[str, PairScore]], names: tuple[str, str]) -> str:
    """A JSON object with the model's path and a list of results."""
    found = [
        {"text": name, "model": names[0]}
        | dataclasses.asdict(score)
        | {
            "exact_share": score.exact_share,
            "character_error_rate": score.error_rate,
            "character_accuracy": score.accuracy,
            "nats_per_character": score.nats_per_character,
        }
        for name, score in results
    ]
    return json.dumps({"model": names[1], "results": found}, indent=2) + "\n"
