"""``charrnn inspect`` from a shell."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from charrnn.api import load
from charrnn.cli.plot import blocks, grid
from charrnn.model.file import ModelFile, save_model
from tests.conftest import PLAY, Charrnn, ModelWriter, environment, random_model

# One thread: on a machine that does other things too, several wait for each other at each small product.
ALONE = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


@pytest.fixture
def play(tmp_path: Path) -> Path:
    """The beginning of the shipped play."""
    path = tmp_path / "play.txt"
    path.write_text(PLAY.read_text(encoding="utf-8")[:400], encoding="utf-8")
    return path


@pytest.fixture
def logged(trained: Path, tmp_path: Path) -> Path:
    """A model with a log of several evaluations beside it."""
    shutil.copy(trained / "model.safetensors", tmp_path)
    entries = [
        {"step": step, "train_loss": 3 / step, "val_loss": 4 / step, "lr": 0.01 / step, "gradient_norm": 1.0}
        for step in range(1, 6)
    ]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    return tmp_path


def test_a_model_alone(charrnn: Charrnn, logged: Path) -> None:
    """Without a text it says what the model is and draws how it learnt."""
    result = charrnn("inspect", "-m", logged)
    assert (result.status, result.err) == (0, "")
    assert re.search(r"^model +1 x 32 LSTM, embedding 16, [\d,]+ parameters$", result.out, re.MULTILINE)
    assert "loss in nats/char by step" in result.out
    assert re.search(r"^learning rate +[▁▂▃▄▅▆▇█]+", result.out, re.MULTILINE)
    assert "\x1b" not in result.out


def test_it_needs_no_torch(trained: Path, play: Path) -> None:
    """Neither a model alone nor a text imports torch."""
    for extra in ([], [str(play)]):
        arguments = ["inspect", "-m", str(trained), *extra]
        code = (
            f"import sys; from charrnn.cli.main import run; status = run({arguments!r});"
            "sys.exit(status or ('torch' in sys.modules) * 3)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, check=False, env=environment()
        )
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("columns", [40, 60, 100])
def test_a_text_fits_the_terminal(charrnn: Charrnn, logged: Path, play: Path, columns: int) -> None:
    """No line of tables, pictures and the text is wider than the terminal, down to 40 columns."""
    result = charrnn(
        "inspect", play, "-m", logged, "--gradients", "--memory", "-q", env=ALONE | {"COLUMNS": str(columns)}
    )
    assert (result.status, result.err) == (0, "")
    assert max(map(len, result.out.splitlines())) <= columns
    for part in ("units that follow", "gates:", "half", "fresh GRU", "shuffled", "line position", "norm"):
        assert part in result.out


def test_color_and_digits_say_the_same(charrnn: Charrnn, trained: Path, play: Path) -> None:
    """The text stands whole over its digits, or in as many shades."""
    plain = charrnn("inspect", play, "-m", trained, "--unit", "0:3", env={"COLUMNS": "200"}).out
    lines = plain[plain.index("unit 0:3:cell") :].splitlines()
    first = PLAY.read_text(encoding="utf-8").splitlines()[0]
    assert lines[2] == first
    assert re.fullmatch(rf"[1-9]{{{len(first) + 1}}}", lines[3])
    colored = charrnn("inspect", play, "-m", trained, "--unit", "0:3", "--color", "always").out
    shades = re.findall(r"48;5;(\d+)m(.)\x1b\[0m", colored[colored.index("unit 0:3:cell") :])
    text = "".join(cell for _, cell in shades if cell)
    assert first in text


def test_json_holds_every_number(charrnn: Charrnn, trained: Path, play: Path) -> None:
    """The JSON's activations are those of Python, and all parts are there."""
    result = charrnn(
        "inspect",
        play,
        "-m",
        trained,
        "--json",
        "--unit",
        "0:3:forget",
        "--gradients",
        "--memory",
        "-q",
        env=ALONE,
    )
    found = json.loads(result.out)
    assert set(found) == {"model", "curves", "text", "gradients", "memory"}
    expected = load(trained).activations(play.read_text(encoding="utf-8"))["0.forget"][3]
    np.testing.assert_allclose(found["text"]["unit"]["values"], expected[:20_000], atol=1e-6)
    assert {"layer", "unit", "signal", "picked", "held_out"} == set(found["text"]["features"][0]["units"][0])
    assert [one["network"] for one in found["gradients"]] == ["model", "rnn", "relu", "gru", "lstm"]
    assert len(found["gradients"][0]["norms"]["input"][0]) == 128
    assert len(found["memory"]["cut"]) == len(found["memory"]["lengths"])


