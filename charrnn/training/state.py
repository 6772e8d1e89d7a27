"""A trainer's state, to and from disk: what makes resuming exact."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charrnn.config import ModelConfig, Precision, TrainingConfig, from_mapping
from charrnn.errors import ModelFileError, RunError
from charrnn.files import LOG_FILE, STATE_FILE, write_atomically
from charrnn.model.file import Tensors, load_state, save_state
from charrnn.training.schedule import Progress

if TYPE_CHECKING:
    from charrnn.training.trainer import Trainer


def save_training(trainer: Trainer, path: Path) -> None:
    """Writes weights, optimizers, hidden state, generators, progress and settings, atomically.

    Raises:
        OSError: as for ``checkpoint.save_state``.
    """
    metadata = {
        "architecture": dataclasses.asdict(trainer.model.config),
        "training": dataclasses.asdict(trainer.config),
        "precision": trainer.machine.precision,
        "tokenizer": trainer.corpus.tokenizer.describe(),
        "corpus": trainer.corpus.describe(),
        "progress": dataclasses.asdict(trainer.progress),
        "finished": trainer.finished,
    }
    save_state(path, trainer.step.capture(), metadata)


@dataclasses.dataclass(frozen=True)
class SavedTraining:
    """A training state as read from disk.

    Attributes:
        tensors: by name.
        architecture, training: the settings it was made with; they cannot be changed on resuming.
        corpus: what the text was (paths, sha256, split).
        tokenizer: its vocabulary, described.
        precision: the arithmetic it was trained in.
        progress: what had been seen.
        finished: whether its plan was done.
    """

    path: Path
    tensors: Tensors
    architecture: ModelConfig
    training: TrainingConfig
    corpus: dict[str, Any]
    tokenizer: dict[str, Any]
    precision: Precision
    progress: Progress
    finished: bool


def load_training(directory: Path) -> SavedTraining:
    """Reads the state of the run in a directory.

    Raises:
        RunError: there is no such run, or it saved no state yet.
        ModelFileError: the state is damaged or of another version.
    """
    path = directory / STATE_FILE
    if not path.exists():
        raise RunError(f"{directory}: no {STATE_FILE} to resume from; train without --resume")
    tensors, metadata = load_state(path)
    try:
        return SavedTraining(
            path=path,
            tensors=tensors,
            architecture=from_mapping(ModelConfig, metadata["architecture"]),
            training=from_mapping(TrainingConfig, metadata["training"]),
            corpus=metadata["corpus"],
            tokenizer=metadata["tokenizer"],
            precision=metadata["precision"],
            progress=from_mapping(Progress, metadata["progress"]),
            finished=metadata["finished"],
        )
    except (KeyError, TypeError) as error:
        raise ModelFileError(f"{path}: its description lacks or garbles {error}") from None


def restore_training(trainer: Trainer, saved: SavedTraining) -> None:
    """Puts a trainer, made with the saved settings and the same text, where the saved one was.

    Raises:
        RunError: the text is another one.
        ModelFileError: a tensor is missing or of another shape.
    """
    if trainer.corpus.sha256 != saved.corpus["sha256"]:
        raise RunError(
            f"{', '.join(trainer.corpus.paths)}: not the text this run learns "
            f"(sha256 {saved.corpus['sha256'][:12]}, found {trainer.corpus.sha256[:12]}); "
            "give that text back, or train anew with --output-dir"
        )
    try:
        trainer.step.restore(saved.tensors)
    except (KeyError, RuntimeError) as error:
        raise ModelFileError(f"{saved.path}: a tensor is missing or misshapen: {error}") from None
    trainer.plan.progress = saved.progress
    _cut_log(trainer.directory / LOG_FILE, saved.progress)


def _cut_log(path: Path, progress: Progress) -> None:
    """Takes from the log what was written after the state: it will be written again."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True):
        try:
            step = json.loads(line)["step"]
        except (ValueError, KeyError, TypeError):
            break  # a line that a kill cut short
        if step <= progress.evaluated:
            kept.append(line)
    write_atomically(path, "".join(kept).encode())
