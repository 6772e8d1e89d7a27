"""How far back a model looks: its loss when only the last k characters are known (Khandelwal et al., 2018).

For characters spread over a text, the loss is measured three times: as the model reads the whole text before
them; when the state is zero k characters before them, so that nothing earlier is known; and when the
characters earlier than k, up to ``HORIZON``, were read in a random order, so that it is known which they were
but not how they stood. The same characters are compared every time, so that differences are not of the text.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.errors import CorpusError
from charrnn.evaluation.evaluator import target_scores
from charrnn.model.engine import Engine
from charrnn.model.file import ModelFile
from charrnn.text.tokenizer import Ids

HORIZON = 512  # characters: the longest context that is tried
LEAST = 64  # characters of a text that is long enough
NEAR = 0.01  # a loss within this share of the whole's is as good

# Multiplications and additions that a measurement may cost: some ten seconds of two cores.
BUDGET = 8e11
TARGETS = (32, 256)  # the fewest and most characters whose loss is measured

Doubles = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Memory:
    """The loss by how much of the past is known, in nats a character.

    Attributes:
        targets: how many characters were measured.
        whole: their mean loss when all before them is known.
        lengths: k, in characters.
        cut: their mean loss when only the last k are known.
        cut_error: the standard error of ``cut`` - ``whole``.
        shuffled: their mean loss when what is earlier than k is in a random order; one number fewer, since
            nothing is earlier than the longest k.
        near: the smallest k whose ``cut`` is within 1 % of ``whole``, or None.
    """

    targets: int
    whole: float
    lengths: list[int]
    cut: list[float]
    cut_error: list[float]
    shuffled: list[float]
    near: int | None


def measure_memory(model: ModelFile, ids: Ids, nats: Doubles, seed: int = 0) -> Memory:
    """How far back the model looks in a text.

    Args:
        model: as ``load_model`` reads it.
        ids: (time,) of the text.
        nats: (time,) what each of them cost when the whole text before it was known.
        seed: of the shuffling.

    Raises:
        CorpusError: the text is too short, or the model begins anew at each line.
    """
    if model.corpus.get("lines"):
        raise CorpusError(
            "memory: the model learnt single lines and forgets each; it has nothing to look back at"
        )
    if len(ids) < LEAST:
        raise CorpusError(
            f"memory: a text of {len(ids):,} characters that the model knows is too short; "
            f"give one of at least {LEAST}"
        )
    horizon = min(HORIZON, 1 << (len(ids) // 2).bit_length() - 1)
    lengths = [1 << power for power in range(horizon.bit_length())]
    places = _targets(model, len(ids), horizon, lengths)
    engine, generator = Engine(model), np.random.default_rng(seed)
    wide = np.asarray(ids, np.int64)
    context = wide[places[None] - np.arange(horizon, 0, -1)[:, None]]  # (horizon, targets), the latest last
    whole = nats[places]
    cut, errors, shuffled = [], [], []
    for length in lengths:
        losses = _losses(engine, context[-length:], wide[places])
        cut.append(float(losses.mean()))
        errors.append(float((losses - whole).std() / np.sqrt(len(places))))
        if length < horizon:
            mixed = context.copy()
            mixed[:-length] = generator.permuted(mixed[:-length], axis=0)
            shuffled.append(float(_losses(engine, mixed, wide[places]).mean()))
    mean = float(whole.mean())
    near = next((k for k, loss in zip(lengths, cut, strict=True) if loss <= mean * (1 + NEAR)), None)
    return Memory(len(places), mean, lengths, cut, errors, shuffled, near)


def _targets(model: ModelFile, count: int, horizon: int, lengths: list[int]) -> NDArray[np.int64]:
    """Places of the characters whose loss is measured, spread evenly: as many as can be afforded."""
    weights = sum(array.size for array in model.weights.values())
    steps = sum(lengths) + horizon * (len(lengths) - 1)
    affordable = int(BUDGET / (2 * weights * steps))
    wanted = min(max(affordable, TARGETS[0]), TARGETS[1], count - horizon)
    places: NDArray[np.int64] = np.linspace(horizon, count - 1, wanted).astype(np.int64)
    return np.unique(places)


def _losses(engine: Engine, context: NDArray[np.int64], targets: NDArray[np.int64]) -> Doubles:
    """The nats (targets,) of characters, each after its own context (time, targets) and a zero state."""
    stream = engine.stream(context.shape[1])
    logits: Any = None
    for ids in context[:-1]:
        stream.advance(ids)
    logits = stream.step(context[-1])  # (vocabulary, targets)
    return -target_scores(logits.T, targets.astype(np.uint32)).astype(np.float64)
