"""Settings: their ranges, their flags, their files."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest

from charrnn.config import (
    DEFAULT_TIME,
    CorpusConfig,
    ModelConfig,
    SamplingConfig,
    TrainingConfig,
    default_of,
    draw_seed,
    from_mapping,
    help_of,
)
from charrnn.errors import CharrnnError, ConfigError

CONFIGS: list[type[Any]] = [CorpusConfig, ModelConfig, TrainingConfig, SamplingConfig]


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
    assert TrainingConfig().length.time == 180
    assert TrainingConfig(steps=5).length == TrainingConfig(steps=5)
    assert TrainingConfig(epochs=0.5).length.time is None


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
