"""Speed beside a busy process against speed without it: sampling, scoring, validation, dynamic evaluation.

    python -m benchmarks.busy TEXT [--rounds 5] [--jobs sampling,scoring,...] [--busy 1]

Each job runs in a process of its own, set up as ``charrnn`` sets up itself, with a 2 x 256 LSTM of random
weights. Such a process does its work several times in turns: alone, and beside a loop of pure Python. One was
started on the quiet machine ("crowded later"), the other beside the loop ("crowded at the start"). Printed
are the median times alone and the medians of the ratios; the bar is 0.5. On two cores a fair share is between
0.5, for what uses both cores, and 1. The machine must be quiet otherwise.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from charrnn.system import share_cores

LOOP = "while True: pass"
SETTLE = 0.3  # seconds until the loop runs
VALIDATED, DYNAMIC, SAMPLED, SCORED = 120_000, 3_000, 12_000, 12_000  # characters


def random_model(text: str) -> Any:
    """A 2 x 256 LSTM of random weights with the text's vocabulary, made without torch."""
    import numpy as np

    from charrnn.config import ModelConfig
    from charrnn.model.file import ModelFile
    from charrnn.model.schema import expected_shapes
    from charrnn.text.tokenizer import CharTokenizer

    config = ModelConfig(dropout=0.0)
    tokenizer = CharTokenizer("".join(sorted(set(text) | {"\n"})))
    generator = np.random.default_rng(0)
    weights = {
        name: generator.normal(0, 0.05, shape).astype(np.float32)
        for name, shape in expected_shapes(config, tokenizer.size).items()
    }
    return ModelFile(weights, config, tokenizer)


def sampling(text: str) -> Callable[[], object]:
    """Writes one text in NumPy."""
    from charrnn.sampling.session import SamplingSession
    from charrnn.sampling.writer import TextStream
    from charrnn.use_config import SamplingConfig

    session = SamplingSession(random_model(text), SamplingConfig(length=SAMPLED, seed=1))
    return lambda: sum(1 for _ in TextStream(session, session.prompt("")))


def scoring(text: str) -> Callable[[], object]:
    """Scores a short text in NumPy."""
    from charrnn.evaluation.evaluator import read_scores
    from charrnn.model.engine import Engine

    model = random_model(text)
    engine, ids = Engine(model), model.tokenizer.encode(text[:SCORED])
    return lambda: sum(1 for _ in read_scores(engine, ids, model.tokenizer.start))


def evaluation(text: str) -> Callable[[], object]:
    """Scores a long text in torch."""
    from charrnn.evaluation.evaluator import Evaluator
    from charrnn.text.scored import text_of
    from charrnn.use_config import EvaluationConfig

    model = random_model(text)
    scored = text_of((text * (1 + VALIDATED // len(text)))[:VALIDATED], model.tokenizer)
    evaluator = Evaluator(model, EvaluationConfig(streams=64))
    return lambda: evaluator.score(scored)


def validation(text: str) -> Callable[[], object]:
    """Scores a held-out part as training does, whose threads are all cores."""
    from charrnn.config import CorpusConfig
    from charrnn.model.device import choose_machine, prepare_torch
    from charrnn.model.network import build_model
    from charrnn.text.corpus import read_corpus
    from charrnn.text.validated import validated
    from charrnn.training.validation import Validation

    prepare_torch()
    corpus = read_corpus([sys.argv[1]], CorpusConfig(val_fraction=0.5))
    model = random_model(text)
    network = build_model(model.config, model.weights)
    held_out = Validation(corpus, validated(corpus, VALIDATED), choose_machine("cpu", "fp32"))
    return lambda: held_out.score(network, lambda _: False)


def dynamic(text: str) -> Callable[[], object]:
    """Scores a text with dynamic evaluation."""
    from charrnn.evaluation.dynamic import DynamicEvaluator
    from charrnn.model.device import prepare_torch
    from charrnn.text.scored import text_of

    prepare_torch()
    model = random_model(text)
    scored = text_of(text[:DYNAMIC], model.tokenizer)
    evaluator = DynamicEvaluator(model, scored)
    return lambda: evaluator.score(scored)


JOBS = {job.__name__: job for job in (sampling, scoring, validation, evaluation, dynamic)}


def work(name: str, path: str) -> None:
    """The process of a job: for each line of stdin it does the job, and prints the seconds that it took."""
    share_cores()
    job = JOBS[name](Path(path).read_text(encoding="utf-8"))
    job()
    print("ready", flush=True)
    for _ in sys.stdin:
        began = time.perf_counter()
        job()
        print(time.perf_counter() - began, flush=True)


class Worker:
    """A job's process."""

    def __init__(self, name: str, path: str) -> None:
        command = [sys.executable, "-m", "benchmarks.busy", path, "--work", name]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._answer()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        answer = self._process.stdout.readline()
        if not answer:
            raise SystemExit("a job's process ended; see above")
        return answer

    def seconds(self) -> float:
        """How long the job takes now."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return float(self._answer())

    def end(self) -> None:
        """Ends the process."""
        self._process.communicate("")


@contextlib.contextmanager
def crowd(count: int) -> Iterator[None]:
    """So many loops of pure Python while it is entered."""
    loops = [subprocess.Popen([sys.executable, "-c", LOOP]) for _ in range(count)]
    try:
        time.sleep(SETTLE)
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def measure(name: str, path: str, rounds: int, busy: int) -> list[str]:
    """A row: the job, its median seconds alone, and the ratios where it is crowded later or at the start."""
    quiet = Worker(name, path)
    with crowd(busy):
        crowded = Worker(name, path)
    alone, later, start = [], [], []
    for _ in range(rounds):
        alone.append(quiet.seconds())
        with crowd(busy):
            later.append(quiet.seconds())
            start.append(crowded.seconds())
    quiet.end()
    crowded.end()
    ratios = [statistics.median(a / b for a, b in zip(alone, other, strict=True)) for other in (later, start)]
    return [name, f"{statistics.median(alone):.2f}", *(f"{ratio:.2f}" for ratio in ratios)]


def main() -> None:
    """Runs the benchmark, or a job's process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("text")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--jobs", default=",".join(JOBS))
    parser.add_argument("--busy", type=int, default=1)
    parser.add_argument("--work", choices=JOBS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        work(arguments.work, arguments.text)
        return
    from benchmarks.report import machine, table

    print(machine())
    names = arguments.jobs.split(",")
    rows = [measure(name, arguments.text, arguments.rounds, arguments.busy) for name in names]
    header = ["job", "seconds alone", "speed when crowded later", "speed when crowded at the start"]
    print(table(header, rows))


if __name__ == "__main__":
    main()
