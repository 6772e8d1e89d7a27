"""Sampling under every setting at the edges of its range: always a distribution over the allowed symbols."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from numpy.typing import NDArray

from charrnn.api import Model
from charrnn.cli.prompt import unescape
from charrnn.config import Cell
from charrnn.errors import CharrnnError, ConfigError, ModelFileError, UnknownCharacterError
from charrnn.model.file import save_model
from charrnn.sampling.sampler import Sampler, probabilities
from charrnn.text.tokenizer import ByteTokenizer, CharTokenizer, tokenizer_from
from charrnn.use_config import SamplingConfig
from tests.conftest import random_model
from tests.fuzz.conftest import Fuzz
from tests.fuzz.damage import JUNK
from tests.fuzz.judge import judge
from tests.fuzz.zygote import Case, Zygote

LARGEST = float(np.finfo(np.float32).max)
TINY = float(np.finfo(np.float32).smallest_subnormal)
MODERATE = (0.0, -0.0, 1.0, -1.0, 30.0, -30.0, 1e4, -1e4, TINY, -TINY)
EXTREME = (*MODERATE, 3e38, -3e38, LARGEST, -LARGEST)

# Every setting that shapes the distribution, at the edges of its range.
SETTINGS: dict[str, tuple[Any, ...]] = {
    "temperature": (1.0, 0.0, 5e-324, 1e-320, 1e-300, 1e-38, 1e-6, 0.8, 1e6, 1e300, 1.7e308),
    "top_k": (0, 1, 2, 5, 6, 2**63, 10**30),
    "top_p": (1.0, 5e-324, 1e-300, 1e-9, 0.5, 1 - 2**-53),
    "min_p": (0.0, 5e-324, 1e-300, 0.5, 1 - 2**-53, 1.0),
    "repetition_penalty": (1.0, 1 + 2**-52, 1.3, 1e38, 1e39, 1e300, 1.7e308),
    "repetition_window": (64, 1, 2**31),
}
SINGLE = [(name, value) for name, values in SETTINGS.items() for value in values]


def hostile(draw: random.Random, values: Sequence[float]) -> NDArray[np.float32]:
    """Six logits: normal ones, or equal or different ones of the values."""
    kind = draw.randrange(4)
    if kind == 0:
        return np.array([draw.gauss(0, 3) for _ in range(6)], np.float32)
    if kind == 1:
        return np.full(6, draw.choice(values), np.float32)
    return np.array([draw.choice(values) for _ in range(6)], np.float32)


def problem_of(config: SamplingConfig, draw: random.Random, values: Sequence[float]) -> str | None:
    """What is wrong with what a sampler chooses from hostile logits, or None; a warning is an error."""
    forbidden = sorted(draw.sample(range(6), draw.randrange(6)))
    logits = hostile(draw, values)
    # The bound that an engine promises is no lie, and is finite only where nothing overflows.
    bound = float(np.abs(logits).max()) if draw.random() < 0.5 else math.inf
    sampler = Sampler(config, forbidden, largest=bound)
    sampler.read(draw.choices(range(6), k=draw.randrange(4)))
    shown = f"logits {logits.tolist()}, forbidden {forbidden}"
    try:
        chosen = [sampler(logits) for _ in range(3)]
        if config.repetition_penalty == 1:
            chosen += sampler.choose_many(np.stack([logits, logits], axis=1)).tolist()
        shares = probabilities(sampler.filtered(logits))
    except Exception as error:
        return f"{type(error).__name__}: {error}; {shown}"
    if wrong := [id for id in chosen if id in forbidden or not 0 <= id < 6]:
        return f"chose {wrong}; {shown}"
    if not (np.isfinite(shares).all() and abs(shares.sum() - 1) < 1e-9 and not shares[forbidden].any()):
        return f"distribution {shares.tolist()}; {shown}"
    return None


@pytest.mark.parametrize(("name", "value"), SINGLE)
def test_one_setting(name: str, value: Any, fuzz: Fuzz) -> None:
    """One setting at an edge, the others as they are by default, and logits as a large model may have."""
    for draw in fuzz.cases(30):
        if problem := problem_of(SamplingConfig(seed=1, **{name: value}), draw, MODERATE):
            fuzz.fail(f"{name} {value}", problem)
    fuzz.check()


def all_settings(draw: random.Random) -> SamplingConfig:
    """Every setting at a random edge."""
    settings = {name: draw.choice(values) for name, values in SETTINGS.items()}
    return SamplingConfig(seed=draw.randrange(2**63), **settings)


def shown(config: SamplingConfig) -> str:
    """The settings that shape the distribution."""
    return ", ".join(f"{name} {getattr(config, name)}" for name in SETTINGS)


def test_all_settings(fuzz: Fuzz) -> None:
    """All settings at random edges at once."""
    for draw in fuzz.cases(300):
        config = all_settings(draw)
        if problem := problem_of(config, draw, MODERATE):
            fuzz.fail(shown(config), problem)
    fuzz.check()


@pytest.mark.parametrize("one", [True, False])
def test_extreme_logits(one: bool, fuzz: Fuzz) -> None:
    """Logits as large as float32 has them, under one setting or all of them."""
    for draw in fuzz.cases(200):
        config = all_settings(draw)
        if one:
            name = draw.choice(sorted(SETTINGS))
            config = SamplingConfig(seed=1, **{name: getattr(config, name)})
        if problem := problem_of(config, draw, EXTREME):
            fuzz.fail(shown(config), problem)
    fuzz.check()


@pytest.mark.parametrize("cell", get_args(Cell))
def test_extreme_weights(cell: Cell, fuzz: Fuzz) -> None:
    """A model with weights as large as float32 has them writes its symbols, without a warning."""
    for draw in fuzz.cases(20):
        model = random_model(cell, layers=draw.choice((1, 2)), hidden=4, embedding=3, vocabulary="\n abc")
        for _ in range(draw.choice((1, 3, 40))):
            weight = model.weights[draw.choice(sorted(model.weights))].reshape(-1)
            weight[draw.randrange(len(weight))] = draw.choice(EXTREME)
        try:
            text = Model(model).sample("a", length=8, seed=1, temperature=draw.choice((0.0, 0.5, 1.0, 2.0)))
        except Exception as error:
            fuzz.fail(f"{cell}", f"{type(error).__name__}: {error}")
            continue
        if len(text) != 8 or not set(text) <= set("\n abc"):
            fuzz.fail(f"{cell}", f"wrote {text!r}")
    fuzz.check()


# -- text ----------------------------------------------------------------------------------------------


def noise(draw: random.Random) -> str:
    """A text of any code points, lone surrogates included, with many from a few places."""
    ranges = (
        (0, 0x20),
        (0x20, 0x7F),
        (0x7F, 0x800),
        (0xD800, 0xE000),
        (0xE000, 0x10000),
        (0x10000, 0x110000),
    )
    return "".join(chr(draw.randrange(*draw.choice(ranges))) for _ in range(draw.choice((0, 1, 2, 7, 200))))


def test_tokenizers(fuzz: Fuzz) -> None:
    """Encoding and decoding give the text back, through the description, too; what is unknown is an error."""
    for draw in fuzz.cases(300):
        text, other = noise(draw), noise(draw)
        if not text:
            continue
        tokenizer = tokenizer_from(CharTokenizer("".join(sorted(set(text)))).describe())
        if tokenizer.decode(tokenizer.encode(text)) != text:
            fuzz.fail(ascii(text), "came back as another text")
        scalar = text.encode("utf-8", "replace").decode()
        if ByteTokenizer().decode(ByteTokenizer().encode(scalar)) != scalar:
            fuzz.fail(ascii(scalar), "came back from bytes as another text")
        try:
            tokenizer.encode(other)
        except UnknownCharacterError as error:
            if other[error.position] != error.character or error.character in text:
                fuzz.fail(ascii(other), str(error))
        else:
            if not set(other) <= set(text):
                fuzz.fail(ascii(other), "encoded, though unknown")
    fuzz.check()


def test_descriptions_of_tokenizers(fuzz: Fuzz) -> None:
    """Any JSON as a tokenizer's description makes a tokenizer or is an error of the model file."""
    kinds = ("char", "byte", *JUNK)
    described = itertools.product(kinds, JUNK, (False, True, *JUNK[3:6]))
    every: list[Any] = [{"kind": kind, "vocabulary": v, "unknown": u} for kind, v, u in described]
    for draw in fuzz.cases(400):
        try:
            tokenizer_from(draw.choice([*JUNK, *draw.sample(every, 9)]))
        except ModelFileError:
            pass
        except Exception as error:
            fuzz.fail("a description", f"{type(error).__name__}: {error}")
    fuzz.check()


