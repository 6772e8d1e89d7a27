"""The training loop: does what the schedule decides, keeps the best model, the state and the log.

All that decides a training's outcome is in its state: weights, optimizers, hidden state, the step and what
was seen. Restored from any step, a training goes on exactly, to the last bit.
"""

from __future__ import annotations

import dataclasses
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from charrnn.config import CADENCE, ModelConfig, TrainingConfig
from charrnn.errors import CharrnnError, ModelFileError
from charrnn.files import KEPT_MODEL, MODEL_FILE, STATE_FILE
from charrnn.model.device import Machine
from charrnn.model.file import ModelFile, figures, joined, save_model
from charrnn.model.network import export_weights
from charrnn.model.ngram import KneserNey
from charrnn.system import launched
from charrnn.text.corpus import Corpus
from charrnn.text.validated import validated
from charrnn.training.beside import counting_seconds
from charrnn.training.follower import Plan, lead, share_state
from charrnn.training.group import RETURN, STOP, VALIDATE, Group
from charrnn.training.listener import Listener, Report, Status
from charrnn.training.lock import RunLock
from charrnn.training.log import Log
from charrnn.training.pace import Pace
from charrnn.training.progress import Progress
from charrnn.training.schedule import Schedule, most_passes
from charrnn.training.state import TrainingState, load_training, save_training
from charrnn.training.step import build_step
from charrnn.training.validation import Validation

FETCH_EVERY = 20  # steps between waits for an accelerator
MOST_SKIPPED = 10  # steps in a row without a finite loss, at which the training is set back
SMALLEST_SCALE = 1 / 64  # of the learning rate; set back below it, the training gives up


class Interrupted(Exception):
    """The training was asked to stop; its state is saved."""


class Diverged(CharrnnError):
    """The loss stays infinite or NaN, however small the learning rate."""


