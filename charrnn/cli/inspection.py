"""What ``charrnn inspect`` prints: tables, rows of blocks and a shaded text, for any width of terminal."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from charrnn.cli.plot import blocks, grid
from charrnn.cli.tables import table
from charrnn.evaluation.surprise import shown
from charrnn.inspection.along import Along
from charrnn.inspection.cells import Unit
from charrnn.inspection.description import CELL_NAMES, facts
from charrnn.inspection.report import Inspection, scale_of
from charrnn.inspection.units import Followed

if TYPE_CHECKING:
    from charrnn.inspection.gradients import Reach
    from charrnn.inspection.memory import Memory

NARROW = 40  # columns below which lines are not broken any further
SHADED = 1200  # characters of the text that are shaded

# Backgrounds of the xterm palette from the lowest value to the highest, blue to white to orange, which no
# common colour blindness confuses, and whether their ink is white.
SHADES = (
    (25, True), (68, True), (110, False), (153, False), (255, False),
    (223, False), (215, False), (208, False), (166, True),
)  # fmt: skip
MIDDLE = len(SHADES) // 2


def report_lines(found: Inspection, unit: Unit | None, *, width: int, color: bool) -> Iterator[str]:
    """All that was found, line by line.

    Args:
        found: what was found.
        unit: by which the text is shaded, where there is a text.
        width: of the terminal, in columns.
        color: whether there are colours; else digits stand under the text.
    """
    width = max(NARROW, width)
    yield from fact_lines(found, width)
    yield from curve_lines(found, width)
    if found.along is not None:
        yield from followed_lines(found, found.along, width)
        yield from saturation_lines(found.along, width)
        if unit is not None:
            yield from shaded_lines(found, found.along, unit, width=width, color=color)
    if found.gradients is not None:
        yield from gradient_lines(found.gradients, width)
    if found.memory is not None:
        yield from memory_lines(found.memory, width)


def fact_lines(found: Inspection, width: int) -> Iterator[str]:
    """What the model is: a name and a value a line, long values broken."""
    for name, value in facts(found.description):
        # A vocabulary is no words: it is cut where the line ends.
        room = width - 12
        cut = [value[at : at + room] for at in range(0, len(value), room)]
        pieces = cut if name == "vocabulary" else _wrapped(value, room)
        for index, piece in enumerate(pieces):
            yield f"{name if index == 0 else '':<12}{piece}"


def _wrapped(value: str, room: int) -> list[str]:
    """Lines of at most ``room`` columns, broken at spaces, or within words that are longer."""
    lines = [""]
    parts = [word[at : at + room] for word in value.split(" ") for at in range(0, len(word), room)]
    for word in parts:
        if lines[-1] and len(lines[-1]) + 1 + len(word) > room:
            lines.append("")
        lines[-1] += (" " if lines[-1] else "") + word
    return lines


def curve_lines(found: Inspection, width: int) -> Iterator[str]:
    """How the model learnt, where the log of its run is beside it."""
    entries = found.curves
    if len(entries) < 2:
        return
    yield ""
    yield from _wrapped("loss in nats/char by step: t training, v validation", width)
    series = {
        name: [(entry["step"], entry[key]) for entry in entries]
        for name, key in (("training", "train_loss"), ("validation", "val_loss"))
    }
    yield from grid(series, min(width, 100), 10)
    for name, key in (("learning rate", "lr"), ("gradient norm", "gradient_norm")):
        values = [entry[key] for entry in entries if entry[key] is not None]
        if values:
            row = blocks(values, max(8, min(width, 100) - 36), 0.0, max(values))
            yield from _side_by_side(
                f"{name:<14} {row}", f"up to {max(values):.3g}, last {values[-1]:.3g}", width
            )


def _side_by_side(line: str, more: str, width: int) -> Iterator[str]:
    """A line and what more there is to say, which goes below it where both do not fit."""
    if len(line) + 2 + len(more) <= width:
        yield f"{line}  {more}"
    else:
        yield from (line, "    " + more)


def followed_lines(found: Inspection, along: Along, width: int) -> Iterator[str]:
    """Which units follow which feature, best first."""
    count, unknown = len(along.script.characters), len(along.script.characters) - len(along.script.places)
    yield ""
    yield from _wrapped(
        f"{_plain(found.text)}: {count:,} characters, {unknown:,} unknown, "
        f"{found.bits_per_character:.4f} bits/char",
        width,
    )
    if not along.followed:
        yield from _wrapped(
            "too short, or too much the same, to compare units with features of the text", width
        )
        return
    yield ""
    yield from _wrapped(
        "units that follow a feature (layer:unit:signal, from 0), picked on the first half of the text and "
        "measured on the second; r: correlation; AUC: area under the curve of a yes/no feature, "
        "- where the unit is low in it",
        width,
    )
    units = 1 if width < 70 else 2 if width < 96 else 3
    for followed in along.strongest():
        name = f"  {followed.feature:<22}{'AUC' if followed.binary else 'r':<2}"
        yield from _side_by_side(name, _matches(followed, units), width)


def _matches(followed: Followed, count: int) -> str:
    cells = []
    for match in followed.matches[:count]:
        sign = "-" if followed.binary and match.picked < 0 else " "
        value = f"{match.held_out:.3f}" if followed.binary else f"{match.held_out:+.3f}"
        cells.append(f"{sign if followed.binary else ''}{value} {match.unit!s:<15}")
    return " ".join(cells).rstrip()


def saturation_lines(along: Along, width: int) -> Iterator[str]:
    """How often the gates are nearly closed and nearly open."""
    if not along.saturation:
        return
    yield ""
    yield from _wrapped(
        "gates: share of the time below 0.1 and above 0.9; units that are so nine times in ten", width
    )
    rows = [
        (
            f"  {one.layer}", one.gate, f"{one.left.mean():.1%}", f"{one.right.mean():.1%}",
            str(int((one.left > 0.9).sum())), str(int((one.right > 0.9).sum())),
        )
        for one in along.saturation
    ]  # fmt: skip
    header = ("  layer", "gate", "< 0.1", "> 0.9", "units <", "units >")
    yield from table(header, rows, header[:2], keys=2, width=width).splitlines()


def shaded_lines(found: Inspection, along: Along, unit: Unit, *, width: int, color: bool) -> Iterator[str]:
    """The beginning of the text, shaded by what a unit does after each character."""
    values = along.shown[:SHADED, along.columns.column(unit)]
    low, high = scale_of(unit, along.shown[:, along.columns.column(unit)], along.columns.config.cell)
    levels = np.clip(np.round((values - low) / (high - low) * (len(SHADES) - 1)), 0, len(SHADES) - 1)
    shade: dict[int, int] = dict(
        zip(along.script.places[:SHADED].tolist(), levels.astype(int).tolist(), strict=False)
    )
    about = [followed.feature for followed in along.strongest() if along.best(followed.feature) == unit]
    yield ""
    yield from _wrapped(f"unit {unit}" + (f", which follows {', '.join(about)}" if about else ""), width)
    yield from _legend(low, high, width, color=color)
    line, under, used = "", "", 0
    last = max(shade, default=-1)
    byte = found.description["vocabulary"]["kind"] == "byte"
    for place, character in enumerate(along.script.characters[: last + 1]):
        cell = _visible(character, byte=byte)
        level = shade.get(place)
        if used and used + len(cell) > width:
            yield from _ended(line, under, color=color)
            line, under, used = "", "", 0
        line += _shaded(cell, level) if color else cell
        under += ("?" if level is None else str(level + 1)).ljust(len(cell))
        used += len(cell)
        if character == "\n":
            yield from _ended(line, under, color=color)
            line, under, used = "", "", 0
    if used:
        yield from _ended(line, under, color=color)


def _ended(line: str, under: str, *, color: bool) -> Iterator[str]:
    yield line if color else line.rstrip()
    if not color:
        yield under


def _visible(character: str, *, byte: bool) -> str:
    """A character as it is printed: what cannot be seen is named, and a line's end is a space."""
    if character == "\n":
        return " "
    if byte and ord(character) >= 0x80:
        return f"\\x{ord(character):02x}"
    return character if character.isprintable() else shown(character)


