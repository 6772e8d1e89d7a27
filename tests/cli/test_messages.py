"""Every message is one printable line of a few hundred characters, whatever names and files contain."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.cli.output import LONGEST, note, note_lines, one_line, resuming_command, shell_words
from charrnn.files import MODEL_FILE
from charrnn.model.file import save_model
from tests.conftest import TINY, Charrnn, random_model
from tests.model.test_file import build, parse, repack

HOSTILE = "\x1b[31mred\r\n\u202e"
TEXT = "the quick brown fox jumps over the lazy dog\n" * 20


@given(st.text(), st.integers(10, 40))
def test_one_line_is_printable_and_short(text: str, longest: int) -> None:
    """Any text becomes one printable line within the bound; a short printable one stays as it is."""
    line = one_line(text, longest)
    assert line.isprintable()
    assert len(line) <= longest
    if text.isprintable() and len(text) <= longest:
        assert line == text


def test_long_messages_keep_their_ends() -> None:
    """The name at a long message's beginning and the remedy at its end remain."""
    line = one_line("name: " + "x" * 100_000 + "; do this")
    assert (line[:6], line[-9:], len(line)) == ("name: ", "; do this", LONGEST)


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0")), min_size=1))
def test_commands_can_be_typed_again(words: list[str]) -> None:
    """What bash reads from a printed command are the words that went into it, and the line is printable."""
    line = shell_words(words)
    assert line.isprintable()
    done = subprocess.run(
        ["bash", "-c", f"printf '%s\\0' {line}"], capture_output=True, check=True, env={"LC_ALL": "C.UTF-8"}
    )
    assert done.stdout.decode().split("\0")[:-1] == words


def test_the_command_that_resumes_is_never_cut() -> None:
    """Where the texts' names fill more than a line, the run's directory is enough."""
    many = tuple(f"text number {number}.txt" for number in range(100))
    assert resuming_command(many, None, Path("runs/a b")) == (
        "charrnn train --resume --output-dir 'runs/a b'"
    )
    assert resuming_command(("a",), Path("b"), Path("b")) == "charrnn train a --resume --output-dir b"


def test_notes_are_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """A note is one line whatever it says; a text is a note for each of its lines."""
    note(HOSTILE)
    note_lines("a\n\x1bb")
    assert capsys.readouterr().err == "\\x1b[31mred\\r\\n\\u202e\na\n\\x1bb\n"


def check_lines(err: str, count: int | None = 1) -> None:
    """Holds what a command wrote to stderr or as a result to the rule."""
    lines = err.split("\n")[:-1]
    assert err.endswith("\n")
    assert count is None or len(lines) == count, lines
    for line in lines:
        assert line.replace("\t", "").isprintable()  # rows have tabs
        assert len(line) <= LONGEST


COMMANDS = [
    ("sample", "-m", HOSTILE),
    ("sample", "-m", "a" * 5000),
    ("evaluate", "-m", "m", HOSTILE),
    ("evaluate", "-m", "m", "--html", f"{HOSTILE}/x.html", "t.txt"),
    ("export", "-m", "m", f"{HOSTILE}/x"),
    ("train", HOSTILE),
    ("train", "t.txt", "-o", "t.txt/" + HOSTILE),
    ("train", "t.txt", "--encoding", HOSTILE),
    ("train", "t.txt", "--encoding", "x" * 5000),
    ("sample", "-m", "m", "--temperature", HOSTILE),
    ("sample", "-m", "m", "--temperature", "9" * 5000 + "x"),
    ("train", "t.txt", "--size", HOSTILE),
    ("sample", "-m", "m", HOSTILE),
    ("sample", f"--{HOSTILE}"),
    (HOSTILE,),
    ("x" * 5000,),
]


@pytest.mark.parametrize("arguments", COMMANDS, ids=map(str, range(len(COMMANDS))))
def test_arguments_in_errors(charrnn: Charrnn, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """Escapes, newlines and thousands of characters in an argument make one harmless line."""
    (tmp_path / "t.txt").write_text(TEXT)
    save_model(tmp_path / "m", random_model())
    result = charrnn(*arguments)
    assert result.status in (1, 2)
    check_lines(result.err)


PLACES: list[tuple[str, ...]] = [
    ("format",), ("kind",), ("architecture", "cell"), ("tokenizer", "kind"), ("corpus", "encoding"),
    ("corpus", "newlines"), ("tokenizer", "vocabulary"),
]  # fmt: skip


@pytest.mark.parametrize("text", [HOSTILE, "\ud800", "a" * 20_000], ids=["escapes", "surrogate", "long"])
def test_what_a_model_says_of_itself(tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Metadata and names of tensors reach the terminal harmlessly."""
    from charrnn.cli.main import run

    path = tmp_path / "m"
    save_model(path, random_model())
    good = path.read_bytes()
    header, description, body = parse(good)
    files = []
    for place in PLACES:
        changed: dict[str, Any] = json.loads(json.dumps(description))
        inner = changed
        for key in place[:-1]:
            inner = inner.setdefault(key, {})
        inner[place[-1]] = text
        files.append(build(dict(header), changed, body))
    if text.isascii():
        files.append(repack(good, {text: ("F32", [1], bytes(4))}))
    for data in files:
        path.write_bytes(data)
        for arguments in (["sample", "-n", "3"], ["evaluate"]):
            assert run([*arguments, "-m", str(path)]) != 0 or arguments[0] == "sample"
            check_lines(capsys.readouterr().err)


def test_names_in_notes_and_results(charrnn: Charrnn, tmp_path: Path) -> None:
    """What training, scoring, exporting and listing say of hostile names is printable, too."""
    name = HOSTILE + "x" * 200
    (tmp_path / name).write_text(TEXT)
    trained = charrnn("train", name, *TINY, "--steps", 2, "--batch-size", 2)
    assert trained.status == 0, trained.err
    check_lines(trained.err, None)
    check_lines(trained.out, None)
    (model,) = (tmp_path / "runs").glob(f"*/{MODEL_FILE}")
    told = trained.out.splitlines()[-1].removeprefix("sample      charrnn sample -m ")
    typed = subprocess.run(
        ["bash", "-c", f"printf %s {told}"], capture_output=True, check=True, env={"LC_ALL": "C.UTF-8"}
    )
    assert typed.stdout.decode() in (str(model.parent.relative_to(tmp_path)), model.parent.name)
    for arguments in (
        ("evaluate", name),
        ("evaluate", name, "--per-line"),
        ("evaluate", name, "--html", HOSTILE + ".html"),
        ("export", HOSTILE + ".page"),
        ("list",),
    ):
        result = charrnn(*arguments, env={"LC_ALL": "C.UTF-8"})
        assert result.status == 0, result.err
        check_lines(result.err + result.out, None)
