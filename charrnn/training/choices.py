"""What ``--size`` stands for, and which size and batch suit a text and the time there is for it.

How large a model may be follows from how many characters can be read in the time: a larger one learns more
from each, but reads fewer. How many streams are read side by side follows from how long the text is: fewer,
where with many it would be read over and over, make more and smaller steps of as many passes. What can be
read is measured on the machine with a few steps of training; where --steps or --epochs say how much is read,
nothing is measured, so that the choice can be repeated.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
import time

from charrnn.config import ModelConfig, Size, TrainingConfig
from charrnn.model.device import Machine
from charrnn.text.corpus import Corpus
from charrnn.training.batches import fit_shape
from charrnn.training.schedule import MOST_PASSES
from charrnn.training.step import TrainingStep, build_step

SIZES: dict[Size, ModelConfig] = {
    "small": ModelConfig(hidden_size=128),
    "medium": ModelConfig(),
    "large": ModelConfig(hidden_size=384),
}

# From how many characters on, read by a medium model in the time, a size was the best one on a text of a
# million characters: ``python -m benchmarks.sizes`` trains all sizes for several times and prints this.
SMALLEST_BUDGETS: dict[Size, float] = {"small": 0.0, "medium": 1.5e6, "large": 6.8e6}

SMALLEST_BATCH = 4  # streams; fewer hardly make a step cheaper
SHRINKAGE = 0.65  # of what is read in a time, when the batch is halved
TOLERANCE = 0.25  # of a halving, within which the batch is left as it is: speeds are measured roughly
EPOCHS_STEPS = 3000  # that --epochs should at least make

MEASURED_SECONDS = 1.0
MEASURED_STEPS = 8


@dataclasses.dataclass(frozen=True)
class Choice:
    """The model that a training shall have, and why.

    Attributes:
        model: its shape and dropout.
        training: the settings with the size's name and the batch.
        reason: for a person, in one line.
    """

    model: ModelConfig
    training: TrainingConfig
    reason: str


def choose_size(
    asked: ModelConfig, training: TrainingConfig, corpus: Corpus, machine: Machine, given: frozenset[str]
) -> Choice:
    """The model and the batch for a training: what a person gave stays, the rest is chosen.

    Args:
        asked: the shape, of which only the fields in ``given`` count.
        training: its settings with a length; ``size`` says which model, or "auto".
        corpus: what will be learnt.
        machine: where; measured where that decides anything.
        given: the names of fields that a person gave.
    """
    shaped = {name: getattr(asked, name) for name in given & ModelConfig.__dataclass_fields__.keys()}
    medium = dataclasses.replace(SIZES["medium"], **shaped)
    budget = characters_read(medium, training, corpus, machine)
    size, why = training.size, f"{training.size}; "
    if size == "auto" and "hidden_size" in given:
        size, why = "medium", ""  # in what was not given
    elif size == "auto":
        size = size_for(budget)
        why = f"{size} (auto: a medium one would read {_amount(budget)}); "
    chosen = dataclasses.replace(training, size=size)
    model = dataclasses.replace(SIZES[size], **shaped)
    read = budget if model == medium else characters_read(model, training, corpus, machine)
    if "batch_size" not in given:
        chosen = dataclasses.replace(chosen, batch_size=batch_for(read, training, corpus.train_size))
    if chosen.batch_size != training.batch_size:
        read = characters_read(model, chosen, corpus, machine)
    passes = planned = read / corpus.train_size
    if training.time is not None and training.patience:
        planned = min(passes, MOST_PASSES)
    if "dropout" not in given:
        model = dataclasses.replace(model, dropout=dropout_for(planned, corpus.train_size))
    times = f"the text will be read about {planned:.2g} times"
    if planned < passes:
        times += f", not {passes:.2g}, which would memorize it (--patience 0 takes all the time)"
    return Choice(model, chosen, why + times)


def batch_for(read: float, training: TrainingConfig, train_size: int) -> int:
    """The largest number of streams, halved and halved, with which a text is hardly read too often.

    Args:
        read: characters that can be read in the batch that ``training`` has, the largest.
        training: the settings.
        train_size: characters to learn from.
    """
    if training.epochs is not None:
        halvings = math.log2(training.batch_size * training.seq_length * EPOCHS_STEPS / read)
    else:
        shrinkage = 0.5 if training.steps is not None else SHRINKAGE
        halvings = math.log(read / train_size / MOST_PASSES) / math.log(1 / shrinkage)
    batch = training.batch_size >> max(0, math.ceil(halvings - TOLERANCE))
    return max(min(SMALLEST_BATCH, training.batch_size), batch)


def dropout_for(passes: float, train_size: int) -> float:
    """The dropout for a text of so many characters that is read so often; more of both is memorized less.

    A million characters want 0.1, each halving 0.04 more; fewer than six passes want less in proportion, and
    each doubling beyond MOST_PASSES wants 0.13 more. Never more than half.

    >>> [dropout_for(passes, 1_000_000) for passes in (1, 3, 6, 12, 24, 100)]
    [0.02, 0.05, 0.1, 0.1, 0.23, 0.5]
    >>> [dropout_for(10, size) for size in (10_000, 125_000, 10_000_000)]
    [0.37, 0.22, 0.1]
    """
    rate = 0.1 + 0.04 * max(0.0, math.log2(1e6 / train_size))
    rate = rate * min(1.0, passes / 6) + 0.13 * max(0.0, math.log2(passes / MOST_PASSES))
    return round(min(0.5, rate), 2)


def size_for(read: float) -> Size:
    """The largest size whose smallest budget is reached.

    >>> [size_for(read) for read in (1e4, 3e6, 1e9)]
    ['small', 'medium', 'large']
    """
    return [size for size, least in SMALLEST_BUDGETS.items() if read >= least][-1]


def characters_read(model: ModelConfig, training: TrainingConfig, corpus: Corpus, machine: Machine) -> float:
    """How many characters a training reads: as --steps or --epochs say, else as many as there is time for."""
    if training.epochs is not None:
        return training.epochs * corpus.train_size
    if training.steps is not None:
        shape = fit_shape(corpus.train_size, training.batch_size, training.seq_length)
        return float(training.steps * shape.batch * shape.time)
    assert training.time is not None
    return training.time * measure_speed(model, training, corpus, machine)


def measure_speed(model: ModelConfig, training: TrainingConfig, corpus: Corpus, machine: Machine) -> float:
    """Characters a second that a model learns, from a few steps on the text itself."""
    step = build_step(corpus, model, training, machine)
    # The first pass pays for torch's set-up, and with lines for that of every new length.
    warmed = len(_step_costs(step, MEASURED_STEPS))
    return step.window / statistics.median_low(_step_costs(step, warmed))


def _step_costs(step: TrainingStep, most: int) -> list[float]:
    """The seconds of each of the first steps: ``most`` of them, or as many as MEASURED_SECONDS allow."""
    costs: list[float] = []
    while len(costs) < most and sum(costs) < MEASURED_SECONDS:
        step.machine.synchronize()
        began = time.perf_counter()
        step(len(costs), rate=0.0)  # costs what any rate does
        step.machine.synchronize()
        costs.append(time.perf_counter() - began)
    return costs


def _amount(characters: float) -> str:
    """How much can be read.

    >>> _amount(950_000), _amount(9_400_000)
    ('950 thousand characters', '9.4 million characters')
    """
    if characters < 1e6:
        return f"{characters / 1e3:.3g} thousand characters"
    return f"{characters / 1e6:.3g} million characters"
