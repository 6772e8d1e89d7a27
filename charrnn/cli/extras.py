"""Further listeners of a training: samples of what the model writes so far, and TensorBoard."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from charrnn.cli.output import show_controls
from charrnn.errors import CharrnnError
from charrnn.model.file import ModelFile
from charrnn.sampling.each import EachLine
from charrnn.sampling.session import SamplingSession
from charrnn.sampling.writer import TextStream
from charrnn.training.listener import Listener, Report, Status
from charrnn.use_config import SamplingConfig

SAMPLE_LENGTH = 240  # characters: three lines of a terminal


class Group(Listener):
    """Several listeners as one; each is called, in the order given."""

    def __init__(self, listeners: Sequence[Listener]) -> None:
        self._listeners = listeners

    def stepped(self, status: Status) -> None:
        """Calls all."""
        for listener in self._listeners:
            listener.stepped(status)

    def evaluated(self, report: Report) -> None:
        """Calls all."""
        for listener in self._listeners:
            listener.evaluated(report)

    def set_back(self, status: Status) -> None:
        """Calls all."""
        for listener in self._listeners:
            listener.set_back(status)

    def evaluating(self, share: float) -> None:
        """Calls all."""
        for listener in self._listeners:
            listener.evaluating(share)

    def close(self) -> None:
        """Closes all."""
        for listener in self._listeners:
            listener.close()


class Samples(Listener):
    """Shows what the model writes, every so many seconds of training.

    Sampling runs in NumPy with a generator of its own, so that a training with samples gives the same model,
    to the bit, as one without.

    Args:
        every: seconds of training between two samples.
        show: prints lines.
        model: returns the model as it is now.
        pairs: for a model of pairs, those whose sources it answers.
    """

    def __init__(
        self,
        every: float,
        show: Callable[[str], None],
        model: Callable[[], ModelFile],
        pairs: Sequence[str] = (),
    ) -> None:
        self._every, self._show, self._model, self._pairs = every, show, model, pairs
        self._due: float | None = None

    def stepped(self, status: Status) -> None:
        """Shows a sample where it is time for one."""
        if self._due is None:
            self._due = status.seconds + self._every
        if status.seconds < self._due:
            return
        self._due = status.seconds + self._every
        self._show(f"--- sample at step {status.step}\n{self._write(seed=status.step)}\n---")

    def _write(self, seed: int) -> str:
        model = self._model()
        if model.corpus.get("pairs"):
            return self._answer(model)
        config = SamplingConfig(length=SAMPLE_LENGTH, seed=seed)
        session = SamplingSession(model, config)
        data = model.tokenizer.decode_bytes(list(TextStream(session, session.prompt(""))))
        return show_controls(data).decode().strip("\n")

    def _answer(self, model: ModelFile) -> str:
        """The answers to the held-out sources, a line each, wrong ones with the target."""
        session = SamplingSession(model, SamplingConfig(length=SAMPLE_LENGTH, temperature=0.0, seed=0))
        sources = [pair.partition("\t")[0] for pair in self._pairs]
        lines = []
        for pair, found in zip(
            self._pairs, EachLine(session, skip_unknown=True).texts([sources]), strict=True
        ):
            line = f"{found.source}\t{found.text}"
            lines.append(line if line == pair else f"{line}\t(not {pair.partition(chr(9))[2]})")
        return show_controls("\n".join(lines).encode("utf-8", "replace")).decode()


def require_tensorboard() -> None:
    """Checks that the package of --tensorboard is installed; to be called before anything is created.

    Raises:
        CharrnnError: it is not.
    """
    if importlib.util.find_spec("tensorboard") is None:
        raise CharrnnError("--tensorboard: that package is not installed; pip install tensorboard")


class TensorBoard(Listener):
    """Writes every evaluation to the run's directory, for ``tensorboard --logdir``.

    Args:
        directory: the run's.
        step: where a resumed training goes on; what was written for later steps is hidden.
    """

    def __init__(self, directory: Path, step: int = 0) -> None:
        from torch.utils import tensorboard  # hundreds of modules, imported only with --tensorboard

        writer: Any = tensorboard.SummaryWriter
        self._writer = writer(str(directory), purge_step=step + 1 if step else None)

    def evaluated(self, report: Report) -> None:
        """Writes those figures of log.jsonl that are drawn as curves."""
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
        """Closes the file."""
        self._writer.close()
