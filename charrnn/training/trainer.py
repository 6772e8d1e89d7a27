"""Truncated back-propagation through time: the loop, its plan, and all it needs to go on after a stop.

All that decides a training's outcome is in its state: weights, optimizers, hidden state, dropout's generator,
the step and what was seen. Restored from any step it goes on, to the last bit, as if nothing had happened.
"""

from __future__ import annotations

import dataclasses
import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from charrnn.config import CADENCE, ModelConfig, TrainingConfig
from charrnn.errors import CharrnnError
from charrnn.evaluation.torch_scorer import line_pieces, score_pieces
from charrnn.files import LOG_FILE, MODEL_FILE, STATE_FILE
from charrnn.model.device import Machine
from charrnn.model.file import ModelFile, save_model
from charrnn.model.network import CharRNN, State, detach, export_weights
from charrnn.text.corpus import Corpus
from charrnn.text.items import find_items
from charrnn.training.batches import ItemBatches, Streams, fit_shape
from charrnn.training.listener import Listener, Report
from charrnn.training.optimizer import build_optimizers, clip_gradients, update
from charrnn.training.schedule import Plan, Progress, rate_at
from charrnn.training.state import load_training, restore_training, save_training
from charrnn.training.transfer import Transfer

FETCH_EVERY = 20  # steps between waits for an accelerator
MOST_VALIDATED = 1 << 21  # symbols
PERSISTENT = 10  # steps in a row without a finite loss, before the training is set back
SMALLEST_SCALE = 1 / 64  # of the rate, below which setting back is given up


class Interrupted(Exception):
    """The user asked to stop; the state is saved."""


class Diverged(CharrnnError):
    """The loss is no longer a number."""


