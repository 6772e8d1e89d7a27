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
        self._given: list[Tensor | None] = []
        self._found: Part | None = None

    def __call__(
        self,
        read: Tensor,
        learnt: Tensor,
        state: State | None,
        masks: Tensor | None,
        count: int | Tensor | None,
    ) -> Part:
        """The part's loss, gradients and new state, detached from the autograd graph.

        Args:
            read: (time, part) integers.
            learnt: (time, part), the id that follows each; torch's ignore index for padding.
            state: before them; None for zeros.
            masks: (layers, 1, part, hidden), dropout's factors; None for none.
            count: of the whole batch's characters; those of the part if None.
        """
        if not self._recorded:
            return self._compute(read, learnt, state, masks, count)
        if state is None:
            state = self._zeros(read.shape[1])
        given = [read, learnt, masks, *itertools.chain(*state)]
        if self._graph is None:
            self._record(given, count)
        for mine, new in zip(self._given, given, strict=True):
            if mine is not None and new is not None:
                mine.copy_(new)
        self._graph.replay()
        assert self._found is not None
        # The next call overwrites loss and gradients, which are summed before; the state lives on.
        hidden = [tuple(tensor.clone() for tensor in layer) for layer in self._found.hidden]
        return self._found._replace(hidden=hidden)

    def _compute(
        self,
        read: Tensor,
        learnt: Tensor,
        state: State | None,
        masks: Tensor | None,
        count: int | Tensor | None,
    ) -> Part:
        with self._machine.autocast():
            loss, state = self._model.loss(read, learnt, state, masks, count)
        if self._scale == 1.0:
            return Part(loss.detach(), torch.autograd.grad(loss, self._parameters), detach(state))
        gradients = torch.autograd.grad(loss * self._scale, self._parameters)
        return Part(loss.detach(), [gradient / self._scale for gradient in gradients], detach(state))

    def _record(self, given: Sequence[Tensor | None], count: int | Tensor | None) -> None:
        """Records the computation on tensors of its own, which stay at their addresses."""
        self._given = [None if tensor is None else tensor.clone() for tensor in given]
        read, learnt, masks, *parts = self._given
        assert read is not None
        assert learnt is not None
        width = 2 if self._model.config.cell == "lstm" else 1
        state: Any = [tuple(parts[begin : begin + width]) for begin in range(0, len(parts), width)]
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM_UP):
                self._compute(read, learnt, state, masks, count)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        # NCCL's threads go on asking the GPU things, which other threads may do in this mode.
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            self._found = self._compute(read, learnt, state, masks, count)
        self._graph = graph

    def _zeros(self, lanes: int) -> State:
        """A state of zeros."""
        config, width = self._model.config, 2 if self._model.config.cell == "lstm" else 1
        zeros = torch.zeros(1, lanes, config.hidden_size, device=self._machine.device)
        return [(zeros,) * width] * config.num_layers
