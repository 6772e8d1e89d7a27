"""What else may watch a training: samples of what it writes so far, and TensorBoard."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from charrnn.cli.output import show_controls
from charrnn.config import SamplingConfig
from charrnn.errors import CharrnnError
from charrnn.model.file import ModelFile
from charrnn.model.network import export_weights
from charrnn.sampling.session import SamplingSession
from charrnn.sampling.writer import TextStream
from charrnn.training.listener import Listener, Report
from charrnn.training.trainer import Trainer

SAMPLE_LENGTH = 240  # characters: three lines of a terminal


class Group(Listener):
    """Several listeners as one; they are told in the order given."""

    def __init__(self, listeners: Sequence[Listener]) -> None:
        self._listeners = listeners

    def stepped(self, trainer: Trainer) -> None:
        """Tells all."""
        for listener in self._listeners:
            listener.stepped(trainer)

    def evaluated(self, report: Report) -> None:
        """Tells all."""
        for listener in self._listeners:
            listener.evaluated(report)

    def set_back(self, trainer: Trainer) -> None:
        """Tells all."""
        for listener in self._listeners:
            listener.set_back(trainer)

    def evaluating(self, share: float) -> None:
        """Tells all."""
        for listener in self._listeners:
            listener.evaluating(share)

    def close(self) -> None:
        """Closes all."""
        for listener in self._listeners:
            listener.close()


class Samples(Listener):
    """Shows what the model writes, every so many seconds of training.

    Writing is done in NumPy with a generator of its own, so that a training with samples is the same, to
    the bit, as one without.

    Args:
        every: seconds of training between two samples.
        show: puts lines before a person's eyes.
    """

    def __init__(self, every: float, show: Callable[[str], None]) -> None:
        self._every, self._show = every, show
        self._due: float | None = None

    def stepped(self, trainer: Trainer) -> None:
        """Writes a sample if the last one is long enough ago."""
        seconds = trainer.progress.seconds
        if self._due is None:
            self._due = seconds + self._every
        if seconds < self._due:
            return
        self._due = seconds + self._every
        self._show(f"--- sample at step {trainer.progress.step}\n{self._write(trainer)}\n---")

    def _write(self, trainer: Trainer) -> str:
        tokenizer = trainer.corpus.tokenizer
        model = ModelFile(export_weights(trainer.model), trainer.model.config, tokenizer)
        config = SamplingConfig(length=SAMPLE_LENGTH, seed=trainer.progress.step)
        session = SamplingSession(model, config)
        data = tokenizer.decode_bytes(list(TextStream(session, session.prompt(""))))
        return show_controls(data).decode().strip("\n")


def require_tensorboard() -> None:
    """Lets --tensorboard pass where its package is installed; to be asked before anything is made.

    Raises:
        CharrnnError: it is not.
    """
    if importlib.util.find_spec("tensorboard") is None:
        raise CharrnnError("--tensorboard: that package is not installed; pip install tensorboard")


class TensorBoard(Listener):
    """Writes every evaluation to the run's directory, for ``tensorboard --logdir``.

    Args:
        directory: the run's.
        step: where a resumed training goes on; what was written beyond it is hidden.
    """

    def __init__(self, directory: Path, step: int = 0) -> None:
        from torch.utils import tensorboard  # hundreds of modules, for those who ask

        writer: Any = tensorboard.SummaryWriter
        self._writer = writer(str(directory), purge_step=step + 1 if step else None)

    def evaluated(self, report: Report) -> None:
        """Writes the figures of log.jsonl that make curves."""
        scalars = {
            "loss/train": report.train_loss,
            "loss/validation": report.val_loss,
            "loss/bits per character": report.bits_per_character,
            "optimizer/learning rate": report.lr,
            "optimizer/gradient norm": report.gradient_norm,
            "speed/characters per second": report.characters_per_second,
        }
        for name, value in scalars.items():
            if value is not None:
                self._writer.add_scalar(name, value, report.step)
        self._writer.flush()

    def close(self) -> None:
        """Ends the file."""
        self._writer.close()
