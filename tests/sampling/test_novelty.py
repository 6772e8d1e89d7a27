"""Runs and lines of the training text, found by hashes, against searches that need none."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.config import CorpusConfig
from charrnn.errors import CharrnnError
from charrnn.model.file import ModelFile
from charrnn.sampling.novelty import RunHashes, SpanIndex, lines_of, longest_copy, training_text
from charrnn.text.corpus import read_corpus
from tests.conftest import random_model

few_letters = st.text("ab\n", max_size=40)


@given(few_letters, few_letters)
def test_the_longest_copy_is_the_longest_common_run(text: str, source: str) -> None:
    """``longest_copy`` finds the first of the longest runs that a search of all runs finds."""
    runs = [text[i:j] for i in range(len(text)) for j in range(i + 1, len(text) + 1)]
    assert longest_copy(text, source) == max((run for run in runs if run in source), key=len, default="")


@given(few_letters, st.integers(1, 12))
def test_equal_runs_have_equal_hashes(text: str, run: int) -> None:
    """Runs of one length have the same hash exactly where they are the same characters."""
    hashes = RunHashes(text).of(run).tolist()
    runs = [text[i : i + run] for i in range(len(text) - run + 1)]
    assert len(hashes) == len(runs)
    assert len(set(hashes)) == len(set(runs))
    assert len(set(zip(hashes, runs, strict=True))) == len(set(runs))


@given(few_letters, few_letters, st.integers(2, 6))
def test_completions_are_what_ends_a_run_of_the_text(source: str, written: str, span: int) -> None:
    """A character is a completion exactly where the last ones and it stand in the text as a run of span."""
    found = SpanIndex(source, span).completions(written)
    context = written[1 - span :]
    expected = {c for c in "ab\n" if len(written) >= span - 1 and context + c in source}
    assert found == expected


@given(few_letters)
def test_lines_are_ended_by_newlines_only(text: str) -> None:
    """Carriage returns and other separators belong to a line; each line stands in the set."""
    assert lines_of(text + "\rc\x0bd") == set((text + "\rc\x0bd").split("\n"))


def model_of(path: Path, *, byte: bool = False) -> ModelFile:
    """A model that says it learnt the text at this path."""
    config = CorpusConfig(tokenizer="byte" if byte else "char")
    corpus = read_corpus([str(path)], config)
    vocabulary = None if byte else "".join(sorted(set(path.read_text())))
    return dataclasses.replace(random_model(vocabulary=vocabulary), corpus=corpus.describe())


@pytest.mark.parametrize("byte", [False, True])
def test_the_training_text_is_read_where_it_was(tmp_path: Path, byte: bool) -> None:
    """The recorded text comes back whole, held-out part included; of a byte model, a symbol a byte."""
    path = tmp_path / "text.txt"
    path.write_text("façade\r\nnaïve\n")
    text = path.read_bytes()
    expected = text.decode("latin-1") if byte else text.decode()
    assert training_text(model_of(path, byte=byte)) == expected


def test_another_text_in_its_place_is_refused(tmp_path: Path) -> None:
    """A text that changed since the training is named, with the remedy; so is one that is gone."""
    path = tmp_path / "text.txt"
    path.write_text("one text\n")
    model = model_of(path)
    path.write_text("or another\n")
    with pytest.raises(CharrnnError, match=r"text\.txt: changed since the model learnt it.*--against"):
        training_text(model)
    assert training_text(model, [str(path)]) == "or another\n"
    path.unlink()
    with pytest.raises(CharrnnError, match=r"text\.txt: no such file.*--against"):
        training_text(model)


def test_a_text_from_stdin_must_be_named() -> None:
    """What came from stdin, or from nowhere known, cannot be read again, and the message says so."""
    model = random_model()
    for corpus in ({}, {"paths": ["-"], "sha256": "0"}):
        with pytest.raises(CharrnnError, match="--against FILE"):
            training_text(dataclasses.replace(model, corpus=corpus))


def test_an_empty_text_to_compare_with_is_refused(tmp_path: Path) -> None:
    """Against nothing everything is novel, which nobody means."""
    (tmp_path / "empty").touch()
    with pytest.raises(CharrnnError, match=r"empty: empty, so that all text is novel"):
        training_text(random_model(), [str(tmp_path / "empty")])
