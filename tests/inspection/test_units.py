"""Units that were built to follow a feature are found first; the measures are those of the textbooks."""

from __future__ import annotations

import numpy as np
import pytest

from charrnn.config import Output
from charrnn.evaluation.evaluator import score_text
from charrnn.inspection.along import Along, read_along
from charrnn.inspection.cells import Unit, activations
from charrnn.inspection.units import Followed, area_under_curve, correlation
from charrnn.model.file import ModelFile
from charrnn.text.scored import text_of
from tests.conftest import random_model
from tests.inspection.models import COUNTER, QUOTER, counting_model, quote_model, quoted_text


def along(model: ModelFile, text: str, length: int = 100_000) -> Along:
    """What a model does along a text."""
    return read_along(model, text_of(text, model.tokenizer), length)


def followed(found: Along, feature: str) -> Followed:
    """One feature's units."""
    return next(one for one in found.followed if one.feature == feature)


def test_a_unit_that_counts_its_place_in_the_line_is_found_first() -> None:
    """Of a network with one such unit, it is the one for the line position, with r above 0.99."""
    best = followed(along(counting_model(), quoted_text(marks='""')), "line position").matches[0]
    assert best.unit == Unit(0, COUNTER, "hidden")
    assert best.held_out > 0.99


def test_a_unit_that_follows_quotes_is_found_first() -> None:
    """Of a network with one such unit, it is the one for quotes, with an AUC above 0.99."""
    best = followed(along(quote_model(), quoted_text()), "inside quotes").matches[0]
    assert (best.unit.layer, best.unit.unit) == (0, QUOTER)
    assert best.held_out > 0.99


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_streamed_sums_are_the_correlation(cell: str) -> None:
    """What picks units is Pearson's r over the first half, and what measures them that of the second."""
    model = random_model(cell)  # type: ignore[arg-type]
    text = ("To be, or not to be: that\nis the Question!\n" * 30)[:1201]
    found = along(model, text)
    signals = activations(model, model.tokenizer.encode(text))
    features = {feature.name: feature.values for feature in found.features}
    assert len(found.followed) > 8
    for one in found.followed:
        feature = features[one.feature]
        for match in one.matches:
            x = signals[f"{match.unit.layer}.{match.unit.signal}"][match.unit.unit].astype(np.float64)
            half = len(text) // 2
            assert match.picked == pytest.approx(np.corrcoef(x[:half], feature[:half])[0, 1], abs=1e-5)
            if not one.binary:
                r = np.corrcoef(x[half:], feature[half:])[0, 1]
                assert match.held_out == pytest.approx(r, abs=1e-5)
        strengths = [abs(match.picked) for match in one.matches]
        assert strengths == sorted(strengths, reverse=True)
        assert strengths[0] == pytest.approx(
            max(
                abs(correlation(row[:half], feature[:half])) for rows in signals.values() for row in rows
            ), abs=1e-5,
        )  # fmt: skip


def test_area_under_the_curve_counts_pairs() -> None:
    """The area is the share of pairs of a positive and a negative that are in order, ties half."""
    generator = np.random.default_rng(0)
    scores = generator.integers(0, 6, 60).astype(np.float32)
    positive = generator.random(60) < 0.3
    pairs = scores[positive][:, None] - scores[~positive][None]
    assert area_under_curve(scores, positive) == pytest.approx(((pairs > 0) + 0.5 * (pairs == 0)).mean())
    assert area_under_curve(scores, np.zeros(60, bool)) == 0.5


def test_saturation_counts_characters() -> None:
    """A gate's shares are how often its activation is below 0.1 and above 0.9."""
    model = random_model("lstm", scale=2.0)
    text = "To be, or not to be\n" * 20
    signals = activations(model, model.tokenizer.encode(text))
    found = along(model, text).saturation
    assert [(one.layer, one.gate) for one in found] == [
        (layer, gate) for layer in (0, 1) for gate in ("input", "forget", "output")
    ]
    for one in found:
        values = signals[f"{one.layer}.{one.gate}"]
        np.testing.assert_allclose(one.left, (values < 0.1).mean(axis=1))
        np.testing.assert_allclose(one.right, (values > 0.9).mean(axis=1))


@pytest.mark.parametrize("output", ["top", "all"])
@pytest.mark.parametrize("unknown", [False, True])
def test_bits_are_those_of_evaluation(*, unknown: bool, output: Output) -> None:
    """What each character costs is what evaluation says, unknown characters included."""
    model = random_model(unknown=unknown, output=output)
    text = "To bé, or nót\nto be"
    found = along(model, text)
    expected = -score_text(model, text) / np.log(2)
    np.testing.assert_allclose(found.bits, expected, rtol=1e-5)
    assert len(found.script.places) == (len(text) if unknown else len(text) - 2)


def test_models_of_lines_begin_anew_at_each() -> None:
    """A model that learnt single lines reads each from a zero state, as evaluation does."""
    base = random_model()
    model = ModelFile(base.weights, base.config, base.tokenizer, {"lines": True})
    text = "Anna\nBo\nCarl"
    found = along(model, text)
    np.testing.assert_allclose(found.bits, -score_text(model, text) / np.log(2), rtol=1e-5)
    whole = activations(model, model.tokenizer.encode("Bo\n"))["1.cell"]
    np.testing.assert_allclose(found.shown[5:8, found.columns.of(1, "cell")], whole.T, atol=1e-6)


@pytest.mark.parametrize("text", ["a", "é", "a\n", "\n"])
def test_short_texts_name_no_units(text: str) -> None:
    """In a text of a character or two everything would follow something, and nothing is named."""
    found = along(random_model(), text)
    assert found.followed == []
    assert len(found.bits) == len(text)
    assert found.default_unit() is None


@pytest.mark.parametrize(
    "model",
    [
        random_model(vocabulary=" abc"),
        random_model(vocabulary=None),
        random_model("gru", 1),
        random_model("rnn", 3),
        random_model("relu"),
    ],
    ids=["no newline", "bytes", "gru", "three layers", "relu"],
)
def test_every_kind_of_model(model: ModelFile) -> None:
    """Models without a newline, of bytes, of every cell and depth name units for a text's features."""
    found = along(model, "abc cab ab c abba\n" * 40)
    assert found.followed
    assert np.isfinite(found.bits).all()


def test_only_the_beginning_is_read() -> None:
    """Of a long text as many characters are read as were asked for."""
    assert len(along(random_model(), "to be " * 100, 250).bits) == 250
