"""``charrnn sample --each``: a line in, a line out, in a pipeline."""

from __future__ import annotations

import dataclasses
import json
import subprocess
from pathlib import Path

import pytest

from tests.conftest import Charrnn, ModelWriter, command, environment, random_model

QUICK = ("-s", 1, "-n", 12, "-q")


def pairs_model(write_model: ModelWriter) -> Path:
    """A model with random weights that claims to have learnt pairs."""
    model = random_model(vocabulary="\t\nabc", scale=1.0)
    return write_model(dataclasses.replace(model, corpus={"pairs": True}))


def test_a_text_a_line_in_order(charrnn: Charrnn, model_path: Path) -> None:
    """Line i gets what its prompt gets alone with a seed i greater, to the line's end; CRLF is a line end."""
    prompts = ["Hello", "", "ab"]
    result = charrnn("sample", "-m", model_path, "--each", "-", *QUICK, input="Hello\r\n\nab")
    assert result.status == 0, result.err
    assert result.stderr == b""
    lines = result.out.split("\n")
    assert lines.pop() == ""
    for index, (prompt, line) in enumerate(zip(prompts, lines, strict=True)):
        arguments = ("-p", prompt, "-s", 1 + index, "-n", 12, "-q", "--no-display-prompt")
        assert charrnn("sample", "-m", model_path, *arguments).out.partition("\n")[0] == line


def test_the_prompt_is_shown_if_asked_for(charrnn: Charrnn, model_path: Path, tmp_path: Path) -> None:
    """``--display-prompt`` puts each line before its text; FILE can be a file."""
    (tmp_path / "lines").write_text("Hello\nab\n")
    plain = charrnn("sample", "-m", model_path, "--each", "lines", *QUICK).out.splitlines()
    shown = charrnn("sample", "-m", model_path, "--each", "lines", "--display-prompt", *QUICK)
    assert shown.out.splitlines() == ["Hello" + plain[0], "ab" + plain[1]]


def test_json_has_source_text_and_log_probability(charrnn: Charrnn, model_path: Path) -> None:
    """``--json`` writes an object a line with the text that is written without it."""
    arguments = ("sample", "-m", model_path, "--each", "-", *QUICK)
    plain = charrnn(*arguments, input="Hello\nab\n").out.splitlines()
    found = [json.loads(line) for line in charrnn(*arguments, "--json", input="Hello\nab\n").out.splitlines()]
    assert [one["text"] for one in found] == plain
    assert [(one["source"], one["seed"]) for one in found] == [("Hello", 1), ("ab", 2)]
    assert all(one["logprob"] < 0 for one in found)


def test_a_beam_gives_the_n_best(charrnn: Charrnn, write_model: ModelWriter) -> None:
    """``--beam N`` writes the most probable answer, and with ``--json`` N with their probabilities."""
    path = pairs_model(write_model)
    plain = charrnn("sample", "-m", path, "-p", "ab", "--beam", 3, "-n", 6)
    (found,) = map(
        json.loads, charrnn("sample", "-m", path, "-p", "ab", "--beam", 3, "-n", 6, "--json").out.splitlines()
    )
    assert plain.stderr == b""
    assert plain.out == found["text"] + "\n" == found["best"][0]["text"] + "\n"
    logprobs = [one["logprob"] for one in found["best"]]
    assert len(logprobs) == 3
    assert logprobs == sorted(logprobs, reverse=True)
    (greedy,) = map(json.loads, charrnn("sample", "-m", path, "-p", "ab", "-n", 6, "--json").out.splitlines())
    assert logprobs[0] >= greedy["logprob"] - 1e-5


