"""The shipped model: there at once, of the promised size, and made as its file says."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import numpy as np
import pytest

from charrnn.api import load
from charrnn.errors import RunError
from charrnn.evaluation.evaluator import Evaluator
from charrnn.files import MODEL_FILE, STATE_FILE
from charrnn.model.file import load_model, read_header, save_model
from charrnn.pretrained.make import OUTPUT, STAGES, averaged, finished_model, train_arguments
from charrnn.text.scored import text_of
from tests.conftest import SHARED, TINY, Charrnn, random_model


def test_it_writes_where_nothing_was_trained(charrnn: Charrnn, tmp_path: Path) -> None:
    """Without a run, sample writes with the shipped model, and one line on stderr says so."""
    result = charrnn("sample", "-n", 300, "-s", 1)
    assert result.status == 0
    assert len(result.out) == 300
    assert result.out == load("shakespeare").sample(length=300, seed=1)
    assert result.err.splitlines()[0] == (
        "no run here yet: this is the shipped model shakespeare; train your own with charrnn train TEXT"
    )
    assert charrnn("sample", "-n", 300, "-s", 1, "-m", "shakespeare").err == "seed 1\n"
    assert list(tmp_path.iterdir()) == []


def test_a_run_of_its_name_goes_first(charrnn: Charrnn, tmp_path: Path, model_path: Path) -> None:
    """A run called shakespeare is used instead, and so is any run where no model is named."""
    run = tmp_path / "runs" / "shakespeare"
    run.mkdir(parents=True)
    (run / MODEL_FILE).write_bytes(model_path.read_bytes())
    expected = load(model_path).sample(length=50, seed=2)
    assert charrnn("sample", "-n", 50, "-s", 2, "-m", "shakespeare").out == expected
    result = charrnn("sample", "-n", 50, "-s", 2)
    assert (result.out, result.err) == (expected, "seed 2\n")


def test_the_file_is_small_and_says_how_it_was_made() -> None:
    """At most 4.5 MB of float16, with the command, the processor and the result, and no path."""
    assert OUTPUT.stat().st_size <= 4.5e6
    header = read_header(OUTPUT, "model")
    assert header["corpus"]["paths"] == []
    assert (header["corpus"]["characters"], header["corpus"]["bytes"]) == (1_115_394, 1_115_394)
    command = shlex.split(header["training"]["command"])
    assert command == ["python", "-m", "charrnn.pretrained.make", "shakespeare.txt", "--run", "runs"]
    assert header["architecture"]["hidden_size"] == STAGES["long"]["hidden_size"]
    assert header["training"]["step"] == sum(stage["steps"] for stage in STAGES.values())
    assert header["training"]["processor"]
    assert header["training"]["seconds"] > 0
    assert header["quality"]["characters"] == 111_540
    raw = json.loads(OUTPUT.read_bytes()[8 : 8 + int.from_bytes(OUTPUT.read_bytes()[:8], "little")])
    assert {entry["dtype"] for name, entry in raw.items() if name != "__metadata__"} == {"F16"}


@pytest.mark.skipif(not SHARED.exists(), reason="the well-known corpora are not beside the project")
def test_its_quality_is_what_it_says() -> None:
    """On the last tenth of tiny Shakespeare it has the loss that its file says, rounded to float16 or not."""
    model = load_model(OUTPUT)
    text = (SHARED / "shakespeare.txt").read_text()[-111_540:]
    found = Evaluator(model).score(text_of(text, model.tokenizer)).nats_per_character
    assert found == pytest.approx(model.quality["nats_per_character"], abs=0.0005)


def test_a_run_of_other_settings_is_not_packed(trained: Path, tmp_path: Path) -> None:
    """A finished run of other settings than the stage's is refused."""
    (tmp_path / "long").symlink_to(trained)
    with pytest.raises(RunError, match=f"trained with hidden_size 32, not {STAGES['long']['hidden_size']}"):
        finished_model(tmp_path, "long")


def test_an_unfinished_run_is_not_packed(charrnn: Charrnn, tmp_path: Path) -> None:
    """A run that can go on is refused."""
    (tmp_path / "t.txt").write_text("to be or not to be\n" * 20)
    assert charrnn("train", "t.txt", "-o", "long", "--steps", 2, *TINY).status == 0
    state = tmp_path / "long" / STATE_FILE
    data = state.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = data[8 : 8 + length].replace(b'\\"finished\\": true', b'\\"finished\\": null')
    assert len(header) == length
    state.write_bytes(data[:8] + header + data[8 + length :])
    with pytest.raises(RunError, match="not finished"):
        finished_model(tmp_path, "long")


def test_each_stage_begins_with_the_one_before() -> None:
    """The first starts anew; every other one is trained from its predecessor's run."""
    runs = Path("runs")
    starts = [train_arguments("text", runs, stage) for stage in STAGES]
    assert "--init-from" not in starts[0]
    for before, arguments in zip(STAGES, starts[1:], strict=False):
        assert arguments[arguments.index("--init-from") + 1] == str(runs / before)


def test_weights_are_averaged() -> None:
    """The averaged model has the mean of both weights, in float32."""
    models = [random_model(seed=seed) for seed in (1, 2)]
    mean = averaged(models)
    for name, array in mean.weights.items():
        np.testing.assert_allclose(array, (models[0].weights[name] + models[1].weights[name]) / 2, rtol=1e-6)
        assert array.dtype == np.float32


def test_float16_costs_nothing_that_is_seen(trained: Path, tmp_path: Path) -> None:
    """Rounded to float16, a trained model's loss changes by less than 0.0005 nats a character."""
    model = load_model(trained / MODEL_FILE)
    save_model(tmp_path / "half", model, half=True)
    text = text_of("The bell beneath the sea has a voice of its own.\n" * 20, model.tokenizer)
    losses = [Evaluator(m).score(text).nats_per_character for m in (model, load_model(tmp_path / "half"))]
    assert abs(losses[0] - losses[1]) < 0.0005
    assert np.isfinite(losses).all()
