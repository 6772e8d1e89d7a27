"""Scoring in torch: a long text is cut into sections that are read side by side.

The state is carried through each section, and each section but the first begins ``overlap`` symbols early,
unscored, so that its first scored symbol has a past. One stream is the definition; many differ from it only
by what a state remembers beyond the overlap.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from charrnn.device import Machine
from charrnn.model import CharRNN, State
from charrnn.tokenizer import Ids

STREAMS = 64
OVERLAP = 256
CHUNK = 256  # symbols of each section in one forward pass


def streams_for(length: int) -> int:
    """As many streams as leave each a section much longer than the overlap."""
    return max(1, min(STREAMS, length // (4 * OVERLAP)))


@torch.no_grad()
def score(
    model: CharRNN,
    ids: Ids,
    start: int,
    machine: Machine,
    streams: int | None = None,
    on_chunk: Callable[[int], None] = lambda _: None,
) -> NDArray[np.float32]:
    """The natural-log probability of every symbol given all before it.

    Args:
        model: in evaluation mode, on the machine's device.
        ids: (time,) of ids, each below the vocabulary's size.
        start: the id read before the first.
        machine: the device and arithmetic of the forward passes; the softmax is float32 on any.
        streams: sections read side by side; chosen from the length if None.
        on_chunk: called with the number of symbols scored since the last call; may raise to stop.

    Returns:
        (time,) float32.
    """
    count = streams or streams_for(len(ids))
    scores = np.empty(len(ids), np.float32)
    section = -(-len(ids) // count)
    state: State | None = None
    for begin, inputs, targets in _chunks(ids, start, count, section):
        if begin == 0 and state is not None:
            state = _forget_first(state)  # what it read so far was padding
        with machine.autocast():
            logits, state = model(inputs.to(machine.device), state)  # (time, batch, vocabulary)
        if begin < 0:
            continue
        losses = functional.cross_entropy(
            logits.float().flatten(0, 1), targets.to(machine.device).flatten(), reduction="none"
        )
        found = -losses.view(targets.shape).cpu().numpy().T  # (batch, time)
        scored = 0
        for stream in range(count):
            place = stream * section + begin
            # the last section may be shorter, and so may others of a very short text
            room = min(found.shape[1], section - begin, max(0, len(ids) - place))
            scores[place : place + room] = found[stream, :room]
            scored += room
        on_chunk(scored)
    return scores


def _chunks(ids: Ids, start: int, count: int, section: int) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Inputs and targets (time, count) with the place in their sections, overlap first (below 0)."""
    overlap = 0 if count == 1 else OVERLAP
    for begin in (*range(-overlap, 0, CHUNK), *range(0, section, CHUNK)):
        end = min(begin + CHUNK, 0 if begin < 0 else section)
        places = np.arange(begin, end)[:, None] + section * np.arange(count)  # (time, count)
        inside = np.clip(places, 0, len(ids) - 1)
        inputs = ids[np.maximum(inside - 1, 0)].astype(np.int64)
        inputs[places <= 0] = start
        yield begin, torch.from_numpy(inputs), torch.from_numpy(ids[inside].astype(np.int64))


def _forget_first(state: State) -> State:
    """The state with the first stream's part zeroed; (1, batch, hidden) tensors."""
    for layer in state:
        for tensor in layer:
            tensor[:, 0] = 0
    return state
