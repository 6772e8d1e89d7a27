"""One step of training as an object: forward, backward, clip, update.

The training loop, the measurement of speed behind ``--size auto`` and the benchmarks all use it. A step knows
nothing of clocks, files or evaluations; which step it is and how large the learning rate is, it is told.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from charrnn.config import ModelConfig, TrainingConfig
from charrnn.model.device import Machine
from charrnn.model.file import Tensors
from charrnn.model.network import CharRNN, State, detach, parameters_by_name
from charrnn.text.corpus import Corpus
from charrnn.training.batches import IGNORED, Batches, LaneBatches, build_batches
from charrnn.training.dropout import Masks
from charrnn.training.optimizer import build_optimizers, clip_gradients, update
from charrnn.training.replicas import Replicas, default_replicas, split


class Part(NamedTuple):
    """What a replica finds out about its lanes or items of a batch.

    Attributes:
        loss: their share of the batch's loss, in nats a character.
        gradients: of this share, of each parameter.
        hidden: the state after them.
    """

    loss: Tensor
    gradients: Sequence[Tensor]
    hidden: State


class TrainingStep:
    """Calling it makes one optimizer step: the next window forward and backward, clipped, weights updated.

    Args:
        model: the network, in training mode, on the machine's device.
        batches: the training text's windows.
        optimizers: of the model's parameters, as ``build_optimizers`` makes them.
        machine: the device and the arithmetic.
        config: the seed of the dropout masks, and the largest global norm of the gradient.
        replicas: which share the lanes or items of each batch.

    Attributes:
        model, batches, optimizers, machine, replicas: as above.
        loss: of the last step, in nats a character, a scalar tensor on the device that nobody waited for.
        gradient_norm: the global norm of its gradient before clipping, likewise.
    """

    def __init__(
        self,
        model: CharRNN,
        batches: Batches,
        optimizers: list[torch.optim.Optimizer],
        machine: Machine,
        config: TrainingConfig,
        replicas: Replicas | None = None,
    ) -> None:
        self.model, self.batches, self.optimizers, self.machine = model, batches, optimizers, machine
        self.replicas = replicas or Replicas()
        assert config.seed is not None
        self._masks = [Masks(model.config, config.seed, machine.device) for _ in range(self.replicas.count)]
        self._clip = config.clip
        self._parameters = list(model.parameters())
        self._hidden: list[State] | None = None  # of each replica's lanes
        self.loss = self.gradient_norm = torch.zeros((), device=machine.device)

    @property
    def window(self) -> int:
        """Characters in a step."""
        return self.batches.batch * self.batches.time

    @property
    def steps_per_epoch(self) -> int:
        """Steps in which the whole text is read once."""
        return self.batches.steps_per_epoch

    @property
    def hidden(self) -> State | None:
        """The hidden state of all lanes that the next window begins with; None for zeros."""
        if self._hidden is None:
            return None
        return [
            tuple(torch.cat(parts, 1) for parts in zip(*layers, strict=True))  # (1, batch, hidden)
            for layers in zip(*self._hidden, strict=True)
        ]

    @hidden.setter
    def hidden(self, state: State | None) -> None:
        if state is None:
            self._hidden = None
            return
        self._hidden = [
            [tuple(tensor[:, begin:end].contiguous() for tensor in layer) for layer in state]
            for begin, end in split(0, state[0][0].shape[1], self.replicas.count)
        ]

    def __call__(self, number: int, rate: float) -> None:
        """Makes the training's ``number``-th step, counted from 0, at a share ``rate`` of the peak rates.

        Where loss or gradient are not finite, no weight moves and the hidden state is zeroed.
        """
        self.loss = self._compute(number)
        self.gradient_norm = clip_gradients(self._parameters, self._clip)
        if self._gradients_usable():
            update(self.optimizers, number, rate)

    def _compute(self, number: int) -> Tensor:
        """A step's loss; its gradients are those of the parameters then, and its state is carried."""
        for parameter in self._parameters:
            parameter.grad = None
        inputs, targets = self.batches.window(number)  # (time, batch)
        lanes = isinstance(self.batches, LaneBatches)
        fresh = self._hidden is None or self.batches.starts_epoch(number)
        count: int | Tensor | None = None
        if self.replicas.count > 1:
            count = targets.numel() if lanes else (targets != IGNORED).sum()

        def compute(index: int, begin: int, end: int) -> Part | None:
            if begin == end:
                return None
            read, learnt = inputs[:, begin:end], targets[:, begin:end]  # (time, part) each
            if not lanes and count is not None:
                read, learnt = _without_padding(read, learnt)
            state = None if fresh else self._hidden[index]  # type: ignore[index]
            masks = self._masks[index](number, begin, end)  # (layers, 1, part, hidden)
            with self.machine.autocast():
                loss, state = self.model.loss(read, learnt, state, masks, count)
            return Part(loss.detach(), torch.autograd.grad(loss, self._parameters), detach(state))

        shares = split(0, inputs.shape[1], self.replicas.count)
        found = self.replicas.map(compute, range(len(shares)), *zip(*shares, strict=True))
        parts = [part for part in found if part is not None]
        self._hidden = [part.hidden for part in parts] if lanes else None
        return self._sum(parts)

    @torch.no_grad()
    def _sum(self, parts: Sequence[Part]) -> Tensor:
        """The loss of all parts together; their gradients are summed in order into the parameters'."""
        for index, parameter in enumerate(self._parameters):
            # Of two parameters the gradients may be one tensor, which must not be changed for both.
            gradients = [part.gradients[index] for part in parts]
            parameter.grad = (
                functools.reduce(torch.add, gradients) if len(parts) > 1 else gradients[0].clone()
            )
        return torch.stack([part.loss for part in parts]).sum()

    def _gradients_usable(self) -> bool:
        """Whether to update; values that are not finite must reach neither weights nor hidden state."""
        if self.machine.device.type == "cpu":
            if math.isfinite(self.loss) and math.isfinite(self.gradient_norm):
                return True
            self.hidden = None
            return False
        # Checking would wait for an accelerator: there the update is made with gradients of zero instead.
        finite = torch.isfinite(self.loss + self.gradient_norm)
        for parameter in self._parameters:
            if parameter.grad is not None:
                parameter.grad = torch.where(finite, parameter.grad, 0.0)
        if self._hidden is not None:
            self._hidden = [
                [tuple(torch.where(finite, tensor, 0.0) for tensor in layer) for layer in state]
                for state in self._hidden
            ]
        return True

    def capture(self) -> Tensors:
        """Copies of all that the next steps depend on, and the last gradient's norm, as named arrays.

        ``weights.NAME`` and ``optimizer.KEY.NAME`` for each parameter, and ``hidden.LAYER.PART``.
        """
        tensors = {"gradient_norm": self.gradient_norm}
        for name, parameter in parameters_by_name(self.model).items():
            tensors[f"weights.{name}"] = parameter
            for optimizer in self.optimizers:
                for key, value in optimizer.state.get(parameter, {}).items():
                    tensors[f"optimizer.{key}.{name}"] = value
        for index, layer in enumerate(self.hidden or []):
            for part, tensor in enumerate(layer):
                tensors[f"hidden.{index}.{part}"] = tensor
        return {
            name: tensor.detach().to("cpu", copy=True).contiguous().numpy()
            for name, tensor in tensors.items()
        }

    @torch.no_grad()
    def restore(self, tensors: Tensors) -> None:
        """Sets what ``capture`` copied; steps made from here are those made from there, to the bit.

        Raises:
            KeyError: a tensor is missing.
            RuntimeError: a tensor has another shape or type.
        """
        device = self.machine.device
        states: dict[str, dict[str, torch.Tensor]] = {}
        for full, array in tensors.items():
            if full.startswith("optimizer."):
                _, key, name = full.split(".", 2)
                states.setdefault(name, {})[key] = torch.from_numpy(array.copy()).to(device)
        for name, parameter in parameters_by_name(self.model).items():
            parameter.copy_(torch.from_numpy(tensors[f"weights.{name}"]))
            for optimizer in self.optimizers:
                if any(parameter is p for group in optimizer.param_groups for p in group["params"]):
                    optimizer.state[parameter] = states.get(name, {})
        self.gradient_norm = torch.from_numpy(tensors["gradient_norm"]).to(device)
        self.hidden = None
        if "hidden.0.0" in tensors:
            config = self.model.config
            parts = range(2 if config.cell == "lstm" else 1)
            self.hidden = [
                tuple(torch.from_numpy(tensors[f"hidden.{index}.{part}"]).to(device) for part in parts)
                for index in range(config.num_layers)
            ]
            found = {tensor.shape[1] for layer in self.hidden for tensor in layer}
            if isinstance(self.batches, LaneBatches) and found != {self.batches.batch}:
                raise RuntimeError(
                    f"hidden states of {found} sequences, where a batch has {self.batches.batch}"
                )


def build_step(
    corpus: Corpus, model_config: ModelConfig, training_config: TrainingConfig, machine: Machine
) -> TrainingStep:
    """A step with a new network, initialized from the seed, the corpus's batches and the optimizers.

    Seeds torch's global generator, which draws the weights.
    """
    assert training_config.seed is not None
    torch.manual_seed(training_config.seed)
    model = CharRNN(model_config, corpus.tokenizer.size).to(machine.device)
    batches = build_batches(corpus, training_config, machine.device)
    count = training_config.replicas or default_replicas(training_config, batches.batch, machine)
    replicas = Replicas(min(count, batches.batch), training_config.threads)
    optimizers = build_optimizers(model, training_config, bf16=machine.bf16, replicas=replicas)
    return TrainingStep(model, batches, optimizers, machine, training_config, replicas)


def _without_padding(inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Both (time, batch), without the last times at which nothing is learnt."""
    learnt = (targets != IGNORED).any(1).nonzero()  # (times, 1)
    end = int(learnt[-1]) + 1 if len(learnt) else 1
    return inputs[:end], targets[:end]
