"""Draws benchmarks/gradients.svg: how far gradients reach in each cell, before and after training.

    python -m benchmarks.gradients [STEPS]

Trains one layer of 128 units of each cell on the shipped play, propagates an error at one character back
through the 128 before it, and prints the half-lives as a table. The picture is the one of the lectures on
vanishing gradients: the norm of the gradient with respect to the input's product, by the distance back.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.report import table
from charrnn.config import ModelConfig
from charrnn.inspection.description import CELL_NAMES
from charrnn.inspection.gradients import FRESH, Reach, fresh_weights, reach, windows
from charrnn.model.file import load_model

ROOT = Path(__file__).parent.parent
PLAY = ROOT / "corpora" / "the-bell-under-the-sea.txt"
HIDDEN = 128
LEAST = -9  # decimal logarithm of the lowest share that is drawn
DASHES = {"rnn": "6 4", "relu": "2 4", "gru": "12 4 2 4", "lstm": ""}
COLORS = {"rnn": "#b34700", "relu": "#17745c", "gru": "#7a3fa0", "lstm": "#0b5fa5"}
WIDTH, HEIGHT, LEFT, TOP = 380, 300, 50, 36


def measure(cell: str, steps: int, directory: Path) -> tuple[Reach, Reach, float]:
    """How far gradients reach before and after training, and the validation loss after it."""
    run = directory / cell
    subprocess.run(
        [sys.executable, "-m", "charrnn", "train", str(PLAY), "-o", str(run), "--cell", cell,
         "--num-layers", "1", "--hidden-size", str(HIDDEN), "--steps", str(steps), "--seed", "1",
         "--threads", "1", "-q"],
        check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    model = load_model(run / "model.safetensors")
    text = windows(model.tokenizer.encode(PLAY.read_text(encoding="utf-8"))[-16_000:])
    config: ModelConfig = model.config
    before = reach(cell, config, fresh_weights(config, model.tokenizer.size, 1), text)
    return before, reach(cell, config, model.weights, text), float(model.quality["nats_per_character"])


def svg(panels: dict[str, list[Reach]]) -> str:
    """The panels side by side, each with a line a cell and its name at the line's end."""
    width = len(panels) * (WIDTH + 40)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {HEIGHT + 60}" '
        'font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="#fff"/>'
    ]
    for index, (title, reaches) in enumerate(panels.items()):
        parts.append(f'<g transform="translate({index * (WIDTH + 40)},0)">{_panel(title, reaches)}</g>')
    return "".join(parts) + "</svg>\n"


def _panel(title: str, reaches: list[Reach]) -> str:
    logs = {one.name: np.log10(np.maximum(one.relative("input", 0), 10.0**LEAST)) for one in reaches}
    top = max(0.0, *(float(log.max()) for log in logs.values()))
    right = LEFT + WIDTH - 110

    def place(step: int, log: float) -> tuple[float, float]:
        return LEFT + step / 127 * (right - LEFT), TOP + (top - log) / (top - LEAST) * (HEIGHT - TOP)

    parts = [f'<text x="{LEFT}" y="18" font-size="14">{title}</text>']
    for power in range(LEAST, int(top) + 1, 3):
        y = place(0, power)[1]
        parts.append(f'<path d="M{LEFT} {y:.1f}H{right}" stroke="#d5dae0"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">1e{power}</text>')
    for step in (0, 32, 64, 96, 127):
        x = place(step, LEAST)[0]
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT + 18}" text-anchor="middle">{step}</text>')
    parts.append(
        f'<text x="{(LEFT + right) / 2}" y="{HEIGHT + 38}" text-anchor="middle">characters back</text>'
    )
    ends: list[tuple[str, float]] = []
    for name, log in sorted(logs.items(), key=lambda item: -float(item[1][-1])):
        visible = np.flatnonzero(log > LEAST)
        points = [place(step, float(log[step])) for step in visible.tolist()]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(
            f'<polyline points="{line}" fill="none" stroke="{COLORS[name]}" stroke-width="2" '
            f'stroke-dasharray="{DASHES[name]}"/>'
        )
        y = max(points[-1][1], ends[-1][1] + 14) if ends else points[-1][1]
        ends.append((name, y))
    over = max(0.0, ends[-1][1] - HEIGHT)  # names that were pushed below the axis push the others up
    for name, y in ends:
        up = y - over if over and y > HEIGHT - 14 * len(ends) else y
        parts.append(
            f'<text x="{right + 6}" y="{up + 4:.1f}" fill="{COLORS[name]}">{CELL_NAMES[name]}</text>'
        )
    return "".join(parts)


def main(steps: int = 600) -> None:
    """Measures, draws and prints."""
    rows, before, after = [], [], []
    with tempfile.TemporaryDirectory() as directory:
        for cell in FRESH:
            fresh, trained, loss = measure(cell, steps, Path(directory))
            before.append(fresh)
            after.append(trained)
            cells = [CELL_NAMES[cell]]
            for one in (fresh, trained):
                shares = one.relative("input", 0)
                half = f"{one.half_life:.1f}" if one.half_life is not None else f"> {len(shares) - 1}"
                cells += [half, f"{shares[-1]:.1e}"]
            rows.append([*cells, f"{loss:.3f}"])
    panels = {"untrained": before, f"after {steps} steps": after}
    (ROOT / "benchmarks" / "gradients.svg").write_text(svg(panels), encoding="utf-8")
    header = (
        "cell",
        "half-life, untrained",
        "left after 127",
        "half-life, trained",
        "left after 127",
        "nats/char",
    )
    print(table(header, rows))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
