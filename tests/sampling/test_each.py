"""A text for every line: the same as alone, in order, in lockstep or not."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.errors import CorpusError
from charrnn.model.engine import Engine
from charrnn.model.file import ModelFile
from charrnn.model.mixture import mix_models
from charrnn.sampling.continuation import Continuation
from charrnn.sampling.each import EachLine, LineText, fits_lockstep
from charrnn.sampling.lockstep import MOST_COLUMNS as COLUMNS
from charrnn.sampling.sampler import log_probabilities
from charrnn.sampling.session import SamplingSession
from charrnn.use_config import SamplingConfig
from tests.conftest import random_model

SMALL = "\n abc"
PAIRS = dataclasses.replace(random_model(vocabulary="\t\nabc"), corpus={"pairs": True})


def texts(
    lines: list[str], model: ModelFile | None = None, block: int = 1000, **settings: Any
) -> list[LineText]:
    """What is written for the lines, which come in blocks of this size."""
    config = SamplingConfig(**{"seed": 7, "temperature": 1.0, "length": 30} | settings)
    session = SamplingSession(model or random_model(vocabulary=SMALL), config)
    blocks = [lines[at : at + block] for at in range(0, len(lines), block)]
    return list(EachLine(session, scored=True).texts(blocks))


def alone(line: str, index: int, model: ModelFile | None = None, **settings: Any) -> str:
    """What the model writes after the line by itself, with the seed of text ``index``, to the line's end."""
    config = SamplingConfig(**{"seed": 7 + index, "temperature": 1.0, "length": 30} | settings)
    session = SamplingSession(model or random_model(vocabulary=SMALL), config)
    ids = list(Continuation(session, session.prompt(line), 7 + index))
    return session.tokenizer.decode(ids).partition("\n")[0]


LINES = st.lists(st.text(" abc", max_size=12), max_size=8)


@given(LINES, st.integers(1, 9))
def test_each_text_is_the_one_written_alone(lines: list[str], block: int) -> None:
    """Line i's text is that of the seed i greater, whatever is written beside it and however lines come."""
    assert [found.text for found in texts(lines, block=block)] == [
        alone(line, index) for index, line in enumerate(lines)
    ]


def test_a_mixture_writes_in_lockstep_what_it_writes_alone() -> None:
    """Two networks mixed, one of which cannot read all symbols, share beginnings and columns as one does."""
    parts = [random_model(vocabulary=SMALL), random_model(vocabulary="\n ab", hidden=4, seed=1)]
    model = mix_models(parts, [0.7, 0.3])
    lines = ["abc"[index % 3] * (index % 5) + " ca"[index % 3] for index in range(COLUMNS + 9)]
    assert [one.text for one in texts(lines, model)] == [
        alone(line, index, model) for index, line in enumerate(lines)
    ]


def test_more_lines_than_columns_come_in_order() -> None:
    """Columns of the lockstep take further lines as theirs end, and the order stays."""
    lines = ["abc"[index % 3] * (index % 5) for index in range(2 * COLUMNS + 9)]
    found = texts(lines)
    assert [one.source for one in found] == lines
    assert [one.seed for one in found] == [7 + index for index in range(len(lines))]
    for index in (0, COLUMNS - 1, COLUMNS, len(lines) - 1):
        assert found[index].text == alone(lines[index], index)


@pytest.mark.parametrize("settings", [{"top_k": 2}, {"temperature": 0.0}, {"ban": "a"}, {"min_p": 0.2}])
def test_filters_are_those_of_a_single_text(settings: dict[str, Any]) -> None:
    """Filters, bans and temperature 0 choose in the lockstep as they do in one stream."""
    assert fits_lockstep(SamplingConfig(**settings))
    lines = ["ab", "", "cab ab"]
    assert [one.text for one in texts(lines, **settings)] == [
        alone(line, index, **settings) for index, line in enumerate(lines)
    ]


def test_what_the_lockstep_lacks_is_written_one_by_one() -> None:
    """A repetition penalty, which looks back at each text, gives what it gives to a single text."""
    settings: dict[str, Any] = {"repetition_penalty": 1.5}
    assert not fits_lockstep(SamplingConfig(**settings))
    lines = ["ab", "", "cab ab"]
    found = texts(lines, **settings)
    assert [one.text for one in found] == [alone(line, index, **settings) for index, line in enumerate(lines)]
    assert {one.finish_reason for one in found} <= {"line", "length"}