def test_escapes(fuzz: Fuzz) -> None:
    """Any text with backslashes is unescaped or refused with a ConfigError."""
    alphabet = ["\\", "\\", "x", "u", "n", "0", "e", "d", "8", "\n", "\0", "g", "\N{SNOWMAN}", "\udcff"]
    for draw in fuzz.cases(500):
        text = "".join(draw.choices(alphabet, k=draw.randrange(12)))
        try:
            unescape(text).encode("utf-8", "surrogateescape")
        except ConfigError:
            pass
        except Exception as error:
            fuzz.fail(ascii(text), f"{type(error).__name__}: {error}")
    fuzz.check()


def test_prompts_that_no_keyboard_has(zygote: Zygote, tmp_path: Path, fuzz: Fuzz) -> None:
    """Escapes for every kind of character in -p, --stop, --ban and --separator are written or refused."""
    save_model(tmp_path / "m", random_model(layers=1, hidden=4, vocabulary="\n abc\ud800\udcff"))
    save_model(tmp_path / "bytes", random_model(layers=1, hidden=4, vocabulary=None))
    escapes = (r"\ud800", r"\udcff", r"\udfff\ud800", r"\ud83d\ude00", r"\xff", r"\0", r"\e[31m", r"\uffff")
    options = ("-p", "--stop", "--ban", "--separator")
    every = [
        (model, option, escape, extra)
        for model in ("m", "bytes")
        for option in options
        for escape in escapes
        for extra in ((), ("--json",), ("--skip-unknown",))
    ]
    cases, chosen = [], fuzz.some(every, 40)
    for model, option, escape, extra in chosen:
        args = ("sample", "-m", model, "-n", "9", "-s", "1", "-q", "--escape", "--num-samples", "2", *extra)
        cases.append(Case((*args, option, escape), str(tmp_path)))
    for what, outcome in zip(chosen, zygote(cases), strict=True):
        if problem := judge(outcome):
            fuzz.fail(str(what), problem)
    fuzz.check()


def test_settings_of_other_types(fuzz: Fuzz) -> None:
    """A setting of any type from Python is taken, or refused with an error that names it."""
    model = Model(random_model(layers=1, hidden=4))
    names = [*SETTINGS, "length", "seed", "ban", "stop", "best_of"]
    junk = [value for value in JUNK if not (isinstance(value, int) and abs(value) > 1000)]
    for draw in fuzz.cases(300):
        name, value = draw.choice(names), draw.choice(junk)
        try:
            model.sample("", **{"length": 3, "seed": 1, name: value})
        except (CharrnnError, TypeError) as error:
            flag = name.replace("_", "-")
            if flag not in str(error) and name not in str(error):
                fuzz.fail(f"{name} = {value!r:.60}", f"{type(error).__name__}: {error}")
        except Exception as error:
            fuzz.fail(f"{name} = {value!r:.60}", f"{type(error).__name__}: {error}")
    fuzz.check()
