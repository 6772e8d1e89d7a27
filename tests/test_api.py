"""charrnn from Python."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path

import pytest

from charrnn.api import Model, load
from charrnn.errors import ConfigError, ModelFileError
from tests.conftest import Charrnn, random_model


def test_importing_charrnn_imports_nothing_heavy() -> None:
    """``import charrnn`` brings neither NumPy nor torch; ``charrnn.load`` brings NumPy only."""
    code = (
        "import sys, charrnn; assert not {'numpy', 'torch'} & sys.modules.keys();"
        "charrnn.load; assert 'numpy' in sys.modules and 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_python_and_the_command_line_agree(charrnn: Charrnn, model_path: Path) -> None:
    """The same settings write the same text from Python as from a shell."""
    from charrnn import load

    settings = {"temperature": 0.7, "top_k": 9, "stop": "e"}
    result = charrnn("sample", "-m", model_path, "-n", 50, "--temp", 0.7, "--top-k", 9, "--stop", "e",
                     "-p", "Oh", "--no-display-prompt", "-s", 3, "-q")  # fmt: skip
    assert load(model_path).sample("Oh", length=50, seed=3, **settings) == result.out
    assert load(str(model_path)).sample("Oh", length=50, seed=3, **settings) == result.out


def test_generation_can_be_endless() -> None:
    """With length -1 ``generate`` goes on for as long as it is asked; ``sample`` refuses that."""
    model = Model(random_model())
    assert len(list(itertools.islice(model.generate(length=-1), 2500))) == 2500
    with pytest.raises(ConfigError, match="must end"):
        model.sample(length=-1)


def test_byte_models_yield_characters() -> None:
    """A byte model's text is yielded in whole characters, and what is none is U+FFFD."""
    model = Model(random_model(vocabulary=None))
    pieces = list(model.generate("é", length=300, seed=1))
    assert "".join(pieces) == b"".join(
        bytes([id]) for id in _ids(model, 300)
    ).decode("utf-8", "replace")  # fmt: skip
    assert "\ufffd" in "".join(pieces)


def _ids(model: Model, length: int) -> list[int]:
    from charrnn.config import SamplingConfig
    from charrnn.sampling.writer import Author, Writing

    return list(Writing(Author(model.file, "é", SamplingConfig(length=length, seed=1))))


def test_best_of_is_there_from_python() -> None:
    """``best_of`` gives one of the texts that its seeds give."""
    model = Model(random_model())
    single = {model.sample(length=12, seed=seed) for seed in (0, 1, 2)}
    assert model.sample(length=12, seed=0, best_of=3) in single


def test_unknown_settings_are_named() -> None:
    """A setting that does not exist is refused by name, before anything is generated."""
    with pytest.raises(ConfigError, match=r"^temprature: no such setting"):
        Model(random_model()).generate("", temprature=1)


def test_a_missing_model_is_named() -> None:
    """Loading what is not there names it."""
    with pytest.raises(ModelFileError, match="no-such-model"):
        load("no-such-model")


def test_score_is_the_evaluations() -> None:
    """``score`` gives a log-probability a character, the same as the logits say."""
    found = Model(random_model()).score("Hello, world")
    assert found.shape == (12,)
    assert (found < 0).all()
