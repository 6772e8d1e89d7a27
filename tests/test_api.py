"""charrnn from Python."""

from __future__ import annotations

import dataclasses
import itertools
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from charrnn.api import Model, load
from charrnn.config import CorpusConfig
from charrnn.errors import ConfigError, ModelFileError, ShortfallError, UnknownCharacterError
from charrnn.model.file import save_model
from charrnn.text.corpus import read_corpus
from tests.conftest import Charrnn, random_model


def test_importing_charrnn_imports_nothing_heavy() -> None:
    """``import charrnn`` brings neither NumPy nor torch; ``charrnn.load`` brings NumPy only."""
    code = (
        "import sys, charrnn; assert not {'numpy', 'torch'} & sys.modules.keys();"
        "charrnn.load; assert 'numpy' in sys.modules and 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


NAMES = "a\nb\nab\nba\nabba\nbb\ncab\n"


@pytest.fixture
def named(tmp_path: Path) -> Path:
    """The file of a random model that claims to have learnt NAMES, a line an item."""
    (tmp_path / "names.txt").write_text(NAMES)
    corpus = read_corpus([str(tmp_path / "names.txt")], CorpusConfig(lines=True)).describe()
    model = dataclasses.replace(random_model(vocabulary="\nabc"), corpus=corpus)
    save_model(tmp_path / "named.safetensors", model)
    return tmp_path / "named.safetensors"


MODES: list[dict[str, Any]] = [
    {"temperature": 0.7, "top_k": 3, "top_p": 0.9, "min_p": 0.01, "repetition_penalty": 1.2, "ban": "c"},
    {"temperature": 0.0},
    {"stop": ["ab", "c\n"]},
    {"best_of": 3, "num_samples": 2},
    {"num_samples": 3, "separator": "|"},
    {"lines": 7},
    {"lines": 7, "distinct": True, "novel": True},
    {"lines": 3, "novel": True, "against": ["other.txt"]},
    {"novel": True, "distinct": True, "num_samples": 2, "length": 20},
    {"novel_span": 4},
    {"no_repeat": 6, "temperature": 0.0, "length": 12},
    {"until": ["b\n", "c"], "num_samples": 2},
    {"bias": ["ab=-1.5", "c=0.5"]},
    {"bias": ["a=-2"], "top_k": 2, "repetition_penalty": 1.3},
]


def flags(settings: dict[str, Any]) -> Iterator[str]:
    """The settings as they are typed in a shell."""
    for name, value in settings.items():
        flag = "--" + name.replace("_", "-")
        for one in value if isinstance(value, list) else [value]:
            yield from [flag] if one is True else [flag, str(one)]


@pytest.mark.parametrize("settings", MODES, ids="-".join)
def test_python_and_the_command_line_agree(
    charrnn: Charrnn,
    named: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    settings: dict[str, Any],
) -> None:
    """For every mode the same settings write the same text, and the same objects, as from a shell."""
    (tmp_path / "other.txt").write_text("ab\nabc\naba\n")
    monkeypatch.chdir(tmp_path)
    settings = {"length": 40} | settings | {"seed": 3}
    arguments = ("sample", "-m", named, "-p", "ab", "--no-display-prompt", "-q", *flags(settings))
    model = load(named)
    shell = charrnn(*arguments)
    assert shell.status == 0, shell.err
    assert model.sample("ab", **settings) == shell.out
    assert "".join(model.generate("ab", **settings)) == shell.out
    shell = charrnn(*arguments, "--json", "--logprobs", 2)
    found = []
    for sample in model.samples("ab", logprobs=2, **settings):
        assert sample.logprobs is not None
        assert len(sample.logprobs) == len(sample.text)
        logprobs = [
            {
                "text": one.text,
                "logprob": one.logprob,
                "top": [{"text": text, "logprob": logprob} for text, logprob in one.top],
            }
            for one in sample.logprobs
        ]
        known = {"text": sample.text, "finish_reason": sample.finish_reason, "seed": sample.seed}
        found.append(known | {"logprobs": logprobs})
    assert found == [json.loads(line) for line in shell.out.splitlines()]


def test_a_shortfall_hands_over_what_there_is(named: Path) -> None:
    """Where too few lines can be written, those that there are come first, then an error that says why."""
    model, found = load(named), list[str]()
    settings: dict[str, Any] = {"lines": 50, "distinct": True, "length": 1, "seed": 1}
    with pytest.raises(ShortfallError, match=r"of 50 lines.*written before"):
        found.extend(sample.text for sample in model.samples(**settings))
    assert 0 < len(found) == len(set(found)) <= 4
    with pytest.raises(ShortfallError) as caught:
        model.sample(**settings)
    assert caught.value.text == "".join(line + "\n" for line in found)


def test_novelty_against_a_text(named: Path) -> None:
    """``against_text`` is what lines are new against; without it, the text that the model learnt."""
    model = load(named)
    learnt = {sample.text for sample in model.samples(lines=60, novel=True, seed=1)}
    other = {sample.text for sample in model.samples(lines=60, novel=True, seed=1, against_text="\nc\ncc")}
    assert not learnt & set(NAMES.split("\n"))
    assert not other & {"", "c", "cc"}
    assert other & set(NAMES.split("\n"))


def test_the_prompt_may_lose_what_is_unknown() -> None:
    """``skip_unknown`` leaves characters outside the vocabulary out of the prompt."""
    model = Model(random_model())
    with pytest.raises(UnknownCharacterError):
        model.generate("naïve")
    assert model.sample("naïve", skip_unknown=True, seed=1) == model.sample("nave", seed=1)


def test_log_probabilities_come_with_samples_only() -> None:
    """``logprobs`` is refused, at once, where only text is returned; samples have them only when asked."""
    model = Model(random_model())
    for call in (model.sample, model.generate):
        with pytest.raises(ConfigError, match=r"samples\(\)"):
            call(logprobs=1)
    assert next(model.samples(length=3)).logprobs is None


def test_generation_can_be_endless() -> None:
    """With length -1 ``generate`` goes on for as long as it is asked; ``sample`` refuses that."""
    model = Model(random_model())
    assert len(list(itertools.islice(model.generate(length=-1), 2500))) == 2500
    with pytest.raises(ConfigError, match="must end"):
        model.sample(length=-1)
    with pytest.raises(ConfigError, match="must end"):
        model.samples(length=-1)


def test_byte_models_yield_characters() -> None:
    """A byte model's text is yielded in whole characters, and what is none is U+FFFD."""
    model = Model(random_model(vocabulary=None))
    pieces = list(model.generate("é", length=300, seed=1))
    (sample,) = model.samples("é", length=300, seed=1)
    assert "".join(pieces) == bytes(sample.ids).decode("utf-8", "replace") == sample.text
    assert "\ufffd" in "".join(pieces)
    assert any(len(piece.encode()) > 1 and piece != "\ufffd" for piece in pieces)


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


def test_numpy_numbers_are_numbers() -> None:
    """Settings may be NumPy's integers and floats, and are then what Python's are."""
    model = Model(random_model())
    plain: dict[str, Any] = {"length": 20, "top_k": 5, "seed": 3, "no_repeat": 9, "num_samples": 2}
    numpy = {name: np.int64(value) for name, value in plain.items()} | {"temperature": np.float32(0.5)}
    assert model.sample("a", **numpy) == model.sample("a", **plain, temperature=0.5)
    assert model.sample(bias={"e": np.float32(-2.0)}, seed=1) == model.sample(bias="e=-2", seed=1)


WRONG_TYPES: list[tuple[str, str]] = [
    ("prompt", "model.sample(b'a')"),
    ("prompt", "model.sample(None)"),
    ("prompt", "model.generate(5)"),
    ("prompt", "model.samples(b'')"),
    ("text", "model.score(None)"),
    ("text", "model.score(b'a')"),
    ("top_k", "model.sample(top_k=1.5)"),
    ("length", "model.sample(length='9')"),
    ("temperature", "model.sample(temperature=None)"),
    ("seed", "model.sample(seed=True)"),
    ("novel", "model.sample(novel=1)"),
    ("stop", "model.sample(stop=b'a')"),
    ("until", "model.sample(until=[b'a'])"),
    ("stop", "model.sample(stop=None)"),
    ("bias", "model.sample(bias={'e': 'x'})"),
    ("ban", "model.sample(ban=None)"),
    ("against", "model.sample(novel=True, against=5)"),
    ("against_text", "model.sample(novel=True, against_text=b'a')"),
    ("skip_unknown", "model.sample(skip_unknown='no')"),
    ("path", "charrnn.load(None)"),
    ("path", "charrnn.load(b'x')"),
]


@pytest.mark.parametrize("optimized", [False, True])
def test_wrong_types_are_type_errors_that_name_the_argument(tmp_path: Path, *, optimized: bool) -> None:
    """An argument of a wrong type is a TypeError that begins with its name, with -O as well."""
    save_model(tmp_path / "model.safetensors", random_model())
    code = f"""if True:
        import charrnn
        model = charrnn.load({str(tmp_path / "model.safetensors")!r})
        for name, call in {WRONG_TYPES!r}:
            try:
                eval(call)
            except TypeError as error:
                if not str(error).startswith(name + ": must be "):
                    print(call, error)
            except Exception as error:
                print(call, repr(error))
            else:
                print(call, "passes")
    """
    options = ["-O"] if optimized else []
    done = subprocess.run([sys.executable, *options, "-c", code], capture_output=True, check=False)
    assert (done.stdout.decode(), done.stderr.decode()) == ("", "")


def test_extreme_weights_are_no_warnings() -> None:
    """A model whose products overflow float32 writes, scores and answers without a word from NumPy."""
    model = random_model(vocabulary="\n abc")
    for weight in model.weights.values():
        weight.reshape(-1)[0] = np.finfo(np.float32).max
    named = Model(model)
    text = named.sample("a", length=9, seed=1)
    assert set(text) <= set("\n abc")
    assert "".join(named.generate("a", length=9, seed=1)) == text
    assert [sample.text for sample in named.samples("a", length=9, seed=1)] == [text]
    assert len(named.score(text)) == 9
    assert len(named.answer(["a", "b"], length=3)) == 2
    assert named.activations(text)["0.hidden"].shape[1] == 9


def test_a_consumer_keeps_its_own_warnings() -> None:
    """While a text is generated, NumPy warns the caller as ever."""
    for _ in Model(random_model()).generate("a", length=2, seed=1):
        assert np.geterr()["over"] == "warn"


def test_a_text_may_hold_half_a_surrogate_pair() -> None:
    """A str that no file holds is scored as an unknown character, or refused where there are only bytes."""
    assert Model(random_model()).score("a\ud800").shape == (2,)
    with pytest.raises(ConfigError, match=r"^text: U\+D800"):
        Model(random_model(vocabulary=None)).score("a\ud800")


def test_samples_hold_their_exact_bytes() -> None:
    """A sample's ``bytes`` are its text as UTF-8, or of a byte model the bytes that it wrote."""
    (sample,) = Model(random_model(vocabulary="abé")).samples(length=30, seed=1)
    assert sample.bytes.decode() == sample.text
    (sample,) = Model(random_model(vocabulary=None)).samples(length=30, seed=1, logprobs=2)
    assert sample.bytes == bytes(sample.ids)
    assert sample.logprobs is not None
    assert b"".join(one.bytes for one in sample.logprobs) == sample.bytes
