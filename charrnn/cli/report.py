"""The output of ``charrnn evaluate``: table, JSON, rows per line, heat map, page, and progress."""

from __future__ import annotations

import dataclasses
import io
import itertools
import json
import math
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charrnn.cli import tables
from charrnn.cli.output import note, one_line, wants_color
from charrnn.errors import counted
from charrnn.evaluation.measure import Score, line_scores, total
from charrnn.text.scored import ScoredText

if TYPE_CHECKING:
    from charrnn.evaluation.surprise import Surprise
    from charrnn.model.file import ModelFile
    from charrnn.use_config import EvaluationConfig

HEADER = (
    "text", "model", "chars", "bytes", "unknown", "nats/char", "bits/char", "bits/byte", "perplexity",
    "computed",
)  # fmt: skip
LEFT = {"text", "model", "computed"}
TOTAL = "total"
LISTED = 10  # unknown characters that a note names
WIDEST = 200  # characters of a name in the table


@dataclasses.dataclass(frozen=True)
class Row:
    """The score of one predictor on one text.

    Attributes:
        text: the text's name, or TOTAL.
        model: the predictor's name.
        score: the figures.
        computed: how they were computed, e.g. "numpy fp32 x1".
    """

    text: str
    model: str
    score: Score
    computed: str


def remarks(text: ScoredText) -> Iterator[str]:
    """What was passed over in a directory, and which characters the model does not know."""
    if str(text.skipped):
        yield f"{text.name}: {text.skipped}"
    yield from text.skipped.reasons()
    if text.strangers:
        named = [f"{character!a} ({count:,})" for character, count in text.strangers.items()]
        others = len(named) - LISTED
        more = f" and {counted(others, 'other')}" if others > 0 else ""
        unix = ' (--newlines unix reads "\\r\\n" as "\\n")' if "\r" in text.strangers else ""
        unknown = f"{len(text.unknown):,} unknown {text.tokenizer.unit}"
        yield f"{text.name}: {unknown}: {', '.join(named[:LISTED])}{more}{unix}"


def on_line_ends(text: ScoredText, model: ModelFile, config: EvaluationConfig) -> Iterator[str]:
    """A line if the text's lines end otherwise than those that the model learnt."""
    from charrnn.evaluation.line_ends import foreign_line_ends

    found = foreign_line_ends(model, text, config)
    if found == "\r\n":
        yield (
            f'{text.name}: its lines end in "\\r\\n", those that the model learned in "\\n": every end costs '
            'more bits; --newlines unix reads "\\r\\n" as "\\n"'
        )
    elif found:
        yield (
            f'{text.name}: its lines end in "\\n", those that the model learned in "\\r\\n": every end costs '
            "more bits; convert the text, for example with unix2dos"
        )


def with_totals(rows: Sequence[Row]) -> list[Row]:
    """The rows, and for several texts a row with the total of each predictor."""
    if len({row.text for row in rows}) == len(rows) == 1 or len(rows) == 0:
        return list(rows)
    by_model: dict[str, list[Row]] = {}
    for row in rows:
        by_model.setdefault(row.model, []).append(row)
    if all(len(group) == 1 for group in by_model.values()):
        return list(rows)
    totals = []
    for model, group in by_model.items():
        ways = {row.computed for row in group}
        computed = ways.pop() if len(ways) == 1 else "as above"
        totals.append(Row(TOTAL, model, total(row.score for row in group), computed))
    return [*rows, *totals]


def table(rows: Sequence[Row], width: int | None = None) -> str:
    """Aligned columns below a header, for a terminal of so many columns; None if it is none."""
    return tables.table(HEADER, [_cells(row) for row in rows], LEFT, keys=2, width=width)


