"""Kneser-Ney: by hand, against dictionaries, and as a distribution."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from charrnn.model.counts import Doubles, discounts
from charrnn.model.ngram import NGrams, blocks


def naive(train: list[int], vocabulary: int, start: int, order: int, context: tuple[int, ...]) -> list[float]:
    """The distribution after a context, with dictionaries and fractions, as the equations are written."""
    text = [start, *train]

    def grams(k: int) -> list[tuple[int, ...]]:
        return [tuple(text[i : i + k]) for i in range(len(text) - k + 1)]

    def counts(k: int) -> Counter[tuple[int, ...]]:
        return Counter(grams(k)) if k == order else Counter(gram[1:] for gram in set(grams(k + 1)))

    def predict(symbol: int, k: int) -> Fraction:
        if k == 0:
            return Fraction(1, vocabulary)
        lower = predict(symbol, k - 1)
        history = context[len(context) - k + 1 :]
        if len(context) < k - 1:
            return lower
        found = counts(k)
        total = sum(count for gram, count in found.items() if gram[:-1] == history)
        if total == 0:
            return lower
        once, twice, thrice, often = (list(found.values()).count(n) for n in (1, 2, 3, 4))
        share = Fraction(once, once + 2 * twice) if once and twice else Fraction(1, 2)
        discounts = [Fraction(0), share, share, share]
        if once and twice and thrice and often:
            discounts[2] = min(max(2 - 3 * share * Fraction(thrice, twice), share), Fraction(2))
            discounts[3] = min(max(3 - 4 * share * Fraction(often, thrice), share), Fraction(3))
        after = [count for gram, count in found.items() if gram[:-1] == history]
        discounted = sum((discounts[min(count, 3)] for count in after), Fraction(0))
        count = found[(*history, symbol)]
        return (count - discounts[min(count, 3)] + discounted * lower) / total

    return [float(predict(symbol, order)) for symbol in range(vocabulary)]


def distributions(model: NGrams, ids: NDArray[Any], places: Iterable[int]) -> Doubles:
    """The probability of every symbol at each place of a text, given what precedes it: (orders, places, V).

    The first symbols of a text, which have a shorter context, are scored in texts of their own; all others
    in one text, each after as many symbols as the highest order depends on.
    """
    context, symbols = model.highest - 1, np.arange(model.vocabulary)
    rows: list[Doubles] = []
    later: list[NDArray[Any]] = []
    for place in places:
        before = ids[max(0, place - context) : place]
        texts = np.column_stack([np.tile(before, (model.vocabulary, 1)), symbols])  # (V, context + 1)
        if place < context:
            rows.append(np.stack([logs_of(model, text)[:, -1] for text in texts], axis=1))
        else:
            later.append(texts)
    if later:
        logs = logs_of(model, np.concatenate(later).ravel())[:, context :: context + 1]
        rows += np.split(logs, len(later), axis=1)
    found: Doubles = np.exp(np.stack(rows, axis=1))
    return found


def logs_of(model: NGrams, ids: NDArray[Any]) -> Doubles:
    """The log probabilities (orders, time) of a text."""
    return np.concatenate([logs for _, logs in model.log_probabilities(ids)], axis=1)


def test_by_hand() -> None:
    """Orders 1 to 3 of "ababac" over abc, after "ba", are the fractions worked out on paper.

    Before the text stands c, so: c a b a b a c.
    Trigrams cab aba bab aba bac: once 3, twice 1, D3 = 3/5; after ba: bab 1, bac 1.
    Left neighbours of bigrams: ca 0, ab {c, b} 2, ba {a} 1, ac {b} 1: D2 = 2/4; after a: ab 2, ac 1.
    Left neighbours of symbols: a {c, b} 2, b {a} 1, c {a} 1: D1 = 2/4.
    """
    model = NGrams(np.array([0, 1, 0, 1, 0, 2]), vocabulary=3, start=2, highest=3)
    found = distributions(model, np.array([0, 1, 0]), [3])[2, 0]
    half = Fraction(1, 2)
    unigram = [(2 - half + half * 3 / 3) / 4, (1 - half + half * 3 / 3) / 4, (1 - half + half * 3 / 3) / 4]
    assert unigram == [Fraction(1, 2), Fraction(1, 4), Fraction(1, 4)]
    shared = half * 2 / 3
    bigram = [shared * unigram[0], (2 - half) / 3 + shared * unigram[1], (1 - half) / 3 + shared * unigram[2]]
    assert bigram == [Fraction(1, 6), Fraction(7, 12), Fraction(1, 4)]
    rest = Fraction(3, 5) * 2 / 2
    trigram = [rest * bigram[0], Fraction(2, 5) / 2 + rest * bigram[1], Fraction(2, 5) / 2 + rest * bigram[2]]
    assert trigram == [Fraction(1, 10), Fraction(11, 20), Fraction(7, 20)]
    assert found == pytest.approx([float(p) for p in trigram], rel=1e-14)


SYMBOLS = st.lists(st.integers(0, 3), min_size=1, max_size=30)


@given(train=SYMBOLS, text=st.lists(st.integers(0, 4), min_size=1, max_size=12), order=st.integers(1, 4))
@settings(max_examples=60)
def test_naive(train: list[int], text: list[int], order: int) -> None:
    """Every order gives, at every place of any text, what dictionaries of fractions give."""
    model = NGrams(np.array(train), vocabulary=5, start=3, highest=4)
    found = distributions(model, np.array(text), range(len(text)))[order - 1]
    for place in range(len(text)):
        expected = naive(train, 5, 3, order, (3, *text[:place]))
        assert found[place] == pytest.approx(expected, rel=1e-12)


@given(train=SYMBOLS, text=SYMBOLS)
@settings(max_examples=60)
def test_sums_to_one(train: list[int], text: list[int]) -> None:
    """At every context, every order's probabilities are positive and sum to one."""
    model = NGrams(np.array(train), vocabulary=6, start=0)
    found = distributions(model, np.array(text), range(len(text) + 1))
    assert (found > 0).all()
    assert found.sum(axis=-1) == pytest.approx(np.ones((8, len(text) + 1)), abs=1e-12)


