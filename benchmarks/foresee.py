"""What ``--size auto`` would choose for texts and times, and the memory that it foresees; nothing is trained.

    python -m benchmarks.foresee [--speed 17000]

The speed is that of a medium model, in characters a second, as ``python -m benchmarks.training`` measures it.
"""

from __future__ import annotations

import argparse

from benchmarks.report import table
from charrnn.config import SIZES
from charrnn.training.choices import SMALLEST_BUDGETS, size_for
from charrnn.training.memory import training_memory
from charrnn.training.schedule import MOST_PASSES

TEXTS = (1e5, 1e6, 1e7, 1e8)  # characters to learn from
TIMES = {"20 s": 20, "3 min": 180, "1 h": 3600, "10 h": 36000}
VOCABULARY, WINDOW, REPLICAS = 100, 32 * 64, 2


def main() -> None:
    """Prints the two tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--speed", type=float, default=17_000)
    speed = parser.parse_args().speed
    rows = [
        [f"{text:,.0f}", *(size_for(speed * seconds, MOST_PASSES * text) for seconds in TIMES.values())]
        for text in TEXTS
    ]
    print(f"A medium model reads {speed:,.0f} characters a second.\n")
    print(table(["characters to learn", *TIMES], rows) + "\n")
    sizes = [
        [
            size,
            f"{model.num_layers} x {model.hidden_size}",
            f"{SMALLEST_BUDGETS[size] / 1e6:,.1f} million",
            f"{training_memory(model, VOCABULARY, WINDOW, REPLICAS) / 1e9:.2f} GB",
        ]
        for size, model in SIZES.items()
    ]
    print(table(["size", "shape", "from characters read by a medium model", "memory foreseen"], sizes))


if __name__ == "__main__":
    main()