def test_a_feature_names_its_unit(charrnn: Charrnn, trained: Path, play: Path) -> None:
    """``--feature`` shades by the unit that follows it best; one that does not exist names those that do."""
    result = charrnn("inspect", play, "-m", trained, "--feature", "line position", "--json")
    found = json.loads(result.out)["text"]
    best = next(one for one in found["features"] if one["feature"] == "line position")["units"][0]
    assert [found["unit"][key] for key in ("layer", "unit", "signal")] == [
        best[key] for key in ("layer", "unit", "signal")
    ]
    wrong = charrnn("inspect", play, "-m", trained, "--feature", "rhyme")
    assert wrong.status == 2
    assert "--feature rhyme: not a feature that varies in this text; those are: line position" in wrong.err


def test_the_validation_split_is_the_default(charrnn: Charrnn, trained: Path) -> None:
    """Where a text is needed and none is named, it is what was held out."""
    result = charrnn("inspect", "-m", trained, "--unit", "0:1", "-n", 900)
    assert "(validation): 900 characters" in result.out


def test_a_page(charrnn: Charrnn, trained: Path, play: Path, tmp_path: Path) -> None:
    """``--html`` writes a page with everything in it, replaces none unasked, and prints nothing."""
    result = charrnn("inspect", play, "-m", trained, "--html", "page.html", env=ALONE)
    assert (result.status, result.out) == (0, "")
    assert "wrote page.html" in result.err
    written = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert '"gradients":[' in written
    assert '"memory":{' in written
    again = charrnn("inspect", play, "-m", trained, "--html", "page.html")
    assert again.status == 1
    assert "page.html: exists; replace it with --force" in again.err


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (
            ["--unit", "1:2"],
            2,
            "--unit 1:2: must be LAYER:UNIT or LAYER:UNIT:SIGNAL with a layer from 0 to 0",
        ),
        (["--unit", "0:99"], 2, "a unit from 0 to 31"),
        (["--unit", "0:1:reset"], 2, "a signal among hidden, cell, input, forget, output"),
        (["--unit", "x"], 2, "--unit x: must be"),
        (["--unit", "0:1:cell:2"], 2, "--unit 0:1:cell:2: must be"),
        (["--unit", "0:1", "--feature", "digit"], 2, "--unit and --feature both say"),
        (["--html", "no/such.html"], 1, "no: no such directory"),
        (["-n", "0"], 2, "-n"),
    ],
)
def test_what_is_refused(
    charrnn: Charrnn, trained: Path, play: Path, arguments: list[str], status: int, message: str
) -> None:
    """A unit, file or combination that cannot be is one line that says what can."""
    result = charrnn("inspect", play, "-m", trained, *arguments)
    assert (result.status, result.out) == (status, "")
    assert message in result.err
    assert len(result.err.splitlines()) == 1


def test_short_texts(charrnn: Charrnn, trained: Path) -> None:
    """A text of one character is read; gradients and memory say why not, and a page leaves them out."""
    result = charrnn("inspect", "-", "-m", trained, input="a")
    assert result.status == 0
    assert "too short" in result.out
    for option in ("--gradients", "--memory"):
        refused = charrnn("inspect", "-", "-m", trained, option, "-q", input="a")
        assert refused.status == 1
        assert f"{option[2:]}: a text of 1 characters that the model knows is too short" in refused.err
    page = charrnn("inspect", "-", "-m", trained, "--html", "p.html", input="a")
    assert page.status == 0
    assert page.err.count("left out: ") == 2


def test_models_of_lines(charrnn: Charrnn, tmp_path: Path) -> None:
    """A model of single lines is read line by line, and says why its memory is not measured."""
    base = random_model()
    save_model(
        tmp_path / "names.safetensors", ModelFile(base.weights, base.config, base.tokenizer, {"lines": True})
    )
    text = "Anna\nBob\n" * 40
    assert charrnn("inspect", "-", "-m", "names.safetensors", input=text).status == 0
    for option in ("--gradients", "--memory"):
        refused = charrnn("inspect", "-", "-m", "names.safetensors", option, "-q", input=text)
        assert refused.status == 1
        assert "the model learnt single lines" in refused.err


def test_a_byte_model(charrnn: Charrnn, write_model: ModelWriter) -> None:
    """Of a byte model a text's bytes are shown, those that are not ASCII by their numbers."""
    path = write_model(random_model(vocabulary=None))
    result = charrnn("inspect", "-", "-m", path, "--unit", "1:0", input="é\x1b" * 3)
    assert "\\xc3\\xa9U+001B" in result.out
    assert "\x1b" not in result.out


def test_plots() -> None:
    """A plot has its highest and lowest numbers at its ends, and a row of blocks the mean of its columns."""
    lines = grid({"up": [(0, 1.0), (10, 2.0)], "down": [(0, 2.0), (10, None)]}, 20, 3)
    assert lines[0] == "2.00 |d            u"
    assert lines[2] == "1.00 |u"
    assert lines[3].split() == ["0", "10"]
    assert grid({"none": [(0, None)]}, 20, 3) == []
    assert blocks([0, 0, 1, 1], 2, 0, 1) == "▁█"
    assert blocks([5.0], 8, 5.0, 5.0) == "▁"