def _plain(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)


def _shaded(cell: str, level: int | None) -> str:
    if level is None:
        return f"\x1b[7m{cell}\x1b[0m"
    background, light = SHADES[level]
    return f"\x1b[38;5;{231 if light else 16}m\x1b[48;5;{background}m{cell}\x1b[0m"


def _legend(low: float, high: float, width: int, *, color: bool) -> list[str]:
    numbers = [low + (high - low) * level / (len(SHADES) - 1) for level in range(len(SHADES))]
    if not color:
        middle = f"{MIDDLE + 1} is {numbers[MIDDLE]:.2f}"
        return _wrapped(f"digits: 1 is {low:.2f}, {middle}, 9 is {high:.2f}; ? is unknown", width)
    every = 1 if 6 * len(SHADES) <= width else 2  # of the shades
    cells = [_shaded(f"{number:^6.2f}", level) for level, number in enumerate(numbers)]
    return ["".join(cells[::every])]


LEAST_SHARE = -6  # decimal logarithm of a gradient at which its row is empty


def gradient_lines(reaches: list[Reach], width: int) -> Iterator[str]:
    """How the gradient falls with the distance from the error, a row of blocks a network."""
    steps = reaches[0].norms["input"].shape[1]
    yield ""
    yield from _wrapped(
        f"gradient of one character's loss by the distance back, 0 to {steps - 1}, as a share of that at 0 "
        f"(log scale, 1e{LEAST_SHARE} to 1; half-life in characters; the fresh networks are untrained)",
        width,
    )
    kinds = (("input", 0, "of the bottom layer's input product"), ("hidden", -1, "of the top layer's state"))
    for kind, layer, about in kinds:
        yield f"  {about}"
        for reach in reaches:
            shares = reach.relative(kind, layer)
            yield _gradient_row(_network(reach), shares, width)
            if kind == "hidden" and reach.bound is not None and reach.config.cell == "rnn":
                yield _gradient_row("  its bound", reach.bound, width)