class Trainer:
    """Trains one model on one corpus into one run directory.

    Attributes:
        plan: how much is done, and what comes when.
        streams: the training text's windows.
        validation: what is scored to choose the best model: the split, or its first MOST_VALIDATED ids.
        hidden: the state that the next window begins with.
        loss, gradient_norm: of the last step, as tensors that nobody has waited for.
        transfer: what became of the symbols, where the weights came from another model.
        reason: why the model is as large as it is, where that was chosen.
        recent_loss: the mean of the last fifty steps or so, for showing.
        stopping: set from outside (a signal handler) to save and stop after the current step.
    """

    def __init__(
        self,
        corpus: Corpus,
        model_config: ModelConfig,
        config: TrainingConfig,
        machine: Machine,
        directory: Path,
    ) -> None:
        assert config.seed is not None
        self.corpus, self.config = corpus, config.with_length()
        self.machine, self.directory = machine, directory
        self._listener: Listener = Listener()
        torch.manual_seed(config.seed)
        self.model = CharRNN(model_config, corpus.tokenizer.size).to(machine.device)
        self._parameters = list(self.model.parameters())
        shape = fit_shape(corpus.train_size, config.batch_size, config.seq_length)
        self.streams: Streams | ItemBatches = (
            ItemBatches(corpus.train, corpus.tokenizer.start, shape, config.seed, machine.device)
            if corpus.config.lines
            else Streams(corpus.train, shape, config.seed, machine.device)
        )
        # Of a huge split the beginning: an evaluation must not outlast the training.
        self.validation = corpus.validation[:MOST_VALIDATED]
        self.plan = Plan(
            self.config,
            self.streams.batch * self.streams.time,
            self.streams.steps_per_epoch,
            len(self.validation),
        )
        self.optimizers = build_optimizers(self.model, config, bf16=machine.bf16)
        self.hidden: State | None = None
        self.loss = self.gradient_norm = torch.zeros((), device=machine.device)
        self.stopping = False
        self.recent_loss = math.nan
        self.transfer: Transfer | None = None
        self.reason: str | None = None
        self._pending: list[Tensor] = []  # losses not yet fetched from the device
        self._saved_at = time.monotonic()

    @property
    def progress(self) -> Progress:
        """What has been seen so far."""
        return self.plan.progress

    @property
    def finished(self) -> bool:
        """Whether the plan is done, or patience over, and the model evaluated."""
        return self.plan.ended and self.progress.evaluated == self.progress.step

    # -- the loop ------------------------------------------------------------------------------------

    def run(self, listener: Listener | None = None) -> None:
        """Trains to the end of the plan, watched by the listener.

        Raises:
            Interrupted: ``stopping`` was set; the state is saved.
            Diverged: losses are not finite, however small the rate.
        """
        self._listener = listener or self._listener
        self.model.train()
        if self.progress.step == 0:
            self.save()  # from now on there is something to go on from, or back to
        while not self.plan.ended:
            if self.plan.evaluation_due:
                self._evaluate()
                continue
            self._timed_step()
            if self.stopping:
                self._stop()
            if time.monotonic() - self._saved_at >= self.config.save_every:
                self.save()
        if not self.finished:
            self._evaluate()

    def _stop(self) -> None:
        self.save()
        raise Interrupted

    def _timed_step(self) -> None:
        began = time.perf_counter()
        self.train_step()
        self._pending.append(self.loss)
        if len(self._pending) >= FETCH_EVERY or self.machine.device.type == "cpu":
            self._collect_losses()  # waits for the device, so that seconds are true
        self.plan.stepped(time.perf_counter() - began)
        self._listener.stepped(self)

    def train_step(self) -> None:
        """One window: forward, backward, clip, update."""
        inputs, targets = self.streams.window(self.progress.step)  # (time, batch)
        state = None if self.streams.starts_epoch(self.progress.step) else self.hidden
        with self.machine.autocast():
            loss, state = self.model.loss(inputs, targets, state)
        self.hidden = detach(state)
        for parameter in self._parameters:
            parameter.grad = None  # as zero_grad does, which walks all modules for them
        loss.backward()  # type: ignore[no-untyped-call]
        self.gradient_norm = clip_gradients(self._parameters, self.config.clip)
        self.loss = loss.detach()
        if self._prepare_update():
            update(self.optimizers, self.progress.step, self.rate)
        self.progress.step += 1

    @property
    def rate(self) -> float:
        """The share of the peak learning rates that the next step uses."""
        return rate_at(self.plan.done, self.config) * self.progress.rate_scale

    def _prepare_update(self) -> bool:
        """Whether the gradients may be used; what is not finite must not reach weights or hidden state."""
        if self.machine.device.type == "cpu":
            if math.isfinite(self.loss) and math.isfinite(self.gradient_norm):
                return True
            self.hidden = None
            return False
        # An accelerator is not waited for: there the step is made, with gradients of zero.
        finite = torch.isfinite(self.loss + self.gradient_norm)
        for parameter in self._parameters:
            if parameter.grad is not None:
                parameter.grad = torch.where(finite, parameter.grad, 0.0)
        assert self.hidden is not None
        self.hidden = [tuple(torch.where(finite, part, 0.0) for part in layer) for layer in self.hidden]
        return True

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
        if self.progress.skipped_in_a_row >= PERSISTENT:
            self._set_back()

    def _set_back(self) -> None:
        """Goes back to the last saved state, at half the rate."""
        now = self.progress
        if now.rate_scale < SMALLEST_SCALE:
            raise Diverged(
                f"the loss is not finite at step {now.step}, even at {now.rate_scale:.3g} of the rate; "
                "train anew with a lower --lr and --matrix-lr, or with --precision fp32"
            )
        restore_training(self, load_training(self.directory))
        again = self.progress
        again.rate_scale = min(again.rate_scale, now.rate_scale) / 2
        again.seconds, again.skipped = now.seconds, now.skipped
        self._listener.set_back(self)

    # -- evaluation ----------------------------------------------------------------------------------

    def _evaluate(self) -> None:
        """Scores the whole validation split, logs it, and keeps the model if it is the best so far."""
        began = time.perf_counter()
        self._collect_losses()
        loss = self._validate()
        progress = self.progress
        train_loss = progress.loss_sum / max(1, progress.loss_count)
        better = loss if loss is not None else train_loss
        if progress.best is None or better < progress.best:
            progress.best, progress.best_step, progress.stale = better, progress.step, 0
            progress.best_train = train_loss
            self._save_model(loss, train_loss)
        else:
            progress.stale += 1
        self.plan.evaluated(time.perf_counter() - began)
        progress.evaluated = progress.step
        progress.loss_sum, progress.loss_count = 0.0, 0
        report = Report(
            step=progress.step,
            epoch=progress.step / self.streams.steps_per_epoch,
            characters=progress.step * self.plan.window,
            seconds=progress.seconds,
            train_loss=train_loss,
            val_loss=loss,
            bits_per_character=None if loss is None else loss / math.log(2),
            lr=self.config.lr * self.rate,
            gradient_norm=float(self.gradient_norm),
            characters_per_second=self.plan.characters_per_second,
        )
        with (self.directory / LOG_FILE).open("a", encoding="utf-8") as log:
            log.write(json.dumps(dataclasses.asdict(report)) + "\n")
        self.save()
        self._listener.evaluated(report)

    def _validate(self) -> float | None:
        """Nats a character over the validation split, in float32; None where it is empty."""
        ids = self.validation
        if len(ids) == 0:
            return None
        exact = Machine(self.machine.device, bf16=False)
        start = self.corpus.tokenizer.start
        if self.corpus.config.lines:
            pieces = line_pieces(self.model, ids, find_items(ids, start).ends, start, exact)
        else:
            pieces = score_pieces(self.model, ids, start, exact)
        nats, done = 0.0, 0
        self.model.eval()
        try:
            for _, scores in pieces:
                nats -= float(scores.sum(dtype=np.float64))
                done += len(scores)
                self._listener.evaluating(done / len(ids))
                if self.stopping:
                    self._stop()  # the evaluation is made anew on resuming
        finally:
            self.model.train()
        return nats / len(ids)

    # -- files ---------------------------------------------------------------------------------------

    def _save_model(self, val_loss: float | None, train_loss: float) -> None:
        progress = self.progress
        quality: dict[str, Any] = {"step": progress.step, "train_nats_per_character": train_loss}
        if val_loss is not None:
            quality["nats_per_character"] = val_loss
            quality["bits_per_character"] = val_loss / math.log(2)
            quality["characters"] = len(self.validation)
        model = ModelFile(
            weights=export_weights(self.model),
            config=self.model.config,
            tokenizer=self.corpus.tokenizer,
            corpus=self.corpus.describe(),
            training={k: v for k, v in dataclasses.asdict(self.config).items() if k not in CADENCE}
            | {
                "step": progress.step,
                "seconds": round(progress.seconds, 3),
                "precision": self.machine.precision,
                "batch": self.streams.batch,
                "window": self.streams.time,
            },
            quality=quality,
        )
        save_model(self.directory / MODEL_FILE, model)

    def save(self) -> None:
        """Writes all that resuming needs; not while losses are not finite, for that is no state to keep."""
        self._collect_losses()
        if self.progress.skipped_in_a_row:
            return
        save_training(self, self.directory / STATE_FILE)
        self._saved_at = time.monotonic()
