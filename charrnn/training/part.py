"""The arithmetic of a step's part: the loss of some lanes or items, its gradients and the state after them.

On a CUDA GPU the work on lanes, whose shapes never change, is recorded once as a CUDA graph and replayed:
launching a step's four hundred small kernels one by one takes the processor four times as long as the GPU
takes to run them.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from charrnn.model.device import Machine
from charrnn.model.network import CharRNN, State, detach

# torch's autocast runs cuDNN's recurrent layers in float16, also where bfloat16 is asked for. There the
# gradient of one activation, about 1e-3 over the characters of a step, would be rounded to zero.
LOSS_SCALE = 1024.0
WARM_UP = 3  # computations before a graph is recorded, as torch asks for


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


class Given(NamedTuple):
    """What a part is computed from.

    Attributes:
        read: (time, part) integers.
        learnt: (time, part), the id that follows each; torch's ignore index for padding.
        state: before them; None for zeros.
        masks: (layers, 1, part, hidden), dropout's factors; None for none.
        characters: of the whole batch; those of the part if None.
    """

    read: Tensor
    learnt: Tensor
    state: State | None
    masks: Tensor | None
    characters: int | Tensor | None

    def tensors(self) -> list[Tensor]:
        """What differs from step to step."""
        masks = [] if self.masks is None else [self.masks]
        return [self.read, self.learnt, *masks, *itertools.chain(*(self.state or []))]


class PartComputation:
    """Calling it computes a part of a step; it changes nothing.

    Args:
        model: the network, in training mode.
        machine: the device and the arithmetic.
        alike: whether all calls have the same shapes and counts, so that a GPU's work can be recorded.
    """

    def __init__(self, model: CharRNN, machine: Machine, *, alike: bool) -> None:
        self._model, self._machine = model, machine
        self._parameters = list(model.parameters())
        cuda = machine.device.type == "cuda"
        self._scale = LOSS_SCALE if cuda and machine.bf16 else 1.0
        self._recorded = cuda and alike
        self._graph: Any = None
        self._given: Given | None = None
        self._found: Part | None = None

    def __call__(self, given: Given) -> Part:
        """The part's loss, gradients and new state, detached from the autograd graph."""
        if not self._recorded:
            return self._compute(given)
        if given.state is None:
            given = given._replace(state=self._zeros(given.read.shape[1]))
        if self._graph is None:
            self._record(given)
        assert self._given is not None
        for mine, new in zip(self._given.tensors(), given.tensors(), strict=True):
            mine.copy_(new)
        self._graph.replay()
        assert self._found is not None
        # The next call overwrites loss and gradients, which are summed before; the state lives on.
        return self._found._replace(hidden=_clone(self._found.hidden))

    def _compute(self, given: Given) -> Part:
        with self._machine.autocast():
            loss, state = self._model.loss(*given)
        if self._scale == 1.0:
            return Part(loss.detach(), torch.autograd.grad(loss, self._parameters), detach(state))
        gradients = torch.autograd.grad(loss * self._scale, self._parameters)
        return Part(loss.detach(), [gradient / self._scale for gradient in gradients], detach(state))

    def _record(self, given: Given) -> None:
        """Records the computation on tensors of its own, which stay at their addresses."""
        assert given.state is not None
        self._given = given = Given(
            given.read.clone(),
            given.learnt.clone(),
            _clone(given.state),
            None if given.masks is None else given.masks.clone(),
            given.characters,
        )
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM_UP):
                self._compute(given)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        # NCCL's threads go on asking the GPU things, which other threads may do in this mode.
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            self._found = self._compute(given)
        self._graph = graph

    def _zeros(self, lanes: int) -> State:
        """A state of zeros."""
        config, width = self._model.config, 2 if self._model.config.cell == "lstm" else 1
        zeros = torch.zeros(1, lanes, config.hidden_size, device=self._machine.device)
        return [(zeros,) * width] * config.num_layers


def _clone(state: State) -> State:
    """A copy of a state."""
    return [tuple(tensor.clone() for tensor in layer) for layer in state]
