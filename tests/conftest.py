"""What many tests need: models with random weights, the command line as a process, a little run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from charrnn.config import Cell, ModelConfig, Output
from charrnn.model.file import ModelFile, save_model
from charrnn.model.schema import expected_shapes
from charrnn.text.tokenizer import ByteTokenizer, CharTokenizer, Tokenizer
from tests.forkserver import ForkServer, Result, can_fork

# A busy machine is no failure: properties have no deadline.
settings.register_profile("charrnn", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("charrnn")

# Figures that tests expect are a processor's; CHARRNN_TEST_CUDA=1 lets the tests that need a GPU see it.
if not os.environ.get("CHARRNN_TEST_CUDA"):
    os.environ["CUDA_VISIBLE_DEVICES"] = ""

# OpenMP threads that spin while they wait make a test on a busy machine many times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

# Background jobs of a shell ignore Ctrl-C, and nohup ignores hangups; what tests start must not inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

ROOT = Path(__file__).parent.parent
PLAY = ROOT / "corpora" / "the-bell-under-the-sea.txt"
SHARED = ROOT.parent / "shared" / "corpora"

ALPHABET = "\n !',-.:;?ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

# What a test's process must not take from whoever runs the tests.
FOREIGN = ("CHARRNN_MODEL", "FORCE_COLOR", "NO_COLOR", "COLUMNS", "LINES", "PYTHONWARNINGS")


class ModelFactory(Protocol):
    """Makes models; every argument has a default."""

    def __call__(
        self,
        cell: Cell = "lstm",
        layers: int = 2,
        hidden: int = 8,
        embedding: int = 5,
        vocabulary: str | None = ALPHABET,
        *,
        unknown: bool = False,
        seed: int = 0,
        scale: float = 0.5,
        output: Output = "top",
    ) -> ModelFile:
        """A model whose weights are normal with the deviation ``scale``; no vocabulary makes a byte model."""


def random_model(
    cell: Cell = "lstm",
    layers: int = 2,
    hidden: int = 8,
    embedding: int = 5,
    vocabulary: str | None = ALPHABET,
    *,
    unknown: bool = False,
    seed: int = 0,
    scale: float = 0.5,
    output: Output = "top",
) -> ModelFile:
    """A model whose weights are normal with the deviation ``scale``; no vocabulary makes a byte model."""
    config = ModelConfig(cell, layers, hidden, embedding, dropout=0.0, output=output)
    tokenizer: Tokenizer = ByteTokenizer()
    if vocabulary is not None:
        tokenizer = CharTokenizer(vocabulary, unknown=unknown)
    generator = np.random.default_rng(seed)
    if cell == "relu":
        scale /= 2  # else its states grow without bound
    weights = {
        name: generator.normal(0, scale, shape).astype(np.float32)
        for name, shape in expected_shapes(config, tokenizer.size).items()
    }
    return ModelFile(weights, config, tokenizer)


@pytest.fixture
def make_model() -> ModelFactory:
    """The function ``random_model``, for tests that want several models."""
    return random_model


class ModelWriter(Protocol):
    """Writes models to files."""

    def __call__(self, model: ModelFile | None = None, name: str = "model.safetensors") -> Path:
        """The path of the file, under the test's own directory; without a model, ``random_model()``."""


@pytest.fixture
def write_model(tmp_path: Path) -> ModelWriter:
    """A function that writes a model into the test's directory and returns its path."""

    def write(model: ModelFile | None = None, name: str = "model.safetensors") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        save_model(path, model or random_model())
        return path

    return write


@pytest.fixture
def model_path(write_model: ModelWriter) -> Path:
    """The file of one little model."""
    return write_model()


class Charrnn(Protocol):
    """Runs the command ``charrnn`` as a process."""

    def __call__(
        self,
        *args: object,
        input: str | bytes | None = None,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float = 120,
        process: bool = False,
    ) -> Result:
        """Runs ``python -m charrnn ARGS`` to its end, or a copy of a process that has imported all it needs.

        Args:
            args: of the command line; whatever they are, their str.
            input: what stdin holds; without it, stdin is empty.
            cwd: where; by default the test's own empty directory.
            env: variables to set beside the inherited ones.
            timeout: in seconds, after which the test fails.
            process: whether the process must be one that is started anew.
        """


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The variables of a test's process."""
    inherited = {name: value for name, value in os.environ.items() if name not in FOREIGN}
    return inherited | dict(extra or {})


SERVERS: list[ForkServer] = []  # the one of this session, once it is there


@pytest.fixture(scope="session", autouse=True)
def fork_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What runs commands in copies of a process that has imported everything."""
    SERVERS.append(ForkServer(tmp_path_factory.mktemp("forks"), environment()))
    yield
    SERVERS.pop().close()


def run_charrnn(*args: object, cwd: Path, input: str | bytes | None = None, **options: Any) -> Result:
    """``charrnn ARGS``, waited for: in a copy of a process, or one of its own where variables ask for it."""
    data = (input.encode() if isinstance(input, str) else input) or b""
    extra, timeout = options.get("env") or {}, options.get("timeout", 120)
    if can_fork(extra) and not options.get("process"):
        return SERVERS[0].run(list(map(str, args)), cwd, environment(extra), data, timeout)
    done = subprocess.run(
        command(*args),
        input=data,
        capture_output=True,
        cwd=cwd,
        env=environment(extra),
        timeout=timeout,
        check=False,
    )
    return Result(done.returncode, done.stdout, done.stderr)


def command(*args: object) -> list[str]:
    """The command line that runs charrnn as these tests see it."""
    return [sys.executable, "-m", "charrnn", *map(str, args)]


@pytest.fixture
def charrnn(tmp_path: Path) -> Charrnn:
    """Runs ``charrnn`` in the test's own directory."""

    def run(*args: object, cwd: Path | None = None, **options: Any) -> Result:
        return run_charrnn(*args, cwd=cwd or tmp_path, **options)

    return run


# A model that is trained in a second or two on one thread.
TINY = ("--hidden-size", 32, "--num-layers", 1, "--embedding-size", 16, "--threads", 1)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a run of the shipped play, trained through the command line; not to be written to."""
    where = tmp_path_factory.mktemp("trained")
    directory = where / "run"
    arguments = ("train", PLAY, "-o", directory, *TINY, "--steps", 150, "--seed", 1, "--batch-size", 8)
    result = run_charrnn(*arguments, "--seq-length", 32, cwd=where)
    assert result.status == 0, result.err
    return directory