class Trainer:
    """Trains one model on one corpus into one run directory.

    Attributes:
        corpus, config, directory: what is learnt, the settings with a length, where the run's files are.
        step: makes one step; has the model, its optimizers and the batches.
        model, machine: those of the step.
        validation: what is scored to choose the best model.
        schedule: decides what comes next; has the progress.
        recent_loss: the training loss averaged over about fifty steps, for showing.
        group: the processes that train together, of which this is the first.
        best_logs: (symbols,) natural logs of what the best model gives to what is validated, if this session
            found it.
        beside: the n-gram, and the weights, with which a better network is written; to be set from outside.
        stopping: to be set from outside (a signal handler) to save and stop after the current step.
        pace: what changes the number of replicas while it trains, if anything does; to be set from outside.
    """

    def __init__(
        self,
        corpus: Corpus,
        model_config: ModelConfig,
        config: TrainingConfig,
        machine: Machine,
        directory: Path,
        lock: RunLock | None = None,
        group: Group | None = None,
    ) -> None:
        self.corpus = corpus
        self.directory = directory
        self._lock = lock or RunLock(directory)
        self._log = Log(directory)
        self._listener: Listener = Listener()
        self.group = group or Group()
        scored = validated(corpus, config.validate)
        lead(self.group, corpus, Plan(model_config, config, scored, machine.device.type, machine.precision))
        self.step = build_step(corpus, model_config, config, machine, self.group)
        # A resumed training goes on with as many replicas, unless told otherwise.
        self.config = dataclasses.replace(config.with_length(), replicas=self.step.replicas.count)
        self.model, self.machine = self.step.model, machine
        self.validation = Validation(corpus, scored, machine, self.step.replicas, self.group)
        self.schedule = Schedule(
            self.config,
            self.step.window,
            self.step.steps_per_epoch,
            len(self.validation.ids),
            most_passes(self.config, pairs=corpus.config.pairs),
        )
        self.schedule.closing = counting_seconds(self.config, corpus)
        self.best_logs: NDArray[np.float32] | None = None
        self.beside: tuple[KneserNey, tuple[float, ...]] | None = None
        self.stopping = False
        self.recent_loss = math.nan
        self.pace: Pace | None = None
        self._pending: list[Tensor] = []  # losses not yet fetched from the device

    @property
    def progress(self) -> Progress:
        """What has been seen so far."""
        return self.schedule.progress

    @property
    def finished(self) -> bool:
        """Whether the training is complete, its last evaluation included."""
        return self.schedule.finished

    def run(self, listener: Listener | None = None) -> None:
        """Trains to the end of the schedule, calling the listener; the run's directory is locked meanwhile.

        Raises:
            Interrupted: ``stopping`` was set; the state is saved.
            Diverged: losses are not finite, however small the learning rate.
            RunError: another process trains in the directory.
        """
        self._listener = listener or self._listener
        self._lock.acquire()
        try:
            self._run()
        except Interrupted:
            self.end()
            raise
        except BaseException:
            self.group.abandon()
            raise
        else:
            self.end()
        finally:
            self._lock.release()

    def share(self) -> None:
        """Gives the processes that follow the weights of a new training."""
        share_state(self.group, 0, self.step.capture())

    def end(self) -> None:
        """Tells the processes that follow that the training has ended."""
        self.step.announce(STOP)
        self.group.leave()

    def _run(self) -> None:
        self._log.cut(self.progress.evaluated)  # what a killed session logged and did not save
        self.model.train()
        launch = launched()
        self.progress.session = launch.session if launch else None
        while True:
            began, counted = time.perf_counter(), self.progress.seconds + self.schedule.stalled
            action = self.schedule.next(time.monotonic(), stopping=self.stopping)
            if action.kind == "step":
                self._make_step(action.rate)
            elif action.kind == "evaluate":
                self._evaluate()
            elif action.kind == "save":
                self.save()
            elif action.kind == "keep":
                self._keep()
            else:
                break
            # Saves and listeners, which may sample, take time as well.
            counted = self.progress.seconds + self.schedule.stalled - counted
            self.schedule.spent(time.perf_counter() - began - counted)
        if not self.finished:
            self.save()
            raise Interrupted

    def _make_step(self, rate: float) -> None:
        began = time.perf_counter()
        self.step(self.progress.step, rate)
        self._pending.append(self.step.loss)
        fetching = len(self._pending) >= FETCH_EVERY or self.machine.device.type == "cpu"
        if fetching:
            self.machine.synchronize()
        seconds = time.perf_counter() - began
        self.schedule.stepped(seconds)
        if fetching:
            self._collect_losses()
        if self.pace is not None:
            self.step.resize(self.pace.stepped(seconds, time.monotonic()))
        self._listener.stepped(self.status())

    def status(self) -> Status:
        """Where the training stands, for showing."""
        schedule, progress = self.schedule, self.progress
        return Status(
            step=progress.step,
            epoch=progress.step / schedule.steps_per_epoch,
            done=schedule.done,
            seconds=progress.seconds,
            seconds_left=schedule.seconds_left,
            characters_per_second=schedule.characters_per_second,
            recent_loss=self.recent_loss,
            rate_scale=progress.rate_scale,
        )

    def _collect_losses(self) -> None:
        if not self._pending:
            return
        losses = torch.stack(self._pending).tolist()
        self._pending.clear()
        for loss in losses:
            if not math.isfinite(loss):
                self.progress.skipped += 1
                self.progress.skipped_in_a_row += 1
                continue
            self.progress.skipped_in_a_row = 0
            first = math.isnan(self.recent_loss)
            self.recent_loss = loss if first else 0.98 * self.recent_loss + 0.02 * loss
            self.progress.loss_sum += loss
            self.progress.loss_count += 1
        if self.progress.skipped_in_a_row >= MOST_SKIPPED:
            self._set_back()

    def _set_back(self) -> None:
        """Returns to the last saved state, with half the learning rate."""
        now = self.progress
        if now.rate_scale < SMALLEST_SCALE:
            raise Diverged(
                f"the loss is not finite at step {now.step}, even at {now.rate_scale:.3g} of the rate; "
                "train anew with a lower --lr and --matrix-lr, or with --precision fp32"
            )
        self.step.announce(RETURN)
        self.restore(load_training(self.directory))
        self._log.cut(self.progress.evaluated)
        again = self.progress
        again.rate_scale = now.rate_scale / 2  # what was saved may be from before the last return
        again.seconds, again.aside, again.skipped = now.seconds, now.aside, now.skipped
        self._listener.set_back(self.status())

    def _evaluate(self) -> None:
        """Scores the validation split, logs the result, and keeps the model if it is the best so far."""
        began = time.perf_counter()
        self._collect_losses()
        self.step.announce(VALIDATE)
        score = self.validation.score(self.model, self._evaluating)
        if score is None:
            return  # this evaluation is made anew on resuming
        (loss, exact), progress = score, self.progress
        train_loss = progress.loss_sum / max(1, progress.loss_count)
        if self.schedule.scored(train_loss if loss is None else loss, train_loss):
            self._save_model(loss, train_loss, exact)
            self.best_logs = self.validation.logs.copy()
        self.schedule.evaluated(time.perf_counter() - began)
        report = Report(
            step=progress.step,
            epoch=progress.step / self.step.steps_per_epoch,
            characters=progress.step * self.step.window,
            seconds=progress.seconds,
            train_loss=train_loss,
            val_loss=loss,
            bits_per_character=None if loss is None else loss / math.log(2),
            lr=self.config.lr * self.schedule.rate,
            gradient_norm=float(self.step.gradient_norm),
            characters_per_second=self.schedule.characters_per_second,
            exact=exact,
        )
        self._log.append(report)
        self.save()
        self._listener.evaluated(report)

    def _evaluating(self, share: float) -> bool:
        """Tells the listener how much of an evaluation is done; returns whether to stop."""
        self._listener.evaluating(share)
        return self.stopping

    def model_file(self, quality: dict[str, Any] | None = None) -> ModelFile:
        """The model as it is now, as a model file holds it."""
        settings = {k: v for k, v in dataclasses.asdict(self.config).items() if k not in CADENCE}
        return ModelFile(
            weights=export_weights(self.model),
            architecture=self.model.config,
            tokenizer=self.corpus.tokenizer,
            corpus=self.corpus.describe(),
            training=settings
            | {
                "step": self.progress.step,
                "seconds": round(self.progress.seconds, 3),
                "precision": self.machine.precision,
                "batch": self.step.batches.batch,
                "window": self.step.batches.time,
            },
            quality=quality or {},
        )

    def _save_model(self, val_loss: float | None, train_loss: float, exact: float | None) -> None:
        quality: dict[str, Any] = {"step": self.progress.step, "train_nats_per_character": train_loss}
        if val_loss is not None:
            quality |= figures(val_loss) | {"characters": self.validation.count}
        if exact is not None:
            quality["exact"] = exact
        model = self.model_file(quality)
        save_model(self.directory / MODEL_FILE, model if self.beside is None else joined(model, *self.beside))

    def _keep(self) -> None:
        """Writes a numbered copy of the model as it is now."""
        self.schedule.kept()
        quality: dict[str, Any] = {"step": self.progress.step}
        if math.isfinite(self.recent_loss):
            quality["train_nats_per_character"] = self.recent_loss
        save_model(self.directory / KEPT_MODEL.format(self.progress.kept), self.model_file(quality))

    def save(self) -> None:
        """Writes the state to the run's directory, unless the latest losses are not finite."""
        began = time.perf_counter()
        self._collect_losses()
        fit = self.progress.skipped_in_a_row == 0
        if fit:
            save_training(self.directory / STATE_FILE, self.capture())
        self.schedule.saved(time.monotonic(), written=fit, seconds=time.perf_counter() - began)

    def capture(self) -> TrainingState:
        """A copy of the training's state."""
        return TrainingState(
            tensors=self.step.capture(),
            architecture=self.model.config,
            training=self.config,
            precision=self.machine.precision,
            tokenizer=self.corpus.tokenizer.describe(),
            corpus=self.corpus.describe(),
            progress=dataclasses.replace(self.progress),
            finished=self.finished,
        )

    def restore(self, state: TrainingState) -> None:
        """Returns to a captured state; the trainer must have been made with its settings and text.

        Raises:
            RunError: the state is of another text.
            ModelFileError: a tensor is missing or of another shape.
        """
        state.require_text(self.corpus)
        try:
            self.step.restore(state.tensors)
        except (KeyError, RuntimeError) as error:
            path = self.directory / STATE_FILE
            raise ModelFileError(f"{path}: a tensor is missing or misshapen: {error}") from None
        self.schedule.progress = dataclasses.replace(state.progress)
        share_state(self.group, state.progress.step, state.tensors)