def test_sums_to_one_in_english(play: str) -> None:
    """So they do in a text of many words, at contexts seen often, seen once and never seen."""
    symbols = np.unique([ord(c) for c in play], return_inverse=True)[1]
    size = int(symbols.max()) + 1
    model = NGrams(symbols[:60_000], size, start=0)
    places = np.arange(0, 20_000, 37)
    found = distributions(model, symbols[60_000:80_000], places.tolist())
    assert found.sum(axis=-1) == pytest.approx(np.ones((8, len(places))), abs=1e-12)
    scores = logs_of(model, symbols[60_000:80_000])
    chosen = found[:, np.arange(len(places)), symbols[60_000:80_000][places]]
    assert np.exp(scores[:, places]) == pytest.approx(chosen, rel=1e-12)


@pytest.fixture
def play() -> str:
    """The play's beginning."""
    from tests.conftest import PLAY

    return PLAY.read_text()[:80_000]


def test_blocks_join(monkeypatch: pytest.MonkeyPatch) -> None:
    """A text scored in blocks of any size has the scores of the text scored at once."""
    generator = np.random.default_rng(0)
    train, text = generator.integers(0, 4, 500), generator.integers(0, 4, 50)
    model = NGrams(train, vocabulary=4, start=1)
    ((_, whole),) = model.log_probabilities(text)
    for size in (1, 3, 7, 8, 20):
        monkeypatch.setattr("charrnn.model.ngram.BLOCK", size)
        found = list(model.log_probabilities(text))
        assert [place for place, _ in found] == list(range(0, 50, size))
        assert np.concatenate([scores for _, scores in found], axis=1) == pytest.approx(whole, rel=1e-12)


def test_huge_vocabulary() -> None:
    """Order 8 over a million symbols does not overflow: what was read twice is expected a third time."""
    generator = np.random.default_rng(0)
    symbols = generator.integers(0, 1_000_000, 400)
    model = NGrams(np.concatenate([symbols, symbols]), vocabulary=1_000_000, start=7)
    ((_, scores),) = model.log_probabilities(symbols)
    assert np.exp(scores[7, 8:]).min() > 0.5
    ((_, unseen),) = model.log_probabilities(999_999 - symbols)
    assert np.isfinite(unseen).all()


def test_higher_orders_help(play: str) -> None:
    """On English, each order up to 4 predicts better than the one below."""
    symbols = np.unique([ord(c) for c in play], return_inverse=True)[1]
    model = NGrams(symbols[:70_000], int(symbols.max()) + 1, start=0, highest=4)
    ((_, scores),) = model.log_probabilities(symbols[70_000:])
    assert (np.diff(scores.mean(axis=1)) > 0.1).all()


def test_all_discounts() -> None:
    """So it is where all four numbers of counts are there, and the discounts depend on the count."""
    generator = np.random.default_rng(1)
    train = np.minimum(generator.geometric(0.4, 300), 5) - 1
    model = NGrams(train, vocabulary=5, start=3, highest=3)
    assert len(set(discounts(model._raw[2].gram[:-1]).tolist())) == 4
    text = generator.integers(0, 5, 12)
    found = distributions(model, text, range(len(text)))[2]
    for place in range(len(text)):
        expected = naive(train.tolist(), 5, 3, 3, (3, *text[:place].tolist()))
        assert found[place] == pytest.approx(expected, rel=1e-12)


