"""What a model file and the log beside it say."""

from __future__ import annotations

import json
from pathlib import Path

from charrnn.inspection.description import curves, describe, facts
from charrnn.model.file import load_model
from tests.conftest import ModelWriter, random_model


def test_a_trained_run(trained: Path) -> None:
    """The description holds what the file says, and the curves every evaluation of the log."""
    path = trained / "model.safetensors"
    model = load_model(path)
    described = describe(path, model)
    assert described["parameters"] == sum(array.size for array in model.weights.values())
    assert described["bytes"] == path.stat().st_size
    assert (described["cell"], described["num_layers"], described["hidden_size"]) == ("lstm", 1, 32)
    named = dict(facts(described))
    assert named["sha256"] == model.corpus["sha256"]
    assert named["model"].startswith("1 x 32 LSTM, embedding 16, ")
    assert named["learnt"].startswith(f"{model.training['step']} steps, ")
    assert f"{model.quality['bits_per_character']:.4f} bits/char" in named["quality"]
    log = [json.loads(line) for line in (trained / "log.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in curves(path)] == [entry["step"] for entry in log]
    assert curves(path)[-1]["val_loss"] == log[-1]["val_loss"]


def test_logs_with_gaps(tmp_path: Path) -> None:
    """Half a line, and what a resumed run did again, are left out; no log is no curves."""
    path = tmp_path / "model.safetensors"
    assert curves(path) == []
    steps = [{"step": step, "train_loss": step / 10, "val_loss": None} for step in (1, 2, 3, 2, 4)]
    lines = "\n".join(json.dumps(entry) for entry in steps) + '\n{"step": 5, "tr'
    (tmp_path / "log.jsonl").write_text(lines)
    assert [entry["step"] for entry in curves(path)] == [1, 2, 4]
    assert curves(path)[0] == {
        "step": 1,
        "train_loss": 0.1,
        "val_loss": None,
        "lr": None,
        "gradient_norm": None,
    }


def test_models_of_which_little_is_known(write_model: ModelWriter) -> None:
    """A file that says nothing of its training still has its shape and vocabulary."""
    model = random_model("relu", vocabulary=None)
    path = write_model(model)
    named = dict(facts(describe(path, model)))
    assert named["vocabulary"] == "the 256 bytes"
    assert "2 x 8 ReLU RNN" in named["model"]
    assert not {"text", "learnt", "quality"} & named.keys()
