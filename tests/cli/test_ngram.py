"""An n-gram from the command line: what is said, which commands read it, and which say that they do not."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

import charrnn
from charrnn.cli.main import run as run_main
from charrnn.config import CorpusConfig, NGramConfig
from charrnn.training.counting import count_run
from tests.conftest import PLAY
from tests.forkserver import Result


class Run(Protocol):
    """Runs a command in this process, in a directory of the test's own."""

    def __call__(self, *arguments: object, status: int = 0) -> Result:
        """What it wrote; the status must be the one that is given."""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Iterator[Run]:
    """Runs commands."""
    monkeypatch.chdir(tmp_path)

    def invoke(*arguments: object, status: int = 0) -> Result:
        found = run_main([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        assert found == status, err
        return Result(found, out.encode(), err.encode())

    yield invoke
    capfd.readouterr()


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the play."""
    directory = tmp_path_factory.mktemp("ngram") / "play"
    count_run([str(PLAY)], directory, CorpusConfig(), NGramConfig())
    return directory


def test_what_is_said(run: Run, tmp_path: Path) -> None:
    """Results go to stdout; the losses of all orders and the size to stderr, which -q silences."""
    result = run("train", PLAY, "--cell", "ngram", "--order", 4, "-o", tmp_path / "run")
    first, second, third = result.out.splitlines()
    assert first == f"model       {tmp_path}/run/model.safetensors"
    assert second.startswith("validation  1.")
    assert second.endswith("(order 4)")
    assert third == f"sample      charrnn sample -m {tmp_path}/run"
    assert "validation by order, nats/char: 1: 3." in result.err
    assert "model: 4-gram, " in result.err
    quiet = run("train", PLAY, "--cell", "ngram", "-q", "-o", tmp_path / "run", "--force")
    assert quiet.err == ""


@pytest.mark.parametrize(
    "option",
    [
        ("--steps", 5),
        ("--size", "small"),
        ("--dropout", 0.5),
        ("--resume",),
        ("--init-from", "x"),
        ("--seed", 1),
    ],
)
def test_options_without_a_meaning(run: Run, option: tuple[object, ...], tmp_path: Path) -> None:
    """What only a network has is refused in one line that names the option."""
    result = run("train", PLAY, "--cell", "ngram", "-o", tmp_path / "run", *option, status=2)
    assert f"{option[0]} has no meaning with --cell ngram" in result.err.replace("\n", " ")
    assert not (tmp_path / "run").exists()


def test_the_order_is_for_ngrams(run: Run, tmp_path: Path) -> None:
    """--order with a network is refused."""
    result = run("train", PLAY, "--order", 4, "-o", tmp_path / "run", status=2)
    assert "--order is for --cell ngram" in result.err


SAMPLES = {
    "plain": (),
    "greedy": ("--temp", 0),
    "filtered": ("--top-k", 5, "--top-p", 0.9, "--min-p", 0.01),
    "penalized": ("--repetition-penalty", 1.3, "--no-repeat", 9),
    "biased": ("--bias", "e=-2", "--ban", "xyz"),
    "stops": ("--stop", "the", "--until", "."),
    "best of": ("--best-of", 3),
    "lines": ("--lines", 3),
    "several": ("--num-samples", 2),
    "json": ("--json", "--logprobs", 2),
    "colour": ("--color", "always"),
    "novel span": ("--novel-span", 30, "--against", PLAY),
}


@pytest.mark.parametrize("case", SAMPLES)
def test_sample(run: Run, case: str, directory: Path) -> None:
    """Every way to choose works, and the same seed writes the same text."""
    arguments = ("sample", "-m", directory, "-p", "The ", "-n", 60, "--seed", 3, *SAMPLES[case])
    first, second = run(*arguments), run(*arguments)
    assert first.out == second.out
    assert len(first.out) > 4


def test_each(run: Run, directory: Path, tmp_path: Path) -> None:
    """Each line gets its text, the same in lockstep as alone, and with a beam the most probable."""
    (tmp_path / "lines").write_text("The \nA bell\nSo\n")
    both = [run("sample", "-m", directory, "--each", tmp_path / "lines", "--seed", 1, "-n", 20, *more).out
            for more in ((), ("--repetition-penalty", 1.0000001))]  # fmt: skip
    assert both[0] == both[1]
    assert both[0].count("\n") == 3
    beam = run("sample", "-m", directory, "--each", tmp_path / "lines", "--beam", 4, "-n", 20).out
    assert beam.count("\n") == 3


def test_lines_and_pairs(run: Run, tmp_path: Path) -> None:
    """A model of lines writes distinct lines, and one of pairs answers."""
    (tmp_path / "names.txt").write_text("\n".join(f"{a}{b}a" for a in "ABCDEF" for b in ("nn", "ll", "rr")))
    run("train", tmp_path / "names.txt", "--cell", "ngram", "--lines", "-o", tmp_path / "names")
    lines = run("sample", "-m", tmp_path / "names", "--lines", 10, "--distinct", "--temp", 2).out.splitlines()
    assert len(set(lines)) == 10
    (tmp_path / "pairs.txt").write_text("".join(f"{n}\t{n % 10}\n" for n in range(300)))
    run("train", tmp_path / "pairs.txt", "--cell", "ngram", "--pairs", "-o", tmp_path / "pairs")
    answers = charrnn.load(tmp_path / "pairs").answer(["17", "230"])
    assert answers == ["7", "0"]
    assert json.loads(run("evaluate", "-m", tmp_path / "pairs", "--json").out)["results"][0]["exact"] == 30


def test_evaluate(run: Run, directory: Path, tmp_path: Path) -> None:
    """The table, the baselines, resets, lines and the heat map read it, and agree."""
    rows = json.loads(run("evaluate", "-m", directory, "--baselines", "--json").out)["results"]
    best = min(row["nats_per_character"] for row in rows if row["model"].endswith("-gram"))
    assert rows[0]["nats_per_character"] == pytest.approx(best, abs=1e-9)
    assert rows[0]["computed"] == "numpy fp64 x1"
    assert "an n-gram looks counts up" in run("evaluate", "-m", directory, "--streams", 4).err
    reset = json.loads(run("evaluate", "-m", directory, "--reset", 16, "--json").out)["results"][0]
    assert reset["nats_per_character"] > best
    (tmp_path / "t.txt").write_text("The bell.\nThe sea \u2603.\n")
    total = json.loads(run("evaluate", "-m", directory, tmp_path / "t.txt", "--json").out)["results"][0]
    lines = run("evaluate", "-m", directory, tmp_path / "t.txt", "--per-line").out.splitlines()[1:]
    log10 = sum(float(line.split("\t")[3]) for line in lines)
    assert -log10 * math.log(10) == pytest.approx(total["nats"], rel=1e-3)
    page = tmp_path / "page.html"
    heat = run("evaluate", "-m", directory, tmp_path / "t.txt", "--heatmap", "--html", page)
    assert f"{total['bits_per_character']:.4f} bits/char" in heat.err
    assert page.exists()


def test_inspect_and_list(run: Run, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """inspect says what the model is, list its order; neither takes it for a network."""
    shown = run("inspect", "-m", directory).out
    assert "-gram, modified Kneser-Ney; different grams by length: 60 of 1," in " ".join(shown.split())
    described = json.loads(run("inspect", "-m", directory, "--json").out)["model"]
    assert (described["cell"], len(described["grams"])) == ("ngram", described["order"])
    monkeypatch.chdir(directory.parent)
    monkeypatch.setattr("charrnn.runs.RUNS", directory.parent)
    (summary, *_) = [json.loads(line) for line in run("list", "--json").out.splitlines()]
    assert (summary["cell"], summary["state"]) == ("ngram", "finished")
    assert f"{summary['order']}-gram" in run("list").out


@pytest.mark.parametrize(
    "command",
    [
        ("inspect", PLAY),
        ("inspect", "--gradients"),
        ("evaluate", PLAY, "--dynamic"),
        ("train", PLAY, "--steps", 1, "-o", "new", "--init-from"),
    ],
)
def test_commands_that_need_a_network(
    run: Run, command: tuple[object, ...], directory: Path, tmp_path: Path
) -> None:
    """They say in one line that an n-gram has none."""
    model = (directory,) if "--init-from" in command else ("-m", directory, "-q")
    result = run(*command, *model, status=2)
    assert result.out == ""
    assert "an n-gram has no network, which this needs" in result.err
    assert result.err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_no_torch(directory: Path, tmp_path: Path) -> None:
    """Neither counting nor writing nor scoring imports torch."""
    code = (
        "import sys; from charrnn.cli.main import run; "
        "commands = [line.split() for line in sys.argv[1].splitlines()]; "
        "assert [run(command) for command in commands] == [0, 0, 0]; assert 'torch' not in sys.modules"
    )
    commands = f"""train {PLAY} --cell ngram -o run
        sample -m {directory} -n 9
        evaluate -m {directory} {PLAY}"""
    done = subprocess.run(
        [sys.executable, "-c", code, commands], capture_output=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
