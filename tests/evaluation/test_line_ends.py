r"""Line ends that a model does not expect."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from charrnn.cli.main import run
from charrnn.evaluation.line_ends import foreign_line_ends
from charrnn.model.file import ModelFile
from charrnn.text.scored import text_of
from tests.conftest import ALPHABET, ModelFactory, ModelWriter, random_model

LINES = "men went to mow\nwent to mow a meadow\none man and his dog\n\n" * 3


def expecting(model: ModelFile, unlikely: str) -> ModelFile:
    """The model with one character made improbable everywhere."""
    weights = dict(model.weights)
    bias = weights["output.bias"].copy()
    bias[int(model.tokenizer.lookup(unlikely)[0])] -= 20
    return dataclasses.replace(model, weights=weights | {"output.bias": bias})


@pytest.mark.parametrize("vocabulary", [None, "\n\r" + ALPHABET[1:]])
def test_foreign_line_ends_are_found(make_model: ModelFactory, vocabulary: str | None) -> None:
    """Where a model all but excludes a text's line ends, they are named; else nothing is."""
    model = make_model(vocabulary=vocabulary)
    unix, windows = (text_of(text, model.tokenizer) for text in (LINES, LINES.replace("\n", "\r\n")))
    assert foreign_line_ends(expecting(model, "\r"), windows) == "\r\n"
    assert foreign_line_ends(expecting(model, "\r"), unix) == ""
    assert foreign_line_ends(expecting(model, "\n"), unix) == "\n"
    assert foreign_line_ends(expecting(model, "\n"), windows) == ""
    assert foreign_line_ends(model, unix) == foreign_line_ends(model, windows) == ""


@pytest.mark.parametrize("text", ["\r\nab\r\n", "no line", "\n", "a\rb\rc\rd\r"])
def test_few_line_ends_say_nothing(make_model: ModelFactory, text: str) -> None:
    """From two lines no conclusion is drawn, and lone returns are no line ends."""
    model = expecting(make_model(vocabulary=None), "\r")
    assert foreign_line_ends(model, text_of(text, model.tokenizer)) == ""


def test_a_vocabulary_without_returns_is_not_asked(make_model: ModelFactory) -> None:
    """Where the vocabulary lacks one of the two, unknown characters are reported instead."""
    model = make_model()
    assert foreign_line_ends(model, text_of(LINES.replace("\n", "\r\n"), model.tokenizer)) == ""


@pytest.mark.parametrize(
    "flags", [(), ("--reset", "lines"), ("--per-line",), ("--heatmap", "--color", "never")]
)
def test_evaluate_names_foreign_line_ends(
    write_model: ModelWriter,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    flags: tuple[str, ...],
) -> None:
    """The command line says how the lines end, unless they are converted or it is to be quiet."""
    model = str(write_model(expecting(random_model(vocabulary=None), "\r")))
    text = tmp_path / "crlf.txt"
    text.write_bytes(LINES.replace("\n", "\r\n").encode())
    said = 'crlf.txt: its lines end in "\\r\\n", those that the model learned in "\\n"'
    for more, expected in (((), True), (("--newlines", "unix"), False), (("-q",), False)):
        assert run(["evaluate", "-m", model, str(text), *flags, *more]) == 0
        assert (said in capfd.readouterr().err) == expected


def test_n_grams_and_mixtures_are_asked_too(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A model of bytes that counts, alone and mixed, expects the line ends that it counted."""
    (tmp_path / "unix.txt").write_text(LINES)
    (tmp_path / "crlf.txt").write_bytes(LINES.replace("\n", "\r\n").encode())
    counted = str(tmp_path / "counted")
    train = ["train", str(tmp_path / "unix.txt"), "--cell", "ngram", "--tokenizer", "byte", "-o", counted]
    assert run([*train, "--val-fraction", "0"]) == 0
    for models in (["-m", counted], ["-m", counted, "-m", counted, "--mix", "1,1"]):
        for name in ("unix", "crlf"):
            capfd.readouterr()
            assert run(["evaluate", *models, str(tmp_path / f"{name}.txt")]) == 0
            assert ('its lines end in "\\r\\n"' in capfd.readouterr().err) == (name == "crlf")
