"""Makes the shipped model: trains on tiny Shakespeare, averages, rounds to float16, and records how.

    python -m charrnn.pretrained.make shakespeare.txt --run RUNS

A long training is followed by two short ones at a quarter of the rates, each from the one before, and the
weights of these two are averaged (Izmailov et al., "Averaging weights leads to wider optima and better
generalization", 2018). Each training is a run in the directory RUNS; what is there already is resumed. The
result is written as ``shakespeare.safetensors`` beside this module: its ``training`` names this program, the
processor and the seconds in all, and its ``quality`` is that of the averaged weights.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from charrnn.errors import RunError
from charrnn.evaluation.evaluator import Evaluator
from charrnn.files import MODEL_FILE, STATE_FILE
from charrnn.model.file import ModelFile, load_model, read_header, save_model
from charrnn.text.scored import text_of

OUTPUT = Path(__file__).parent / "shakespeare.safetensors"

ALL = {"batch_size": 16, "patience": 0, "threads": 1}
LOW_RATES = {"lr": 0.003, "matrix_lr": 0.0175, "seed": 2}
# By run, its settings. 2 x 408 units are about the most that 4.5 MB of float16 hold with room to spare; all
# of it takes an hour of one core that has bf16.
STAGES: Mapping[str, Mapping[str, Any]] = {
    "long": {"hidden_size": 408, "output": "all", "steps": 18000, "dropout": 0.22, "seed": 1, **ALL},
    "again": {"steps": 3000, "dropout": 0.2, **LOW_RATES, **ALL},
    "more": {"steps": 5000, "dropout": 0.25, **LOW_RATES, **ALL},
}
AVERAGED = ("again", "more")


def train_arguments(text: str, runs: Path, stage: str) -> list[str]:
    """The arguments of ``charrnn`` that train a stage, from the one before if there is one."""
    settings = [
        part for name, value in STAGES[stage].items() for part in (f"--{name.replace('_', '-')}", str(value))
    ]
    names = list(STAGES)
    before = names[: names.index(stage)][-1:]
    start = [part for name in before for part in ("--init-from", str(runs / name))]
    return ["train", text, "--output-dir", str(runs / stage), *start, *settings]


def processor() -> str:
    """The processor's name, as the system reports it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def train(text: Path, runs: Path) -> None:
    """Trains all stages, or what is missing of them.

    Raises:
        subprocess.CalledProcessError: a training failed; it has said why.
    """
    for stage in STAGES:
        arguments = train_arguments(str(text), runs, stage)
        if (runs / stage / STATE_FILE).exists():
            if read_header(runs / stage / STATE_FILE, "state").get("finished"):
                continue
            arguments = ["train", str(text), "--output-dir", str(runs / stage), "--resume"]
        subprocess.run([sys.executable, "-m", "charrnn", *arguments], check=True)


def finished_model(runs: Path, stage: str) -> ModelFile:
    """A stage's model.

    Raises:
        RunError: the run is not finished, or was trained with other settings.
    """
    run = runs / stage
    if not read_header(run / STATE_FILE, "state").get("finished"):
        raise RunError(f"{run}: not finished; resume it first")
    model = load_model(run / MODEL_FILE)
    found = model.training | dataclasses.asdict(model.config)
    for name, value in STAGES[stage].items():
        if found.get(name, value) != value:
            raise RunError(f"{run}: trained with {name} {found[name]}, not {value}")
    return model


def averaged(models: Sequence[ModelFile]) -> ModelFile:
    """The last of the models, with the mean of their weights."""
    weights = {
        name: np.stack([model.weights[name] for model in models]).mean(0, dtype=np.float64).astype(np.float32)
        for name in models[-1].weights
    }
    return dataclasses.replace(models[-1], weights=weights)


def pack(runs: Path, text: Path, output: Path) -> None:
    """Writes the averaged model with float16 weights, and with how it was made and how good it is.

    Paths are left out: they say nothing on another machine.

    Raises:
        RunError: a run is not finished, or was trained with other settings.
    """
    models = {stage: finished_model(runs, stage) for stage in STAGES}
    model = averaged([models[stage] for stage in AVERAGED])
    count = model.quality["characters"]
    held_out = text_of(text.read_text(encoding="utf-8")[-count:], model.tokenizer)
    nats = Evaluator(model).score(held_out).nats_per_character
    quality = {
        "characters": count,
        "nats_per_character": nats,
        "bits_per_character": nats / math.log(2),
        "step": sum(found.training["step"] for found in models.values()),
    }
    training = model.training | {
        "command": shlex.join(["python", "-m", "charrnn.pretrained.make", text.name, "--run", "runs"]),
        "processor": processor(),
        "seconds": round(sum(found.training["seconds"] for found in models.values()), 3),
        "step": quality["step"],
    }
    corpus = model.corpus | {"paths": [], "name": text.stem}
    packed = dataclasses.replace(model, training=training, corpus=corpus, quality=quality)
    save_model(output, packed, half=True)


def main() -> None:
    """Trains, averages, rounds and writes the shipped model."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("text", type=Path)
    parser.add_argument("--run", type=Path, required=True, metavar="RUNS")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    arguments = parser.parse_args()
    train(arguments.text, arguments.run)
    pack(arguments.run, arguments.text, arguments.output)


if __name__ == "__main__":
    main()