@given(counts=st.lists(st.integers(0, 9), min_size=1, max_size=60))
def test_discounts_leave_something_for_what_is_new(counts: list[int]) -> None:
    """No discount is more than the count, and each is positive, whatever the numbers of counts are."""
    found = discounts(np.array(counts))
    assert found[0] == 0
    assert (found[1:] > 0).all()
    assert (found <= [0, 1, 2, 3]).all()


# -- one order alone -----------------------------------------------------------------------------------


@given(train=SYMBOLS, text=st.lists(st.integers(0, 4), min_size=1, max_size=12), order=st.integers(1, 4))
@settings(max_examples=60)
def test_one_order(train: list[int], text: list[int], order: int) -> None:
    """The model of one order gives, symbol by symbol and as distributions, what all orders together give."""
    grams = NGrams(np.array(train), vocabulary=5, start=3, highest=4)
    order = min(order, grams.longest)
    model = grams.of_order(order)
    expected = np.exp(logs_of(grams, np.array(text))[order - 1])
    ((_, contexts, symbols),) = blocks(model, np.array(text), 3)
    assert model.probabilities(contexts, symbols) == pytest.approx(expected, rel=1e-12)
    every = model.distributions(contexts)
    assert every[np.arange(len(text)), text] == pytest.approx(expected, rel=1e-12)
    assert every.sum(axis=1) == pytest.approx(np.ones(len(text)), abs=1e-12)


@given(text=SYMBOLS, cuts=st.sets(st.integers(1, 29)), size=st.sampled_from([3, 1 << 20]))
@settings(max_examples=40)
def test_sections(text: list[int], cuts: set[int], size: int) -> None:
    """Sections of a text have the scores of texts of their own, whatever the blocks."""
    grams = NGrams(np.array([0, 1, 2, 0, 1, 3, 0, 1, 2, 2, 0]), vocabulary=4, start=0, highest=3)
    places = [0, *sorted(cut for cut in cuts if cut < len(text)), len(text)]
    begins = np.zeros(len(text), bool)
    begins[places[1:-1]] = True
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("charrnn.model.ngram.BLOCK", size)
        found = np.concatenate([logs for _, logs in grams.log_probabilities(np.array(text), begins)], axis=1)
    parts = [logs_of(grams, np.array(text[a:b])) for a, b in pairwise(places)]
    assert found == pytest.approx(np.concatenate(parts, axis=1), rel=1e-12)


# -- items ---------------------------------------------------------------------------------------------


def naive_of_items(lines: list[str], vocabulary: str, order: int, context: str) -> list[float]:
    """The distribution after the beginning of a line, with dictionaries; the discount is the same for all."""
    texts = ["\n" + line + "\n" for line in lines]

    def grams(k: int) -> list[str]:
        return [text[i : i + k] for text in texts for i in range(len(text) - k + 1)]

    def counts(k: int) -> Counter[str]:
        if k == order:
            return Counter(grams(k))
        begun = Counter(gram for gram in grams(k) if k > 1 and gram[0] == "\n")
        return Counter(gram[1:] for gram in set(grams(k + 1))) + begun

    def predict(symbol: str, k: int) -> float:
        if k == 0:
            return 1 / len(vocabulary)
        lower = predict(symbol, k - 1)
        history = context[len(context) - k + 1 :]
        found = counts(k)
        total = sum(count for gram, count in found.items() if gram[:-1] == history)
        if len(context) < k - 1 or total == 0:
            return lower
        discount = discounts(np.array(list(found.values())))
        after = sum(discount[min(count, 3)] for gram, count in found.items() if gram[:-1] == history)
        count = found[history + symbol]
        return float((count - discount[min(count, 3)] + after * lower) / total)

    return [predict(symbol, order) for symbol in vocabulary]


@given(
    lines=st.lists(st.text("abc", min_size=1, max_size=6), min_size=1, max_size=12),
    line=st.text("abc", max_size=5),
    order=st.integers(2, 4),
)
@settings(max_examples=60)
def test_items(lines: list[str], line: str, order: int) -> None:
    """With items, no gram crosses a line's end, and how lines begin counts as often as it occurs."""
    vocabulary = "\nabc"
    ids = np.array([vocabulary.index(c) for line in lines for c in line + "\n"])
    model = NGrams(ids, 4, start=0, highest=4, items=True)
    order = min(order, model.longest)
    context = np.array([vocabulary.index(c) for c in line], np.int64)
    one = model.of_order(order)
    contexts = one.follow(one.fresh(), np.concatenate([np.zeros(1, np.int64), context]))[:, -1:]
    found = one.distributions(contexts)[0]
    assert found == pytest.approx(naive_of_items(lines, vocabulary, order, "\n" + line), rel=1e-12)
    assert found.sum() == pytest.approx(1, abs=1e-12)
