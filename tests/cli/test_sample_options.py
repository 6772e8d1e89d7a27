"""``charrnn sample``: options that cannot act, prompts of any bytes, colons in a dialogue, and edges."""

from __future__ import annotations

import base64
import dataclasses
import json
import resource
import subprocess
from pathlib import Path

import pytest

from charrnn.cli.interactive import answer
from charrnn.cli.prompt import unescape
from charrnn.errors import ConfigError
from tests.conftest import Charrnn, ModelWriter, command, environment, random_model

SEED = ("-s", 1)


def one_line(stderr: bytes) -> str:
    """The text of stderr, which must be a single line."""
    (line,) = stderr.decode().splitlines()
    return line


def notes(charrnn: Charrnn, model: Path, *arguments: object) -> list[str]:
    """What ``charrnn sample`` says on stderr beside the seed."""
    result = charrnn("sample", "-m", model, "-n", 5, *arguments)
    assert result.status == 0, result.err
    return [line for line in result.err.splitlines() if not line.startswith("seed ")]


# -- options that cannot act --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("--stop", "\\n"), ("--stop '\\n'", "lacks '\\'", "--escape")),
        (("--until", "\\n"), ("--until '\\n'", "lacks '\\'", "--escape")),
        (("--stop", "é!"), ("--stop 'é!'", "lacks 'é'")),
        (("--stop", "ab", "--ban", "b"), ("--stop 'ab'", "--ban bans 'b'")),
        (("--ban", "é"), ("--ban 'é'", "lacks 'é'")),
        (("--bias", "é=1"), ("--bias 'é'", "lacks 'é'")),
        (("--temp", 0, "--top-k", 5, "-s", 1), ("--temperature 0", "--top-k, --seed")),
        (("--top-k", 500), ("--top-k 500", "62 characters")),
        (("--repetition-window", 5), ("--repetition-window", "--repetition-penalty")),
        (("--separator", "x"), ("--separator", "--num-samples")),
        (("--against", "x"), ("--against", "--novel")),
        (("--escape",), ("--escape",)),
        (("--skip-unknown",), ("--skip-unknown",)),
    ],
)  # fmt: skip
def test_what_cannot_act_is_said(
    charrnn: Charrnn, model_path: Path, arguments: tuple[object, ...], parts: tuple[str, ...]
) -> None:
    """An option that changes nothing is named on stderr, in one line that says why."""
    (line,) = notes(charrnn, model_path, *arguments)
    assert all(part in line for part in parts), line


def test_a_dialogue_names_what_it_ignores(charrnn: Charrnn, model_path: Path) -> None:
    """With -i the settings of a single text have no effect, and a note names those that were given."""
    result = charrnn("sample", "-m", model_path, "-i", "--temp", 0.5, "--top-k", 3, "--ban", "x")
    assert "no effect with --interactive: --temperature, --top-k" in result.err.splitlines()


def test_a_ban_of_a_backslash_says_what_is_banned(charrnn: Charrnn, write_model: ModelWriter) -> None:
    """Without --escape, ``--ban '\\n'`` bans a backslash and an n: a note says so; with it, a newline."""
    path = write_model(random_model(vocabulary="\n\\an"))
    (line,) = notes(charrnn, path, "--ban", "\\n")
    assert all(part in line for part in ("'\\', 'n'", "--escape"))
    (line,) = notes(charrnn, path, "--stop", "\\n")
    assert "backslash" in line
    assert notes(charrnn, path, "--ban", "\\n", "--stop", "\\n", "--escape")[0].count("bans '\\n'") == 1


def test_options_that_act_are_not_spoken_of(charrnn: Charrnn, model_path: Path) -> None:
    """Where every option acts there is no note, nor any with --quiet."""
    options = ("--stop", "zq", "--until", ".", "--ban", "x", "--bias", "e=-1", "--top-k", 5, "-p", "Ah")
    assert notes(charrnn, model_path, *options) == []
    assert charrnn("sample", "-m", model_path, "-n", 5, "--stop", "é", "-q", *SEED).err == ""


# -- new options --------------------------------------------------------------------------------------------


