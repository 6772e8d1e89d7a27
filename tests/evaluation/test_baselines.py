"""The simpler predictors, worked out by hand and against the compressors themselves."""

from __future__ import annotations

import bz2
import gzip
import lzma
import math

import pytest

from charrnn.errors import CorpusError
from charrnn.evaluation.baselines import Baselines
from charrnn.evaluation.measure import Score
from charrnn.model.file import ModelFile
from charrnn.text.scored import text_of, unknown_nats
from tests.conftest import random_model

# The start symbol of this vocabulary is its first, "a": a text is read as if "a" stood before it.
MODEL = random_model(vocabulary="abc", hidden=2)


def baselines(train: str, text: str, model: ModelFile = MODEL) -> dict[str, Score]:
    """Every baseline's score, by name."""
    return dict(Baselines(text_of(train, model.tokenizer)).scores(text_of(text, model.tokenizer)))


def test_names() -> None:
    """They come in one order: uniform, unigram, n-grams from 2 to 8, compressors."""
    ngrams = [f"{order}-gram" for order in range(2, 9)]
    compressors = ["gzip -9", "bzip2 -9", "xz -9e"]
    assert list(baselines("abc", "a")) == ["uniform", "unigram", *ngrams, *compressors]


def test_uniform_and_unigram_by_hand() -> None:
    """Uniform is ln 3 a character; unigram, after "aab", 3/6 for a, 2/6 for b and 1/6 for c."""
    found = baselines("aab", "abcc")
    assert found["uniform"].nats == pytest.approx(4 * math.log(3), rel=1e-12)
    assert found["unigram"].nats == pytest.approx(-math.log(3 / 6 * 2 / 6 * (1 / 6) ** 2), rel=1e-12)


def test_3_gram_by_hand() -> None:
    """A 3-gram model of "bab" predicts "ba" with the fractions worked out on paper.

    Read is a b a b. Trigrams aba bab, each once: D3 = 1/2. Left neighbours of bigrams: ba {a}, ab {b}:
    1 each, D2 = 1/2. Left neighbours of symbols: b {a}, a {b}: 1 each, D1 = 1/2.
    p1(a) = p1(b) = (1/2 + 1/2 * 2 / 3) / 2 = 5/12.
    First, b after a alone: there is no trigram, so p2(b | a) = 1/2 + 1/2 * 5/12 = 17/24.
    Then, a after ab: p3 = 1/2 + 1/2 * p2(a | b) = 1/2 + 1/2 * 17/24 = 41/48.
    The 2-gram model counts bigrams themselves: ab 2, ba 1, D = 1/3;
    p(b | a) = 5/3 / 2 + 1/3 / 2 * 5/12 = 65/72 and p(a | b) = 2/3 + 1/3 * 5/12 = 29/36.
    """
    found = baselines("bab", "ba")
    assert found["2-gram"].nats == pytest.approx(-math.log(65 / 72 * 29 / 36), rel=1e-12)
    start = found["3-gram"].nats + math.log(41 / 48)
    assert start == pytest.approx(-math.log(17 / 24), rel=1e-12)


def test_compressors() -> None:
    """Each compressor's figure is the size of what it makes of the text as UTF-8."""
    text = "To bé, or not to bé: that is the question.\n" * 20
    found = baselines("abc", text)
    data = text.encode()
    sizes = {
        "gzip -9": len(gzip.compress(data, 9)),
        "bzip2 -9": len(bz2.compress(data, 9)),
        "xz -9e": len(lzma.compress(data, preset=9 | lzma.PRESET_EXTREME)),
    }
    for name, size in sizes.items():
        assert found[name].bits_per_byte == pytest.approx(8 * size / len(data), rel=1e-12)
        assert found[name].unknown == 0


def test_unknown_characters_are_charged() -> None:
    """Unknown characters cost a baseline what they cost the model, and are counted."""
    known, mixed = baselines("abcabc", "abca"), baselines("abcabc", "abéca")
    charge = unknown_nats(text_of("abéca", MODEL.tokenizer).unknown, MODEL.tokenizer).sum()
    for name in ("uniform", "unigram", "5-gram"):
        assert mixed[name].nats - known[name].nats == pytest.approx(charge, rel=1e-12)
        assert (mixed[name].characters, mixed[name].unknown) == (5, 1)


def test_bytes() -> None:
    """For a byte model the unit is the byte, and uniform is 8 bits of it."""
    found = baselines("aé", "é", random_model(vocabulary=None, hidden=2))
    assert found["uniform"].bits_per_character == pytest.approx(8)
    assert found["uniform"].characters == 2


def test_nothing_to_learn() -> None:
    """A training text of unknown characters alone is refused, and the flag that names another is named."""
    with pytest.raises(CorpusError, match="--train"):
        baselines("éé", "abc")