def _network(reach: Reach) -> str:
    return ("model, " if reach.name == "model" else "fresh ") + CELL_NAMES[reach.config.cell]


def _gradient_row(name: str, shares: np.ndarray[tuple[int, ...], np.dtype[np.float64]], width: int) -> str:
    from charrnn.inspection.gradients import half_life

    logs = np.log10(np.maximum(shares, 10.0 ** (LEAST_SHARE - 1)))
    row = blocks(logs.tolist(), max(8, min(64, width - 44)), LEAST_SHARE, 0)
    half = half_life(shares)
    shown_half = f"{half:.1f}" if half is not None else f"> {len(shares) - 1}"
    line = f"  {name:<16} {row} half {shown_half:>6}"
    last = f"  last {shares[-1]:.0e}"
    return line + last if len(line + last) <= width else line


def memory_lines(memory: Memory, width: int) -> Iterator[str]:
    """The loss by how many of the last characters are known."""
    yield ""
    yield from _wrapped(
        f"loss in nats/char of {memory.targets:,} characters when only the last k are known, and when those "
        f"before the last k are in a random order; with the whole text before them it is {memory.whole:.3f}",
        width,
    )
    room = max(4, min(40, width - 32))
    most = max(memory.cut)
    yield f"  {'k':>4}{'last k':>9}{'shuffled':>10}"
    for index, k in enumerate(memory.lengths):
        shuffled = f"{memory.shuffled[index]:.3f}" if index < len(memory.shuffled) else "-"
        excess = (memory.cut[index] - memory.whole) / max(1e-9, most - memory.whole)
        bar = "█" * max(0, math.ceil(excess * room - 0.5))
        yield f"  {k:>4}{memory.cut[index]:>9.3f}{shuffled:>10}  {bar}".rstrip()
    if memory.near is None:
        verdict = f"further back than {memory.lengths[-1]} characters still helps by more than 1 %"
    else:
        verdict = f"within 1 % of the whole from k = {memory.near} on"
    yield from (f"  {line}" for line in _wrapped(verdict, width - 2))
