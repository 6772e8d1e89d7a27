"""The command line as a whole: help, flags, completion, imports, statuses."""

from __future__ import annotations

import doctest
import importlib
import json
import os
import pkgutil
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest

import charrnn as package
from charrnn.api import Model
from charrnn.cli import main as cli_module
from charrnn.cli.commands import COMMANDS as LISTED
from charrnn.cli.main import cli, run
from charrnn.cli.options import Duration, Real, Whole, WholeRange
from charrnn.errors import CharrnnError, ConfigError, CorpusError
from tests.conftest import ROOT, Charrnn, command, environment, random_model
from tests.forkserver import Result

COMMANDS = sorted(cli.commands)
OPTIONS = [
    pytest.param(name, option, id=f"{name} {option.opts[0]}")
    for name in COMMANDS
    for option in cli.commands[name].params
    if isinstance(option, click.Option)
]


@pytest.fixture
def here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., Result]:
    """Runs the command line in this process, in an empty directory: quick, for what imports little."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CHARRNN_MODEL", raising=False)

    def invoke(*arguments: object) -> Result:
        status = run([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        return Result(status, out.encode(), err.encode())

    return invoke


# -- help ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flag", ["-h", "--help"])
@pytest.mark.parametrize("name", [None, *COMMANDS])
def test_help_is_a_result(here: Callable[..., Result], name: str | None, flag: str) -> None:
    """Help that was asked for goes to stdout with status 0, and begins with how to use the command."""
    result = here(*([name] if name else []), flag)
    assert (result.status, result.err) == (0, "")
    assert result.out.startswith(f"Usage: charrnn {name or '[OPTIONS]'}")


def test_version_is_the_package_s(here: Callable[..., Result]) -> None:
    """``--version`` prints the version that is installed."""
    assert here("--version") == Result(0, f"charrnn {package.__version__}\n".encode(), b"")


def test_no_command_is_a_mistake_with_help(here: Callable[..., Result]) -> None:
    """Without a command, help goes to stderr and the status is that of wrong usage."""
    result = here()
    assert (result.status, result.stdout) == (2, b"")
    assert all(name in result.err for name in COMMANDS)


def test_there_are_three_verbs() -> None:
    """The commands are those of the design, each with a sentence of help."""
    assert {"train", "sample", "evaluate"} <= set(COMMANDS)
    for name in COMMANDS:
        assert (cli.commands[name].help or "").rstrip().endswith("."), name


@pytest.mark.parametrize(("name", "option"), OPTIONS)
def test_every_option_describes_itself(name: str, option: click.Option) -> None:
    """Every option has help, appears in the command's help by each of its names, and uses hyphens."""
    assert option.help, option.opts
    assert not option.hidden
    shown = cli.commands[name].get_help(click.Context(cli.commands[name], info_name=name))
    for spelling in (*option.opts, *option.secondary_opts):
        assert spelling in shown
        assert "_" not in spelling
    assert re.search(r"[.\])]$", option.help.strip()), option.help


@pytest.mark.parametrize("name", COMMANDS)
def test_the_readme_shows_every_command(name: str) -> None:
    """The README mentions each command as it is typed."""
    assert f"charrnn {name}" in (ROOT / "README.md").read_text(encoding="utf-8")


