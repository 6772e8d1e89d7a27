"""One step of training as an object: forward, backward, clip, update.

The training loop, the measurement of speed behind ``--size auto`` and the benchmarks all use it. A step knows
nothing of clocks, files or evaluations; which step it is and how large the learning rate is, it is told.
"""

from __future__ import annotations

import math

import torch

from charrnn.config import ModelConfig, TrainingConfig
from charrnn.model.device import Machine
from charrnn.model.file import Tensors
from charrnn.model.network import CharRNN, State, detach, parameters_by_name
from charrnn.text.corpus import Corpus
from charrnn.training.batches import Batches, LaneBatches, build_batches
from charrnn.training.dropout import Masks
from charrnn.training.optimizer import build_optimizers, clip_gradients, update


class TrainingStep:
    """Calling it makes one optimizer step: the next window forward and backward, clipped, weights updated.

    Args:
        model: the network, in training mode, on the machine's device.
        batches: the training text's windows.
        optimizers: of the model's parameters, as ``build_optimizers`` makes them.
        machine: the device and the arithmetic.
        seed: of the dropout masks.
        clip: the largest global norm of the gradient.

    Attributes:
        model, batches, optimizers, machine: as above.
        hidden: the hidden state that the next window begins with; None for zeros.
        loss: of the last step, in nats a character, a scalar tensor on the device that nobody waited for.
        gradient_norm: the global norm of its gradient before clipping, likewise.
    """

    def __init__(
        self,
        model: CharRNN,
        batches: Batches,
        optimizers: list[torch.optim.Optimizer],
        machine: Machine,
        seed: int,
        clip: float,
    ) -> None:
        self.model, self.batches, self.optimizers, self.machine = model, batches, optimizers, machine
        self._masks = Masks(model.config, seed, machine.device)
        self._clip = clip
        self._parameters = list(model.parameters())
        self.hidden: State | None = None
        self.loss = self.gradient_norm = torch.zeros((), device=machine.device)

    @property
    def window(self) -> int:
        """Characters in a step."""
        return self.batches.batch * self.batches.time

    @property
    def steps_per_epoch(self) -> int:
        """Steps in which the whole text is read once."""
        return self.batches.steps_per_epoch

    def __call__(self, number: int, rate: float) -> None:
        """Makes the training's ``number``-th step, counted from 0, at a share ``rate`` of the peak rates.

        Where loss or gradient are not finite, no weight moves and the hidden state is zeroed.
        """
        inputs, targets = self.batches.window(number)  # (time, batch)
        state = None if self.batches.starts_epoch(number) else self.hidden
        masks = self._masks(number, 0, inputs.shape[1])  # (layers, 1, batch, hidden)
        with self.machine.autocast():
            loss, state = self.model.loss(inputs, targets, state, masks)
        self.hidden = detach(state)
        for parameter in self._parameters:
            parameter.grad = None  # as zero_grad does, which walks all modules for them
        loss.backward()  # type: ignore[no-untyped-call]
        self.gradient_norm = clip_gradients(self._parameters, self._clip)
        self.loss = loss.detach()
        if self._gradients_usable():
            update(self.optimizers, number, rate)

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
        assert self.hidden is not None
        self.hidden = [tuple(torch.where(finite, part, 0.0) for part in layer) for layer in self.hidden]
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
    return TrainingStep(
        model,
        build_batches(corpus, training_config, machine.device),
        build_optimizers(model, training_config, bf16=machine.bf16),
        machine,
        training_config.seed,
        training_config.clip,
    )