def test_a_stop_ends_a_text_before_it() -> None:
    """The text is what stands before the first stop, in the lockstep and one by one."""
    lines = ["a"] * 20
    index, whole = max(enumerate(one.text for one in texts(lines)), key=lambda found: len(found[1]))
    stop = whole[3:5]
    assert len(stop) == 2
    several: list[dict[str, Any]] = [{}, {"repetition_penalty": 1.0000001}]
    for settings in several:
        found = texts(lines, stop=("#", stop), **settings)[index]
        assert (found.text, found.finish_reason) == (whole[: whole.index(stop)], "stop")


def test_length_limits_every_text() -> None:
    """No text is longer than the length; a length of 0 gives empty ones."""
    assert {len(one.text) for one in texts(["a", "b"], length=0)} == {0}
    cut = texts(["a", "b", "c"], length=3)
    assert all(one.text == alone(one.source, at, length=3) for at, one in enumerate(cut))
    assert all(one.finish_reason == ("length" if len(one.text) == 3 else "line") for one in cut)


@given(LINES)
def test_log_probability_is_the_models_own(lines: list[str]) -> None:
    """Text and line end have the log probability that the engine gives them, whatever the temperature."""
    model = random_model(vocabulary=SMALL)
    several: list[dict[str, Any]] = [{"temperature": 0.5}, {"temperature": 0.5, "repetition_penalty": 1.2}]
    for settings in several:
        for one in texts(lines, model, **settings):
            end = "\n" if one.finish_reason == "line" else ""
            ids = [model.tokenizer.start, *model.tokenizer.encode(one.source + one.text + end).tolist()]
            logs = log_probabilities(Engine(model).stream().read(np.array(ids[:-1])))
            written = len(one.text + end)
            expected = sum(logs[at, id] for at, id in list(enumerate(ids[1:]))[len(ids) - 1 - written :])
            assert one.logprob == pytest.approx(expected, abs=1e-4)


def test_a_block_is_answered_before_the_next_is_asked_for() -> None:
    """All texts of a block come out before the next block is read, so that nobody waits for an idle pipe."""
    session = SamplingSession(random_model(vocabulary=SMALL), SamplingConfig(seed=1))
    asked: list[int] = []

    def blocks() -> Iterator[list[str]]:
        for number in range(3):
            asked.append(number)
            yield ["a", "b"]

    for count, _ in enumerate(EachLine(session).texts(blocks())):
        assert len(asked) == count // 2 + 1


def test_what_comes_before_an_unreadable_line_is_written() -> None:
    """A character that the vocabulary lacks is an error with the line's number, after the lines before it."""
    session = SamplingSession(random_model(vocabulary=SMALL), SamplingConfig(seed=1))
    found = EachLine(session).texts([["a"], ["b", "aé", "c"]])
    assert [next(found).source, next(found).source] == ["a", "b"]
    with pytest.raises(CorpusError, match=r"line 3: .*é"):
        next(found)
    skipping = EachLine(session, skip_unknown=True)
    assert len(list(skipping.texts([["aé", "a"]]))) == 2
    assert skipping.unknown == 1


def test_a_source_is_read_with_its_tab() -> None:
    """A model of pairs answers what it writes after the source and a tab; an empty source has no answer."""
    found = texts(["ab", "", "cc"], PAIRS, temperature=0.0)
    assert [one.finish_reason == "empty" for one in found] == [False, True, False]
    assert [one.text for one in found] == [
        alone("ab\t", 0, PAIRS, temperature=0.0, ban="\t"),
        "",
        alone("cc\t", 2, PAIRS, temperature=0.0, ban="\t"),
    ]
    with pytest.raises(CorpusError, match="line 2: a tab"):
        texts(["ab", "a\tb"], PAIRS)


@given(st.lists(st.text("abé\t", max_size=4), max_size=5), st.booleans(), st.booleans())
def test_a_block_is_read_as_its_lines_are(lines: list[str], pairs: bool, unknown: bool) -> None:
    """Lines that come together have the texts, unknown characters and errors of lines that come alone."""
    model = random_model(vocabulary="\t\nab", unknown=unknown)
    model = dataclasses.replace(model, corpus={"pairs": pairs})
    session = SamplingSession(model, SamplingConfig(seed=1, temperature=1.0, length=5))
    outcomes = []
    for blocks in ([lines], [[line] for line in lines]):
        writer = EachLine(session)
        found: list[LineText | str] = []
        try:
            found += writer.texts(blocks)
        except CorpusError as error:
            found.append(str(error))
        outcomes.append((found, writer.unknown if len(found) == len(lines) else None))
    assert outcomes[0] == outcomes[1]


def test_a_tab_is_never_part_of_an_answer() -> None:
    """The separator is not written by a model of pairs."""
    assert not any("\t" in one.text for one in texts(["a", "b", "abc"] * 20, PAIRS, length=50))
