"""Runs that may not be written, against a search through the whole text."""

from __future__ import annotations

import doctest

from hypothesis import given
from hypothesis import strategies as st

from charrnn.sampling import guards
from charrnn.sampling.guards import RepeatGuard

texts = st.lists(st.integers(0, 2), max_size=40)


def repeated(text: list[int], span: int) -> list[int]:
    """The ids of 0 to 2 that would end the text with ``span`` ids that it already has in a row."""
    runs = {tuple(text[i : i + span]) for i in range(len(text) - span + 1)}
    return [id for id in range(3) if (*text[len(text) - span + 1 :], id) in runs and len(text) >= span - 1]


def test_examples() -> None:
    """The example in the guard's docstring holds."""
    assert doctest.testmod(guards).failed == 0


@given(texts, texts, st.integers(2, 5))
def test_repeats_are_those_a_search_finds(prompt: list[int], written: list[int], span: int) -> None:
    """At every place a guard bars the ids that would complete a run which the text already has."""
    guard = RepeatGuard(span, prompt)
    text = prompt.copy()
    for id in written:
        assert guard.barred() == repeated(text, span)
        guard.read(id)
        text.append(id)
    assert guard.barred() == repeated(text, span)


@given(texts, texts, texts, st.integers(2, 5))
def test_what_is_taken_back_is_forgotten(
    kept: list[int], refused: list[int], after: list[int], span: int
) -> None:
    """Back at a saved place a guard bars what one bars that has read no more than that."""
    guard, other = RepeatGuard(span, kept), RepeatGuard(span, kept)
    saved = guard.save()
    for id in refused:
        guard.read(id)
    guard.restore(saved)
    for id in after:
        assert guard.barred() == other.barred()
        guard.read(id)
        other.read(id)
    assert guard.barred() == other.barred()
