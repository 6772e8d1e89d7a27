"""One step of training as an object: forward, backward, clip, update.

The training loop, the measurement of speed behind ``--size auto`` and the benchmarks all use it. A step knows
nothing of clocks, files or evaluations; which step it is and how large the learning rate is, it is told.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from charrnn.config import ModelConfig, TrainingConfig
from charrnn.errors import ConfigError, counted
from charrnn.model.device import Machine
from charrnn.model.file import Tensors
from charrnn.model.network import CharRNN, State, parameters_by_name
from charrnn.text.corpus import Corpus
from charrnn.training.batches import IGNORED, Batches, LaneBatches, build_batches
from charrnn.training.dropout import Masks
from charrnn.training.group import GATHER, STEP, Group, Meeting
from charrnn.training.optimizer import build_optimizers, clip_flat, clip_gradients, update
from charrnn.training.part import Given, Part, PartComputation
from charrnn.training.replicas import Replicas, default_replicas, join_states, split, state_of


class TrainingStep:
    """Calling it makes one optimizer step: the next window forward and backward, clipped, weights updated.

    Args:
        model: the network, in training mode, on the machine's device.
        batches: the training text's windows.
        optimizers: of the model's parameters, as ``build_optimizers`` makes them.
        machine: the device and the arithmetic.
        config: the seed of the dropout masks, and the largest global norm of the gradient.
        replicas: which share the lanes or items of this process.
        group: the processes that share those of each batch.

    Attributes:
        model, batches, optimizers, machine, replicas, group: as above.
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
        group: Group | None = None,
    ) -> None:
        self.model, self.batches, self.optimizers, self.machine = model, batches, optimizers, machine
        self.replicas, self.group = replicas or Replicas(), group or Group()
        assert config.seed is not None
        self._new_masks = functools.partial(Masks, model.config, config.seed, machine.device)
        self._masks = [self._new_masks() for _ in range(self.replicas.count)]
        self._clip = config.clip
        self._parameters = list(model.parameters())
        alike = isinstance(batches, LaneBatches) and self.replicas.count == 1
        self._part = PartComputation(model, machine, alike=alike)
        self._meeting = Meeting(self.group, self._parameters, machine.device)
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
        """The hidden state of this process's lanes that the next window begins with; None for zeros."""
        return None if self._hidden is None else join_states(self._hidden)

    def _shares(self, batch: int) -> list[tuple[int, int]]:
        """Where in a batch the lanes or items of each replica of this process begin and end."""
        begin, end = split(0, batch, self.group.size)[self.group.rank]
        return split(begin, end, self.replicas.count)

    def set_hidden(self, state: State | None) -> None:
        """Sets the hidden state that the next window begins with.

        Args:
            state: of all lanes, of which those of this process are taken; None for zeros.
        """
        if state is None:
            self._hidden = None
            return
        self._hidden = [state_of(state, *share) for share in self._shares(self.batches.batch)]

    def resize(self, replicas: int) -> None:
        """Shares the lanes or items of this process among so many replicas from the next step on."""
        if replicas == self.replicas.count:
            return
        hidden = self.hidden
        self.replicas.resize(replicas)
        self._masks += [self._new_masks() for _ in range(replicas - len(self._masks))]
        if hidden is not None:
            shares = split(0, hidden[0][0].shape[1], replicas)
            self._hidden = [state_of(hidden, *share) for share in shares]

    def gather(self) -> State | None:
        """The hidden state of all processes' lanes; all of them must call it."""
        mine = self.hidden
        if mine is None or self.group.size == 1:
            return mine
        begin, end = split(0, self.batches.batch, self.group.size)[self.group.rank]
        whole = [
            tuple(tensor.new_zeros(1, self.batches.batch, tensor.shape[2]) for tensor in layer)
            for layer in mine
        ]
        for total, tensor in zip(itertools.chain(*whole), itertools.chain(*mine), strict=True):
            total[:, begin:end] = tensor
            self.group.sum(total)
        return whole

    def __call__(self, number: int, rate: float) -> None:
        """Makes the training's ``number``-th step, counted from 0, at a share ``rate`` of the peak rates.

        Where loss or gradient are not finite, no weight moves and the hidden state is zeroed.
        """
        self.replicas.begin()
        self._compute(number)
        self._apply(number, self._meeting.meet(STEP, rate)[1])

    def follow(self, number: int) -> int:
        """Makes the ``number``-th step, or returns what else the first process decided.

        GATHER and RETURN are for the caller to do: call ``gather``, or go back to a state that is sent.
        """
        self.replicas.begin()
        before = self._hidden
        self._compute(number)
        decided, rate = self._meeting.meet()
        if decided == STEP:
            self._apply(number, rate)
        else:
            self._hidden = before
        return decided

    def announce(self, decided: int) -> None:
        """Tells the processes that follow that something other than a step comes next."""
        self._meeting.announce(decided)

    def _apply(self, number: int, rate: float) -> None:
        """Updates the weights with the gradients that were summed."""
        self.loss = self._meeting.loss.clone()
        for parameter, gradient in zip(self._parameters, self._meeting.gradients, strict=True):
            parameter.grad = gradient
        if self.machine.device.type != "cpu":
            self._clip_unseen()
        else:
            self.gradient_norm = clip_gradients(self._parameters, self._clip)
            if not (math.isfinite(self.loss) and math.isfinite(self.gradient_norm)):
                self._hidden = None
                return
        update(self.optimizers, number, rate)

    def _clip_unseen(self) -> None:
        """Clips on an accelerator, whose values would have to be waited for.

        Where they are not finite, the update is made with gradients of zero, and the hidden state is zeroed.
        """
        self.gradient_norm, finite = clip_flat(self._meeting.flat, self._clip, self.loss)
        if self._hidden is not None:
            self._hidden = [
                [tuple(torch.where(finite, tensor, 0.0) for tensor in layer) for layer in state]
                for state in self._hidden
            ]

    def _compute(self, number: int) -> None:
        """Computes this process's part of a step's loss and gradients, and carries its hidden state on."""
        inputs, targets = self.batches.window(number)  # (time, batch)
        lanes = isinstance(self.batches, LaneBatches)
        fresh = self._hidden is None or self.batches.starts_epoch(number)
        count: int | Tensor | None = None
        if self.replicas.count > 1 or self.group.size > 1:
            count = targets.numel() if lanes else (targets != IGNORED).sum()

        def compute(index: int, begin: int, end: int) -> Part | None:
            if begin == end:
                return None
            read, learnt = inputs[:, begin:end], targets[:, begin:end]  # (time, part) each
            if not lanes and count is not None:
                read, learnt = _without_padding(read, learnt)
            state = None if fresh else self._hidden[index]  # type: ignore[index]
            masks = self._masks[index](number, begin, end)  # (layers, 1, part, hidden)
            return self._part(Given(read, learnt, state, masks, count))

        shares = self._shares(inputs.shape[1])
        found = self.replicas.map(compute, range(len(shares)), *zip(*shares, strict=True))
        parts = [part for part in found if part is not None]
        self._hidden = [part.hidden for part in parts] if lanes else None
        self._sum(parts)

    @torch.no_grad()
    def _sum(self, parts: Sequence[Part]) -> None:
        """Sums the parts' gradients and losses in order; each replica sums some rows of every parameter."""

        def add(number: int) -> None:
            for index, parameter in enumerate(self._parameters):
                begin, end = split(0, len(parameter), self.replicas.count)[number]
                first, *others = (part.gradients[index][begin:end] for part in parts)
                total = self._meeting.gradients[index][begin:end].copy_(first)
                for other in others:
                    total.add_(other)

        if parts:
            self.replicas.map(add, range(self.replicas.count))
            self._meeting.loss.copy_(torch.stack([part.loss for part in parts]).sum())
        else:  # fewer items than processes
            self._meeting.clear()

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
        if self._hidden is not None:
            self.announce(GATHER)
        for index, layer in enumerate(self.gather() or []):
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
        hidden: State | None = None
        if "hidden.0.0" in tensors and isinstance(self.batches, LaneBatches):
            config = self.model.config
            parts = range(2 if config.cell == "lstm" else 1)
            hidden = [
                tuple(torch.from_numpy(tensors[f"hidden.{index}.{part}"]).to(device) for part in parts)
                for index in range(config.num_layers)
            ]
            found = {tensor.shape[1] for layer in hidden for tensor in layer}
            if found != {self.batches.batch}:
                raise RuntimeError(
                    f"hidden states of {found} sequences, where a batch has {self.batches.batch}"
                )
        self.set_hidden(hidden)


