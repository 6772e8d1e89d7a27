"""Evaluation: its speed compared with a bare forward pass, its memory and its start-up time.

    python -m benchmarks.evaluation TEXT [--megabytes 100] [--repeats 3]
    python -m benchmarks.evaluation TEXT --model MODEL

The first command repeats TEXT to so many megabytes in a temporary file and scores it with a 2 x 256 LSTM. The
bare pass calls the same network on batches of ids of the same shape and discards the logits; the two take
turns. The second command compares whole processes: ``echo "I like apples" | charrnn evaluate -`` and
``python -c "import torch"``.
"""

from __future__ import annotations

import argparse
import dataclasses
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.report import machine, median_ratio, table
from charrnn.config import CorpusConfig, ModelConfig
from charrnn.evaluation.evaluator import Evaluator
from charrnn.evaluation.torch_scorer import BATCH_SIZE, CHUNK
from charrnn.model.device import choose_machine, prepare_torch
from charrnn.model.file import ModelFile
from charrnn.model.network import CharRNN, State, export_weights
from charrnn.text.corpus import read_corpus
from charrnn.text.scored import ScoredText, read_text, text_config
from charrnn.use_config import EvaluationConfig, EvaluationPrecision

PART = 1 << 20  # symbols of one turn of the comparison
PRECISIONS: tuple[EvaluationPrecision, ...] = ("fp32", "bf16")


def new_model(path: str) -> ModelFile:
    """An untrained 2 x 256 LSTM with the text's vocabulary."""
    config = ModelConfig(num_layers=2, hidden_size=256, embedding_size=64)
    tokenizer = read_corpus([path], CorpusConfig()).tokenizer
    return ModelFile(export_weights(CharRNN(config, tokenizer.size)), config, tokenizer)


def bare_pass(model: ModelFile, precision: EvaluationPrecision, symbols: int) -> Callable[[], None]:
    """A function that runs only the network, over so many symbols in batches of BATCH_SIZE."""
    machine = choose_machine("cpu", precision)
    network = CharRNN(model.config, model.tokenizer.size).eval()
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randint(model.tokenizer.size, (CHUNK, BATCH_SIZE), generator=generator)  # (time, batch)

    @torch.inference_mode()
    def run() -> None:
        state: State | None = None
        for _ in range(symbols // (CHUNK * BATCH_SIZE)):
            with machine.autocast():
                _, state = network(inputs, state)

    return run


def seconds(run: Callable[[], object]) -> float:
    """The duration of one call."""
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def speed(
    model: ModelFile, text: ScoredText, repeats: int
) -> tuple[list[list[str]], dict[EvaluationPrecision, float]]:
    """Rows of the table: characters per second of both, in turns, and the median of their ratios.

    Returns:
        The rows, and the bare pass's median characters per second by precision.
    """
    part = dataclasses.replace(text, ids=text.ids[:PART], characters=min(PART, len(text.ids)))
    rows: list[list[str]] = []
    bares: dict[EvaluationPrecision, float] = {}
    for precision in PRECISIONS:
        evaluator = Evaluator(model, EvaluationConfig(streams=BATCH_SIZE, precision=precision, device="cpu"))
        bare = bare_pass(model, precision, PART)
        bare()
        ours, theirs = [], []
        for _ in range(repeats):
            ours.append(len(part.ids) / seconds(lambda: evaluator.score(part)))  # noqa: B023
            theirs.append(PART / seconds(bare))
        ratio = f"{median_ratio(ours, theirs):.2f}"
        rows.append([precision, *(f"{statistics.median(s):,.0f}" for s in (ours, theirs)), ratio])
        bares[precision] = statistics.median(theirs)
    return rows, bares


def memory(model: ModelFile, path: Path, precision: EvaluationPrecision, bare: float) -> list[str]:
    """A row of the table: time and peak memory of scoring a whole file.

    Args:
        model: to score with.
        path: of the file.
        precision: the arithmetic.
        bare: characters per second of a bare pass.
    """
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    text = read_text(str(path), model.tokenizer, text_config(model.corpus, model.tokenizer))
    evaluator = Evaluator(model, EvaluationConfig(streams=BATCH_SIZE, precision=precision, device="cpu"))
    began = time.perf_counter()
    score = evaluator.score(text)
    took = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    rate = score.characters / took
    figures = [
        f"{score.bytes / 1e6:.0f} MB, {precision}",
        f"{took:.0f} s",
        f"{rate:,.0f}",
        f"{rate / bare:.2f}",
    ]
    sizes = [f"{peak / 1024:,.0f} MiB", f"{(peak - before) / 1024:,.0f} MiB"]
    return [*figures, *sizes, f"{score.nats_per_character:.5f}"]


def startup(model: str, repeats: int) -> str:
    """A table of the two processes' wall times, measured in turns."""
    commands = {
        "evaluate": [sys.executable, "-m", "charrnn", "evaluate", "-m", model, "-"],
        "import torch": [sys.executable, "-c", "import torch"],
    }
    times: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(repeats):
        for name, command in commands.items():
            began = time.perf_counter()
            subprocess.run(command, input=b"I like apples\n", check=True, capture_output=True)
            times[name].append(time.perf_counter() - began)
    ratio = median_ratio(times["evaluate"], times["import torch"])
    medians = [f"{statistics.median(found):.3f} s" for found in times.values()]
    return table(["evaluate -", "import torch", "ratio"], [[*medians, f"{ratio:.2f}"]])


def write_repeated(source: Path, target: Path, size: int) -> None:
    """Writes a text repeatedly until the file has ``size`` bytes."""
    data = source.read_bytes()
    with target.open("wb") as file:
        while size > 0:
            file.write(data[:size])
            size -= len(data)


def main() -> None:
    """Measures and prints Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("text")
    parser.add_argument("--model", help="measure start-up with this model instead")
    parser.add_argument("--megabytes", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    print(machine() + "\n")
    if arguments.model:
        print(startup(arguments.model, arguments.repeats))
        return
    prepare_torch()
    torch.manual_seed(0)
    model = new_model(arguments.text)
    with tempfile.TemporaryDirectory() as folder:
        long = Path(folder, "text")
        write_repeated(Path(arguments.text), long, arguments.megabytes * 10**6)
        config = text_config(model.corpus, model.tokenizer)
        rows, bares = speed(
            model,
            read_text(arguments.text, model.tokenizer, config),
            arguments.repeats,
        )
        print(table(["arithmetic", "evaluate, char/s", "bare pass, char/s", "ratio"], rows) + "\n")
        if arguments.megabytes:
            whole = [memory(model, long, precision, bares[precision]) for precision in PRECISIONS]
            header = ["scored", "in", "char/s", "against the bare pass", "peak memory", "of it by scoring"]
            print(table([*header, "nats/char"], whole))


if __name__ == "__main__":
    main()