def test_until_keeps_the_end_of_a_sentence(charrnn: Charrnn, model_path: Path) -> None:
    """``--until`` twice: the text goes on to the first of them, which is printed."""
    whole = charrnn("sample", "-m", model_path, "-n", 400, "-q", *SEED).out
    until = ("--until", ".", "--until", "?")
    found = charrnn("sample", "-m", model_path, "-n", 200, *until, "-q", *SEED).out
    assert found == whole[: min(whole.find(mark, 199) for mark in ".?" if mark in whole[199:]) + 1]
    line = charrnn("sample", "-m", model_path, "-n", 200, *until, "--json", "-q", *SEED).out
    assert json.loads(line)["finish_reason"] == "until"


def test_a_greedy_text_does_not_loop(charrnn: Charrnn, model_path: Path) -> None:
    """``--temp 0 --no-repeat 8`` has no run of eight characters twice, where ``--temp 0`` loops."""
    arguments = ("sample", "-m", model_path, "-n", 600, "--temp", 0, "-q")

    def most(text: str) -> int:
        runs = [text[i : i + 8] for i in range(len(text) - 7)]
        return max(map(runs.count, set(runs)))

    assert most(charrnn(*arguments).out) > 5
    assert most(charrnn(*arguments, "--no-repeat", 8).out) == 1


def test_a_bias_takes_escapes(charrnn: Charrnn, model_path: Path) -> None:
    """``--bias`` with --escape applies to the newline; a strong one writes nothing else."""
    result = charrnn("sample", "-m", model_path, "-n", 9, "--bias", "\\n=99", "--escape", "-q", *SEED)
    assert result.out == "\n" * 9


# -- prompts and bytes --------------------------------------------------------------------------------------


def test_a_byte_model_takes_any_bytes(charrnn: Charrnn, write_model: ModelWriter, tmp_path: Path) -> None:
    """Every byte reaches a byte model from a file and from stdin, and stdout unchanged."""
    path, data = write_model(random_model(vocabulary=None)), bytes(range(256))
    (tmp_path / "prompt.bin").write_bytes(data)
    arguments = ("sample", "-m", path, "-n", 20, "-q", *SEED)
    file = charrnn(*arguments, "-f", "prompt.bin")
    assert (file.status, file.stdout[:256], len(file.stdout)) == (0, data, 276)
    assert charrnn(*arguments, "-f", "-", input=data) == file
    other = charrnn(*arguments, "-f", "-", input=data[:-1] + b"a")
    assert other.stdout[256:] != file.stdout[256:]


def test_json_has_the_bytes_that_text_loses(charrnn: Charrnn, write_model: ModelWriter) -> None:
    """``bytes`` beside ``text``, in base64, is what is written without --json, where that is not UTF-8."""
    path = write_model(random_model(vocabulary=None))
    arguments = ("sample", "-m", path, "-n", 40, "-f", "-", *SEED, "-q")
    plain = charrnn(*arguments, input=b"\xff").stdout
    found = json.loads(charrnn(*arguments, "--json", "--logprobs", 3, input=b"\xff").out)
    assert base64.b64decode(found["prompt_bytes"]) + base64.b64decode(found["bytes"]) == plain
    assert found["text"] == plain[1:].decode("utf-8", "replace")
    steps = [
        base64.b64decode(one["bytes"]) if "bytes" in one else one["text"].encode()
        for one in found["logprobs"]
    ]
    assert b"".join(steps) == plain[1:]
    characters = write_model(random_model(vocabulary="aé"), "characters.safetensors")
    found = json.loads(charrnn("sample", "-m", characters, "-n", 9, "-p", "é", "--json", *SEED).out)
    assert not {"bytes", "prompt_bytes"} & found.keys()


def test_a_prompt_file_is_in_the_encoding_of_the_corpus(charrnn: Charrnn, write_model: ModelWriter) -> None:
    """A model that learnt Latin-1 reads Latin-1 from files and stdin; a model of UTF-8 names the byte."""
    model = random_model(vocabulary="aé")
    latin = write_model(dataclasses.replace(model, corpus={"encoding": "latin-1"}), "latin.safetensors")
    found = charrnn("sample", "-m", latin, "-n", 5, "-q", *SEED, "-f", "-", input="aé".encode("latin-1"))
    assert (found.status, found.out[:2]) == (0, "aé")
    assert found == charrnn("sample", "-m", latin, "-n", 5, "-q", *SEED, "-p", "aé")
    refused = charrnn("sample", "-m", write_model(model), "-f", "-", input="aé".encode("latin-1"))
    assert refused.status == 1
    assert "byte 0xe9 at offset 1 is not UTF-8" in one_line(refused.stderr)