def build_step(
    corpus: Corpus,
    model_config: ModelConfig,
    training_config: TrainingConfig,
    machine: Machine,
    group: Group | None = None,
) -> TrainingStep:
    """A step with a new network, initialized from the seed, the corpus's batches and the optimizers.

    Seeds torch's global generator, which draws the weights.

    Raises:
        ConfigError: there are more processes than lanes.
    """
    assert training_config.seed is not None
    torch.manual_seed(training_config.seed)
    model = CharRNN(model_config, corpus.tokenizer.size).to(machine.device)
    batches = build_batches(corpus, training_config, machine.device)
    group = group or Group()
    lanes = batches.batch // group.size
    if lanes == 0:
        raise ConfigError(
            f"{group.size} workers: a batch has {counted(batches.batch, 'sequence')}; start fewer, or give "
            "more text and a larger --batch-size"
        )
    count = min(lanes, training_config.replicas or default_replicas(training_config, lanes, machine))
    replicas = Replicas(count, training_config.threads)
    optimizers = build_optimizers(model, training_config, bf16=machine.bf16, replicas=replicas, group=group)
    return TrainingStep(model, batches, optimizers, machine, training_config, replicas, group)


def _without_padding(inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Both (time, batch), without the last times at which nothing is learnt."""
    learnt = (targets != IGNORED).any(1).nonzero()  # (times, 1)
    end = int(learnt[-1]) + 1 if len(learnt) else 1
    return inputs[:end], targets[:end]
