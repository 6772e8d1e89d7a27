"""``charrnn list``: which runs there are, and how well each of them predicts."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from charrnn.cli.options import quiet_option

if TYPE_CHECKING:
    from charrnn.runs import Summary

HEADER = ("name", "age", "model", "text", "chars", "bits/char", "state", "size")
LEFT = {"name", "model", "text", "state"}
UNKNOWN = "-"
WIDEST = 40  # characters of a name or a text's name in the table


@click.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print an object a run instead of a table.")
@quiet_option
def list_runs(*, as_json: bool, quiet: bool) -> None:
    """List the runs under runs/, newest first, and the shipped model."""
    from charrnn.cli.output import byte_writer, note
    from charrnn.cli.tables import terminal_width
    from charrnn.runs import RUNS, summaries

    write = byte_writer()
    found = summaries()
    now = time.time()
    json = "".join(_json(summary, now) for summary in found) if as_json else None
    write((table(found, now, terminal_width()) if json is None else json).encode("utf-8", "replace"))
    if all(summary.state is None and summary.error is None for summary in found):
        note(f"no runs under {RUNS}/; train one (charrnn train TEXT)", quiet=quiet)


def _json(summary: Summary, now: float) -> str:
    import dataclasses
    import json

    values: dict[str, Any] = dataclasses.asdict(summary) | {"age": round(now - summary.modified, 3)}
    return json.dumps(values) + "\n"


def table(summaries: list[Summary], now: float, width: int | None = None) -> str:
    """Aligned columns under one header; of what cannot be read, the reason after its name.

    Args:
        summaries: in the order in which they are shown.
        now: in seconds since 1970, from which ages count.
        width: of the terminal, in columns; None if it is none.
    """
    from charrnn.cli import tables

    if not summaries:
        return ""
    return tables.table(HEADER, [_cells(summary, now) for summary in summaries], LEFT, width=width)


def _cells(summary: Summary, now: float) -> tuple[str, ...]:
    """A row; of what cannot be read name, age and reason."""
    from charrnn.cli.output import one_line

    name = one_line(summary.name, WIDEST)
    age = age_of(now - summary.modified) if summary.modified else UNKNOWN
    if summary.error is not None:
        return name, age, one_line(summary.error)
    shape = UNKNOWN
    if summary.cell and summary.layers and summary.units:
        shape = f"{summary.cell} {summary.layers}x{summary.units}"
    if summary.order:
        ngram = f"{summary.order}-gram"
        shape = ngram if summary.cell == "ngram" else f"{shape} + {ngram}"
    bits = summary.bits_per_character
    return (
        name,
        age,
        one_line(shape, WIDEST),
        one_line(summary.text or UNKNOWN, WIDEST),
        UNKNOWN if summary.characters is None else f"{summary.characters:,}",
        UNKNOWN if bits is None else f"{bits:.3f}",
        summary.state or UNKNOWN,
        f"{summary.size / 1e6:.1f} MB",
    )


def age_of(seconds: float) -> str:
    """A length of time in its largest whole unit.

    >>> [age_of(s) for s in (-5, 59, 60, 7200, 86400 * 3, 86400 * 800)]
    ['0s', '59s', '1m', '2h', '3d', '2y']
    """
    whole = max(0, int(seconds))
    for unit, length in (("y", 365 * 86400), ("d", 86400), ("h", 3600), ("m", 60)):
        if whole >= length:
            return f"{whole // length}{unit}"
    return f"{whole}s"
