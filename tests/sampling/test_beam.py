"""Beam search against brute force, and against the greedy choice."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.errors import ConfigError
from charrnn.model.engine import Engine
from charrnn.model.file import ModelFile
from charrnn.sampling.beam import Hypothesis, beam_search
from charrnn.sampling.each import EachLine
from charrnn.sampling.sampler import log_probabilities
from charrnn.sampling.session import SamplingSession
from charrnn.use_config import SamplingConfig
from tests.conftest import random_model

VOCABULARY = "\nabcd"


def search(model: ModelFile, prompt: str, limit: int, **settings: object) -> list[Hypothesis]:
    """What the search finds after the prompt."""
    session = SamplingSession(model, SamplingConfig(**settings))  # type: ignore[arg-type]
    return beam_search(session, session.prompt(prompt), limit)


def logprob(model: ModelFile, prompt: str, text: str) -> float:
    """The natural-log probability of the text after the prompt."""
    ids = [model.tokenizer.start, *model.tokenizer.encode(prompt + text).tolist()]
    logs = log_probabilities(Engine(model).stream().read(np.array(ids[:-1])))
    first = len(ids) - 1 - len(text)
    return float(sum(logs[at, ids[at + 1]] for at in range(first, len(ids) - 1)))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_wide_beam_finds_what_brute_force_finds(seed: int) -> None:
    """Of all texts of up to 4 of 5 symbols, a beam as wide as there are texts finds the best in order."""
    model, limit = random_model(vocabulary=VOCABULARY, seed=seed, scale=1.0), 4
    texts = ["".join(letters) for n in range(limit) for letters in itertools.product("abcd", repeat=n)]
    every = {text: logprob(model, "ab", text + "\n") for text in texts}
    every |= {
        "".join(text): logprob(model, "ab", "".join(text)) for text in itertools.product("abcd", repeat=limit)
    }
    best = sorted(every, key=lambda text: -every[text])[:10]
    found = search(model, "ab", limit, beam=len(every))
    assert [one.text for one in found[:10]] == best
    assert [one.logprob for one in found[:10]] == pytest.approx([every[text] for text in best], abs=1e-5)
    assert len(found) == len(every)


@given(st.integers(0, 300), st.integers(1, 6), st.text("abcd", max_size=5))
def test_never_less_probable_than_greedy(seed: int, beam: int, prompt: str) -> None:
    """The first of the result is at least as probable as the greedy text, and they come in order."""
    model = random_model(vocabulary=VOCABULARY, seed=seed, scale=1.0)
    session = SamplingSession(model, SamplingConfig(temperature=0.0, length=8))
    (greedy,) = EachLine(session, scored=True).texts([[prompt]])
    found = search(model, prompt, 8, beam=beam)
    assert greedy.logprob is not None
    assert found[0].logprob >= greedy.logprob - 1e-5
    assert [one.logprob for one in found] == sorted((one.logprob for one in found), reverse=True)
    assert len({one.text for one in found}) == len(found) <= beam
    for one in found:
        end = "\n" if one.finish_reason == "line" else ""
        assert one.logprob == pytest.approx(logprob(model, prompt, one.text + end), abs=1e-4)


def test_a_beam_finds_what_greed_misses() -> None:
    """There are models of whose texts a beam finds a more probable one than the greedy text."""
    gains = []
    for seed in range(20):
        model = random_model(vocabulary=VOCABULARY, seed=seed, scale=1.0)
        gains.append(search(model, "", 8, beam=8)[0].logprob - search(model, "", 8, beam=1)[0].logprob)
    assert min(gains) >= -1e-6
    assert max(gains) > 0.01


def test_stops_and_bans_hold() -> None:
    """What is banned stands in no text of the beam, and a stop ends a text before it."""
    reasons = set()
    for seed in range(10):
        model = random_model(vocabulary=VOCABULARY, seed=seed, scale=1.0)
        found = search(model, "a", 4, beam=200, ban="c", stop=("b",))
        assert not any("c" in one.text or "b" in one.text for one in found)
        reasons |= {one.finish_reason for one in found}
    assert reasons == {"line", "stop", "length"}
    assert search(model, "a", 0, beam=3)[0].text == ""


def test_a_beam_goes_with_no_other_choice_of_the_best() -> None:
    """--beam with --best-of is a contradiction."""
    with pytest.raises(ConfigError, match="--beam"):
        SamplingConfig(beam=3, best_of=2)
