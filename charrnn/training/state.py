"""A training's state as plain data, and its file: all that exact resuming needs."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from charrnn.config import CorpusConfig, ModelConfig, Precision, TrainingConfig
from charrnn.errors import ConfigError, ModelFileError, RunError
from charrnn.files import STATE_FILE
from charrnn.model.file import Tensors, load_state, save_state
from charrnn.settings import from_mapping
from charrnn.text.corpus import Corpus
from charrnn.training.progress import Progress


@dataclasses.dataclass(frozen=True)
class TrainingState:
    """Everything that a training's outcome depends on; ``Trainer.capture`` makes one.

    Attributes:
        tensors: weights, optimizer state and hidden state, named as ``TrainingStep.capture`` describes.
        architecture, training: the settings; they cannot be changed on resuming.
        precision: the arithmetic it is trained in.
        tokenizer: its description, with the vocabulary.
        corpus: the text's description: paths, sha256, split.
        progress: what has been seen and found so far.
        finished: whether the training is complete.
    """

    tensors: Tensors
    architecture: ModelConfig
    training: TrainingConfig
    precision: Precision
    tokenizer: dict[str, Any]
    corpus: dict[str, Any]
    progress: Progress
    finished: bool

    def require_text(self, corpus: Corpus) -> None:
        """Checks that a corpus is the text, validated on the text, that the state is of.

        Raises:
            RunError: it is another one.
        """
        if corpus.val_sha256 != self.corpus.get("val_sha256"):
            raise RunError(
                f"{corpus.config.val}: not the text this run validates on; give that text back, "
                "name where it is now with --val, or train anew with --output-dir"
            )
        if corpus.sha256 != self.corpus["sha256"]:
            raise RunError(
                f"{', '.join(corpus.paths)}: not the text this run learns "
                f"(sha256 {self.corpus['sha256'][:12]}, found {corpus.sha256[:12]}); "
                "give that text back, or train anew with --output-dir"
            )


def save_training(path: Path, state: TrainingState) -> None:
    """Writes a state to a file, atomically.

    Raises:
        OSError: the disk is full, or the place cannot be written; what stood there still stands.
    """
    metadata = {
        "architecture": dataclasses.asdict(state.architecture),
        "training": dataclasses.asdict(state.training),
        "precision": state.precision,
        "tokenizer": state.tokenizer,
        "corpus": state.corpus,
        "progress": dataclasses.asdict(state.progress),
        "finished": state.finished,
    }
    save_state(path, state.tensors, metadata)


def load_training(directory: Path) -> TrainingState:
    """Reads the state of the run in a directory.

    Raises:
        ModelFileError: the state is damaged or of another version.
    """
    path = directory / STATE_FILE
    tensors, metadata = load_state(path)
    try:
        corpus: CorpusConfig = from_mapping(CorpusConfig, metadata["corpus"])
        corpus.require_items()  # and its encoding has to be known here
        progress: Progress = from_mapping(Progress, metadata["progress"])
        if progress.base_step > progress.step or progress.base_seconds > progress.seconds:
            raise ConfigError("progress: extended after more than was made")
        return TrainingState(
            tensors=tensors,
            architecture=from_mapping(ModelConfig, metadata["architecture"]),
            training=from_mapping(TrainingConfig, metadata["training"]).with_length(),
            precision=metadata["precision"],
            tokenizer=metadata["tokenizer"],
            corpus=metadata["corpus"],
            progress=progress,
            finished=metadata["finished"],
        )
    except ConfigError as error:  # also of settings that contradict each other
        raise ModelFileError(f"{path}: {error}") from None
