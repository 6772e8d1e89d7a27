"""How fast a model learns on this machine, from a few steps of training on the text itself."""

from __future__ import annotations

import dataclasses
import math
import statistics
import time

from charrnn.config import ModelConfig, TrainingConfig
from charrnn.model.device import Machine
from charrnn.text.corpus import Corpus
from charrnn.training.batches import symbols_a_step
from charrnn.training.replicas import LEAST_LANES, default_replicas
from charrnn.training.step import TrainingStep, build_step

MEASURED_SECONDS = 1.0
MEASURED_SHARE = 0.02  # of --time, where that is less
MEASURED_STEPS = 8
LEAST_MEASURED = 120.0  # seconds of --time, from which on replicas are measured before the first step


def fastest_replicas(
    model: ModelConfig, training: TrainingConfig, corpus: Corpus, machine: Machine
) -> int | None:
    """The number of replicas with which steps are fastest, from a few steps; None where it is not measured.

    The result of a training does not depend on it. With --steps and --epochs nothing is measured, and neither
    is it for a training so short that this would take too much of it: ``Pace`` finds out while it trains.
    """
    if training.replicas is not None or (training.time or 0.0) < LEAST_MEASURED:
        return training.replicas
    training = _part_of(training, machine)
    lanes = round(symbols_a_step(corpus, training) / training.seq_length)
    most = default_replicas(training, lanes, machine, LEAST_LANES)
    costs: dict[int, list[float]] = {count: [] for count in (most, most // 2, 1) if count}
    if len(costs) == 1:
        return None
    steps = {
        count: build_step(corpus, model, dataclasses.replace(training, replicas=count), machine)
        for count in costs
    }
    seconds, began = _measured_seconds(training) / 2, time.perf_counter()
    for number in range(MEASURED_STEPS):
        for count, step in steps.items():  # in turns: other programs come and go
            costs[count] += _step_costs(step, 1, math.inf, first=number)
        if number and time.perf_counter() - began > seconds:
            break
    typical = {count: statistics.median_low(found[1:] or found) for count, found in costs.items()}
    return min(typical, key=typical.__getitem__)


def measure_speed(model: ModelConfig, training: TrainingConfig, corpus: Corpus, machine: Machine) -> float:
    """Characters a second that a model learns, from a few steps on the text itself.

    Batches of lines differ in what they cost a character, so they count together; of equal windows the
    typical one counts.
    """
    step = build_step(corpus, model, _part_of(training, machine), machine)
    seconds = _measured_seconds(training)
    # The first pass pays for torch's set-up, and with lines for that of every new length.
    warmed = len(_step_costs(step, MEASURED_STEPS, seconds))
    costs = _step_costs(step, warmed, seconds)
    read = [step.batches.characters(number) for number in range(len(costs))]
    if len(set(read)) == 1:
        return machine.workers * read[0] / statistics.median_low(costs)
    return machine.workers * sum(read) / sum(costs)


def _part_of(training: TrainingConfig, machine: Machine) -> TrainingConfig:
    """The settings with the part of a batch that one of the workers has, which measures for all."""
    return dataclasses.replace(training, batch_size=max(1, training.batch_size // machine.workers))


def _measured_seconds(training: TrainingConfig) -> float:
    """How long the speed is measured."""
    assert training.time is not None
    return min(MEASURED_SECONDS, MEASURED_SHARE * training.time)


def _step_costs(step: TrainingStep, most: int, seconds: float, first: int = 0) -> list[float]:
    """The seconds of each of some steps: ``most`` of them, or as many as can be made in ``seconds``."""
    costs: list[float] = []
    while len(costs) < most and sum(costs) < seconds:
        step.machine.synchronize()
        began = time.perf_counter()
        step(first + len(costs), rate=0.0)  # costs what any rate does
        step.machine.synchronize()
        costs.append(time.perf_counter() - began)
    return costs
