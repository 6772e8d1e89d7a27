"""Which size of model is best for a text and a time: every size trained, and what --size auto makes of it.

    python -m benchmarks.sizes TEXT [TEXT ...] [--times 1m 3m] [--flags "--lines"]

Each cell of the table is the validation loss of one training by the command line, in nats a character, with
everything but --size and --time at its default. The last lines print, for ``charrnn.training.choices``, from
how many characters on each size was the best, on the longest text.
"""

from __future__ import annotations

import argparse
import itertools
import json
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.report import machine, table
from charrnn.config import SIZES
from charrnn.files import LOG_FILE, MODEL_FILE
from charrnn.model.file import load_model


def train(text: str, size: str, time: str, flags: list[str]) -> dict[str, Any]:
    """The outcome of one training: its loss, its shape and how much it read."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder, "run")
        command = [sys.executable, "-m", "charrnn", "train", text, "-o", str(run), "-s", "1", "-q"]
        training = [*command, "--size", size, "--time", time, "--without-ngram", *flags]
        subprocess.run(training, check=True, capture_output=True)
        log = [json.loads(line) for line in (run / LOG_FILE).read_text().splitlines()]
        model = load_model(run / MODEL_FILE)
    return {
        "loss": model.quality["nats_per_character"],
        "characters": log[-1]["characters_per_second"] * log[-1]["seconds"],
        "seconds": log[-1]["seconds"],
        "size": model.training["size"],
        "shape": f"{model.config.num_layers}x{model.config.hidden_size}, batch {model.training['batch']}, "
        f"dropout {model.config.dropout:g}",
    }


def thresholds(found: dict[tuple[str, str], dict[str, dict[str, Any]]], text: str) -> list[str]:
    """From how many characters, read by a medium model, each size or a larger one was the best.

    That is where the gain over the best of the smaller ones, taken as linear between the logarithms of two
    budgets, is zero.
    """
    outcomes = [outcome for (name, _), outcome in found.items() if name == text and "medium" in outcome]
    outcomes.sort(key=lambda outcome: float(outcome["medium"]["characters"]))
    lines = []
    order: list[str] = list(SIZES)
    for place, size in enumerate(order[1:], 1):
        gains = []  # (characters read, nats a character)
        for outcome in outcomes:
            below, above = (
                [outcome[each]["loss"] for each in part if each in outcome]
                for part in (order[:place], order[place:])
            )
            if below and above:
                gains.append((outcome["medium"]["characters"], min(below) - min(above)))
        lines.append(f"{size}: {_crossing(gains)}")
    return lines


def _crossing(gains: list[tuple[float, float]]) -> str:
    """Where the second numbers turn from negative to positive, on the logarithms of the first.

    >>> _crossing([(1e6, -0.01), (4e6, 0.01)]), _crossing([(2e6, 0.1)]), _crossing([(2e6, -0.1)])
    ('2e+06', 'below 2e+06', 'above 2e+06')
    """
    for (low, loss), (high, gain) in itertools.pairwise(gains):
        if loss < 0 <= gain:
            return f"{low * (high / low) ** (loss / (loss - gain)):.2g}"
    if not gains:
        return "not compared"
    least, most = gains[0], gains[-1]
    return f"below {least[0]:.2g}" if least[1] >= 0 else f"above {most[0]:.2g}"


def main() -> None:
    """Trains, and prints the table and the thresholds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("texts", nargs="+")
    parser.add_argument("--times", nargs="+", default=["1m", "3m"])
    parser.add_argument(
        "--sizes",
        nargs="*",
        default=["tiny", "small", "medium", "large", "512"],
        help="besides what auto chooses",
    )
    parser.add_argument("--flags", default="", help="further flags for charrnn train")
    arguments = parser.parse_args()
    flags = shlex.split(arguments.flags)
    found: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
    rows = []
    for text in arguments.texts:
        for time in arguments.times:
            auto = train(text, "auto", time, flags)
            outcome: dict[str, dict[str, Any]] = {auto["size"]: auto}
            for size in arguments.sizes:
                if size not in outcome:
                    outcome[size] = train(text, size, time, flags)
            found[text, time] = outcome
            best = min(each["loss"] for each in outcome.values())
            losses = [f"{outcome[size]['loss']:.4f}" if size in outcome else "" for size in SIZES]
            difference = f"{auto['loss'] - best:+.4f}"
            rows.append([Path(text).stem, time, *losses, auto["size"], difference, auto["shape"]])
            print(" | ".join(rows[-1]), file=sys.stderr, flush=True)
    print(machine() + "\n")
    print(table(["text", "time", *SIZES, "auto", "worse than the best by", "its shape"], rows) + "\n")
    longest = max(arguments.texts, key=lambda text: Path(text).stat().st_size)
    print("\n".join(thresholds(found, longest)))


if __name__ == "__main__":
    main()
