"""Settings: their ranges, their flags, their files."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import numpy as np
import pytest

from charrnn.config import (
    DEFAULT_TIME,
    MATRIX_RATES,
    MOST_DROPOUT,
    SIZES,
    CorpusConfig,
    ModelConfig,
    TrainingConfig,
    draw_seed,
)
from charrnn.errors import CharrnnError, ConfigError
from charrnn.settings import default_of, flag_of, from_mapping, help_of, parse_bias, rules, shown_default
from charrnn.use_config import EvaluationConfig, SamplingConfig

CONFIGS: list[type[Any]] = [CorpusConfig, ModelConfig, TrainingConfig, SamplingConfig, EvaluationConfig]
FIELDS = [(config, name) for config in CONFIGS for name in rules(config)]


@pytest.mark.parametrize(
    ("config", "name", "values"),
    [
        (CorpusConfig, "tokenizer", ["word", ""]),
        (CorpusConfig, "newlines", ["dos"]),
        (CorpusConfig, "min_count", [0, -1]),
        (CorpusConfig, "val_fraction", [-0.1, 1.0, math.nan]),
        (CorpusConfig, "encoding", ["utf-9", ""]),
        (ModelConfig, "cell", ["transformer"]),
        (ModelConfig, "num_layers", [0, -1, 65]),
        (ModelConfig, "hidden_size", [0, 65537]),
        (ModelConfig, "embedding_size", [0, 65537]),
        (ModelConfig, "dropout", [-0.1, 1.0, math.nan]),
        (TrainingConfig, "time", [0, -1.0, math.inf, math.nan]),
        (TrainingConfig, "epochs", [0, -1.0, math.inf, math.nan]),
        (TrainingConfig, "steps", [0, -1]),
        (TrainingConfig, "lr", [0, -1.0, math.inf, math.nan]),
        (TrainingConfig, "matrix_lr", [0, math.nan]),
        (TrainingConfig, "batch_size", [0]),
        (TrainingConfig, "seq_length", [1]),
        (TrainingConfig, "clip", [0, math.nan]),
        (TrainingConfig, "weight_decay", [-0.1, math.nan]),
        (TrainingConfig, "warmup", [-0.1, 1.0, math.nan]),
        (TrainingConfig, "seed", [-1, 2**63]),
        (TrainingConfig, "threads", [0]),
        (TrainingConfig, "eval_every", [0]),
        (TrainingConfig, "save_every", [0]),
        (TrainingConfig, "device", ["tpu"]),
        (TrainingConfig, "precision", ["fp8"]),
        (SamplingConfig, "length", [-2]),
        (SamplingConfig, "temperature", [-1.0, math.inf, math.nan]),
        (SamplingConfig, "top_k", [-1]),
        (SamplingConfig, "top_p", [0, 2.0, math.nan]),
        (SamplingConfig, "min_p", [-0.1, 1.1, math.nan]),
        (SamplingConfig, "seed", [-1, 2**63]),
    ],
)
def test_values_out_of_range_are_refused_by_their_flag(
    config: type[Any], name: str, values: list[Any]
) -> None:
    """A value beyond its range is an error that begins with the flag and the value."""
    for value in values:
        with pytest.raises(ConfigError) as caught:
            config(**{name: value})
        assert str(caught.value).startswith(f"--{name.replace('_', '-')} {value}: ")
        assert caught.value.status == 2


@pytest.mark.parametrize(
    ("config", "name", "values"),
    [
        (CorpusConfig, "val_fraction", [0, 0.999]),
        (CorpusConfig, "encoding", ["latin-1", "UTF8", "utf-16", "cp1252"]),
        (ModelConfig, "num_layers", [1, 64]),
        (ModelConfig, "dropout", [0, 0.999]),
        (TrainingConfig, "seq_length", [2]),
        (TrainingConfig, "seed", [0, 2**63 - 1, None]),
        (TrainingConfig, "weight_decay", [0]),
        (TrainingConfig, "warmup", [0]),
        (SamplingConfig, "length", [-1, 0]),
        (SamplingConfig, "temperature", [0, 1e-6, 100.0]),
        (SamplingConfig, "top_p", [1, 1e-9]),
        (SamplingConfig, "min_p", [0, 1]),
    ],
)
def test_values_at_the_edge_are_taken(config: type[Any], name: str, values: list[Any]) -> None:
    """What lies just inside a range is kept as it was given."""
    for value in values:
        assert getattr(config(**{name: value}), name) == value


def test_one_length_of_training_at_most() -> None:
    """Two lengths contradict each other, and the error names both flags."""
    with pytest.raises(ConfigError, match="--time and --steps are different lengths"):
        TrainingConfig(time=10.0, steps=5)


def test_without_a_length_training_takes_three_minutes() -> None:
    """The default length applies only where none is given."""
    assert DEFAULT_TIME == 180
    assert TrainingConfig().time is None
    assert TrainingConfig().with_length() == TrainingConfig(time=180)
    assert TrainingConfig(steps=5).with_length() == TrainingConfig(steps=5)
    assert TrainingConfig(epochs=0.5).with_length().time is None


# -- every field ---------------------------------------------------------------------------------------------


def refused(config: type[Any], name: str, value: Any) -> str:
    """What the error says that a value must be."""
    with pytest.raises(ConfigError) as caught:
        config(**{name: value})
    start = f"{flag_of(name)} {value}: must be "
    assert str(caught.value).startswith(start)
    return str(caught.value)[len(start) :]


def taken(config: type[Any], name: str, value: Any) -> None:
    """Holds a value to be taken as it is."""
    assert getattr(config(**{name: value}), name) == value


@pytest.mark.parametrize(("config", "name"), FIELDS)
def test_every_number_has_a_range_that_holds(config: type[Any], name: str) -> None:
    """A number's edges are taken, what is just beyond them is not, and neither is NaN or infinity."""
    rule = rules(config)[name]
    if rule.type not in (int, float):
        return
    low, high = rule.at_least, rule.at_most
    assert (low is None) != (rule.above is None)
    assert high is None or rule.below is None
    step = 1 if rule.type is int or (high or 0) > 1e6 else 1e-9
    if low is not None:
        taken(config, name, low)
        refused(config, name, low - step)
    if rule.above is not None:
        refused(config, name, rule.above)
        taken(config, name, rule.above + step)
    if high is not None:
        taken(config, name, high)
        refused(config, name, high + step)
    if rule.below is not None:
        refused(config, name, rule.below)
        taken(config, name, rule.below - step)
    for value in (math.nan, math.inf, -math.inf):
        refused(config, name, value)


