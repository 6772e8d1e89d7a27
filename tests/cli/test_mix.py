"""Several models as one, from the command line and from Python."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import charrnn
from charrnn.config import CorpusConfig, NGramConfig
from charrnn.errors import ArgumentError, ConfigError
from charrnn.model.file import save_model
from charrnn.training.counting import count_run
from tests.cli.test_ngram import Run, run
from tests.conftest import PLAY, random_model

__all__ = ["run"]  # the fixture


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A 2-gram and a 5-gram of the play, and a network that learnt nothing."""
    directory = tmp_path_factory.mktemp("mix")
    for order in (2, 5):
        count_run([str(PLAY)], directory / str(order), CorpusConfig(), NGramConfig(order=order))
    save_model(directory / "m", random_model())
    return [directory / "2", directory / "5", directory / "m"]


def options(models: list[Path]) -> list[object]:
    """Each model with its flag."""
    return [word for model in models for word in ("-m", model)]


def test_weights_are_fitted_and_shown(run: Run, models: list[Path]) -> None:
    """Without --mix the weights are fitted, noted on stderr, and what --mix takes."""
    result = run("evaluate", *options(models), "--json")
    (row,) = json.loads(result.out)["results"]
    note = next(line for line in result.err.splitlines() if line.startswith("--mix "))
    weights = note.split()[1].rstrip(",")
    assert "fitted on 16,253 characters of the-bell-under-the-sea (validation)" in note
    halves = "each half of the text is scored with weights that are fitted to the other half"
    assert halves in result.err
    other = run("evaluate", *options(models), "--mix", weights, "--json")
    assert halves not in other.err
    given = json.loads(other.out)["results"][0]
    assert given["nats_per_character"] < row["nats_per_character"]  # of the text that they were fitted to
    assert given["nats_per_character"] == pytest.approx(row["nats_per_character"], abs=1e-4)
    alone = [
        json.loads(run("evaluate", "-m", model, PLAY, "--json").out)["results"][0] for model in models[:2]
    ]
    both = json.loads(run("evaluate", *options(models), PLAY, "--json").out)["results"][0]
    assert both["model"] == " + ".join(map(str, models))
    assert both["nats_per_character"] < max(row["nats_per_character"] for row in alone)


SAMPLES = {
    "plain": (),
    "several": ("--num-samples", 2, "--top-k", 9),
    "lines": ("--lines", 3, "--distinct"),
    "best of": ("--best-of", 2),
    "json": ("--json", "--logprobs", 2),
}


@pytest.mark.parametrize("case", SAMPLES)
def test_sample(case: str, run: Run, models: list[Path]) -> None:
    """Every way to write works, and the same seed writes the same text."""
    arguments = ("sample", *options(models), "--mix", "1,2,1", "-n", 40, "--seed", 3, *SAMPLES[case])
    first, second = run(*arguments), run(*arguments)
    assert first.out == second.out
    assert len(first.out) > 20


def test_a_weight_of_almost_all(run: Run, models: list[Path]) -> None:
    """With nearly all weight on one model, its text is written."""
    alone = run("sample", "-m", models[1], "-n", 200, "--seed", 4).out
    mixed = run("sample", *options(models[:2]), "--mix", "1e-12,1", "-n", 200, "--seed", 4).out
    assert mixed == alone


def test_each_in_lockstep(run: Run, models: list[Path], tmp_path: Path) -> None:
    """Lines are written in lockstep as they are one by one."""
    (tmp_path / "lines").write_text("The \nA bell\n")
    texts = {
        run(
            *("sample", *options(models), "--mix", "1,1,1", "--each", tmp_path / "lines"),
            *("-n", 20, "--seed", 1, *more),
        ).out
        for more in ((), ("--repetition-penalty", 1.0000001))
    }
    assert len(texts) == 1


def test_heatmap_and_lines(run: Run, models: list[Path], tmp_path: Path) -> None:
    """The heat map and the rows of lines have the mixture's bits."""
    (tmp_path / "t.txt").write_text("The bell.\nThe sea \u2603.\n")
    common = ("evaluate", *options(models), "--mix", "1,2,3", tmp_path / "t.txt")
    bits = json.loads(run(*common, "--json").out)["results"][0]["bits_per_character"]
    assert f"{bits:.4f} bits/char" in run(*common, "--heatmap").err
    assert f"{bits:.4f} bits/char" in run(*common, "--per-line").err


@pytest.mark.parametrize("mix", ["", "1", "1,2,3", "0,1", "-1,2", "nan,1", "x,y", "1;2", "inf,1"])
def test_weights_that_are_none(mix: str, run: Run, models: list[Path]) -> None:
    """Wrong weights are refused in one line."""
    result = run("sample", *options(models[:2]), "--mix", mix, status=2)
    assert result.err.count("\n") == 1
    assert "--mix" in result.err


def test_what_does_not_go_together(run: Run, models: list[Path], tmp_path: Path) -> None:
    """--mix with one model, --dynamic of several, and bytes among characters say so."""
    assert "give --model more than once" in run("sample", "-m", models[0], "--mix", "1,2", status=2).err
    dynamic = run("evaluate", *options(models[:2]), "--mix", "1,1", PLAY, "--dynamic", "-q", status=2)
    assert "several models are not one network" in dynamic.err
    save_model(tmp_path / "bytes", random_model(vocabulary=None))
    assert (
        "do not mix" in run("sample", "-m", models[0], "-m", tmp_path / "bytes", "--mix", "1,1", status=2).err
    )
    told = run("sample", "-m", models[2], "-m", models[0], status=1).err
    assert "the model does not say what it learnt from; give the weights yourself, with --mix" in told


def test_python(models: list[Path]) -> None:
    """load takes several models, with weights or without."""
    fitted = charrnn.load(models[0], models[1])
    given = charrnn.load(*models, mix=(0.1, 0.8, 0.1))
    assert fitted.file.mix[1] > 0.5
    assert given.file.mix == pytest.approx((0.1, 0.8, 0.1))
    assert given.sample("The ", length=20, seed=1) == given.sample("The ", length=20, seed=1)
    text = "The bell under the sea"
    alone = charrnn.load(models[1]).score(text).sum()
    assert fitted.score(text).sum() == pytest.approx(alone, abs=5)
    with pytest.raises(ConfigError, match="several"):
        charrnn.load(models[0], mix=[1])
    with pytest.raises(ArgumentError, match="a number for each model"):
        charrnn.load(models[0], models[1], mix=["1", "2"])  # type: ignore[list-item]
