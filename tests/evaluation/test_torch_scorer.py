"""Scoring in torch: every symbol once, sections that agree with the whole, independent lines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from charrnn import system
from charrnn.errors import ConfigError
from charrnn.evaluation import torch_scorer
from charrnn.evaluation.evaluator import score_text
from charrnn.evaluation.measure import Floats
from charrnn.evaluation.torch_scorer import CHUNK, OVERLAP, line_pieces, score_pieces, streams_for
from charrnn.model.device import Machine, choose_machine
from charrnn.model.file import load_model
from charrnn.model.network import CharRNN, build_model
from charrnn.text.tokenizer import Ids
from tests.conftest import PLAY, random_model

CPU = Machine(torch.device("cpu"), bf16=False)
MODEL = random_model(hidden=3, layers=1, scale=0.3)
NETWORK = build_model(MODEL.config, MODEL.weights)


def some_ids(count: int, seed: int = 0) -> Ids:
    """Random ids of the little model's vocabulary."""
    return np.random.default_rng(seed).integers(0, MODEL.tokenizer.size, count).astype(np.uint8)


def scores(
    network: CharRNN, ids: Ids, start: int, machine: Machine = CPU, streams: int | None = None
) -> Floats:
    """The log probability of each symbol (time,)."""
    found = np.full(len(ids), np.nan, np.float32)
    for place, piece in score_pieces(network, ids, start, machine, streams):
        found[place : place + len(piece)] = piece
    return found


@given(length=st.integers(0, 1500), streams=st.integers(1, 70))
@settings(max_examples=30)
def test_every_symbol_once(length: int, streams: int) -> None:
    """Whatever the length and the number of streams, every symbol is scored exactly once."""
    times = np.zeros(length, int)
    for place, found in score_pieces(NETWORK, some_ids(length), 0, CPU, streams):
        times[place : place + len(found)] += 1
    assert (times == 1).all()


@pytest.mark.parametrize("length", [1, 255, 256, 257, 700])
def test_one_stream_is_the_definition(length: int) -> None:
    """One stream, whatever its chunks, gives the scores of NumPy reading symbol by symbol."""
    ids = some_ids(length)
    found = scores(NETWORK, ids, MODEL.tokenizer.start, CPU, streams=1)
    expected = score_text(MODEL, MODEL.tokenizer.decode(ids))
    assert found == pytest.approx(expected, abs=1e-5)


def test_joins_have_a_past() -> None:
    """Each section scores as the whole text does, since its first symbol has a past of OVERLAP symbols."""
    ids = some_ids(4000)
    whole = scores(NETWORK, ids, 0, CPU, streams=1)
    assert scores(NETWORK, ids, 0, CPU, streams=5) == pytest.approx(whole, abs=1e-4)


def test_sections_shorter_than_the_overlap() -> None:
    """A text too short for the streams asked for is read in fewer, and scored as exactly."""
    ids = some_ids(600)
    whole = scores(NETWORK, ids, MODEL.tokenizer.start, CPU, streams=1)
    assert scores(NETWORK, ids, MODEL.tokenizer.start, CPU, streams=50) == pytest.approx(whole, abs=1e-5)


def test_streams_agree(trained: Path) -> None:
    """On English, 1 stream and 64 streams agree to 0.5 %."""
    model = load_model(trained / "model.safetensors")
    network = build_model(model.config, model.weights)
    ids = model.tokenizer.encode(PLAY.read_text()[:70_000])
    one = scores(network, ids, model.tokenizer.start, CPU, streams=1).mean()
    many = scores(network, ids, model.tokenizer.start, CPU, streams=64).mean()
    assert many == pytest.approx(one, rel=0.005)


def test_bf16_agrees(trained: Path) -> None:
    """Where bfloat16 is to be had, its figure is within 0.002 nats a character of float32's."""
    try:
        fast = choose_machine("cpu", "bf16")
    except ConfigError:
        pytest.skip("no fast bfloat16 here")
    model = load_model(trained / "model.safetensors")
    network = build_model(model.config, model.weights)
    ids = model.tokenizer.encode(PLAY.read_text()[:70_000])
    exact = scores(network, ids, model.tokenizer.start, CPU).mean()
    assert scores(network, ids, model.tokenizer.start, fast).mean() == pytest.approx(exact, abs=0.002)