def test_a_model_of_pairs_is_greedy(charrnn: Charrnn, write_model: ModelWriter) -> None:
    """Without a temperature the answers need no seed; an empty source has an empty answer."""
    path = pairs_model(write_model)
    first, second = (
        charrnn("sample", "-m", path, "--each", "-", "-n", 9, input="a\n\nbc\n") for _ in range(2)
    )
    assert first.stdout == second.stdout
    assert first.stderr == b""
    assert first.out.split("\n")[1] == ""
    prompted = charrnn("sample", "-m", path, "-f", "-", "-n", 9, input="a\n\nbc\n")
    assert prompted.out == first.out
    warm = charrnn("sample", "-m", path, "--each", "-", "--temp", 1, "-s", 3, input="a\n")
    assert warm.err == "seed 3\n"


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [("ab\nxé\nab\n", "line 2: the model never saw"), (b"ab\n\xff\n", "byte 0xff is not UTF-8")],
)
def test_an_unreadable_line_is_one_line_on_stderr(
    charrnn: Charrnn, model_path: Path, lines: str | bytes, complaint: str
) -> None:
    """A character that the model cannot read ends the program with status 1 and the line's number."""
    result = charrnn("sample", "-m", model_path, "--each", "-", *QUICK, input=lines)
    assert result.status == 1
    assert complaint in result.err
    assert result.err.count("\n") == 1


def test_skipping_unknown_characters(charrnn: Charrnn, model_path: Path) -> None:
    """``--skip-unknown`` reads the rest of the line and says how many characters were left out."""
    arguments = ("sample", "-m", model_path, "--each", "-", "-n", 12, "-s", 1)
    result = charrnn(*arguments, "--skip-unknown", input="aéb\n")
    assert result.out == charrnn(*arguments, input="ab\n").out
    assert "1 character not in the vocabulary, left out" in result.err


def test_lines_are_answered_as_they_come(model_path: Path, tmp_path: Path) -> None:
    """An answer is there before the next line comes: a program can hold a dialogue with the filter."""
    arguments = command("sample", "-m", model_path, "--each", "-", *QUICK)
    pipe = subprocess.PIPE
    with subprocess.Popen(arguments, stdin=pipe, stdout=pipe, cwd=tmp_path, env=environment()) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for line in (b"Hello\n", b"ab\n"):
            process.stdin.write(line)
            process.stdin.flush()
            assert process.stdout.readline().endswith(b"\n")
        process.stdin.close()
        assert process.wait(60) == 0


def test_a_closed_pipe_ends_it_with_141(model_path: Path, tmp_path: Path) -> None:
    """When the reader has enough, the filter ends quietly, however many lines are left."""
    arguments = command("sample", "-m", model_path, "--each", tmp_path / "lines", *QUICK)
    (tmp_path / "lines").write_text("Hello\n" * 50_000)
    pipe = subprocess.PIPE
    with subprocess.Popen(arguments, stdout=pipe, stderr=pipe, cwd=tmp_path, env=environment()) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(60) == 141
        assert process.stderr.read() == b""


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--each", "-", "--lines", 3], "leave out --lines"),
        (["--each", "-", "--num-samples", 3], "leave out --num-samples"),
        (["--each", "-", "-p", "a"], "leave out --prompt"),
        (["--beam", 3], "goes with --each"),
    ],
)
def test_what_makes_no_sense_is_refused(
    charrnn: Charrnn, model_path: Path, arguments: list[object], complaint: str
) -> None:
    """Options that contradict --each are a usage error."""
    result = charrnn("sample", "-m", model_path, *arguments, *QUICK, input="a\n")
    assert result.status == 2
    assert complaint in result.err
    assert result.err.count("\n") == 1


def test_a_missing_file_or_source_is_one_line(
    charrnn: Charrnn, model_path: Path, write_model: ModelWriter
) -> None:
    """A file that is not there, and a model of pairs without a source, are named."""
    result = charrnn("sample", "-m", model_path, "--each", "nowhere", *QUICK)
    assert (result.status, result.err) == (1, "charrnn: nowhere: No such file or directory\n")
    result = charrnn("sample", "-m", pairs_model(write_model), *QUICK)
    assert result.status == 2
    assert "give it a source" in result.err
