"""How far two parts of a text are from each other."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from charrnn.config import CorpusConfig
from charrnn.text.corpus import read_corpus
from charrnn.text.difference import GROSS, difference
from charrnn.text.tokenizer import ByteTokenizer, CharTokenizer
from tests.conftest import PLAY, ROOT, SHARED

ABC = CharTokenizer("\nabcd")


def test_what_the_training_part_lacks_is_counted_and_named() -> None:
    """Held-out symbols without a training symbol of their kind are counted, the most frequent first."""
    found = difference(ABC.encode("abab\n"), ABC.encode("acddb\n\n"), ABC)
    assert (found.symbols, found.missing, found.kinds) == (7, 3, ("d", "c"))
    assert found.share == pytest.approx(3 / 7)


def test_strangers_of_another_text_count_as_well() -> None:
    """Characters outside the vocabulary are missing, whether they were left out or folded into one symbol."""
    left_out = difference(ABC.encode("abcd\n"), ABC.encode("abab"), ABC, {"x": 2}, 2)
    assert (left_out.symbols, left_out.missing, left_out.kinds) == (6, 2, ("x",))
    folding = CharTokenizer("\nabcd", unknown=True)
    ids, places = folding.fold("abxabx")
    folded = difference(folding.encode("abcd\n"), ids, folding, {"x": 2}, len(places))
    assert (folded.symbols, folded.missing, folded.kinds) == (6, 2, ("x",))


def test_bytes_are_named_by_their_escapes() -> None:
    """A byte that training lacks is named as it is written in Python."""
    bytes_ = ByteTokenizer()
    assert difference(bytes_.encode("abc"), bytes_.encode("é"), bytes_).kinds == ("\\xa9", "\\xc3")


def test_the_excess_is_the_divergence_less_its_bias() -> None:
    """For large counts it is the Kullback-Leibler divergence of the two frequencies."""
    rng = np.random.default_rng(0)
    first, second = np.array([0.1, 0.2, 0.3, 0.3, 0.1]), np.array([0.3, 0.2, 0.1, 0.2, 0.2])
    learnt = rng.choice(5, 400_000, p=first).astype(np.uint8)
    held_out = rng.choice(5, 100_000, p=second).astype(np.uint8)
    expected = float((second * np.log(second / first)).sum())
    assert difference(learnt, held_out, ABC).excess == pytest.approx(expected, abs=0.01)


def test_a_small_sample_of_the_same_source_has_no_excess() -> None:
    """Of a large alphabet a short held-out part lacks much by chance alone, which does not count."""
    rng = np.random.default_rng(1)
    tokenizer = CharTokenizer("".join(map(chr, range(0x4E00, 0x4E00 + 3000))))
    shares = 1 / np.arange(1, 3001)
    ids = rng.choice(3000, 30_000, p=shares / shares.sum()).astype(np.uint16)
    found = difference(ids[:27_000], ids[27_000:], tokenizer)
    assert found.missing > 0
    assert found.excess < 0.1


def test_nothing_held_out_has_no_difference() -> None:
    """Without held-out symbols there is neither a share nor an excess."""
    found = difference(ABC.encode("abc"), ABC.encode(""), ABC)
    assert (found.symbols, found.share, found.excess, found.gross) == (0, 0.0, 0.0, False)


def test_scripts_differ_grossly_and_chapters_do_not() -> None:
    """Latin and Greek differ by what a Greek letter costs; two parts of a text by a fraction of the bound."""
    text = "the bell under the sea " * 200
    tokenizer = CharTokenizer("".join(sorted(set(text) | set("αβγ"))))
    greek = difference(tokenizer.encode(text), tokenizer.encode("αβγ" * 100), tokenizer)
    assert greek.gross
    assert greek.excess == pytest.approx(math.log(len(text) + 14) - math.log(3), abs=0.1)


@pytest.mark.parametrize(
    ("paths", "tokenizer"),
    [
        ([PLAY], "char"),
        ([PLAY], "byte"),
        ([ROOT / "charrnn"], "char"),
        ([ROOT / "tests"], "char"),
        *(([path], "char") for path in sorted(SHARED.glob("*.txt"))),
    ],
)
def test_ordinary_corpora_are_far_from_gross(paths: list[Path], tokenizer: str) -> None:
    """The last tenth of plays, prose, names, tunes and Python sources is below a tenth of the bound or so."""
    corpus = read_corpus(map(str, paths), CorpusConfig(tokenizer=tokenizer))  # type: ignore[arg-type]
    found = difference(corpus.train, corpus.validation, corpus.tokenizer)
    assert found.excess < GROSS / 5
    assert found.share < 0.001