# -- wrong usage -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tarin"], "Did you mean 'train'?"),
        (["train", "--hiden-size", "3", "x"], "--hidden-size"),
        (["sample", "--temprature", "1"], "--temperature"),
        (["evaluate", "--jsn"], "--json"),
    ],
)
def test_misspellings_are_answered_with_the_spelling(
    here: Callable[..., Result], arguments: list[str], message: str
) -> None:
    """A wrong command or flag is one line on stderr that suggests the right one, with status 2."""
    result = here(*arguments)
    assert (result.status, result.stdout) == (2, b"")
    assert result.err.count("\n") == 1
    assert message in result.err
    assert "--help" in result.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "x", "--batch-size", "0"], "--batch-size 0: must be greater than 0"),
        (["train", "x", "--batch_size", "0"], "--batch-size 0: must be greater than 0"),
        (["train", "x", "--rnn_size", "0"], "--hidden-size 0: must be from 1 to 65536"),
        (["train", "x", "--dropout", "1"], "--dropout 1.0: must be at least 0 and less than 1"),
        (["train", "x", "--time", "soon"], "'soon' is not a length of time; write 90s, 3m or 1h30m"),
        (["train", "x", "--time", "1m", "--steps", "3"], "--time and --steps are different lengths"),
        (["train", "x", "--cell", "transformer"], "'transformer' is not one of 'lstm', 'gru', 'rnn', 'relu'"),
        (["train", "x", "--encoding", "utf-9"], "--encoding utf-9: no such encoding; try utf-8"),
        (["train", "x", "--resume", "--force"], "--resume goes on with a run and --force replaces it"),
        (["train", "x", "--steps", "many"], "'many' is not a valid integer"),
        (["train"], "name a corpus: a file, a directory, or - for stdin"),
        (["sample", "--top-p", "2"], "--top-p 2.0: must be greater than 0 and at most 1"),
        (["sample", "--temperature", "-1"], "--temperature -1.0: must be 0 (greedy) or greater"),
        (["sample", "--seed", "-1"], "--seed -1: must be"),
        (["sample", "extra"], "unexpected extra argument"),
    ],
)
def test_meaningless_commands_are_one_line(
    here: Callable[..., Result], tmp_path: Path, arguments: list[str], message: str
) -> None:
    """A value that cannot be is one line naming the flag and the range, status 2, and nothing is made."""
    result = here(*arguments)
    assert (result.status, result.stdout) == (2, b"")
    assert result.err.count("\n") == 1
    assert message in result.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sample", "-m", "none"], "charrnn: none: no such model file, run directory, or run"),
        (["evaluate", "-m", "none"], "charrnn: none: no such model file, run directory, or run"),
        (["sample", "-m", "text"], "charrnn: text: not a whole safetensors file"),
    ],
)
def test_models_that_are_not_there_are_one_line(
    here: Callable[..., Result], tmp_path: Path, arguments: list[str], message: str
) -> None:
    """A missing or foreign model is one line naming it, with status 1."""
    (tmp_path / "text").write_text("no model at all\n" * 9)
    result = here(*arguments)
    assert (result.status, result.stdout) == (1, b"")
    assert result.err.startswith(message)
    assert result.err.count("\n") == 1


@pytest.mark.parametrize(
    ("raised", "status", "line"),
    [
        (CharrnnError("x: broken; mend it"), 1, "charrnn: x: broken; mend it\n"),
        (ConfigError("--x 1: must be 2"), 2, "charrnn: --x 1: must be 2\n"),
        (CorpusError("x: empty"), 1, "charrnn: x: empty\n"),
        (PermissionError(13, "Permission denied", "x"), 1, "charrnn: x: Permission denied\n"),
        (
            OSError(28, "No space left on device", "x"),
            1,
            "charrnn: x: No space left on device; free some space and try again\n",
        ),
        (MemoryError(), 1, "charrnn: not enough memory; try a smaller --batch-size or --hidden-size\n"),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes"),
            1,
            "charrnn: not enough memory; try a smaller --batch-size or --hidden-size\n",
        ),
        (KeyboardInterrupt(), 130, "\n"),
        (BrokenPipeError(32, "Broken pipe"), 141, ""),
    ],
)
def test_what_goes_wrong_ends_as_a_line_and_a_status(
    here: Callable[..., Result],
    monkeypatch: pytest.MonkeyPatch,
    raised: BaseException,
    status: int,
    line: str,
) -> None:
    """Every error that a user can cause is one line on stderr and its status; nothing goes to stdout."""

    def fail(**_: object) -> None:
        raise raised

    monkeypatch.setattr(cli.commands["sample"], "callback", fail)
    assert here("sample") == Result(status, b"", line.encode())


