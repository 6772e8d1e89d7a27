"""Fine-tuning begins where the other model ended."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from charrnn.config import ModelConfig, TrainingConfig
from charrnn.errors import ConfigError
from charrnn.model.file import ModelFile
from charrnn.model.network import CharRNN, build_model, export_weights
from charrnn.text.tokenizer import ByteTokenizer, CharTokenizer
from charrnn.training.transfer import Transfer, gentle, transfer_weights

UNTIED = ModelConfig(num_layers=2, hidden_size=8, embedding_size=5, dropout=0.0)
TIED = ModelConfig(num_layers=1, hidden_size=6, embedding_size=6, dropout=0.0)


def source_of(config: ModelConfig, vocabulary: str) -> ModelFile:
    """A model file of a fresh network."""
    torch.manual_seed(1)
    tokenizer = CharTokenizer(vocabulary)
    return ModelFile(export_weights(CharRNN(config, tokenizer.size)), config, tokenizer)


@pytest.mark.parametrize("config", [UNTIED, TIED])
def test_matched_characters_are_scored_as_before(config: ModelConfig) -> None:
    """Between characters that both know, the new network's odds are the old one's."""
    source = source_of(config, "\nabcdx")
    tokenizer = CharTokenizer("\nabcdyz")
    torch.manual_seed(2)
    model = CharRNN(config, tokenizer.size).eval()
    transfer = transfer_weights(source, model, tokenizer)
    assert (transfer.matched, transfer.added, transfer.dropped) == (5, "yz", "x")
    text = "abba\ncad"
    old = build_model(config, source.weights)
    with torch.no_grad():
        before, _ = old(torch.from_numpy(source.tokenizer.encode(text).astype(np.int64))[:, None])
        after, _ = model(torch.from_numpy(tokenizer.encode(text).astype(np.int64))[:, None])
    torch.testing.assert_close(after[..., :5], before[..., :5])


def test_new_characters_are_as_long_as_known_ones_and_unlikely() -> None:
    """A new character's vector has the known ones' mean length, and its bias their lowest."""
    source = source_of(UNTIED, "ab")
    source.weights["embedding.weight"] *= 7
    source.weights["output.bias"][:] = [0.5, -2.0]
    model = CharRNN(UNTIED, 3)
    transfer_weights(source, model, CharTokenizer("abc"))
    weights = export_weights(model)
    lengths = np.linalg.norm(weights["embedding.weight"], axis=1)
    assert lengths[2] > 0.2 * lengths[:2].mean()
    assert weights["output.bias"].tolist() == [0.5, -2.0, -2.0]


def test_unknown_symbols_match_each_other() -> None:
    """The unknown symbol's row goes to the unknown symbol, wherever it stands."""
    config = UNTIED
    torch.manual_seed(1)
    weights = export_weights(CharRNN(config, 3))
    source = ModelFile(weights, config, CharTokenizer("ab", unknown=True))
    model = CharRNN(config, 4)
    transfer_weights(source, model, CharTokenizer("abc", unknown=True))
    found = export_weights(model)["embedding.weight"]
    np.testing.assert_array_equal(found[3], weights["embedding.weight"][2])


def test_bytes_and_characters_do_not_mix() -> None:
    """A character model cannot begin a byte model, and the message says which is which."""
    source = source_of(UNTIED, "ab")
    with pytest.raises(ConfigError, match="--tokenizer byte: the model to start from learnt chars"):
        transfer_weights(source, CharRNN(UNTIED, 256), ByteTokenizer())


def test_a_large_vocabulary_is_not_spelt_out() -> None:
    """Of many characters that were added or dropped, twenty are named and the rest counted."""
    many = "".join(map(chr, range(0x4E00, 0x4E00 + 500)))
    shown = str(Transfer(3, added=many, dropped="xyz"))
    assert shown == f"3 characters matched, 500 added ({many[:20]!r} and 480 more), 3 dropped ('xyz')"


def test_rates_are_lower_and_passes_fewer_unless_asked() -> None:
    """A quarter of the usual rates, and at most four passes; what is asked for stays."""
    usual = TrainingConfig()
    found = gentle(usual, {})
    assert (found.lr, found.matrix_rate, found.most_passes) == (usual.lr / 4, usual.matrix_rate / 4, 4)
    adamw = gentle(TrainingConfig(optimizer="adamw"), {"optimizer": "adamw"})
    assert adamw.matrix_rate == TrainingConfig(optimizer="adamw").matrix_rate / 4
    asked = {"lr": 0.1, "matrix_lr": 0.2}
    kept = gentle(TrainingConfig(lr=0.1, matrix_lr=0.2), asked)
    assert (kept.lr, kept.matrix_rate, kept.most_passes) == (0.1, 0.2, 4)
