"""Mixtures: vocabularies matched by character, distributions that sum to one, states, and lockstep."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.config import NGramConfig
from charrnn.errors import ConfigError
from charrnn.model.engine import log_softmax
from charrnn.model.engines import make_engine
from charrnn.model.file import ModelFile
from charrnn.model.mixture import match, mix_models, union
from charrnn.model.ngram import NGrams
from charrnn.text.tokenizer import ByteTokenizer, CharTokenizer
from tests.conftest import random_model


def ngram(text: str, *, unknown: bool = False, order: int = 3) -> ModelFile:
    """An n-gram of a text, whose characters are its vocabulary."""
    tokenizer = CharTokenizer("".join(sorted(set(text))), unknown=unknown)
    grams = NGrams(tokenizer.encode(text), tokenizer.size, tokenizer.start).of_order(order)
    return ModelFile({}, NGramConfig(order=order), tokenizer, grams=grams)


def network(vocabulary: str, *, unknown: bool = False, seed: int = 0) -> ModelFile:
    """A network with random weights."""
    return random_model(vocabulary=vocabulary, unknown=unknown, seed=seed)


VOCABULARIES = st.sets(st.sampled_from("\n abcdef"), min_size=1).map(lambda found: "".join(sorted(found)))


@given(ours=VOCABULARIES, theirs=VOCABULARIES, unknown=st.tuples(st.booleans(), st.booleans()))
def test_every_part_is_a_distribution_over_the_union(
    ours: str, theirs: str, unknown: tuple[bool, bool]
) -> None:
    """What a part gives to all symbols of the union sums to one, whichever it lacks."""
    parts = [CharTokenizer(v, unknown=u) for v, u in zip((ours, theirs), unknown, strict=True)]
    mixed = union(parts)
    generator = np.random.default_rng(0)
    for part in parts:
        found = match(mixed, part)
        own = generator.dirichlet(np.ones(part.size))
        spread = own[found.source] * found.factor
        assert (spread >= 0).all()
        # A part whose vocabulary is the union keeps an unknown symbol's share, which the union has then too.
        assert spread.sum() == pytest.approx(1, abs=1e-12)
        for character in part.vocabulary:
            at = int(mixed.lookup(character)[0])
            assert spread[at] == pytest.approx(own[int(part.lookup(character)[0])])
            assert found.reads[at] == part.lookup(character)[0]
        assert found.reads[mixed.start] >= 0


def test_shares() -> None:
    """What a part lacks shares the probability of its unknown symbol, and has none without it."""
    mixed = CharTokenizer("abcd", unknown=True)
    with_unknown, without = (
        match(mixed, CharTokenizer("bc", unknown=True)), match(mixed, CharTokenizer("bc"))
    )  # fmt: skip
    assert with_unknown.source.tolist() == [2, 0, 1, 2, 2]
    assert with_unknown.factor.tolist() == pytest.approx([1 / 3, 1, 1, 1 / 3, 1 / 3])
    assert with_unknown.reads.tolist() == [2, 0, 1, 2, 2]
    assert without.factor.tolist() == [0, 1, 1, 0, 0]
    assert without.reads.tolist() == [0, 0, 1, -1, -1]  # the start symbol is read as the part's own


PARTS = {
    "one vocabulary": [network("\n abc"), network("\n abc", seed=1)],
    "with an n-gram": [network("\n abc"), ngram("abc cab\nabba cab\n" * 9)],
    "unknown symbols": [network("\n ab", unknown=True), ngram("abd cab\ndab" * 9, unknown=True)],
    "unread symbols": [network("\n ab"), ngram("abd cab\ndab" * 9), network("xyz")],
    "bytes": [random_model(vocabulary=None), random_model(vocabulary=None, seed=1)],
}


@pytest.fixture(params=PARTS)
def mixed(request: pytest.FixtureRequest) -> ModelFile:
    """Mixtures of parts that match in different ways."""
    parts = PARTS[request.param]
    return mix_models(parts, range(1, len(parts) + 1))


def some_ids(model: ModelFile, count: int = 40) -> list[int]:
    """The start symbol and others at random."""
    size = model.tokenizer.size
    return [model.tokenizer.start, *np.random.default_rng(3).integers(0, size, count).tolist()]


def test_steps_are_the_weighted_sum(mixed: ModelFile) -> None:
    """Each step's probabilities are those of the parts, read by themselves, weighted and matched."""
    stream = make_engine(mixed).stream()
    alone = [make_engine(part).stream() for part in mixed.parts]
    matches = [match(mixed.tokenizer, part.tokenizer) for part in mixed.parts]
    now: list[Any] = [None] * len(alone)
    for id in some_ids(mixed):
        logits = stream.step(id)
        expected = np.zeros(mixed.tokenizer.size)
        for at, (part, found) in enumerate(zip(alone, matches, strict=True)):
            if found.reads[id] >= 0:
                now[at] = np.exp(log_softmax(part.step(int(found.reads[id])).astype(np.float64)))
            expected += mixed.mix[at] * now[at][found.source] * found.factor
        assert np.exp(logits) == pytest.approx(expected, abs=1e-7)
        assert np.exp(logits).sum() == pytest.approx(1, abs=1e-12)


