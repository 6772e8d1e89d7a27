"""Sampling's speed, each figure beside its reference measured in the same run, turn by turn.

``python -m benchmarks.sampling`` prints one table. Nothing is trained: speed does not depend on what the
weights are, and random ones of the same shapes stand in for it.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.report import machine, median_ratio, table
from charrnn.config import ModelConfig
from charrnn.model.file import ModelFile, save_model
from charrnn.model.schema import expected_shapes
from charrnn.sampling.session import SamplingSession
from charrnn.sampling.writer import TextStream, pieces
from charrnn.text.tokenizer import CharTokenizer
from charrnn.use_config import SamplingConfig

# The 65 characters of tiny Shakespeare.
VOCABULARY = "\n !$&',-.3:;?ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

Timed = Callable[[], float]  # runs once and returns seconds a character


def model_of(layers: int, hidden: int) -> ModelFile:
    """A model of this shape; weights small enough for ordinary logits."""
    config, tokenizer = ModelConfig("lstm", layers, hidden, 64), CharTokenizer(VOCABULARY)
    generator = np.random.default_rng(0)
    weights = {
        name: generator.normal(0, 0.5 / np.sqrt(shape[-1]), shape).astype(np.float32)
        for name, shape in expected_shapes(config, tokenizer.size).items()
    }
    return ModelFile(weights, config, tokenizer)


def per_character(run: Callable[[], object], characters: int) -> float:
    """Seconds a character of one run."""
    began = time.perf_counter()
    run()
    return (time.perf_counter() - began) / characters


def text_writer(model: ModelFile, length: int) -> Timed:
    """All that ``charrnn sample`` does past start-up, but for the system call that writes a piece."""
    session = SamplingSession(model, SamplingConfig(length=length, seed=1, temperature=1.0))
    prompt = session.prompt("")
    decode = model.tokenizer.decode_bytes

    def run() -> float:
        ids = TextStream(session, prompt)
        return per_character(lambda: [None for _ in pieces(ids, decode)], length)

    return run


def products(model: ModelFile, length: int) -> Timed:
    """The matrix-vector products of a step and nothing else, in matrices of the shapes they must have."""
    config, size = model.config, model.config.hidden_size
    shapes = [(4 * size, size)] + [(4 * size, 2 * size)] * (config.num_layers - 1)
    shapes.append((model.tokenizer.size, size))
    calls = [(np.ones(s, np.float32), np.ones(s[1], np.float32), np.zeros(s[0], np.float32)) for s in shapes]

    def loop() -> None:
        dot = np.dot
        for _ in range(length):
            for matrix, vector, out in calls:
                dot(matrix, vector, out)

    return lambda: per_character(loop, length)


def batch_stepper(model: ModelFile, count: int, length: int) -> Timed:
    """N streams in lockstep, logits to ids; seconds a character of all streams together."""
    session = SamplingSession(model, SamplingConfig(seed=1, temperature=1.0))
    prompt = session.prompt("")

    def loop() -> None:
        streams, sampler = session.engine.stream(count), session.sampler(prompt, 1)
        ids = np.zeros(count, np.int64)
        for _ in range(length // count):
            ids = sampler.choose_many(streams.step(ids))

    return lambda: per_character(loop, length // count * count)


def torch_stepper(model: ModelFile, length: int, *, cells: bool) -> Timed:
    """Sampling in eager torch: by ``nn.LSTMCell``, or by ``nn.LSTM`` as it ships."""
    import torch
    from torch import nn

    config, size = model.config, model.tokenizer.size
    sizes = [config.embedding_size] + [config.hidden_size] * config.num_layers
    embedding, output = nn.Embedding(size, sizes[0]), nn.Linear(config.hidden_size, size)
    layers = [nn.LSTMCell(sizes[i], sizes[i + 1]) for i in range(config.num_layers)]
    whole = nn.LSTM(sizes[0], config.hidden_size, config.num_layers)

    @torch.inference_mode()
    def by_cells() -> None:
        states: list[tuple[torch.Tensor, torch.Tensor] | None] = [None] * len(layers)
        id = torch.zeros(1, dtype=torch.long)
        for _ in range(length):
            x = embedding(id)  # (1, embedding)
            for index, layer in enumerate(layers):
                state = layer(x, states[index])
                states[index], x = state, state[0]  # (1, hidden)
            id = torch.multinomial(torch.softmax(output(x), -1), 1)[0]

    @torch.inference_mode()
    def by_lstm() -> None:
        state, id = None, torch.zeros(1, dtype=torch.long)
        for _ in range(length):
            x, state = whole(embedding(id)[None], state)  # (1, 1, hidden)
            id = torch.multinomial(torch.softmax(output(x[0]), -1), 1)[0]

    return lambda: per_character(by_cells if cells else by_lstm, length)


def _run_torch(layers: int, hidden: int, length: int, cells: bool) -> float:
    run = torch_stepper(model_of(layers, hidden), length, cells=cells)
    run()  # warm up
    return run()


def beside(*arguments: Any) -> Timed:
    """``torch_stepper`` in a new process every time, by itself.

    Nobody who samples has torch's threads beside them, nor who uses torch has ours: for a tenth of a second
    after its last product OpenBLAS's second thread still spins, which the time to import torch outlasts.
    """

    def run() -> float:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            return float(pool.apply(_run_torch, arguments))

    return run


def process(*arguments: str) -> Timed:
    """The wall time of a whole process."""

    def run() -> float:
        began = time.perf_counter()
        subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
        return time.perf_counter() - began

    return run


def first_character(path: Path) -> Timed:
    """From a process's start to its first byte of text."""
    arguments = ["-m", "charrnn", "sample", "-m", str(path), "-n", "-1", "-q", "-s", "1"]

    def run() -> float:
        began = time.perf_counter()
        with subprocess.Popen([sys.executable, *arguments], stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            os.read(child.stdout.fileno(), 1)
            found = time.perf_counter() - began
            child.kill()
        return found

    return run


def resident(path: Path) -> float:
    """Megabytes resident at most while sampling, beyond the weights; as Linux counts them.

    Not by ``getrusage``, where a process begins with what the one that started it had.
    """
    code = (
        "import sys; from charrnn.cli.main import run; run(sys.argv[1:]);"
        "found = dict(line.split(':') for line in open('/proc/self/status'));"
        "sys.stderr.write(found['VmHWM'].split()[0])"
    )
    arguments = ["sample", "-m", str(path), "-n", "1000", "-q", "-s", "1"]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, check=True)
    return int(done.stderr) / 1024 - path.stat().st_size / 2**20