@pytest.mark.parametrize(("config", "name"), FIELDS)
def test_every_field_is_of_its_type(config: type[Any], name: str) -> None:
    """Values of another type are refused in words, True is no number, and None only stands for "chosen"."""
    rule = rules(config)[name]
    wrong: dict[type[Any], tuple[list[Any], str]] = {
        int: (["3", True, 2.5, 2.0, [1]], "a whole number"),
        float: (["0.5", True, False, [0.5]], "a number"),
        bool: ([1, "yes"], "True or False"),
        str: ([1, b"utf-8"], "text"),
        tuple: (["abc", 3, [1]], "a sequence of texts"),
    }
    values, expected = wrong[rule.type]
    for value in values:
        assert refused(config, name, value) == expected or rule.choices
    if rule.optional:
        taken(config, name, None)
    else:
        refused(config, name, None)


@pytest.mark.parametrize(("config", "name"), FIELDS)
def test_every_choice_is_taken_and_no_other(config: type[Any], name: str) -> None:
    """Each choice of a field is taken, another word is refused with the list of choices."""
    choices = rules(config)[name].choices
    for choice in choices:
        taken(config, name, choice)
    if choices:
        for other in ("", "other", choices[0].upper()):
            assert refused(config, name, other) == "one of " + ", ".join(choices)


def test_settings_without_a_flag_are_checked_as_well() -> None:
    """What only Python can set is refused at once: an optimizer that there is not, a floor above the peak."""
    assert refused(TrainingConfig, "optimizer", "sgd") == "one of muon, adamw"
    assert refused(TrainingConfig, "floor", 7.0) == "from 0 to 1"


def test_ranges_are_said_in_words() -> None:
    """An error names the whole range, and what a special value means."""
    assert refused(ModelConfig, "hidden_size", 0) == "from 1 to 65536"
    assert refused(ModelConfig, "dropout", 1.0) == "at least 0 and less than 1"
    assert refused(SamplingConfig, "top_p", 0) == "greater than 0 and at most 1"
    assert refused(TrainingConfig, "lr", 0) == "greater than 0"
    assert refused(TrainingConfig, "lr", math.inf) == "a finite number"
    assert refused(TrainingConfig, "patience", -1) == "0 (never) or greater"
    assert refused(TrainingConfig, "seed", 2**63) == "a whole number from 0 to 2^63 - 1"


def test_numbers_of_numpy_are_numbers() -> None:
    """NumPy's integers and floats are taken, and kept as Python's, which JSON can write."""
    config = ModelConfig(hidden_size=np.int64(3), dropout=np.float32(0.25))  # type: ignore[arg-type]
    assert json.loads(json.dumps(dataclasses.asdict(config)))["hidden_size"] == 3
    assert (type(config.hidden_size), type(config.dropout)) == (int, float)
    assert refused(ModelConfig, "hidden_size", np.int64(0)) == "from 1 to 65536"
    assert refused(ModelConfig, "hidden_size", np.float64(3)) == "a whole number"


