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

# 2 x 384 units are the most that 4.5 MB of float16 hold with room to spare. Eleven passes in small batches
# take an hour of one core.
RECIPE = {
    "hidden_size": 384,
    "output": "all",
    "steps": 10500,
    "batch_size": 16,
    "dropout": 0.15,
    "patience": 0,
    "seed": 1,
    "threads": 1,
}


def train_arguments(text: str, run: str) -> list[str]:
    """The arguments of ``charrnn`` that train the model."""
    settings = [
        part for name, value in RECIPE.items() for part in (f"--{name.replace('_', '-')}", str(value))
    ]
    return ["train", text, "--output-dir", run, *settings]


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
    arguments = train_arguments(str(text), str(run))
    if (run / STATE_FILE).exists():
        arguments = ["train", str(text), "--output-dir", str(run), "--resume"]
    subprocess.run([sys.executable, "-m", "charrnn", *arguments], check=True)


def pack(run: Path, text: Path, output: Path) -> None:
    """Writes a finished run's model with float16 weights, and with how it was made.

    Paths are left out: they say nothing on another machine.

    Raises:
        RunError: the run is not finished, or was trained with other settings.
    """
    if not read_header(run / STATE_FILE, "state").get("finished"):
        raise RunError(f"{run}: not finished; resume it first")
    model = load_model(run / MODEL_FILE)
    found = model.training | dataclasses.asdict(model.config)
    for name, value in RECIPE.items():
        if found.get(name, value) != value:
            raise RunError(f"{run}: trained with {name} {found[name]}, not {value}")
    command = shlex.join(["charrnn", *train_arguments(text.name, "shakespeare")])
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