def test_bugs_are_not_hidden(here: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    """An error that no user can cause comes through with its traceback."""

    def fail(**_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(cli.commands["sample"], "callback", fail)
    with pytest.raises(RuntimeError, match="a bug"):
        here("sample")


# -- streams ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"]])
def test_a_closed_pipe_ends_quietly(tmp_path: Path, arguments: list[str]) -> None:
    """Output that nobody reads ends the program with 141 and without a word."""
    reading, writing = os.pipe()
    os.close(reading)
    with subprocess.Popen(
        command(*arguments), stdout=writing, stderr=subprocess.PIPE, cwd=tmp_path, env=environment()
    ) as process:
        os.close(writing)
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (141, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full device here")
def test_a_full_device_is_one_line(tmp_path: Path) -> None:
    """Output that cannot be written is one line and status 1."""
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            command("--help"),
            stdout=full,
            stderr=subprocess.PIPE,
            cwd=tmp_path,
            env=environment(),
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr.decode() == "charrnn: No space left on device; free some space and try again\n"


@pytest.mark.parametrize("name", ["sample", "evaluate", "inspect", "list"])
def test_a_closed_stdout_is_a_line_that_names_the_command(
    tmp_path: Path, name: str, model_path: Path, charrnn: Charrnn
) -> None:
    """What cannot write its results says so at once, with the command that was typed."""
    (tmp_path / "text.txt").write_text("To be\n")
    model = () if name == "list" else ("-m", model_path)
    words = ["charrnn", name, *model, *(["text.txt"] if name == "evaluate" else [])]
    assert charrnn(*words[1:], "-q").status == 0
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" >&-', "sh", *command(*words[1:])],
        cwd=tmp_path, env=environment(), capture_output=True, check=False,
    )  # fmt: skip
    expected = f"charrnn: stdout is closed; send the output somewhere, as in charrnn {name} > FILE\n"
    assert (done.returncode, done.stderr.decode()) == (1, expected)


OPENED = """
import os, sys
from pathlib import Path
from charrnn.cli import main
main.run = lambda _: Path("number").write_text(str(os.open("text", os.O_CREAT)))
main.main()
"""


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_no_file_takes_the_place_of_a_closed_stream(tmp_path: Path, closed: str) -> None:
    """Whichever of stdin, stdout and stderr are closed, a file that is opened is none of them."""
    line = ["sh", "-c", f'exec "$@" {closed}', "sh", sys.executable, "-c", OPENED]
    subprocess.run(line, cwd=tmp_path, env=environment(), check=False)
    assert int((tmp_path / "number").read_text()) > 2


# -- imports and completion ------------------------------------------------------------------------------

LAZY = """
import sys
sys.argv = ["charrnn", *{arguments}]
import charrnn.cli.main
try:
    charrnn.cli.main.main()
except SystemExit as error:
    assert not error.code, error.code
import json
json.dump(sorted(sys.modules), open("modules.json", "w"))
"""


def modules_of(tmp_path: Path, *arguments: str) -> set[str]:
    """The modules that a command has imported when it ends well."""
    program = LAZY.format(arguments=list(arguments))
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    return set(json.loads((tmp_path / "modules.json").read_text()))


def test_importing_the_package_imports_nothing(tmp_path: Path) -> None:
    """``import charrnn`` costs nothing: neither NumPy nor torch."""
    program = (
        "import sys, charrnn; sys.exit(any(name in sys.modules for name in ('numpy', 'torch', 'click')))"
    )
    assert subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=False).returncode == 0


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["train", "--help"], ["evaluate", "-h"]])
def test_help_imports_no_numbers(tmp_path: Path, arguments: list[str]) -> None:
    """Help and version come without torch, NumPy or safetensors."""
    assert not {"torch", "numpy", "safetensors"} & modules_of(tmp_path, *arguments)


@pytest.mark.parametrize("flags", [["-n", "20"], ["-n", "5", "--temp", "0"], ["-n", "5", "--top-k", "3"]])
def test_sampling_does_not_import_torch(tmp_path: Path, model_path: Path, flags: list[str]) -> None:
    """``charrnn sample`` runs on NumPy alone."""
    modules = modules_of(tmp_path, "sample", "-m", str(model_path), *flags)
    assert "torch" not in modules
    assert "numpy" in modules


def test_a_command_is_imported_when_it_is_used(tmp_path: Path, model_path: Path) -> None:
    """Help and completion import no command, and ``charrnn sample`` none but its own."""
    every = {module for module, _, _ in LISTED.values()}
    assert not every & modules_of(tmp_path, "--help")
    sampling = modules_of(tmp_path, "sample", "-m", str(model_path), "-n", "1")
    assert every & sampling == {"charrnn.cli.sample"}
    assert not any(name.startswith("charrnn.training") for name in sampling)


def test_commands_are_listed_by_their_own_help() -> None:
    """What the list says of a command is the first paragraph of its help, and its name is its own."""
    for name, (_, _, help) in LISTED.items():
        command = cli.commands[name]
        assert command.name == name
        assert help == " ".join((command.help or "").split("\n\n")[0].split())


def test_an_unknown_command_is_one_line_that_knows_the_others(here: Callable[..., Result]) -> None:
    """A mistyped command is named, with those that are like it."""
    result = here("trian")
    assert result.status == 2
    assert "No such command 'trian'" in result.err
    assert "train" in result.err


