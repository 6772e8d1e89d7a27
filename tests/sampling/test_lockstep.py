"""Texts in lockstep: each the one written alone, whatever the prompts share and however many there are."""

from __future__ import annotations

from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.model.engine import Engine
from charrnn.sampling import lockstep
from charrnn.sampling.continuation import Continuation
from charrnn.sampling.lockstep import Lockstep, Text
from charrnn.sampling.session import SamplingSession
from charrnn.use_config import SamplingConfig
from tests.conftest import random_model

SESSION = SamplingSession(
    random_model(vocabulary="\n ab", scale=0.8), SamplingConfig(seed=0, temperature=1.0, length=9)
)


def asked(prompts: list[str]) -> list[Text]:
    """A text for each prompt, with its index as seed."""
    return [Text(at, at, SESSION.tokenizer.encode(prompt)) for at, prompt in enumerate(prompts)]


def alone(prompt: str, seed: int) -> list[int]:
    """The ids that one stream writes after the prompt, up to a newline."""
    ids = list(Continuation(SESSION, SESSION.prompt(prompt), seed))
    return ids[: ids.index(SESSION.newline)] if SESSION.newline in ids else ids


@given(st.lists(st.text(" ab", max_size=6), min_size=1, max_size=30), st.integers(1, 7), st.integers(1, 12))
def test_each_text_is_the_one_written_alone(prompts: list[str], columns: int, together: int) -> None:
    """Prompts that are equal, or begin alike, or are cut into any groups, get what each gets alone."""
    with mock.patch.multiple(
        lockstep, MOST_COLUMNS=columns, LEAST_COLUMNS=1, MOST_PROMPTS=max(columns, together)
    ):
        bursts = Lockstep(SESSION, 9, scored=False).write(asked(prompts))
        found = [text for burst in bursts for text in burst]
    assert sorted(text.index for text in found) == list(range(len(prompts)))
    for text in found:
        assert text.ids == alone(prompts[text.index], text.index)
        assert text.reason == ("line" if len(text.ids) < 9 else "length")


def widths(texts: list[Text], limit: int) -> list[int]:
    """How many columns each step has in which the texts are written."""
    found = []

    class Counting(type(SESSION.engine.stream(1))):  # type: ignore[misc]
        def advance(self, ids: np.ndarray[tuple[int], np.dtype[np.int64]]) -> None:
            found.append(len(ids))
            super().advance(ids)

    def stream(engine: Engine, count: int) -> Counting:
        return Counting(engine, count)

    with mock.patch.object(type(SESSION.engine), "stream", stream):
        bursts = Lockstep(SESSION, limit, scored=False).write(texts)
        assert sum(len(burst) for burst in bursts) == len(texts)
    return found


def test_what_prompts_begin_with_is_read_once() -> None:
    """Of 64 prompts with a common beginning, that beginning is one column's reading, not 64 columns'."""
    common = "ab" * 20
    read = widths(asked([common + "ab "[at % 3] + "ab "[at % 2] for at in range(64)]), 1)
    assert read[: len(common) + 1] == [1] * (len(common) + 1)
    assert sum(read) < len(common) + 1 + 3 * 64


def test_few_columns_move_together() -> None:
    """Where one prompt is much longer than the others, the last steps are not made for all columns."""
    found = widths(asked(["a" * 60, *["b" * (index % 2) for index in range(39)]]), 9)
    assert found[-20:] == [1] * 20


@pytest.mark.parametrize("scale", [1, 64])
def test_columns_follow_the_size_of_a_state(scale: int) -> None:
    """Large states get fewer columns, within the bounds, and never fewer prompts than columns."""
    model = random_model(vocabulary="\n ab", hidden=8 * scale)
    found = Lockstep(SamplingSession(model, SamplingConfig(seed=0)), 9, scored=False)
    size = sum(part.nbytes for part in found._fresh)
    assert lockstep.LEAST_COLUMNS <= found._columns <= lockstep.MOST_COLUMNS
    assert found._columns in {32, 128} or found._columns * size <= lockstep.CACHED
    assert found._columns <= found._prompts <= lockstep.MOST_PROMPTS
