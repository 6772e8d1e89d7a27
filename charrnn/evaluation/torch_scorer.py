"""Scoring in torch: a long text is cut into sections that are read in parallel, as one batch.

The state is carried through each section. Each section except the first starts ``OVERLAP`` symbols early,
without scoring these, so that its first scored symbol has a context. Reading the text as a single section
gives the exact figure; with more, it differs only by what the state would remember beyond the overlap. If the
state is reset at each line, lines of similar length are read in parallel, and the figures are exact. Lines
that have ended are not computed any more. Between two pieces the threads are adapted to the free cores.

Scores are yielded in pieces, so that memory does not grow with the length of the text.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import ParamSpec

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from charrnn.evaluation.measure import Floats, Piece
from charrnn.model.device import Machine, sharing_cores
from charrnn.model.network import Forward, State
from charrnn.text.items import shift_right
from charrnn.text.tokenizer import Ids

BATCH_SIZE = 64  # sections or lines in one forward pass
OVERLAP = 256  # symbols
CHUNK = 256  # symbols of each section or line in one forward pass
EVERYTHING = slice(None)


Arguments = ParamSpec("Arguments")


def adapting(function: Callable[Arguments, Iterator[Piece]]) -> Callable[Arguments, Iterator[Piece]]:
    """The same pieces, between which torch's threads are adapted to the cores that others leave free."""

    @functools.wraps(function)
    def pieces(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Iterator[Piece]:
        with sharing_cores() as look:
            look()
            for piece in function(*args, **kwargs):
                yield piece
                look()

    return pieces


def streams_for(length: int, wanted: int | None = None) -> int:
    """The number of sections of a text of ``length`` symbols.

    It is ``wanted``, but at most so many that no overlap begins before the text. By default it is BATCH_SIZE,
    but at most so many that each section is four times as long as the overlap.
    """
    if wanted is not None:
        return max(1, min(wanted, length // OVERLAP))
    return max(1, min(BATCH_SIZE, length // (4 * OVERLAP)))


@adapting
@torch.inference_mode()
def score_pieces(
    model: Forward,
    ids: Ids,
    start: int,
    machine: Machine,
    streams: int | None = None,
    share: slice = EVERYTHING,
) -> Iterator[Piece]:
    """The natural-log probability of each symbol given those before it, piece by piece, in any order.

    Args:
        model: in evaluation mode, on the machine's device.
        ids: (time,) ids, each below the size of the vocabulary.
        start: the id that is read before the first one.
        machine: the device and arithmetic of the forward passes; the softmax is always float32.
        streams: the number of sections, as ``wanted`` of ``streams_for``.
        share: which of the sections are scored.
    """
    count = streams_for(len(ids), streams)
    section = -(-len(ids) // count)
    numbers = np.arange(count)[share]  # (batch,)
    if len(numbers) == 0:
        return
    state: State | None = None
    overlap = 0 if count == 1 else OVERLAP
    for begin, inputs, targets in _chunks(ids, start, section, numbers, overlap):
        if begin == 0 and numbers[0] == 0 and state is not None:
            state = _reset_first(state)  # which has read padding so far
        found, state = _forward(model, inputs, targets, state, machine)  # (batch, time)
        if begin < 0:
            continue
        for row, number in enumerate(numbers.tolist()):
            place = number * section + begin
            # The last section may be shorter, and in a very short text so may others.
            room = min(found.shape[1], section - begin, max(0, len(ids) - place))
            if room:
                yield place, found[row, :room]


def _forward(
    model: Forward,
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
    ids: Ids, start: int, section: int, numbers: NDArray[np.int64], overlap: int
) -> Iterator[tuple[int, NDArray[np.int64], NDArray[np.int64]]]:
    """Inputs and targets (time, batch), with their position in each section, negative in the overlap.

    Args:
        ids: of the whole text.
        start: the id that is read before the first one.
        section: the length of a section.
        numbers: (batch,) of the sections that are read.
        overlap: symbols read before each section.
    """
    for begin in (*range(-overlap, 0, CHUNK), *range(0, section, CHUNK)):
        end = min(begin + CHUNK, 0 if begin < 0 else section)
        places = np.arange(begin, end)[:, None] + section * numbers  # (time, batch)
        yield begin, *_inputs_and_targets(ids, places, places[0] <= 0, start)


def _inputs_and_targets(
    ids: Ids, places: NDArray[np.int64], fresh: NDArray[np.bool_], start: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Inputs and targets (time, batch) at positions (time, batch), those outside the text being padding.

    Columns that are ``fresh`` (batch,) read ``start`` before their first target; others, the id before it.
    """
    inside = np.clip(places, 0, len(ids) - 1)
    targets = ids[inside].astype(np.int64)  # (time, batch)
    before = ids[np.maximum(inside[0] - 1, 0)]  # (batch,)
    return shift_right(targets, np.where(fresh, start, before)), targets


def _reset_first(state: State) -> State:
    """The state of (1, batch, hidden) tensors with zeros in the first column of the batch."""
    for layer in state:
        for tensor in layer:
            tensor[:, 0] = 0
    return state


@adapting
@torch.inference_mode()
def line_pieces(
    model: Forward,
    ids: Ids,
    ends: NDArray[np.int64],
    start: int,
    machine: Machine,
    *,
    keep_input: bool = False,
    share: slice = EVERYTHING,
) -> Iterator[Piece]:
    """The natural-log probabilities of lines that are each read from a zero state, in any order.

    Args:
        model: in evaluation mode, on the machine's device.
        ids: (time,) ids.
        ends: (lines,) the position after each line, ascending.
        start: the id that is read before each line.
        machine: the device and arithmetic of the forward passes.
        keep_input: read the id before each line instead of ``start``, except before the first.
        share: which of the lines are scored, in the order of their lengths.
    """
    begins = np.concatenate([np.zeros(1, np.int64), ends[:-1]])  # (lines,)
    lengths = ends - begins
    order = np.argsort(lengths, kind="stable")[share]  # similar lengths need little padding
    first = 0
    while first < len(order):
        lines = order[first : first + _lines_for(lengths[order[first:]])]
        first += len(lines)
        state: State | None = None
        for begin in range(0, int(lengths[lines[-1]]), CHUNK):
            ended = int(np.searchsorted(lengths[lines], begin, side="right"))
            if ended:
                lines = lines[ended:]
                state = [tuple(part[:, ended:] for part in layer) for layer in state or []] or None
            end = min(begin + CHUNK, int(lengths[lines[-1]]))
            places = begins[lines] + np.arange(begin, end)[:, None]  # (time, lines)
            fresh = (begins[lines] == 0) | (not keep_input) if begin == 0 else np.zeros(len(lines), np.bool_)
            inputs, targets = _inputs_and_targets(ids, places, fresh, start)
            found, state = _forward(model, inputs, targets, state, machine)  # (lines, time)
            for row, line in enumerate(lines):
                room = min(end, int(lengths[line])) - begin
                if room > 0:
                    yield int(begins[line]) + begin, found[row, :room]


def _lines_for(lengths: NDArray[np.int64]) -> int:
    """How many of the next lines (lines,), shortest first, are read in parallel.

    They are BATCH_SIZE, or so many that padded to the longest they have as many symbols as that many chunks.
    """
    most = BATCH_SIZE * CHUNK
    padded = lengths[:most] * np.arange(1, len(lengths[:most]) + 1)  # symbols of the lines up to each
    return max(BATCH_SIZE, int(np.searchsorted(padded, most, side="right")))
