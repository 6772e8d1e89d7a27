"""Makes the shipped model: trains on tiny Shakespeare, rounds to float16, and records how.

    python -m charrnn.pretrained.make shakespeare.txt --run RUN

Trains into RUN by the command line, or resumes what is there, and writes ``shakespeare.safetensors`` beside
this module. The file's ``training`` names the command and the processor; its ``quality`` is the result.
"""

from __future__ import annotations

import argparse
import dataclasses
import platform
import shlex
import subprocess
import sys
from pathlib import Path

from charrnn.errors import RunError
from charrnn.files import MODEL_FILE, STATE_FILE
from charrnn.model.file import load_model, read_header, save_model

OUTPUT = Path(__file__).parent / "shakespeare.safetensors"

# 2 x 384 units are the most that 4.5 MB of float16 hold with room to spare. Thirteen passes in small batches
# take an hour of one core.
RECIPE = {
    "hidden_size": 384,
    "output": "all",
    "batch_size": 16,
    "dropout": 0.15,
    "patience": 0,
    "seed": 1,
    "threads": 1,
}
PARTS = (10500, 13000)  # steps: a training, and its extension, which warms up and decays once more


def commands(text: str, run: str) -> list[list[str]]:
    """The commands that train the model, one for each part."""
    settings: list[str] = []
    for name, value in RECIPE.items():
        settings += [f"--{name.replace('_', '-')}", str(value)]
    begin = ["charrnn", "train", text, "--output-dir", run]
    first, *others = PARTS
    extended = [[*begin, "--resume", "--steps", str(steps)] for steps in others]
    return [[*begin, *settings, "--steps", str(first)], *extended]


def processor() -> str:
    """The processor's name, as the system reports it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def train(text: Path, run: Path) -> None:
    """Trains the run, or finishes it.

    Raises:
        subprocess.CalledProcessError: the training failed; it has said why.
    """
    resume = ["charrnn", "train", str(text), "--output-dir", str(run), "--resume"]
    for steps, command in zip(PARTS, commands(str(text), str(run)), strict=True):
        state = read_header(run / STATE_FILE, "state") if (run / STATE_FILE).exists() else None
        begun = state is not None and state["training"]["steps"] >= steps
        if state is None or not begun or not state["finished"]:
            subprocess.run([sys.executable, "-m", *(resume if begun else command)], check=True)


def pack(run: Path, text: Path, output: Path) -> None:
    """Writes a finished run's model with float16 weights, and with how it was made.

    Paths are left out: they say nothing on another machine.

    Raises:
        RunError: the run is not finished, or was trained with other settings.
    """
    state = read_header(run / STATE_FILE, "state")
    if not state["finished"]:
        raise RunError(f"{run}: not finished; resume it first")
    model = load_model(run / MODEL_FILE)
    found = state["training"] | dataclasses.asdict(model.config)
    for name, value in [*RECIPE.items(), ("steps", PARTS[-1])]:
        if found.get(name, value) != value:
            raise RunError(f"{run}: trained with {name} {found[name]}, not {value}")
    command = " && ".join(map(shlex.join, commands(text.name, "shakespeare")))
    training = model.training | {"command": command, "processor": processor()}
    corpus = model.corpus | {"paths": []}
    save_model(output, dataclasses.replace(model, training=training, corpus=corpus), half=True)


def main() -> None:
    """Trains, rounds and writes the shipped model."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("text", type=Path)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--output", type=Path, default=OUTPUT)
    arguments = parser.parse_args()
    train(arguments.text, arguments.run)
    pack(arguments.run, arguments.text, arguments.output)


if __name__ == "__main__":
    main()