@given(lengths=st.lists(st.integers(1, 30), min_size=1, max_size=80), seed=st.integers(0, 9))
@settings(max_examples=20)
def test_lines(lengths: list[int], seed: int) -> None:
    """Each line, read beside others of any length, scores as the line read alone."""
    ids, ends = some_ids(sum(lengths), seed), np.cumsum(lengths)
    found = np.full(len(ids), np.nan)
    for place, piece in line_pieces(NETWORK, ids, ends, 0, CPU):
        assert np.isnan(found[place : place + len(piece)]).all()
        found[place : place + len(piece)] = piece
    line = seed % len(lengths)
    own = slice(int(ends[line]) - lengths[line], int(ends[line]))
    assert found[own] == pytest.approx(scores(NETWORK, ids[own], 0, CPU, streams=1), abs=1e-5)
    assert not np.isnan(found).any()


def test_long_lines_carry_their_state() -> None:
    """A line longer than a forward pass is read as one line."""
    ids = some_ids(1000)
    found = np.concatenate([s for _, s in line_pieces(NETWORK, ids, np.array([1000]), 0, CPU)])
    assert found == pytest.approx(scores(NETWORK, ids, 0, CPU, streams=1), abs=1e-6)


def test_ended_lines_are_not_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside a long line, short ones cost what they hold, not what the long one holds."""
    computed = []

    def counted(model: CharRNN, inputs: NDArray[np.int64], *rest: Any) -> Any:
        computed.append(inputs.size)
        return forward(model, inputs, *rest)

    forward = torch_scorer._forward
    monkeypatch.setattr(torch_scorer, "_forward", counted)
    ids, ends = some_ids(3000 + 63 * 8), np.cumsum([8] * 30 + [3000] + [8] * 33)
    found = np.full(len(ids), np.nan, np.float32)
    for place, piece in line_pieces(NETWORK, ids, ends, 0, CPU):
        found[place : place + len(piece)] = piece
    assert sum(computed) < 64 * CHUNK + 3000  # the first chunk is padded
    assert found[240:3240] == pytest.approx(scores(NETWORK, ids[240:3240], 0, CPU, streams=1), abs=1e-5)


def test_short_lines_are_read_many_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A forward pass of short lines has about as many symbols as one of sections."""
    shapes = []

    def counted(model: CharRNN, inputs: NDArray[np.int64], *rest: Any) -> Any:
        shapes.append(inputs.shape)
        return forward(model, inputs, *rest)

    forward = torch_scorer._forward
    monkeypatch.setattr(torch_scorer, "_forward", counted)
    for _ in line_pieces(NETWORK, some_ids(5000 * 8), np.arange(8, 40_001, 8), 0, CPU):
        pass
    assert shapes == [(8, 2048), (8, 2048), (8, 904)]


def test_empty_lines_between() -> None:
    """Lines of which nothing is left to read are passed over."""
    ids = some_ids(5)
    ends = np.array([0, 2, 2, 5, 5])
    places = sorted((p, len(s)) for p, s in line_pieces(NETWORK, ids, ends, 0, CPU))
    assert places == [(0, 2), (2, 3)]


def test_streams_for() -> None:
    """Few symbols are one stream, many are 64; sections are four overlaps long, or one if more are wanted."""
    assert [streams_for(n) for n in (0, 1, 4 * OVERLAP, 9 * OVERLAP, 10**9)] == [1, 1, 1, 2, 64]
    assert [streams_for(n, 100) for n in (0, 1, 2 * OVERLAP, 10**9)] == [1, 1, 2, 100]


@pytest.mark.parametrize("lines", [False, True])
def test_threads_are_adapted_between_pieces(monkeypatch: pytest.MonkeyPatch, *, lines: bool) -> None:
    """While others run, scoring uses the free cores only; afterwards there are as many threads as before."""
    ids = some_ids(600)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    monkeypatch.setattr(system, "free_cores", lambda: 1)
    try:
        ends = np.array([300, 600])
        pieces = line_pieces(NETWORK, ids, ends, 0, CPU) if lines else score_pieces(NETWORK, ids, 0, CPU)
        next(pieces)
        assert torch.get_num_threads() == 1
        pieces.close()  # type: ignore[attr-defined]
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