@pytest.mark.parametrize(
    ("words", "expected"),
    [("charrnn tr", "train"), ("charrnn train --hid", "--hidden-size"), ("charrnn train --cell g", "gru")],
)
def test_completion_knows_commands_flags_and_values(charrnn: Charrnn, words: str, expected: str) -> None:
    """A shell that asks for completions is given commands, flags and choices."""
    count = str(len(words.split()) - 1)
    asked = {"COMP_WORDS": words, "COMP_CWORD": count, "_CHARRNN_COMPLETE": "bash_complete"}
    result = charrnn(env=asked)
    assert result.status == 0
    assert expected in [line.partition(",")[2] for line in result.out.splitlines()]


def test_completion_scripts_are_for_the_installed_name(charrnn: Charrnn) -> None:
    """``_CHARRNN_COMPLETE=bash_source charrnn`` prints the script that completes ``charrnn``."""
    result = charrnn(env={"_CHARRNN_COMPLETE": "zsh_source"})
    assert result.status == 0
    assert "#compdef charrnn" in result.out


# -- durations -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("90", 90),
        ("90s", 90),
        ("3m", 180),
        ("1h30m", 5400),
        ("2d", 172_800),
        ("0.5h", 1800),
        ("1m1.5s", 61.5),
    ],
)
def test_durations_are_read_as_people_write_them(written: str, seconds: float) -> None:
    """A length of time is a number of seconds, or numbers with units, added up."""
    assert Duration().convert(written, None, None) == seconds


@pytest.mark.parametrize(
    "written",
    [
        *(
            "",
            "s",
            "3x",
            "-3m",
            "3 m",
            "1e3",
            "nan",
            "3m,",
            "3M",
            "3m\n",
            "1_0s",
            "\N{ARABIC-INDIC DIGIT THREE}s",
        ),
        *("1s1", "1h30", "30m1h", "1m1m", "1.5.5s", ".5s", "1.s"),
    ],
)
def test_what_is_no_duration_is_refused(written: str) -> None:
    """Anything else is wrong usage."""
    with pytest.raises(click.BadParameter, match="is not a length of time"):
        Duration().convert(written, None, None)


NUMERIC = (click.types.IntParamType, click.types.FloatParamType)
NUMBERS = [
    pytest.param(name, option, id=f"{name} {option.opts[0]}")
    for name in COMMANDS
    for option in cli.commands[name].params
    if isinstance(option.type, NUMERIC)
]


@pytest.mark.parametrize(("name", "option"), NUMBERS)
@pytest.mark.parametrize(
    "written", ["1_000", "1_0.5", "\N{ARABIC-INDIC DIGIT ONE}", "\N{FULLWIDTH DIGIT ONE}", "\N{EM SPACE}1"]
)
def test_numbers_are_written_in_ascii_digits(name: str, option: click.Parameter, written: str) -> None:
    """No option takes what only Python reads as a number: underscores, digits and spaces of all scripts."""
    assert isinstance(option.type, Whole | WholeRange | Real), name
    with pytest.raises(click.BadParameter, match=re.escape(f"{written!r} is not a valid")):
        option.type.convert(written, None, None)


@pytest.mark.parametrize("written", ["12", "+12", " 12", "      12 ", "012"])
def test_numbers_may_have_a_sign_and_spaces(written: str) -> None:
    """The output of any wc -l is a number."""
    assert Whole().convert(written, None, None) == 12
    assert WholeRange(min=1).convert(written, None, None) == 12
    assert Real().convert(written + "e-1" * (written[-1] != " "), None, None) in (12, 1.2)


# -- the examples in docstrings ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [*(module.name for module in pkgutil.walk_packages(package.__path__, "charrnn.")), "benchmarks.sizes"],
)
def test_examples_in_docstrings_are_true(name: str) -> None:
    """What docstrings show as a session gives what they show."""
    if name == "charrnn.__main__":
        pytest.skip("importing it runs the program")
    names = {"model": Model(random_model())}  # what examples of a model are about
    assert doctest.testmod(importlib.import_module(name), extraglobs=names).failed == 0


def test_the_group_is_what_main_runs() -> None:
    """``python -m charrnn`` and the console script run the same function."""
    setup = (ROOT / "setup.cfg").read_text(encoding="utf-8")
    assert "charrnn = charrnn.__main__:main" in setup
    assert cli_module.main.__module__ == "charrnn.cli.main"
