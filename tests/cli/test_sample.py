"""``charrnn sample`` as a shell sees it: bytes, statuses, streams."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
import pty
import subprocess
import sys
import unicodedata
from pathlib import Path
from typing import Literal

import pytest

from charrnn.cli.output import show_controls
from charrnn.config import CorpusConfig
from charrnn.errors import counted
from charrnn.model.file import ModelFile
from charrnn.text.corpus import read_corpus
from tests.conftest import Charrnn, ModelWriter, command, environment, random_model

QUICK = ("-s", 1, "-q")


def shell(line: str, model: Path, **extra: str) -> subprocess.CompletedProcess[bytes]:
    """Runs a line of bash in which $SAMPLE is the command with the model."""
    sample = " ".join([*command("sample"), "-m", str(model)])
    return subprocess.run(
        ["bash", "-c", line], capture_output=True, env=environment({"SAMPLE": sample} | extra),
        timeout=60, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip


def one_line(stderr: bytes) -> str:
    """The text of stderr, which must be a single line and no traceback."""
    lines = stderr.decode().splitlines()
    assert len(lines) == 1, stderr.decode()
    return lines[0]


@pytest.mark.parametrize("length", [0, 1, 777])
def test_length_is_exact_in_characters(charrnn: Charrnn, write_model: ModelWriter, length: int) -> None:
    """``-n`` characters reach stdout, however many bytes they have, and nothing else."""
    path = write_model(random_model(vocabulary="aéα中𝄞"))
    result = charrnn("sample", "-m", path, "-n", length, *QUICK)
    assert (result.status, len(result.out), result.err) == (0, length, "")


@pytest.mark.parametrize(
    ("prompt", "known", "form"), [("cafe\u0301", "caf\xe9", "NFC"), ("caf\xe9", "cafe\u0301", "NFD")]
)
def test_a_prompt_in_another_normal_form_is_told_which(
    charrnn: Charrnn, write_model: ModelWriter, prompt: str, known: str, form: Literal["NFC", "NFD"]
) -> None:
    """Where only the Unicode normalization differs, the error says so; the normalized prompt is taken."""
    path = write_model(random_model(vocabulary="".join(sorted(set(known + "abc \n")))))
    refused = charrnn("sample", "-m", path, "-p", prompt, *QUICK)
    assert refused.status == 1
    assert f"it knows the text in Unicode's {form} form: normalize it" in one_line(refused.stderr)
    assert (
        charrnn("sample", "-m", path, "-p", unicodedata.normalize(form, prompt), "-n", 9, *QUICK).status == 0
    )
    other = charrnn("sample", "-m", path, "-p", "caf語", *QUICK)
    assert "leave it out" in one_line(other.stderr)


def test_the_same_seed_writes_the_same_text(charrnn: Charrnn, model_path: Path) -> None:
    """A seed repeats a text; one that was drawn is reported on stderr and repeats it too."""
    first = charrnn("sample", "-m", model_path, "-n", 200)
    seed = first.err.removeprefix("seed ").strip()
    again = charrnn("sample", "-m", model_path, "-n", 200, "--seed", seed, "-q")
    other = charrnn("sample", "-m", model_path, "-n", 200, "--seed", int(seed) ^ 1, "-q")
    assert again.stdout == first.stdout != other.stdout
    assert again.err == ""


def test_greedy_text_needs_no_seed(charrnn: Charrnn, model_path: Path) -> None:
    """At temperature 0 two runs agree, and no seed is spoken of."""
    first, second = (charrnn("sample", "-m", model_path, "--temp", 0, "-n", 50) for _ in range(2))
    assert first.stdout == second.stdout
    assert first.err == ""


def test_the_prompt_is_kept_verbatim(charrnn: Charrnn, model_path: Path, tmp_path: Path) -> None:
    """A prompt comes out as it went in, newlines included, from a flag, a file and stdin alike."""
    prompt = "  One, two\n\nThree \n"
    (tmp_path / "prompt.txt").write_text(prompt)
    flag = charrnn("sample", "-m", model_path, "-n", 5, "-p", prompt, *QUICK)
    assert flag.out.startswith(prompt)
    assert len(flag.out) == len(prompt) + 5
    assert charrnn("sample", "-m", model_path, "-n", 5, "-f", "prompt.txt", *QUICK) == flag
    assert charrnn("sample", "-m", model_path, "-n", 5, "-f", "-", *QUICK, input=prompt) == flag
    assert charrnn("sample", "-m", model_path, "-n", 5, "-p", "-", *QUICK, input=prompt) == flag
    hidden = charrnn("sample", "-m", model_path, "-n", 5, "-p", prompt, "--no-display-prompt", *QUICK)
    assert prompt + hidden.out == flag.out
    escaped = charrnn(
        "sample", "-m", model_path, "-n", 5, "-p", prompt.replace("\n", "\\n"), "--escape", *QUICK
    )
    assert escaped == flag


def test_an_unknown_character_is_named(charrnn: Charrnn, model_path: Path) -> None:
    """A character that the model never saw: one line with code point, place and remedy; or it is left out."""
    result = charrnn("sample", "-m", model_path, "-p", "naïve")
    assert (result.status, result.stdout) == (1, b"")
    line = one_line(result.stderr)
    assert all(part in line for part in ("ï", "U+00EF", "position 2", "--skip-unknown"))
    skipped = charrnn("sample", "-m", model_path, "-p", "naïve", "--skip-unknown", "-n", 9, "-s", 1)
    assert skipped.status == 0
    assert "prompt: 1 character not in the vocabulary, left out" in skipped.err
    plain = charrnn("sample", "-m", model_path, "-p", "nave", "-n", 9, *QUICK)
    assert skipped.out.removeprefix("naïve") == plain.out.removeprefix("nave")


def test_an_unknown_symbol_is_used_and_said(charrnn: Charrnn, write_model: ModelWriter) -> None:
    """With an unknown symbol in the vocabulary it stands for the character, and stderr says so."""
    path = write_model(random_model(vocabulary="abc", unknown=True))
    result = charrnn("sample", "-m", path, "-p", "aéb", "-n", 20, "-s", 1)
    assert result.out.startswith("aéb")
    assert set(result.out[3:]) <= set("abc")
    assert "read as the unknown symbol" in result.err


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("--top-p", 2), "--top-p 2"), (("--temperature", -1), "--temperature -1"),
        (("--stop", ""), "--stop"), (("-p", "a", "-f", "b"), "--prompt and --file"),
        (("--logprobs", 2), "--json"), (("--json", "-n", -1), "--length -1"),
        (("--copied", "-n", -1), "--length -1"), (("--lines", "many"), "--lines"),
        (("--best-of", 2, "--lines", 2), "--best-of"), (("-p", "\\q", "--escape"), "\\q"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(
    charrnn: Charrnn, model_path: Path, arguments: tuple[object, ...], part: str
) -> None:
    """A setting out of range or at odds with another ends with status 2 and one line that names it."""
    result = charrnn("sample", "-m", model_path, *arguments)
    assert (result.status, result.stdout) == (2, b"")
    assert part in one_line(result.stderr)


def test_a_missing_prompt_file_is_named(charrnn: Charrnn, model_path: Path) -> None:
    """A prompt file that is not there, or not UTF-8, is one line and status 1."""
    missing = charrnn("sample", "-m", model_path, "-f", "no-such.txt")
    assert missing.status == 1
    assert "no-such.txt" in one_line(missing.stderr)
    garbled = charrnn("sample", "-m", model_path, "-f", "-", input=b"ab\xff")
    assert garbled.status == 1
    assert "offset 2" in one_line(garbled.stderr)


# -- pipes, devices, locales --------------------------------------------------------------------------------


def test_a_closed_pipe_ends_it_quietly(model_path: Path) -> None:
    """A reader that goes away ends the program with 141 and nothing on stderr, however endless the text."""
    done = shell("set -o pipefail; $SAMPLE -n -1 -s 1 -q | head -c 10; echo ${PIPESTATUS[0]}", model_path)
    assert len(done.stdout) > 10
    assert done.stdout[10:] == b"141\n"
    assert done.stderr == b""


def test_a_full_device_is_one_line(model_path: Path) -> None:
    """Writing to a full device is one line and status 1."""
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full on this system")
    done = shell("$SAMPLE -n 9 -q > /dev/full", model_path)
    assert done.returncode == 1
    assert "No space left" in one_line(done.stderr)


def test_a_closed_stdout_is_one_line(model_path: Path) -> None:
    """Without a stdout there is one line about it and status 1."""
    done = shell("$SAMPLE -n 9 -q >&-", model_path)
    assert done.returncode == 1
    assert "stdout is closed" in one_line(done.stderr)


def test_the_locale_changes_nothing(write_model: ModelWriter) -> None:
    """Under LC_ALL=C the text is the UTF-8 it is elsewhere, prompt included."""
    path = write_model(random_model(vocabulary="aéα中𝄞"))
    line = "$SAMPLE -n 50 -s 1 -q -p é"
    plain = shell(line, path, LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    assert plain.returncode == 0, plain.stderr
    assert plain.stdout == shell(line, path, PYTHONUTF8="1").stdout
    assert len(plain.stdout.decode()) == 51


def test_stdin_is_read_only_when_asked_for(model_path: Path, tmp_path: Path) -> None:
    """An idle FIFO as stdin holds nothing up."""
    os.mkfifo(tmp_path / "idle")
    done = shell(f"exec 9<>{tmp_path}/idle; $SAMPLE -n 9 -q -s 1 <&9", model_path)
    assert (done.returncode, len(done.stdout)) == (0, 9)


def test_sampling_imports_no_torch(model_path: Path, tmp_path: Path) -> None:
    """Neither torch nor the corpus reader is imported to sample."""
    code = (
        "import sys; from charrnn.cli.main import run; status = run(sys.argv[1:]);"
        "sys.exit(status or 10 * ('torch' in sys.modules) + 20 * ('charrnn.text.corpus' in sys.modules))"
    )
    arguments = ["sample", "-m", str(model_path), "-n", "5", "-q"]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr


def on_terminal(*args: object, **extra: str) -> bytes:
    """What a pseudo-terminal shows of a command."""
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        command(*args), stdout=follower, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL,
        env=environment({"TERM": "xterm"} | extra),
    )  # fmt: skip
    os.close(follower)
    shown = b""
    with contextlib.suppress(OSError):  # how Linux reports the other end's closing
        while data := os.read(leader, 1 << 16):
            shown += data
    os.close(leader)
    assert process.wait() == 0
    return shown.replace(b"\r\n", b"\n")


def test_escapes_are_harmless_on_a_terminal_and_whole_in_a_file(
    charrnn: Charrnn, write_model: ModelWriter
) -> None:
    """Control characters are shown in caret notation on a terminal, and are bytes like others elsewhere."""
    path = write_model(random_model(vocabulary="\x07\t\n\x1b[m\x9bé"))
    arguments = ("sample", "-m", path, "-n", 300, *QUICK)
    bytes_written = charrnn(*arguments).stdout
    assert len(bytes_written.decode()) == 300
    assert b"\x1b" in bytes_written
    shown = on_terminal(*arguments, "--color", "never")
    assert shown == show_controls(bytes_written)
    assert not set(shown.decode()) & set("\x07\x1b\x9b")


def test_a_shaded_text_is_the_text(charrnn: Charrnn, model_path: Path) -> None:
    """Colour adds shades and nothing else; on a terminal it is there unless NO_COLOR forbids it."""
    arguments = ("sample", "-m", model_path, "-n", 200, "-p", "Ah", *QUICK)
    plain = charrnn(*arguments).stdout
    shaded = charrnn(*arguments, "--color", "always").stdout
    assert shaded != plain
    text = shaded
    for shade in (b"\x1b[0m", b"\x1b[33m", b"\x1b[38;5;208m", b"\x1b[31m", b"\x1b[97;41m"):
        text = text.replace(shade, b"")
    assert text == plain
    assert on_terminal(*arguments) == shaded
    assert on_terminal(*arguments, NO_COLOR="1") == plain


def test_byte_models_write_their_bytes(charrnn: Charrnn, write_model: ModelWriter) -> None:
    """A byte model's output is -n bytes, and its prompt the prompt's bytes."""
    path = write_model(random_model(vocabulary=None))
    result = charrnn("sample", "-m", path, "-n", 500, "-p", "é", *QUICK)
    assert result.stdout[:2] == "é".encode()
    assert len(result.stdout) == 502
    assert max(result.stdout[2:]) > 127


# -- several texts, lines, JSON -----------------------------------------------------------------------------


def test_several_texts_are_told_apart(charrnn: Charrnn, model_path: Path) -> None:
    """``--num-samples`` puts the separator between texts, each of which its own seed repeats."""
    arguments = ("sample", "-m", model_path, "-n", 30, "-q")
    several = charrnn(*arguments, "--num-samples", 3, "--separator", "|\\0|", "--escape", "-s", 5)
    alone = [charrnn(*arguments, "-s", seed).out for seed in (5, 6, 7)]
    assert several.out.split("|\0|") == alone


def test_stop_ends_the_text_before_it(charrnn: Charrnn, model_path: Path) -> None:
    """A text with ``--stop`` is the text up to there."""
    whole = charrnn("sample", "-m", model_path, "-n", 300, *QUICK).out
    stop = whole[100:103]
    result = charrnn("sample", "-m", model_path, "-n", 300, "--stop", stop, "--stop", "~~", *QUICK)
    assert result.out == whole[: whole.index(stop)]


def test_json_tells_how_a_text_ended(charrnn: Charrnn, model_path: Path) -> None:
    """``--json`` writes an object a text, with the text that is written without it, and log-probabilities."""
    arguments = ("sample", "-m", model_path, "-n", 20, "--num-samples", 2, *QUICK)
    plain = charrnn(*arguments, "--separator", "|").out
    result = charrnn(*arguments, "--json", "--logprobs", 3)
    found = [json.loads(line) for line in result.out.splitlines()]
    assert "|".join(one["text"] for one in found) == plain
    assert [(one["finish_reason"], one["seed"]) for one in found] == [("length", 1), ("length", 2)]
    for one in found:
        assert "".join(step["text"] for step in one["logprobs"]) == one["text"]
        for step in one["logprobs"]:
            logprobs = [other["logprob"] for other in step["top"]]
            assert len(logprobs) == 3
            assert logprobs == sorted(logprobs, reverse=True)
            assert step["logprob"] <= logprobs[0] <= 0
            assert math.fsum(math.exp(value) for value in logprobs) <= 1 + 1e-9


def learnt(path: Path, text: str, *, items: bool = False) -> ModelFile:
    """A random model that claims to have learnt the text at the path."""
    path.write_text(text)
    corpus = read_corpus([str(path)], CorpusConfig(lines=items)).describe()
    return dataclasses.replace(random_model(vocabulary="".join(sorted(set(text)))), corpus=corpus)


def test_novel_distinct_lines_reach_a_pipeline(
    charrnn: Charrnn, write_model: ModelWriter, tmp_path: Path
) -> None:
    """``--lines N --distinct --novel`` writes N different lines, none of which the training text has."""
    names = "a\nb\nab\nba\nabba\nbb\ncab\n"
    path = write_model(learnt(tmp_path / "names.txt", names, items=True))
    result = charrnn("sample", "-m", path, "--lines", 40, "--distinct", "--novel", *QUICK)
    assert result.status == 0, result.err
    lines = result.out.splitlines()
    assert result.out.endswith("\n")
    assert len(set(lines)) == len(lines) == 40
    assert not set(lines) & {*names.split("\n")}
    prompted = charrnn("sample", "-m", path, "--lines", 9, "-p", "ab", *QUICK)
    assert len(prompted.out.splitlines()) == 9
    assert all(line.startswith("ab") for line in prompted.out.splitlines())


def test_a_shortfall_is_one_line_and_status_1(charrnn: Charrnn, write_model: ModelWriter) -> None:
    """Too few distinct lines: those that there are reach stdout, and stderr says why there are no more."""
    path = write_model(random_model(vocabulary="\na"))
    result = charrnn("sample", "-m", path, "--lines", 50, "--distinct", "-n", 3, *QUICK)
    assert result.status == 1
    assert 1 <= len(result.out.splitlines()) <= 4
    assert "of 50 lines" in one_line(result.stderr)


def test_copied_reports_the_longest_run(charrnn: Charrnn, write_model: ModelWriter, tmp_path: Path) -> None:
    """``--copied`` names, on stderr, the longest run that text and training text share."""
    path = write_model(learnt(tmp_path / "text.txt", "abcabcabd\n" * 3))
    result = charrnn("sample", "-m", path, "-n", 100, "--copied", *QUICK)
    source = (tmp_path / "text.txt").read_text()
    text = result.out
    runs = [text[i:j] for i in range(100) for j in range(i + 1, min(i + 30, 100) + 1)]
    longest = max((run for run in runs if run in source), key=len)
    assert result.err == f"copied {counted(len(longest), 'character')}: {longest!r}\n"
    assert len(result.out) == 100


def test_a_changed_training_text_is_noticed(
    charrnn: Charrnn, write_model: ModelWriter, tmp_path: Path
) -> None:
    """Against a training text that has changed nothing is called novel: one line, status 1."""
    path = write_model(learnt(tmp_path / "text.txt", "abc\n" * 9))
    (tmp_path / "text.txt").write_text("abd\n")
    result = charrnn("sample", "-m", path, "--novel")
    assert (result.status, result.stdout) == (1, b"")
    assert "--against" in one_line(result.stderr)


def test_a_conversation_builds_a_text(charrnn: Charrnn, model_path: Path) -> None:
    """``-i`` takes what is typed and chosen, undoes, and writes the text to stdout when stdin ends."""
    result = charrnn("sample", "-m", model_path, "-i", *QUICK, input="Once\n, twice\n:u\n!\né\n")
    assert (result.status, result.out) == (0, "Once!")
    assert "U+00E9" in result.err
    taken = charrnn("sample", "-m", model_path, "-i", *QUICK, input="Once\n\n")
    first = next(line for line in taken.err.splitlines() if line.startswith("  1  "))
    assert repr(taken.out.removeprefix("Once")) in first


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="there is no such device here")
def test_an_endless_prompt_is_refused(charrnn: Charrnn, model_path: Path) -> None:
    """A prompt that never ends, from a file or from stdin, is one line with what helps."""
    for line in ("$SAMPLE -f /dev/zero -n 9", "$SAMPLE -f - -n 9 < /dev/zero", "yes | $SAMPLE -p - -n 9"):
        done = shell(line, model_path)
        assert (done.returncode, done.stdout) == (1, b"")
        assert "a prompt of more than 16 MB; give its end, as with tail -c" in one_line(done.stderr)
    assert "an empty path" in one_line(charrnn("sample", "-m", model_path, "-f", "", "-n", 9).stderr)