# -- a dialogue ---------------------------------------------------------------------------------------------


def test_an_unknown_command_of_a_dialogue_is_an_error(charrnn: Charrnn, model_path: Path) -> None:
    """``:elephant`` is one line and changes nothing; ``::`` begins a text with a colon."""
    result = charrnn("sample", "-m", model_path, "-i", *SEED, input="Once\n:elephant\n:u now\n::e -\n")
    assert (result.status, result.out) == (0, "Once:e -")
    assert sum("no such command" in line for line in result.err.splitlines()) == 2
    assert ":elephant: no such command" in result.err
    assert charrnn("sample", "-m", model_path, "-i", *SEED, input="Once\n:e\nTwice\n").out == "Twice"


@pytest.mark.parametrize("turn", [":", ":elephant", ":N", ":en", ":u2", ": e"])
def test_commands_are_whole_words(turn: str) -> None:
    """What begins with one colon and is no command is refused."""
    with pytest.raises(ConfigError, match="no such command"):
        answer(turn, "text", [])


# -- edges --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("byte", [False, True])
@pytest.mark.parametrize("option", ["--separator", "-p", "--stop", "--until", "--ban", "--bias"])
def test_half_a_surrogate_pair_is_one_line(
    charrnn: Charrnn, write_model: ModelWriter, option: str, *, byte: bool
) -> None:
    """Half of a surrogate pair through --escape is refused in one line, in every option that is a text."""
    path = write_model(random_model(vocabulary=None) if byte else None)
    for half in ("\\ud800", "\\udcff"):
        value = half + "=1" if option == "--bias" else half
        result = charrnn("sample", "-m", path, option, value, "--escape", "--num-samples", 2)
        assert (result.status, result.stdout) == (2, b"")
        assert half in one_line(result.stderr)


def test_a_surrogate_pair_is_a_character() -> None:
    """Two escapes that are a pair are the character that they stand for, as in JSON."""
    assert unescape("a\\ud83d\\udd14b\\u00e9\\xe9\\n") == "a🔔béé\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ("--temp", "1e-320"), ("--temp", "5e-324", "--top-p", "1e-320"), ("--min-p", "5e-324"),
        ("--repetition-window", 2**63 - 1, "--repetition-penalty", 2),
        ("--repetition-window", 2**63, "--repetition-penalty", 2),
        ("--ban", "a", "--top-k", 1, "--repetition-penalty", "1e39"),
        ("--bias", "a=1e308", "--bias", "a=1e308", "--repetition-penalty", "1.7e308"),
    ],
)  # fmt: skip
def test_edges_write_text_and_nothing_else(
    charrnn: Charrnn, model_path: Path, arguments: tuple[object, ...]
) -> None:
    """Settings at the edges of their ranges write so many characters, none of them banned, silently."""
    result = charrnn("sample", "-m", model_path, "-n", 60, *arguments, *SEED, "-q")
    assert (result.status, len(result.out), result.err) == (0, 60, "")
    assert "--ban" not in arguments or "a" not in result.out


@pytest.mark.parametrize(("arguments", "megabytes"), [(("sample",), 50), (("train", __file__), 300)])
def test_too_little_memory_to_load_libraries_is_one_line(
    tmp_path: Path, model_path: Path, arguments: tuple[str, ...], megabytes: int
) -> None:
    """Where the limit of memory is too low for NumPy or torch, one line says so, with status 1."""
    limit = megabytes << 20
    model = ("-m", str(model_path)) if arguments == ("sample",) else ("-o", str(tmp_path / "run"))
    done = subprocess.run(
        command(*arguments, *model), capture_output=True, env=environment({"OPENBLAS_NUM_THREADS": "1"}),
        cwd=tmp_path, check=False, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, b"")
    assert "memory" in one_line(done.stderr).lower()
