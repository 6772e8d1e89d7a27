"""Fine-tuning: a new model starts from another's weights, with the vocabularies matched by character."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from charrnn.config import MATRIX_RATES, TrainingConfig
from charrnn.errors import ConfigError, counted
from charrnn.model.file import ModelFile
from charrnn.model.network import CharRNN, export_weights, import_weights
from charrnn.text.tokenizer import CharTokenizer, Tokenizer
from charrnn.training.schedule import MOST_PASSES_FROM_MODEL

PER_SYMBOL = ("embedding.weight", "output.weight", "output.bias")  # a row for each symbol

NAMED = 20  # characters at most, in a message
# Of the usual peak learning rates, what a model learns with that begins with another's weights. On Alice in
# Wonderland from the shipped model, a minute gives 1.208 nats a character, and 1.243 with the usual rates.
START_RATE = 0.25


def gentle(training: TrainingConfig, asked: Mapping[str, Any]) -> TrainingConfig:
    """The settings of a model that begins with another's weights: lower rates and fewer passes, unless asked.

    Args:
        training: the settings, with the usual rates where none are asked for.
        asked: the settings that were asked for, by name.
    """
    changed: dict[str, Any] = {
        "lr": START_RATE * training.lr,
        "matrix_lr": START_RATE * MATRIX_RATES[training.optimizer],
        "most_passes": MOST_PASSES_FROM_MODEL,
    }
    return dataclasses.replace(training, **{k: v for k, v in changed.items() if k not in asked})


@dataclasses.dataclass(frozen=True)
class Transfer:
    """How two vocabularies were matched.

    Attributes:
        matched: number of symbols in both vocabularies, whose rows were copied.
        added: the symbols that only the new text has, whose rows are freshly initialized.
        dropped: the symbols that only the old model had.
    """

    matched: int
    added: str
    dropped: str

    def __str__(self) -> str:
        """One line for the user."""
        parts = [f"{counted(self.matched, 'character')} matched"]
        for what, characters in (("added", self.added), ("dropped", self.dropped)):
            if characters:
                more = f" and {len(characters) - NAMED} more" if len(characters) > NAMED else ""
                parts.append(f"{len(characters)} {what} ({characters[:NAMED]!r}{more})")
        return ", ".join(parts)


def transfer_weights(source: ModelFile, model: CharRNN, tokenizer: Tokenizer) -> Transfer:
    """Copies a model file's weights into a new network of the same shape, except for the vocabulary.

    Rows of symbols that the source lacks keep their initial values, scaled to the mean norm of the source's
    rows, so that new characters weigh as much as known ones; their output biases are the source's lowest.

    Raises:
        ConfigError: the networks' shapes differ, or one learns bytes and the other characters.
    """
    if tokenizer.kind != source.tokenizer.kind:
        raise ConfigError(
            f"--tokenizer {tokenizer.kind}: the model to start from learnt {source.tokenizer.kind}s"
        )
    old = _symbols(source.tokenizer)
    new = _symbols(tokenizer)
    common = [symbol for symbol in new if symbol in old]
    rows = [new[symbol] for symbol in common]
    from_rows = [old[symbol] for symbol in common]
    weights = export_weights(model)
    for name, array in weights.items():
        if name not in PER_SYMBOL:
            weights[name] = source.weights[name]
            continue
        learnt = source.weights[name]
        if array.ndim == 2:
            array[:] *= np.linalg.norm(learnt, axis=1).mean() / np.linalg.norm(array, axis=1).mean()
        else:
            array[:] = learnt.min()
        array[rows] = learnt[from_rows]
    with torch.no_grad():
        import_weights(model, weights)
    return Transfer(
        matched=len(common),
        added="".join(symbol for symbol in new if symbol not in old),
        dropped="".join(symbol for symbol in old if symbol not in new),
    )


def _symbols(tokenizer: Tokenizer) -> dict[str, int]:
    """Each symbol's id; the unknown symbol goes by U+FFFD, bytes by the characters of Latin-1."""
    if isinstance(tokenizer, CharTokenizer):
        symbols = {symbol: id for id, symbol in enumerate(tokenizer.vocabulary)}
        if tokenizer.unknown is not None:
            symbols["\ufffd"] = tokenizer.unknown
        return symbols
    return {chr(byte): byte for byte in range(tokenizer.size)}
