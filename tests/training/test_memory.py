"""Foreseeing the memory of a training."""

from __future__ import annotations

import dataclasses
import math
import subprocess
import sys
from pathlib import Path

import pytest

from charrnn.config import SIZES
from charrnn.model.device import choose_machine
from charrnn.model.schema import expected_shapes
from charrnn.training.memory import free_memory, training_memory
from tests.conftest import PLAY

PEAK = """
import dataclasses, re, sys
from pathlib import Path
from charrnn.config import SIZES, TrainingConfig
from charrnn.model.device import choose_machine, prepare_torch
from charrnn.training.step import build_step
from charrnn.text.corpus import read_corpus
from charrnn.config import CorpusConfig

def status(name):
    found = re.search(rf"{name}:\\s+(\\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) * 1024

loaded = status("VmRSS")
size, replicas, path = sys.argv[1], int(sys.argv[2]), sys.argv[3]
prepare_torch(replicas)
config = TrainingConfig(seed=1, replicas=replicas, threads=replicas)
corpus = read_corpus([path], CorpusConfig())
model = dataclasses.replace(SIZES[size], output="all")
step = build_step(corpus, model, config, choose_machine("cpu", "fp32"))
for number in range(4):
    step(number, 0.1)
step.capture()
# Not getrusage's peak, which begins with that of the process that started this one.
print(corpus.tokenizer.size, status("VmHWM") - loaded)
"""
LOADED = 2.2e8  # bytes that are taken before anything is foreseen; with CUDA half as much again


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read from Linux")
@pytest.mark.parametrize(("size", "replicas"), [("large", 2), ("512", 1)])
def test_memory_is_foreseen(size: str, replicas: int) -> None:
    """A training takes no more memory than is foreseen, and more than two thirds of it."""
    done = subprocess.run(
        [sys.executable, "-c", PEAK, size, str(replicas), str(PLAY)], capture_output=True, check=True
    )
    vocabulary, peak = map(int, done.stdout.split())
    model = dataclasses.replace(SIZES[size], output="all")
    foreseen = training_memory(model, vocabulary, 32 * 64, replicas)
    assert 2 / 3 * foreseen < LOADED + peak <= foreseen


def test_more_of_anything_takes_more() -> None:
    """Larger networks, vocabularies, windows and more replicas need more memory; known figures come out."""
    base = training_memory(SIZES["512"], 65, 2048, 1)
    assert training_memory(SIZES["768"], 65, 2048, 1) > base
    assert training_memory(SIZES["512"], 6500, 2048, 1) > base
    assert training_memory(SIZES["512"], 65, 4096, 1) > base
    parameters = sum(math.prod(shape) for shape in expected_shapes(SIZES["512"], 65).values())
    more = training_memory(SIZES["512"], 65, 2048, 2) - base
    assert more == pytest.approx(4 * parameters)  # the gradients of another replica, in float32


def test_a_machine_s_memory_is_shared_by_its_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is free is what the system has, an equal part for each worker."""
    monkeypatch.setattr("charrnn.training.memory.available_memory", lambda: 6e9)
    assert free_memory(choose_machine("cpu", "fp32")) == 6e9
    assert free_memory(dataclasses.replace(choose_machine("cpu", "fp32"), workers=3)) == 2e9
