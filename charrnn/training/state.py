"""A trainer's state, to and from disk: what makes resuming exact."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from charrnn.config import ModelConfig, Precision, TrainingConfig, from_mapping
from charrnn.errors import ConfigError, ModelFileError, RunError
from charrnn.files import LOG_FILE, STATE_FILE, write_atomically
from charrnn.model.file import Tensors, load_state, save_state
from charrnn.model.network import parameters_by_name
from charrnn.training.schedule import Progress

if TYPE_CHECKING:
    from charrnn.training.trainer import Trainer


def save_training(trainer: Trainer, path: Path) -> None:
    """Writes weights, optimizers, hidden state, generators, progress and settings, atomically.

    Raises:
        OSError: as for ``checkpoint.save_state``.
    """
    # The last gradient's norm stands in the log, where an evaluation comes first on resuming.
    tensors: dict[str, Tensor] = {
        "random.cpu": torch.get_rng_state(),
        "gradient_norm": trainer.gradient_norm.detach(),
    }
    if trainer.machine.device.type == "cuda":
        tensors["random.cuda"] = torch.cuda.get_rng_state()
    for name, parameter in parameters_by_name(trainer.model).items():
        tensors[f"weights.{name}"] = parameter.detach()
        for optimizer in trainer.optimizers:
            for key, value in optimizer.state.get(parameter, {}).items():
                tensors[f"optimizer.{key}.{name}"] = value
    for index, layer in enumerate(trainer.hidden or []):
        for part, tensor in enumerate(layer):
            tensors[f"hidden.{index}.{part}"] = tensor
    metadata = {
        "architecture": dataclasses.asdict(trainer.model.config),
        "training": dataclasses.asdict(trainer.config),
        "precision": trainer.machine.precision,
        "tokenizer": trainer.corpus.tokenizer.describe(),
        "corpus": trainer.corpus.describe(),
        "progress": dataclasses.asdict(trainer.progress),
        "finished": trainer.finished,
    }
    arrays = {name: tensor.cpu().contiguous().numpy() for name, tensor in tensors.items()}
    save_state(path, arrays, metadata)


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
    except (KeyError, TypeError, ConfigError) as error:
        raise ModelFileError(f"{path}: its description lacks or garbles {error}") from None


@torch.no_grad()
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
    device = trainer.machine.device
    try:
        for name, parameter in parameters_by_name(trainer.model).items():
            parameter.copy_(torch.from_numpy(saved.tensors[f"weights.{name}"]))
            _restore_optimizers(trainer, saved.tensors, name, parameter)
        torch.set_rng_state(torch.from_numpy(saved.tensors["random.cpu"]))
        trainer.gradient_norm = torch.from_numpy(saved.tensors["gradient_norm"]).to(device)
        if device.type == "cuda" and "random.cuda" in saved.tensors:
            torch.cuda.set_rng_state(torch.from_numpy(saved.tensors["random.cuda"]))
        if "hidden.0.0" in saved.tensors:
            parts = range(2 if trainer.model.config.cell == "lstm" else 1)
            trainer.hidden = [
                tuple(torch.from_numpy(saved.tensors[f"hidden.{index}.{part}"]).to(device) for part in parts)
                for index in range(trainer.model.config.num_layers)
            ]
    except (KeyError, RuntimeError) as error:
        raise ModelFileError(f"{saved.path}: a tensor is missing or misshapen: {error}") from None
    trainer.plan.progress = saved.progress
    _cut_log(trainer.directory / LOG_FILE, saved.progress)


def _restore_optimizers(trainer: Trainer, tensors: Tensors, name: str, parameter: Tensor) -> None:
    for optimizer in trainer.optimizers:
        if not any(parameter is p for group in optimizer.param_groups for p in group["params"]):
            continue
        for full, array in tensors.items():
            kind, _, rest = full.partition(".")
            key, _, owner = rest.partition(".")
            if kind == "optimizer" and owner == name:
                optimizer.state[parameter][key] = torch.from_numpy(array.copy()).to(parameter.device)


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
