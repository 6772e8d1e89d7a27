"""The figures of ``charrnn evaluate``, for eyes and for programs."""

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

from charrnn.evaluation.measure import Score, line_scores, total
from charrnn.text.scored import Text

if TYPE_CHECKING:
    from charrnn.evaluation.surprise import Surprise

HEADER = (
    "text", "model", "chars", "bytes", "unknown", "nats/char", "bits/char", "bits/byte", "perplexity",
    "computed",
)  # fmt: skip
LEFT = {"text", "model", "computed"}
TOTAL = "total"


@dataclasses.dataclass(frozen=True)
class Row:
    """How well one predictor did on one text.

    Attributes:
        text: its name, or TOTAL.
        model: the predictor's name.
        score: its figures.
        computed: how, e.g. "numpy fp32 x1".
    """

    text: str
    model: str
    score: Score
    computed: str


def with_totals(rows: Sequence[Row]) -> list[Row]:
    """The rows, and after those of several texts a total for each predictor."""
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


def table(rows: Sequence[Row]) -> str:
    """Aligned columns under one header, without colour: for a terminal, and for awk."""
    cells = [HEADER, *map(_cells, rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = []
    for line in cells:
        padded = [
            cell.ljust(width) if name in LEFT else cell.rjust(width)
            for name, cell, width in zip(HEADER, line, widths, strict=True)
        ]
        lines.append("  ".join(padded).rstrip() + "\n")
    return "".join(lines)


def _cells(row: Row) -> tuple[str, ...]:
    score = row.score
    return (
        "".join(c if c.isprintable() else "?" for c in row.text), row.model,
        str(score.characters), str(score.bytes), str(score.unknown),
        f"{score.nats_per_character:.4f}", f"{score.bits_per_character:.4f}",
        f"{score.bits_per_byte:.4f}", _perplexity(score), row.computed,
    )  # fmt: skip


def _perplexity(score: Score) -> str:
    return f"{score.perplexity:.4f}" if score.perplexity < 1e6 else f"{score.perplexity:.3e}"


def summary(rows: Sequence[Row]) -> str:
    """The last row, as one line."""
    score = rows[-1].score
    return (
        f"{rows[-1].text}: {score.characters:,} characters, {score.unknown:,} unknown, "
        f"{score.bits_per_character:.4f} bits/char, perplexity {_perplexity(score)} ({rows[-1].computed})"
    )


def to_json(rows: Sequence[Row], model_path: str) -> str:
    """One JSON object: the model's path, and a list with an object for each row."""
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


def line_rows(text: Text, scores: Any, first: int) -> Iterator[str]:
    """Tab-separated rows, one for each line of the text, numbered from ``first``.

    Args:
        text: whose lines.
        scores: (characters,) natural-log probabilities.
        first: the first line's number.
    """
    for line, (characters, unknown, nats) in enumerate(line_scores(text, scores), first):
        bits = -nats / math.log(2) / characters
        yield f"{line}\t{characters}\t{unknown}\t{nats / math.log(10):.4f}\t{bits:.4f}\n"


LINE_HEADER = "line\tchars\tunk\tlog10prob\tbits_per_char\n"


def progress(*, quiet: bool) -> Callable[[int], None]:
    """A function to be called with numbers of symbols scored: a count on a terminal, or lines elsewhere."""
    from charrnn.cli.output import note

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
            note(f"scored {done:,} characters")
            return
        due = now + 0.2
        if bar is None:
            from tqdm import tqdm

            bar = tqdm(unit=" chars", unit_scale=True, leave=False, file=sys.stderr, initial=done)
        bar.update(done - bar.n)

    return (lambda _: None) if quiet or sys.stderr is None else scored


def wants_color(choice: str) -> bool:
    """Whether stdout gets colours: the flag, FORCE_COLOR, NO_COLOR, TERM=dumb, then whether it is a terminal.

    Args:
        choice: "auto", "always" or "never".
    """
    if choice != "auto":
        return choice == "always"
    if os.environ.get("FORCE_COLOR"):
        return True
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return sys.stdout.isatty()


def print_heatmap(found: Surprise, choice: str) -> None:
    """The shaded text and its legend on stdout, line by line."""
    from rich.console import Console

    from charrnn.cli.heatmap import terminal_legend, terminal_lines

    color = wants_color(choice)
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
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
    """The heatmap as an HTML file.

    Raises:
        OSError: it cannot be written.
    """
    from charrnn.files import write_atomically
    from charrnn.pages.heatmap import page

    write_atomically(file, page(found, title, model).encode("utf-8", "replace"))
