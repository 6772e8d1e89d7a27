"""The measure: against other computations, against a real code, and unknown characters in it."""

from __future__ import annotations

import dataclasses
import itertools
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charrnn.config import Cell, Output
from charrnn.evaluation.evaluator import Evaluator, score_text
from charrnn.evaluation.measure import Score, line_scores
from charrnn.model.engine import Engine, Stream
from charrnn.model.file import load_model
from charrnn.text.scored import ScoredText, text_of, unknown_nats
from charrnn.text.tokenizer import CharTokenizer
from charrnn.use_config import EvaluationConfig
from tests.conftest import ALPHABET, PLAY, ModelFactory, ModelWriter, random_model
from tests.evaluation.models import Doubles, Next, Reference, decode, encode

CELLS: tuple[Cell, ...] = ("lstm", "gru", "rnn", "relu")
BY_TORCH = EvaluationConfig(streams=2)  # more than one stream is torch's


@pytest.mark.parametrize(("cell", "output"), [*((cell, "top") for cell in CELLS), ("lstm", "all")])
def test_float64(
    cell: Cell, output: Output, write_model: ModelWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NumPy and torch agree with float64 from the file, a gate at a time, to 1e-5 nats a character."""
    text = PLAY.read_text()[:20_000]
    vocabulary = "".join(sorted(set(text)))
    path = write_model(random_model(cell, 2, 24, 12, vocabulary, scale=0.25, output=output))
    model = load_model(path)
    ids = model.tokenizer.encode(text)
    expected = Reference(path).scores(ids.tolist(), model.tokenizer.start)

    numpy = Evaluator(model)
    monkeypatch.setattr("charrnn.evaluation.evaluator.NUMPY_SECONDS", math.inf)
    found = numpy.log_probabilities(text_of(text, model.tokenizer))
    assert numpy.used == "numpy fp32 x1"
    assert abs(found.mean(dtype=np.float64) - expected.mean()) < 1e-5
    assert np.abs(found - expected).max() < 1e-3

    monkeypatch.setattr("charrnn.evaluation.evaluator.NUMPY_SECONDS", 0.0)
    torch = Evaluator(model, EvaluationConfig(streams=1))
    found = torch.log_probabilities(text_of(text, model.tokenizer))
    assert torch.used == "torch fp32 x1"
    assert abs(found.mean(dtype=np.float64) - expected.mean()) < 1e-5
    assert np.abs(found - expected).max() < 1e-3


def test_arithmetic_coder(trained: Path) -> None:
    """A coder driven by the model's probabilities needs the bits claimed to 0.1 %, and loses nothing."""
    model = load_model(trained / "model.safetensors")
    text = PLAY.read_text()[:50_000]
    claimed = -float(score_text(model, text).sum(dtype=np.float64)) / math.log(2)
    engine, ids = Engine(model), model.tokenizer.encode(text).tolist()

    def next_of(stream: Stream) -> Next:
        def step(id: int) -> Doubles:
            logits = stream.step(id).astype(np.float64)  # (vocabulary,)
            powers = np.exp(logits - logits.max())
            result: Doubles = powers / powers.sum()
            return result

        return step

    bits = encode(ids, model.tokenizer.start, next_of(engine.stream()))
    assert abs(len(bits) - claimed) < 0.001 * claimed
    decoded = decode(bits, len(ids), model.tokenizer.start, next_of(engine.stream()))
    assert decoded == ids


def test_first_character(make_model: ModelFactory) -> None:
    """The first character is scored from the start symbol, alone."""
    model = make_model()
    logits = Engine(model).stream().step(model.tokenizer.start).astype(np.float64)
    expected = logits - np.log(np.exp(logits).sum())
    assert score_text(model, "Q")[0] == pytest.approx(expected[model.tokenizer.encode("Q")[0]], abs=1e-6)


def test_state_is_carried(make_model: ModelFactory) -> None:
    """A text's score is that of its beginning, then of the rest given the beginning."""
    model = make_model(seed=3)
    whole, beginning = score_text(model, "to be or not"), score_text(model, "to be ")
    assert whole[:6] == pytest.approx(beginning, abs=1e-6)
    assert whole[6:] != pytest.approx(score_text(model, "or not"), abs=1e-3)


def test_blocks_join(make_model: ModelFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A text scored in small blocks has the scores of the text scored in one."""
    model, text = make_model(), PLAY.read_text()[:300].translate({ord(c): "x" for c in "—–’“”éè()[]_"})
    whole = score_text(model, text)
    monkeypatch.setattr("charrnn.evaluation.evaluator.LOGITS", 16)
    assert score_text(model, text) == pytest.approx(whole, abs=1e-5)


@pytest.mark.parametrize("seconds", [math.inf, -1.0])
def test_reset_lines(seconds: float, make_model: ModelFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """With --reset lines each line scores as if it stood alone, by NumPy and by torch."""
    monkeypatch.setattr("charrnn.evaluation.evaluator.NUMPY_SECONDS", seconds)
    model = make_model(seed=5)
    lines = ["to be\n", "\n", "or not é to be\n", "é\n", "that"]
    evaluator = Evaluator(model, EvaluationConfig(reset="lines"))
    found = evaluator.log_probabilities(text_of("".join(lines), model.tokenizer))
    assert evaluator.used.startswith("numpy" if seconds > 0 else "torch")
    known = np.array([c != "é" for c in "".join(lines)])
    alone = np.concatenate([score_text(model, line) for line in lines])
    assert found[known] == pytest.approx(alone[known], abs=1e-5)


def test_reset_auto(make_model: ModelFactory) -> None:
    """A model that learnt single lines begins anew at each line unless told otherwise."""
    model = dataclasses.replace(make_model(), corpus={"lines": True})
    text = text_of("one\ntwo\n", model.tokenizer)
    auto = Evaluator(model).log_probabilities(text)
    assert auto == pytest.approx(
        Evaluator(model, EvaluationConfig(reset="lines")).log_probabilities(text), abs=1e-6
    )
    carried = Evaluator(model, EvaluationConfig(reset="none")).log_probabilities(text)
    assert auto[4:] != pytest.approx(carried[4:], abs=1e-3)


# -- unknown characters ------------------------------------------------------------------------------------


def test_unknown_by_hand(make_model: ModelFactory) -> None:
    """Unknown characters cost ln g(g + 1) for their distance and ln U for their name; others as without."""
    model = make_model()
    found = score_text(model, "aébßß")
    naming = math.log(0x110000 - 0x800 - len(ALPHABET))
    assert found[1] == pytest.approx(-(math.log(2 * 3) + naming), rel=1e-6)
    assert found[3] == pytest.approx(-(math.log(2 * 3) + naming), rel=1e-6)
    assert found[4] == pytest.approx(-(math.log(1 * 2) + naming), rel=1e-6)
    assert found[[0, 2]] == pytest.approx(score_text(model, "ab"), abs=1e-6)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_unknown_is_a_code(count: int) -> None:
    """The probabilities of all places that so many unknown characters can have sum to at most one."""
    tokenizer = CharTokenizer("ab")
    tokenizer.unseen = 1  # so that nothing is charged for the name
    total = sum(
        math.exp(-unknown_nats(np.array(places), tokenizer).sum())
        for places in itertools.combinations(range(40), count)
    )
    assert 0.8 < total <= 1


def test_unknown_symbol(make_model: ModelFactory) -> None:
    """With an unknown symbol, an unknown character costs what the model says of it, and its name."""
    model = make_model(unknown=True)
    assert model.tokenizer.unknown is not None
    logits = Engine(model).stream().step(model.tokenizer.start).astype(np.float64)
    expected = logits[model.tokenizer.unknown] - np.log(np.exp(logits).sum())
    expected -= math.log(0x110000 - 0x800 - len(ALPHABET))
    assert score_text(model, "é")[0] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("unknown", [False, True])
@given(text=st.text("ab\né語", min_size=1, max_size=60))
@settings(max_examples=40)
def test_sums_agree(unknown: bool, text: str) -> None:
    """The text's figure, its lines' figures and its characters' figures are sums of the same numbers."""
    model = random_model(hidden=4, unknown=unknown)
    item = text_of(text, model.tokenizer)
    score = Evaluator(model).score(item)
    assert (score.characters, score.bytes) == (len(text), len(text.encode()))
    assert score.unknown == sum(c in "é語" for c in text)
    scores = Evaluator(model).log_probabilities(item)
    assert len(scores) == len(text)
    assert score.nats == pytest.approx(-scores.sum(dtype=np.float64), rel=1e-5)
    lines = list(line_scores(item, scores))
    assert [line[0] for line in lines] == [len(line) for line in text.splitlines(keepends=True)]
    assert sum(line[1] for line in lines) == score.unknown
    assert sum(line[2] for line in lines) == pytest.approx(-score.nats, rel=1e-5)


def test_all_unknown(make_model: ModelFactory) -> None:
    """A text of unknown characters alone has a figure, by NumPy and by torch."""
    model = make_model()
    text = text_of("語" * 10, model.tokenizer)
    expected = Evaluator(model).score(text)
    assert expected.nats > 10 * math.log(1e6)
    assert Evaluator(model, BY_TORCH).score(text) == expected


# -- the Python API ----------------------------------------------------------------------------------------


def test_score_text_bytes(make_model: ModelFactory) -> None:
    """A byte model's score of a character is the sum over the character's bytes."""
    model = make_model(vocabulary=None)
    found = score_text(model, "aé語")
    by_byte = Evaluator(model).log_probabilities(text_of("aé語", model.tokenizer))
    assert len(by_byte) == 6
    sums = [by_byte[0], by_byte[1:3].sum(), by_byte[3:].sum()]
    assert found == pytest.approx(sums, rel=1e-6)


def test_score_text_empty(make_model: ModelFactory) -> None:
    """An empty text has no characters to score."""
    assert score_text(make_model(), "").shape == (0,)


def test_units() -> None:
    """Bits are nats over ln 2, bits a byte count bytes, and perplexity is e to the nats."""
    score = Score(characters=4, bytes=8, unknown=1, nats=4 * math.log(8)) + Score(0, 0, 0, 0.0)
    assert score.nats_per_character == pytest.approx(math.log(8))
    assert score.bits_per_character == pytest.approx(3)
    assert score.bits_per_byte == pytest.approx(1.5)
    assert score.perplexity == pytest.approx(8)


# -- texts -------------------------------------------------------------------------------------------------


@given(text=st.text("ab\né", min_size=1, max_size=40))
def test_line_ends(text: str) -> None:
    """Lines end after each newline, and at the end of the text where none stands there."""
    item: ScoredText = text_of(text, random_model(hidden=2).tokenizer)
    expected = np.cumsum([len(line) for line in text.splitlines(keepends=True)])
    assert item.line_ends.tolist() == expected.tolist()
    places = item.place(item.line_ends)
    assert places.tolist() == [len(text[:end].replace("é", "")) for end in expected]


def test_long_text_on_disk(monkeypatch: pytest.MonkeyPatch, make_model: ModelFactory) -> None:
    """A text beyond the memory for ids is the same text in a mapped file."""
    model = make_model()
    small = text_of("to bé or not\n" * 50, model.tokenizer)
    monkeypatch.setattr("charrnn.files.IN_MEMORY", 64)
    large = text_of("to bé or not\n" * 50, model.tokenizer)
    assert isinstance(large.ids, np.memmap)
    assert not isinstance(small.ids, np.memmap)
    assert large.ids.tolist() == small.ids.tolist()
    assert large.unknown.tolist() == small.unknown.tolist()
    assert Evaluator(model).score(large) == Evaluator(model).score(small)


WINDOWS = "to be, or not to be\nthat is the question: é whether"


@pytest.mark.parametrize("unknown", [False, True])
@pytest.mark.parametrize("window", [1, 7, 20, 1000])
@pytest.mark.parametrize("seconds", [math.inf, -1.0])
def test_reset_windows(
    *, seconds: float, window: int, unknown: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With --reset N the state begins anew at every N characters, after the character before them."""
    monkeypatch.setattr("charrnn.evaluation.evaluator.NUMPY_SECONDS", seconds)
    model = random_model(seed=5, unknown=unknown)
    text = text_of(WINDOWS, model.tokenizer)
    evaluator = Evaluator(model, EvaluationConfig(reset=str(window)))
    found = evaluator.log_probabilities(text)
    assert evaluator.used == ("numpy fp32 x1" if seconds > 0 else "torch fp32 windows")
    previous, expected = model.tokenizer.start, []
    engine = Engine(model)
    stream = engine.stream()
    for place, character in enumerate(WINDOWS):
        if place % window == 0:
            stream = engine.stream()
        if character == "é" and not unknown:
            expected.append(math.nan)
            continue
        logits = stream.step(previous).astype(np.float64)
        previous = model.tokenizer.encode(character)[0]
        expected.append(logits[previous] - math.log(np.exp(logits).sum()))
    known = np.array([character != "é" for character in WINDOWS])
    assert found[known] == pytest.approx(np.array(expected)[known], abs=1e-4)


def test_a_window_of_the_whole_text_is_none() -> None:
    """A window as long as the text is the same as no reset."""
    model = random_model()
    text = text_of(WINDOWS, model.tokenizer)
    whole = Evaluator(model, EvaluationConfig(reset="none")).score(text)
    number = str(len(WINDOWS))
    assert Evaluator(model, EvaluationConfig(reset=number)).score(text).nats == pytest.approx(whole.nats)