def _cells(row: Row) -> tuple[str, ...]:
    score = row.score
    return (
        one_line(row.text, WIDEST), one_line(row.model, WIDEST),
        str(score.characters), str(score.bytes), str(score.unknown),
        f"{score.nats_per_character:.4f}", f"{score.bits_per_character:.4f}",
        f"{score.bits_per_byte:.4f}", score.shown_perplexity, row.computed,
    )  # fmt: skip


def summary(rows: Sequence[Row]) -> str:
    """The last row in one line."""
    return f"{rows[-1].text}: {rows[-1].score} ({rows[-1].computed})"


def to_json(rows: Sequence[Row], model_path: str) -> str:
    """A JSON object with the model's path and a list of the rows."""
    return json.dumps({"model": model_path, "results": [_fields(row) for row in rows]}, indent=2) + "\n"


def _fields(row: Row) -> dict[str, Any]:
    score = row.score
    return {
        "text": row.text,
        "model": row.model,
        "characters": score.characters,
        "bytes": score.bytes,
        "unknown": score.unknown,
        "nats": score.nats,
        "nats_per_character": score.nats_per_character,
        "bits_per_character": score.bits_per_character,
        "bits_per_byte": score.bits_per_byte,
        "perplexity": score.perplexity,
        "computed": row.computed,
    }


def line_rows(text: ScoredText, scores: Any, first: int) -> Iterator[str]:
    """Tab-separated rows, one for each line of the text, numbered from ``first``.

    Args:
        text: with the lines.
        scores: (characters,) natural-log probabilities.
        first: the number of the first line.
    """
    for line, (characters, unknown, nats) in enumerate(line_scores(text, scores), first):
        bits = -nats / math.log(2) / characters
        yield f"{line}\t{characters}\t{unknown}\t{nats / math.log(10):.4f}\t{bits:.4f}\n"


LINE_HEADER = "line\tchars\tunk\tlog10prob\tbits_per_char\n"


def progress(*, quiet: bool) -> Callable[[int], None]:
    """A callback that shows progress: a bar on a terminal, else a line every ten seconds."""
    done, due = 0, time.monotonic() + (1.0 if sys.stderr and sys.stderr.isatty() else 10.0)
    bar: Any = None

    def scored(symbols: int) -> None:
        nonlocal done, due, bar
        done += symbols
        now = time.monotonic()
        if now < due:
            return
        due = now + 10.0
        if not sys.stderr.isatty():
            note(f"scored {counted(done, 'character')}")
            return
        due = now + 0.2
        if bar is None:
            from tqdm import tqdm

            bar = tqdm(unit=" chars", unit_scale=True, leave=False, file=sys.stderr, initial=done)
        bar.update(done - bar.n)

    return (lambda _: None) if quiet or sys.stderr is None else scored


def print_heatmap(found: Surprise, choice: str) -> None:
    """Writes the shaded text and the legend to stdout, line by line."""
    from rich.console import Console

    from charrnn.cli.heatmap import terminal_legend, terminal_lines

    terminal = sys.stdout.isatty()
    color = wants_color(choice, os.environ, terminal=terminal)
    width = shutil.get_terminal_size().columns if terminal else None
    rich = os.environ.get("COLORTERM") in ("truecolor", "24bit")
    system: Any = ("truecolor" if rich else "256") if color else None
    console = Console(file=io.StringIO(), color_system=system, force_terminal=color, width=1 << 20)
    lines = itertools.chain(terminal_lines(found, color=color, width=width), [terminal_legend(color=color)])
    for line in lines:
        with console.capture() as captured:
            console.print(line, soft_wrap=True, highlight=False, markup=False, emoji=False)
        sys.stdout.buffer.write(captured.get().encode("utf-8", "replace"))
    sys.stdout.buffer.flush()


def write_page(file: Path, found: Surprise, title: str, model: str) -> None:
    """Writes the heat map as an HTML file.

    Raises:
        OSError: the file cannot be written.
    """
    from charrnn.files import write_atomically
    from charrnn.pages.heatmap import page

    write_atomically(file, page(found, title, model).encode("utf-8", "replace"))