def test_lockstep(mixed: ModelFile) -> None:
    """N streams are N single ones; states come back, in all, in one, and in another's place."""
    engine = make_engine(mixed)
    ids = np.array([some_ids(mixed, 12), some_ids(mixed, 12)[:1] + some_ids(mixed, 12)[:0:-1]]).T
    many, singles = engine.stream(2), [engine.stream(), engine.stream()]
    for row in ids[:6]:
        columns = many.step(row)
        for at, single in enumerate(singles):
            assert columns[:, at] == pytest.approx(single.step(int(row[at])), abs=1e-5)
    saved, one = many.save(), singles[0].save()
    expected = [single.step(int(ids[7, 0])) for single in singles]
    many.advance(ids[6])
    many.restore(saved)
    assert many.step(ids[[7, 7], 0]) == pytest.approx(np.stack(expected, axis=1), abs=1e-5)
    many.restore(one, [1])
    many.select(np.array([1, 1]))
    again = many.step(ids[[7, 7], 0])
    assert again == pytest.approx(np.stack([expected[0], expected[0]], axis=1), abs=1e-5)
    many.restore(many.gather([saved, saved], np.array([3, 2])))
    assert many.step(ids[[7, 7], 0]) == pytest.approx(np.stack(expected[::-1], axis=1), abs=1e-5)
    many.restore(saved, [0], [1])
    assert many.step(ids[[7, 7], 0])[:, 0] == pytest.approx(expected[1], abs=1e-5)
    many.restore(one)
    assert many.step(ids[[7, 7], 0]) == pytest.approx(again, abs=1e-5)
    many.restore(many.gather([many.save([1]), saved], [0, 2]), [1, 0], [0, 1])
    assert many.step(ids[[7, 7], 0])[:, 0] == pytest.approx(expected[1], abs=1e-5)
    singles[1].restore(one)
    assert singles[1].step(int(ids[7, 0])) == pytest.approx(expected[0], abs=1e-12)


def test_reading(mixed: ModelFile) -> None:
    """A text that is read gives the logits of its steps, and advancing is reading without looking."""
    ids = some_ids(mixed, 10)
    engine = make_engine(mixed)
    read = engine.stream().read(np.array(ids))
    stream = engine.stream()
    for id in ids[:-1]:
        stream.advance(id)
    assert stream.step(ids[-1]) == pytest.approx(read[-1], abs=1e-6)
    assert np.abs(read.max(axis=1)).max() <= engine.largest


def test_weights() -> None:
    """Weights are divided by their sum, even if that is infinite, and none becomes 0."""
    parts = [network("ab"), network("ab")]
    assert mix_models(parts, [3, 1]).mix == (0.75, 0.25)
    assert mix_models(parts, [1e308, 1e308]).mix == (0.5, 0.5)
    assert min(mix_models(parts, [1e308, 1e-308]).mix) > 0


def test_mixtures_of_mixtures() -> None:
    """A mixture may be a part, too."""
    inner = mix_models(PARTS["with an n-gram"], [1, 1])
    outer = mix_models([inner, network("\n abcd")], [1, 1])
    logits = make_engine(outer).stream().step(outer.tokenizer.start)
    assert np.exp(logits).sum() == pytest.approx(1, abs=1e-12)


def test_what_does_not_mix() -> None:
    """Bytes and characters, and weights that are too many, too few, 0, negative or no numbers are refused."""
    with pytest.raises(ConfigError, match="do not mix"):
        union([ByteTokenizer(), CharTokenizer("a")])
    parts = [network("ab"), network("ab")]
    for weights in ([1.0], [1.0, 1.0, 1.0]):
        with pytest.raises(ConfigError, match="give one for each"):
            mix_models(parts, weights)
    for wrong in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ConfigError, match="greater than 0"):
            mix_models(parts, [1.0, wrong])
    with pytest.raises(ConfigError, match="several models are not one network"):
        _ = mix_models(parts, [1, 1]).config


def test_only_what_is_needed_of_a_mixture_is_the_first_ones() -> None:
    """Corpus and settings are the first model's; paths come from another that learnt the same text."""
    first = ModelFile({}, None, CharTokenizer("ab"), {"sha256": "1", "lines": True})
    same = ModelFile({}, None, CharTokenizer("abc"), {"sha256": "1", "paths": ["/x"]})
    other = ModelFile({}, None, CharTokenizer("abc"), {"sha256": "2", "paths": ["/y"]})
    assert mix_models([first, other, same], [1, 1, 1]).corpus == {
        "sha256": "1",
        "lines": True,
        "paths": ["/x"],
    }
    assert mix_models([same, other], [1, 1]).corpus == same.corpus
    assert mix_models([first, other], [1, 1]).tokenizer.describe()["vocabulary"] == "abc"
