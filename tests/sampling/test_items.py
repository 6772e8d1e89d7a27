"""Models that learnt each line by itself: every item is written from a zero state, and none is empty."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.cli.interactive import continuations
from charrnn.evaluation.evaluator import Evaluator
from charrnn.model.file import ModelFile
from charrnn.model.mixture import mix_models
from charrnn.sampling.beam import beam_search
from charrnn.sampling.continuation import Continuation
from charrnn.sampling.each import EachLine
from charrnn.sampling.lines import LineWriter
from charrnn.sampling.session import SamplingSession, TokenChoice
from charrnn.text.scored import text_of
from charrnn.use_config import SamplingConfig
from tests.conftest import Charrnn, random_model
from tests.model.test_mixture import ngram

SMALL = "\nabc"
NAMES = "abba\ncab\nbab\nacca\nbacca\ncabba\nabac\n"


def ended(model: ModelFile, **corpus: bool) -> ModelFile:
    """The model as one of items, or of pairs, in which the newline has most of the probability."""
    if "output.bias" in model.weights:
        newline = model.tokenizer.lookup("\n")[0]
        model.weights["output.bias"][newline] += 2
    return dataclasses.replace(model, corpus=corpus or {"lines": True})


def model(kind: str) -> ModelFile:
    """A model of items, of one kind or another."""
    if kind in ("lstm", "gru"):
        return ended(random_model(kind, vocabulary=SMALL))  # type: ignore[arg-type]
    counts = ended(ngram(NAMES))
    if kind == "ngram":
        return counts
    other = random_model(vocabulary="abc" if kind == "unread" else SMALL, seed=1)
    return dataclasses.replace(mix_models([counts, other], [2, 1]), corpus={"lines": True})


KINDS = ["lstm", "gru", "ngram", "mixture", "unread"]


def session_of(of: ModelFile, source: str = "", **settings: Any) -> SamplingSession:
    """A session at temperature 1, with seed 1 unless another is given."""
    config = SamplingConfig(**{"seed": 1, "temperature": 1.0, "length": 90} | settings)
    return SamplingSession(of, config, source=source)


def written(session: SamplingSession, prompt: str = "", seed: int = 1) -> str:
    """Running text."""
    return session.tokenizer.decode(list(Continuation(session, session.prompt(prompt), seed)))


@pytest.mark.parametrize("prompt", ["", "ab", "abba\nca", "ab\n", "\n\na"])
@pytest.mark.parametrize("kind", KINDS)
def test_running_text_has_the_probabilities_of_scoring(kind: str, prompt: str) -> None:
    """Each character is chosen with the probability that evaluation, line by line, gives it."""
    of, choices = model(kind), list[TokenChoice]()
    session = session_of(of)
    ids = list(Continuation(session, session.prompt(prompt), 1, choices.append))
    text = session.tokenizer.decode(ids)
    assert text.count("\n") > 9
    expected = Evaluator(of).log_probabilities(text_of(prompt + text, of.tokenizer))[len(prompt) :]
    np.testing.assert_allclose([choice.logprob for choice in choices], expected, atol=1e-4)


@pytest.mark.parametrize("device", ["cpu", "auto"])
def test_items_of_a_running_text_do_not_know_each_other(device: str) -> None:
    """After each line end, a greedy text says again what it said first, whichever engine writes it."""
    of = ended(random_model(vocabulary=SMALL, scale=1.0, seed=21))
    first, *others, _ = written(session_of(of, temperature=0.0, device=device)).split("\n")
    assert len(others) > 5
    assert set(others) == {first} != {""}


SETTINGS: list[dict[str, Any]] = [
    {}, {"temperature": 0.0}, {"top_k": 1}, {"top_k": 2}, {"top_p": 0.2}, {"ban": "c"}, {"min_p": 0.5},
    {"repetition_penalty": 1.3}, {"bias": ("\n=9",)}, {"no_repeat": 9}, {"ban": "bc", "temperature": 0.0},
]  # fmt: skip


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_no_item_is_empty(kind: str, settings: dict[str, Any]) -> None:
    """In running text, with ``lines``, for each line, side by side or not, no item is without a character."""
    of = model(kind)
    session = session_of(of, **settings)
    text = written(session)
    assert not text.startswith("\n")
    assert "\n\n" not in text
    items = session_of(of, **settings, lines=40)
    assert all(line.ids for line in LineWriter(items, items.prompt(""), 3))
    single = session_of(of, "a\nab\n", **settings, novel=True)
    assert all(line.ids for line in LineWriter(single, single.prompt(""), 3))
    each = EachLine(session, scored=True).texts([["", "", "a", ""]])
    assert all(found.text or found.source for found in each)
    for found in EachLine(session_of(of, **settings, best_of=3)).texts([["", "a"]]):
        assert found.text or found.source


def test_a_prompt_may_be_a_whole_item() -> None:
    """What is begun may end at once: only an item without any character is not written."""
    of = ended(random_model(vocabulary=SMALL))
    session = session_of(of, lines=40)
    assert [] in [line.ids for line in LineWriter(session, session.prompt("ab"), 1)]
    assert "" in [one.text for one in EachLine(session_of(of)).texts([["ab"] * 20])]


@given(st.integers(0, 10_000), st.sampled_from(["continuation", "lines", "each"]))
def test_texts_without_empty_items_stay_as_they_were(seed: int, how: str) -> None:
    """A seed with which no item would have been empty writes what it wrote where empty ones are allowed."""
    of = ended(random_model(vocabulary=SMALL, seed=2), lines=True)
    of.weights["output.bias"][0] -= 2
    allowed, session = session_of(of, length=12), session_of(of, length=12)
    allowed.opening = None

    def texts(session: SamplingSession) -> list[str]:
        if how == "continuation":
            return written(session, seed=seed).split("\n")
        if how == "each":
            return [found.source + found.text for found in EachLine(session).texts([["", "a", ""]])]
        session.config = dataclasses.replace(session.config, lines=4)
        return [session.tokenizer.decode(line.ids) for line in LineWriter(session, session.prompt(""), seed)]

    session.config = allowed.config = dataclasses.replace(session.config, seed=seed)
    before, after = texts(allowed), texts(session)
    if how == "continuation":  # whose last line is cut
        del before[-1], after[-1]
    if "" not in before:
        assert after == before
    else:
        assert "" not in after


def test_where_all_else_is_banned_items_are_empty() -> None:
    """A ban that leaves the newline alone is obeyed."""
    assert written(session_of(ended(random_model(vocabulary=SMALL)), ban="abc", length=5)) == "\n" * 5


def test_a_beam_and_a_dialogue_offer_no_empty_item() -> None:
    """The most probable texts after nothing are items, each with the probability that the model gives it."""
    of = ended(random_model(vocabulary=SMALL))
    session = session_of(of, beam=4)
    for found in beam_search(session, session.prompt(""), 9):
        assert found.text
        score = Evaluator(of).log_probabilities(text_of(found.text + "\n", of.tokenizer)).sum()
        assert found.logprob == pytest.approx(score, abs=1e-4)
    for begun in ("", "a", "ab\n"):
        assert not any("\n\n" in "\n" + begun + text for text, _ in continuations(session, begun, 3))


def test_no_answer_is_empty() -> None:
    """No pair that is learnt has an empty target, and no answer is empty, greedy, drawn or by a beam."""
    of = ended(random_model(vocabulary="\t\nabc"), pairs=True)
    for settings in ({"temperature": 0.0}, {}, {"beam": 3}, {"repetition_penalty": 1.2}):
        found = list(EachLine(session_of(of, **settings)).texts([["a", "b", "cab"] * 5]))
        assert all(one.text for one in found)
        assert all(best.text for one in found for best in one.best)


def test_later_lines_of_a_text_do_not_begin_with_the_prompt() -> None:
    """In running text the prompt is part of the first line alone, where lines are compared."""
    of = ended(random_model(vocabulary=SMALL, scale=1.0))
    session = session_of(of, "a\nb\nab\nc\n", novel=True, length=300)
    lines = [session.tokenizer.decode(line.ids) for line in LineWriter(session, session.prompt("b"), 1)]
    assert len(lines) > 20
    assert not {"a", "b", "c", "ab"} & set(lines[1:-1])


def test_running_text_from_the_command_line(charrnn: Charrnn, tmp_path: Path) -> None:
    """A model trained with --lines writes items, whose bits are those that ``evaluate`` finds."""
    (tmp_path / "names.txt").write_text(NAMES * 9)
    assert charrnn("train", "names.txt", "--lines", "--cell", "ngram", "-o", "run").status == 0
    result = charrnn("sample", "-m", "run", "-n", 400, "-s", 1, "-q", "--json", "--logprobs", 1)
    sample = json.loads(result.out)
    (tmp_path / "written.txt").write_text(sample["text"])
    assert all(sample["text"].rstrip("\n").split("\n"))
    result = charrnn("evaluate", "-m", "run", "written.txt", "--json")
    (scored,) = json.loads(result.out)["results"]
    assert scored["nats"] == pytest.approx(-sum(one["logprob"] for one in sample["logprobs"]))