def test_sequences_of_texts_become_tuples() -> None:
    """A list is as good as a tuple, so that Python may give either."""
    assert SamplingConfig(stop=["a", "b"]).stop == ("a", "b")  # type: ignore[arg-type]


def test_names_of_settings_are_unique() -> None:
    """No two of a training's configs share a name: a request has one value for each."""
    names = [name for config in (CorpusConfig, ModelConfig, TrainingConfig) for name in rules(config)]
    assert len(names) == len(set(names))


def test_sizes_are_the_choices_of_size() -> None:
    """The sizes are named once: those of the table are the choices, after auto."""
    assert rules(TrainingConfig)["size"].choices == ("auto", *SIZES)
    assert set(rules(TrainingConfig)["optimizer"].choices) == set(MATRIX_RATES)


def test_shown_defaults_follow_from_the_values() -> None:
    """What help shows is the default, or what is chosen, as constants have it."""
    assert shown_default(TrainingConfig, "lr") == default_of(TrainingConfig, "lr")
    assert shown_default(TrainingConfig, "time") == DEFAULT_TIME
    assert shown_default(TrainingConfig, "batch_size").startswith(f"{TrainingConfig().batch_size}, fewer ")
    assert f"{MOST_DROPOUT:g}" in shown_default(ModelConfig, "dropout")
    for rate in MATRIX_RATES.values():
        assert str(rate) in shown_default(TrainingConfig, "matrix_lr")


def test_the_default_temperature_is_0_8() -> None:
    """A model writes as many words that its text lacks as the text's own end does: at 0.8, not at 1."""
    assert SamplingConfig().temperature == 0.8


@pytest.mark.parametrize("config", CONFIGS)
def test_every_setting_describes_itself(config: type[Any]) -> None:
    """Each field has a sentence of help and a default, which is what the config starts with."""
    for field in dataclasses.fields(config):
        text = help_of(config, field.name)
        assert text[0].isupper(), field.name
        assert text.endswith("."), field.name
        assert default_of(config, field.name) == getattr(config(), field.name)


@pytest.mark.parametrize("config", CONFIGS)
def test_settings_come_back_from_a_file(config: type[Any]) -> None:
    """A config read from its own JSON object is the same, and keys of later versions are passed over."""
    values = dataclasses.asdict(config())
    assert from_mapping(config, values | {"of_a_later_version": 1}) == config()


def test_cells_have_their_gates() -> None:
    """An LSTM has four blocks of rows, a GRU three, an RNN one."""
    assert [ModelConfig(cell).gates for cell in ("lstm", "gru", "rnn", "relu")] == [4, 3, 1, 1]


def test_sizes_that_agree_are_tied() -> None:
    """Embedding and output share a matrix exactly where their sizes allow it."""
    assert ModelConfig(hidden_size=8, embedding_size=8).tied
    assert not ModelConfig(hidden_size=8, embedding_size=7).tied


def test_drawn_seeds_can_be_given_again() -> None:
    """A seed is made of four bytes of entropy, the least first, and is in range."""
    asked = []

    def entropy(count: int) -> bytes:
        asked.append(count)
        return bytes(range(1, count + 1))

    seed = draw_seed(entropy)
    assert asked == [4]
    assert seed == 0x04030201
    assert TrainingConfig(seed=seed).seed == seed


def test_configs_cannot_be_changed() -> None:
    """A checked config stays checked: its fields cannot be assigned."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        ModelConfig().hidden_size = -1  # type: ignore[misc]


def test_errors_have_the_statuses_of_the_shell() -> None:
    """What cannot mean anything exits with 2, everything else that a user can cause with 1."""
    assert (ConfigError.status, CharrnnError.status) == (2, 1)


@pytest.mark.parametrize("reset", ["0", "-1", "1.5", "line", "", "9" * 30, True, 1.5])
def test_a_reset_is_a_word_or_a_whole_number(reset: Any) -> None:
    """``reset`` is auto, none, lines or a whole number from 1; anything else is refused by its flag."""
    with pytest.raises(ConfigError, match=r"^--reset"):
        EvaluationConfig(reset=reset)
    assert EvaluationConfig(reset="256").window == 256
    assert EvaluationConfig(reset="lines").window is None


@pytest.mark.parametrize(
    "number",
    ["", "1_0", " 1", "1 ", "\N{ARABIC-INDIC DIGIT THREE}", "0x1", "1e", "e1", ".", "nan", "inf", "1e999"],
)
def test_a_bias_is_a_number_as_people_write_it(number: str) -> None:
    """What only Python reads as a number is refused, as is what is not finite."""
    with pytest.raises(ConfigError, match=r"^--bias .*finite number"):
        SamplingConfig(bias=(f"a={number}",))
    assert parse_bias(["a=-.5", "a=+2.", "a=1e-3"]) == [("a", -0.5), ("a", 2.0), ("a", 0.001)]
