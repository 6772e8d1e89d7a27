"""Scoring in torch: a long text is cut into sections that are read side by side.

The state is carried through each section, and each section but the first begins ``OVERLAP`` symbols early,
unscored, so that its first scored symbol has a past. One stream is the definition; many differ from it only
by what a state remembers beyond the overlap. Where the state starts anew at each line there are no joins:
lines of like length are read side by side, and the figures are those of one line after the other.

Scores come as pieces, so that a text of any length needs no more memory than one pass over its ids.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from charrnn.model.device import Machine
from charrnn.model.network import CharRNN, State
from charrnn.text.tokenizer import Ids

STREAMS = 64
OVERLAP = 256
CHUNK = 256  # symbols of each section in one forward pass

Floats = NDArray[np.float32]
Piece = tuple[int, Floats]  # a place in the ids, and the log probabilities (n,) of what stands there


def streams_for(length: int, wanted: int | None = None) -> int:
    """How many streams read a text of ``length`` symbols.

    As many as wanted, but none whose overlap would begin before the text; without a wish, as many as leave
    each a section much longer than the overlap.
    """
    if wanted is not None:
        return max(1, min(wanted, length // OVERLAP))
    return max(1, min(STREAMS, length // (4 * OVERLAP)))


def score(
    model: CharRNN,
    ids: Ids,
    start: int,
    machine: Machine,
    streams: int | None = None,
    on_chunk: Callable[[int], None] = lambda _: None,
) -> Floats:
    """The natural-log probability of every symbol given all before it.

    Args:
        model: in evaluation mode, on the machine's device.
        ids: (time,) of ids, each below the vocabulary's size.
        start: the id read before the first.
        machine: the device and arithmetic of the forward passes; the softmax is float32 on any.
        streams: sections read side by side; chosen from the length if None; see ``streams_for``.
        on_chunk: called with the number of symbols scored since the last call; may raise to stop.

    Returns:
        (time,) float32.
    """
    scores = np.empty(len(ids), np.float32)
    for place, found in score_pieces(model, ids, start, machine, streams):
        scores[place : place + len(found)] = found
        on_chunk(len(found))
    return scores


@torch.inference_mode()
def score_pieces(
    model: CharRNN, ids: Ids, start: int, machine: Machine, streams: int | None = None
) -> Iterator[Piece]:
    """The natural-log probabilities as ``score`` gives them, piece by piece, in no order."""
    count = streams_for(len(ids), streams)
    section = -(-len(ids) // count)
    state: State | None = None
    for begin, inputs, targets in _chunks(ids, start, count, section):
        if begin == 0 and state is not None:
            state = _forget_first(state)  # what it read so far was padding
        found, state = _forward(model, inputs, targets, state, machine)  # (batch, time)
        if begin < 0:
            continue
        for stream in range(count):
            place = stream * section + begin
            # the last section may be shorter, and so may others of a very short text
            room = min(found.shape[1], section - begin, max(0, len(ids) - place))
            if room:
                yield place, found[stream, :room]


def _forward(
    model: CharRNN,
    inputs: NDArray[np.int64],
    targets: NDArray[np.int64],
    state: State | None,
    machine: Machine,
) -> tuple[Floats, State]:
    """Log probabilities (batch, time) of targets (time, batch), and the state after them."""
    there = torch.from_numpy(targets).to(machine.device)  # (time, batch)
    with machine.autocast():
        logits, state = model(torch.from_numpy(inputs).to(machine.device), state)  # (time, batch, vocabulary)
    losses = functional.cross_entropy(logits.float().flatten(0, 1), there.flatten(), reduction="none")
    found: Floats = -losses.view(targets.shape).cpu().numpy().T  # (batch, time)
    return found, state


def _chunks(
    ids: Ids, start: int, count: int, section: int
) -> Iterator[tuple[int, NDArray[np.int64], NDArray[np.int64]]]:
    """Inputs and targets (time, count) with the place in their sections, overlap first (below 0)."""
    overlap = 0 if count == 1 else OVERLAP
    for begin in (*range(-overlap, 0, CHUNK), *range(0, section, CHUNK)):
        end = min(begin + CHUNK, 0 if begin < 0 else section)
        places = np.arange(begin, end)[:, None] + section * np.arange(count)  # (time, count)
        inside = np.clip(places, 0, len(ids) - 1)
        inputs = ids[np.maximum(inside - 1, 0)].astype(np.int64)
        inputs[places <= 0] = start
        yield begin, inputs, ids[inside].astype(np.int64)


def _forget_first(state: State) -> State:
    """The state with the first stream's part zeroed; (1, batch, hidden) tensors."""
    for layer in state:
        for tensor in layer:
            tensor[:, 0] = 0
    return state


@torch.inference_mode()
def line_pieces(
    model: CharRNN, ids: Ids, ends: NDArray[np.int64], start: int, machine: Machine
) -> Iterator[Piece]:
    """The natural-log probabilities of lines that each begin with no past, piece by piece, in no order.

    Args:
        model: in evaluation mode, on the machine's device.
        ids: (time,) of ids.
        ends: (lines,) the place after each line, ascending.
        start: the id read before each line.
        machine: the device and arithmetic of the forward passes.
    """
    begins = np.concatenate([np.zeros(1, np.int64), ends[:-1]])  # (lines,)
    lengths = ends - begins
    order = np.argsort(lengths, kind="stable")  # lines of like length waste little on padding
    for first in range(0, len(order), STREAMS):
        lines = order[first : first + STREAMS]
        state: State | None = None
        for begin in range(0, int(lengths[lines[-1]]), CHUNK):
            end = min(begin + CHUNK, int(lengths[lines[-1]]))
            places = begins[lines] + np.arange(begin, end)[:, None]  # (time, lines)
            inside = np.minimum(places, len(ids) - 1)
            inputs = ids[np.maximum(inside - 1, 0)].astype(np.int64)
            if begin == 0:
                inputs[0] = start
            targets = ids[inside].astype(np.int64)
            found, state = _forward(model, inputs, targets, state, machine)  # (lines, time)
            for row, line in enumerate(lines):
                room = min(end, int(lengths[line])) - begin
                if room > 0:
                    yield int(begins[line]) + begin, found[row, :room]