def compare(name: str, ours: Timed, theirs: Timed, runs: int, *, bar: str, share: bool) -> list[str]:
    """A row: medians of ours and the reference, and the median of their paired ratios.

    With ``share`` the ratio is our time over theirs, of whole processes; else how many times as fast.
    """
    ours(), theirs()  # warm up
    a, b = [], []
    for _ in range(runs):
        a.append(ours())
        b.append(theirs())
    ratio = median_ratio(a, b) if share else median_ratio(b, a)
    scale, unit = (1e3, "ms") if share else (1e6, "µs/char")
    medians = [f"{statistics.median(times) * scale:.1f} {unit}" for times in (a, b)]
    return [name, *medians, f"{ratio:.2f}", bar]


SHAPES = ((2, 128, "0.45", 8000), (2, 256, "0.62", 5000), (3, 512, "0.78", 800), (2, 1024, "0.85", 300))


def rows(runs: int, path: Path) -> list[list[str]]:
    """All comparisons."""
    found = []
    for layers, hidden, bar, length in SHAPES:
        model = model_of(layers, hidden)
        pair = text_writer(model, length), products(model, length)
        name = f"{layers}x{hidden}, against the products alone"
        found.append(compare(name, *pair, runs, bar="at least " + bar, share=False))
    model = model_of(2, 256)
    save_model(path, model)
    ours = text_writer(model, 5000)
    for cells, name, bar in ((True, "nn.LSTMCell", "2.5"), (False, "nn.LSTM", "30")):
        theirs = beside(2, 256, 1000, cells)
        found.append(
            compare(f"2x256, against {name}", ours, theirs, runs, bar=f"at least {bar}", share=False)
        )
    batch = batch_stepper(model, 64, 12800)
    found.append(compare("2x256, 64 streams against one", batch, ours, runs, bar="at least 4", share=False))
    torch = process("-c", "import torch")
    starts = [(first_character(path), "first character", "0.25")]
    starts += [(process("-m", "charrnn", option), option, "0.15") for option in ("--help", "--version")]
    for timed, name, bar in starts:
        found.append(
            compare(f"{name}, against import torch", timed, torch, runs, bar=f"at most {bar}", share=True)
        )
    found.append(["memory beyond the weights", f"{resident(path):.0f} MB", "", "", "at most 60 MB"])
    return found


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=7, help="how often to repeat each measurement")
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as directory:
        found = rows(runs, Path(directory) / "model.safetensors")
    print(machine(), f"medians of {runs} runs, turn by turn", sep="\n", end="\n\n")
    print(table(["what", "ours", "reference", "ratio", "bar"], found))


if __name__ == "__main__":
    main()
