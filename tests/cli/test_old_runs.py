"""Runs that version 0.1.0 began go on."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pytest

from charrnn.cli.main import run
from charrnn.files import STATE_FILE
from charrnn.training.listener import Listener, Status
from charrnn.training.setup import Request, open_training
from charrnn.training.state import load_training
from charrnn.training.trainer import Interrupted, Trainer
from tests.model.test_file import build, parse

# What the JSON of a state had in version 0.1.0.
CORPUS = {
    "bytes",
    "characters",
    "encoding",
    "lines",
    "min_count",
    "name",
    "newlines",
    "paths",
    "sha256",
    "tokenizer",
    "val_fraction",
}
ARCHITECTURE = {"cell", "dropout", "embedding_size", "hidden_size", "num_layers"}
TRAINING = {
    "batch_size",
    "clip",
    "device",
    "epochs",
    "eval_every",
    "floor",
    "lr",
    "matrix_lr",
    "optimizer",
    "patience",
    "precision",
    "sample_every",
    "save_every",
    "seed",
    "seq_length",
    "size",
    "steps",
    "threads",
    "time",
    "warmup",
    "weight_decay",
}
PROGRESS = {
    "best",
    "best_step",
    "best_train",
    "evaluated",
    "loss_count",
    "loss_sum",
    "rate_scale",
    "seconds",
    "skipped",
    "skipped_in_a_row",
    "stale",
    "step",
}


def as_before(state: Path) -> None:
    """Rewrites a state's file as that version wrote it."""
    header, metadata, body = parse(state.read_bytes())
    kept = {"corpus": CORPUS, "architecture": ARCHITECTURE, "training": TRAINING, "progress": PROGRESS}
    for part, names in kept.items():
        metadata[part] = {name: value for name, value in metadata[part].items() if name in names}
        assert metadata[part].keys() == names
    metadata = {name: value for name, value in metadata.items() if name != "sha256"} | {"format": 1}
    state.write_bytes(build(header, metadata, body))


class Stop(Listener):
    """Stops a training after some steps."""

    def __init__(self, trainer: Trainer, step: int) -> None:
        self._trainer, self._step = trainer, step

    def stepped(self, status: Status) -> None:
        """Sets the flag that a signal would set."""
        self._trainer.stopping = status.step >= self._step


@pytest.mark.parametrize("tokenizer", ["char", "byte"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_run_of_lines_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tokenizer: str, end: str
) -> None:
    """With --lines, files that lack their last line end are read as they were, to the same last weights."""
    monkeypatch.chdir(tmp_path)
    names = [first + last for first in "bdklmnprst" for last in ("ana", "ira", "elle", "omi")]
    (tmp_path / "a").write_bytes(end.join(names[:20]).encode())
    (tmp_path / "b").write_bytes(end.join(names[20:]).encode())
    shape = {"hidden_size": 16, "num_layers": 1, "embedding_size": 8, "steps": 12, "seed": 1, "threads": 1}
    settings = {**shape, "lines": True, "tokenizer": tokenizer, "rules": 1, "eval_every": 4}
    for name, last in (("whole", 99), ("run", 5)):
        trainer = open_training(Request(["a", "b"], Path(name), settings)).trainer
        with contextlib.suppress(Interrupted):
            trainer.run(Stop(trainer, last))
    as_before(tmp_path / "run" / STATE_FILE)
    assert run(["train", "a", "b", "--resume", "-o", "run", "-q"]) == 0
    resumed, whole = (load_training(tmp_path / name) for name in ("run", "whole"))
    assert resumed.progress.step == 12
    assert resumed.corpus["rules"] == 1
    assert all(np.array_equal(resumed.tensors[name], whole.tensors[name]) for name in whole.tensors)
