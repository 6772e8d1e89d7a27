"""A large text: how fast it is encoded, in how much memory, and how fast a model then learns from the map.

    python -m benchmarks.large TEXT [--megabytes 1000] [--steps 500] [--rounds 3]

TEXT is written over and over, its lines in another order each time, until there is enough of it. Memory is
that of a training beyond that of one on TEXT itself, at their peaks; speeds are medians of turns, a training
on the large text against one on TEXT, both in processes of their own.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.report import machine, median_ratio, table
from charrnn.config import CorpusConfig
from charrnn.files import LOG_FILE
from charrnn.text.corpus import read_corpus

PEAK = """
import resource, sys
from charrnn.cli.main import run
status = run(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)
sys.exit(status)
"""


def write_large(source: Path, target: Path, size: int) -> None:
    """Writes at least so many bytes: the lines of a text again and again, shuffled."""
    lines = source.read_bytes().splitlines(keepends=True)
    generator = random.Random(0)
    with target.open("wb") as file:
        while file.tell() < size:
            generator.shuffle(lines)
            file.write(b"".join(lines))


def encode(text: Path, folder: Path) -> tuple[float, float, float]:
    """Seconds to encode a text, seconds to find it encoded, and megabytes of memory that this took."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.perf_counter()
    corpus = read_corpus([str(text)], CorpusConfig(), directory=folder)
    first = time.perf_counter() - began
    tokenizer = corpus.tokenizer
    began = time.perf_counter()
    read_corpus([str(text)], CorpusConfig(), tokenizer, folder)
    again = time.perf_counter() - began
    return first, again, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


def train(text: Path, folder: Path, steps: int) -> tuple[float, float]:
    """Characters a second of a training of the default model, and its peak memory in megabytes."""
    flags = ["--size", "medium", "--steps", str(steps), "-s", "1", "-q", "--force", "-o", str(folder)]
    command = [sys.executable, "-c", PEAK, "train", str(text), *flags]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    last = json.loads((folder / LOG_FILE).read_text().splitlines()[-1])
    return last["characters_per_second"], int(done.stderr.split()[-1]) / 1024


def main() -> None:
    """Measures and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("text", type=Path)
    parser.add_argument("--megabytes", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        large = folder / "large.txt"
        write_large(arguments.text, large, arguments.megabytes * 10**6)
        megabytes = large.stat().st_size / 1e6
        first, again, memory = encode(large, folder / "ids")
        runs = {path: [] for path in (large, arguments.text)}  # type: dict[Path, list[tuple[float, float]]]
        for _ in range(arguments.rounds):
            for path, found in runs.items():
                found.append(train(path, folder / path.stem, arguments.steps))
    (large_speeds, large_peaks), (small_speeds, small_peaks) = (
        tuple(zip(*found, strict=True)) for found in runs.values()
    )
    print(machine() + "\n")
    rows = [
        [f"encoding {megabytes:,.0f} MB", f"{megabytes / first:.0f} MB/s", "at least 60 MB/s"],
        ["finding it encoded, its hash checked", f"{megabytes / again:.0f} MB/s", ""],
        ["memory that took", f"{memory:.0f} MB", "at most 300 MB"],
        ["memory of training, beyond that on the small text", f"{max(large_peaks) - max(small_peaks):.0f} MB",
         "at most 300 MB"],
        [f"training from the map: {statistics.median(large_speeds):,.0f} char/s, against "
         f"{statistics.median(small_speeds):,.0f} on the small text",
         f"{median_ratio(large_speeds, small_speeds):.2f}", "at least 0.95"],
    ]  # fmt: skip
    print(table(["what", "measured", "bar"], rows))


if __name__ == "__main__":
    main()
