"""Texts a second of ``charrnn sample --each``, beside one stream and beside a process for each source.

    python -m benchmarks.each MODEL PAIRS.tsv [--sources 10000] [--runs 5]

All three in turns, as seconds of processor time a source, so that who else uses the machine matters little:

- the whole process of ``--each``, which reads all sources from a file, and its start alone, the same with an
  empty file;
- one stream, which answers a tenth of the sources one after the other, without the start of a process, and is
  compared with ``--each`` without its start;
- a process for each of a few sources: ``charrnn sample --prompt SOURCE``.

All answers must be the same. With --threads 2 the products of matrices use two cores; then
seconds are those of a clock, on a machine that should be quiet.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.report import machine, median_ratio, table

EACH, START = "--each", "its start alone"
STREAM, PROCESSES = "one stream", "a process a source"
FEW = 3  # sources that get a process of their own, in each run
Timed = Callable[[], float]  # runs once and returns seconds a source


def clock(*, of_children: bool, wall: bool) -> float:
    """Seconds of processor time of this process or of its children; or of a clock."""
    if wall:
        return time.perf_counter()
    used = resource.getrusage(resource.RUSAGE_CHILDREN if of_children else resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def process(arguments: list[str]) -> list[str]:
    """The lines that a command of charrnn writes."""
    command = [sys.executable, "-m", "charrnn", "sample", "-q", *arguments]
    done = subprocess.run(command, check=True, capture_output=True, encoding="utf-8")
    return done.stdout.splitlines()


def contestants(model: Path, sources: list[str], folder: Path, *, wall: bool) -> dict[str, Timed]:
    """The ways, by name, each checked once."""
    from charrnn.model.file import load_model
    from charrnn.sampling.continuation import Continuation
    from charrnn.sampling.session import SamplingSession
    from charrnn.use_config import SamplingConfig

    path = folder / "sources.txt"
    path.write_text("".join(source + "\n" for source in sources), encoding="utf-8")
    nothing = folder / "nothing.txt"
    nothing.touch()
    session = SamplingSession(load_model(model), SamplingConfig(temperature=0.0, seed=0))
    session.stops.append([session.tokenizer.start])
    some = sources[: max(1, len(sources) // 10)]

    def one_stream() -> list[str]:
        prompts = (session.prompt(source + "\t") for source in some)
        return [session.tokenizer.decode(list(Continuation(session, prompt, 0))) for prompt in prompts]

    def each() -> list[str]:
        return process(["-m", str(model), "--each", str(path)])

    def start() -> list[str]:
        return process(["-m", str(model), "--each", str(nothing)])

    def processes() -> list[str]:
        return [line for source in sources[:FEW] for line in process(["-m", str(model), "-p", source])]

    answers = each()
    assert answers[: len(some)] == [answer.rstrip("\n") for answer in one_stream()]
    assert answers[:FEW] == processes()

    def timed(run: Callable[[], list[str]], count: int, *, of_children: bool) -> Timed:
        def seconds() -> float:
            began = clock(of_children=of_children, wall=wall)
            run()
            return (clock(of_children=of_children, wall=wall) - began) / count

        return seconds

    return {
        EACH: timed(each, len(sources), of_children=True),
        START: timed(start, len(sources), of_children=True),
        STREAM: timed(one_stream, len(some), of_children=False),
        PROCESSES: timed(processes, FEW, of_children=True),
    }


BARS = {STREAM: "at least 4", PROCESSES: "at least 100"}


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path, help="a model of pairs")
    parser.add_argument("pairs", type=Path, help="whose sources are answered")
    parser.add_argument("--sources", type=int, default=10_000, help="how many of them")
    parser.add_argument("--runs", type=int, default=5, help="how often to repeat each measurement")
    parser.add_argument("--threads", type=int, default=1, help="of the products of matrices")
    options = parser.parse_args()
    os.environ["OPENBLAS_NUM_THREADS"] = str(
        options.threads
    )  # before NumPy is imported, here and in processes
    lines = options.pairs.read_text(encoding="utf-8").splitlines()[: options.sources]
    with tempfile.TemporaryDirectory() as folder:
        sources = [line.partition("\t")[0] for line in lines]
        ways = contestants(options.model, sources, Path(folder), wall=options.threads > 1)
        times: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(options.runs):
            for name, seconds in ways.items():
                times[name].append(seconds())
    kind = "a clock" if options.threads > 1 else "processor time"
    print(
        machine(),
        f"{len(sources):,} sources, {options.threads} threads, medians of {options.runs} runs",
        sep="\n",
    )
    net = [whole - start for whole, start in zip(times[EACH], times[START], strict=True)]
    ratios = {
        STREAM: median_ratio(times[STREAM], net),
        PROCESSES: median_ratio(times[PROCESSES], times[EACH]),
    }
    rows = []
    for name, found in times.items():
        ratio = f"{ratios[name]:.2f}" if name in ratios else ""
        rows.append([name, f"{statistics.median(found) * 1e6:.0f} µs", ratio, BARS.get(name, "")])
    print(table(["way", f"{kind} a source", "times --each", "bar"], rows))


if __name__ == "__main__":
    main()
