"""Which size of model, batch size and dropout suit a text and the time there is for it.

The size follows from how many characters can be read in the time: a larger model learns more from each, but
reads fewer. The batch size follows from the length of the text: a short text would be read over and over in
large batches, and smaller ones make more steps of as many passes. How much can be read is measured with a few
steps of training; where --steps or --epochs say it, nothing is measured, so that the choice is the same on
every machine.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from charrnn.config import MOST_DROPOUT, SIZES, ModelConfig, TrainingConfig
from charrnn.errors import rounded
from charrnn.model.device import Machine
from charrnn.text.corpus import Corpus
from charrnn.training.batches import symbols_a_step
from charrnn.training.memory import free_memory, training_memory
from charrnn.training.replicas import LEAST_LANES, default_replicas
from charrnn.training.schedule import FORWARD_SHARE, MOST_PASSES, most_passes
from charrnn.training.speed import fastest_replicas, measure_speed

# From how many characters on, that a medium model would learn in the time, a size was the best one: medium
# and large on a text of a million characters (``python -m benchmarks.sizes`` trains all sizes for several
# times and prints this), 512 on one of ten million. Other sizes' budgets are extrapolated by GROWTH, the
# power of the hidden size with which they grow from medium to large, 3.7.
MEASURED_BUDGETS = {"medium": 1.5e6, "large": 6.8e6, "512": 7e7}
GROWTH = math.log(MEASURED_BUDGETS["large"] / MEASURED_BUDGETS["medium"]) / math.log(
    SIZES["large"].hidden_size / SIZES["medium"].hidden_size
)


def smallest_budgets(measured: Mapping[str, float]) -> dict[str, float]:
    """The budget of each size, extrapolated from the next smaller one that is measured."""
    budgets, known = {}, "medium"
    for size, model in SIZES.items():
        known = size if size in measured else known
        budgets[size] = measured[known] * (model.hidden_size / SIZES[known].hidden_size) ** GROWTH
    return budgets | {"tiny": 0.0}


SMALLEST_BUDGETS = smallest_budgets(MEASURED_BUDGETS)
# An accelerator takes hardly more time for a larger model, so that those above large pay sooner: on ten
# million characters 768 was better than large after a minute of an H100.
ACCELERATED_BUDGETS = smallest_budgets({size: MEASURED_BUDGETS[size] for size in ("medium", "large")})

# A short text soon has nothing more for a small model: from so many passes on, a medium one was as good on
# Alice in Wonderland and on names.
PASSES_OF_MEDIUM = 4.0

SMALLEST_BATCH = 4  # sequences; fewer hardly make a step cheaper
SHRINKAGE = 0.65  # factor by which less is read in a time when the batch size is halved
WIDE_BATCH = 512  # sequences that a GPU reads in hardly more time than one
TOLERANCE = 0.25  # of a halving, within which the batch size stays: speeds are measured roughly
# Characters from which on an output that reads all layers gains: 0.02 nats on tiny Shakespeare after equal
# steps. On a text of 140,000 characters it loses 0.013.
OUTPUT_READS_ALL_FROM = 500_000
EPOCHS_STEPS = 3000  # that --epochs should at least make
PAIRS_A_STEP = 64  # more make each pass cheaper, but fewer steps

VALIDATED_SHARE = 0.1  # of --time, that one evaluation may take
LEAST_VALIDATED = 1000  # characters, even so


@dataclasses.dataclass(frozen=True)
class Chosen:
    """The model and the batch size that a training gets, and why.

    Attributes:
        model: the network's shape and dropout.
        training: the settings with the size's name, the batch size, how much an evaluation scores and, where
            it was measured, the number of replicas.
        reason: for a person, in one line.
        grows: whether more time would make the model larger.
    """

    model: ModelConfig
    training: TrainingConfig
    reason: str
    grows: bool


def choose_model(
    asked: Mapping[str, Any], training: TrainingConfig, corpus: Corpus, machine: Machine
) -> Chosen:
    """The model and the batch size for a training: what is asked for is kept, the rest is chosen.

    Args:
        asked: the settings that were asked for, by name; ``training`` has those of TrainingConfig, too.
        training: settings with a length; ``size`` says which model, or "auto".
        corpus: the text to learn.
        machine: where; its speed is measured if anything depends on it.
    """
    shape = {name: asked[name] for name in ModelConfig.__dataclass_fields__ if name in asked}
    medium = dataclasses.replace(SIZES["medium"], **shape)
    training = _widened(training, asked, corpus, machine)
    training = dataclasses.replace(training, replicas=fastest_replicas(medium, training, corpus, machine))
    budget, pairs = characters_read(medium, training, corpus, machine), corpus.config.pairs
    size, why, grows = training.size, f"{training.size}; ", False
    if size == "auto" and "hidden_size" in shape:
        size, why = "medium", ""  # for what was not asked for
    elif size == "auto":
        size, why, grows = _size(budget, training, corpus, machine)
    model = dataclasses.replace(SIZES[size], **shape)
    chosen = dataclasses.replace(training, size=size)
    read = budget if model == medium else characters_read(model, training, corpus, machine)
    if "batch_size" not in asked:
        batch = PAIRS_A_STEP if pairs else batch_for(read, training, corpus.train_size, machine)
        chosen = dataclasses.replace(chosen, batch_size=batch)
    if "replicas" not in asked:
        chosen = _with_lanes_enough(chosen, machine)
    if chosen.batch_size != training.batch_size:
        read = characters_read(model, chosen, corpus, machine)
    passes = planned = read / corpus.train_size
    if training.time is not None:
        validated = max(LEAST_VALIDATED, round(VALIDATED_SHARE * read / FORWARD_SHARE))
        chosen = dataclasses.replace(chosen, validate=min(training.validate, validated))
        if training.patience:
            planned = min(passes, most_passes(training, pairs=pairs))
    if "output" not in shape and not model.tied and not pairs and corpus.train_size >= OUTPUT_READS_ALL_FROM:
        model = dataclasses.replace(model, output="all")
    if "dropout" not in shape:
        dropout = 0.0 if pairs else dropout_for(planned, corpus.train_size, model.hidden_size)
        model = dataclasses.replace(model, dropout=dropout)
    times = f"the text will be read about {_times(planned)}"
    if planned < passes:
        times += f", not {rounded(passes)}, which would memorize it (--patience 0 takes all the time)"
    return Chosen(model, chosen, why + times, grows)


def _size(budget: float, training: TrainingConfig, corpus: Corpus, machine: Machine) -> tuple[str, str, bool]:
    """The size for a budget of characters that a medium model would read, why, and whether it would grow."""
    pairs, share = corpus.config.pairs, learnt_share(corpus)
    passes = most_passes(training, pairs=pairs) if training.patience else math.inf
    budgets = SMALLEST_BUDGETS if machine.device.type == "cpu" else ACCELERATED_BUDGETS
    if not pairs:
        medium = min(budgets["medium"], PASSES_OF_MEDIUM * corpus.train_size)
        budgets = budgets | {"medium": max(budgets["small"], medium)}
    learnt = passes * corpus.train_size * share
    wanted = size_for(budget * share, learnt, budgets)
    part = f", {share:.0%} of them in targets" if pairs else ""
    why = f"{wanted} (auto: a medium one would read {_amount(budget)}{part}); "
    size, why = _fitting(wanted, why, training, corpus, machine)
    return size, why, size == wanted != size_for(math.inf, learnt, budgets)


def _widened(
    training: TrainingConfig, asked: Mapping[str, Any], corpus: Corpus, machine: Machine
) -> TrainingConfig:
    """The settings, on an accelerator with WIDE_BATCH sequences to begin with, where the time is given."""
    if machine.device.type == "cpu" or training.time is None or corpus.config.pairs or "batch_size" in asked:
        return training
    return dataclasses.replace(training, batch_size=WIDE_BATCH)


def _with_lanes_enough(training: TrainingConfig, machine: Machine) -> TrainingConfig:
    """The settings, with no more replicas than have LEAST_LANES each."""
    if training.replicas is None:
        return training
    most = max(1, training.batch_size // machine.workers // LEAST_LANES)
    return dataclasses.replace(training, replicas=min(training.replicas, most))


def learnt_share(corpus: Corpus) -> float:
    """The share of the training text's symbols that have a loss: all, or of pairs targets and line ends.

    Sources are read, but only a target's symbols tell the network something. On 50,000 sums a small and a
    medium model are as good after the same time when the medium one reads 3.7 million characters, 1.3 million
    of them in targets, and the small one is ahead until then.
    """
    if not corpus.config.pairs:
        return 1.0
    tab = int(corpus.tokenizer.lookup("\t")[0])
    ends, tabs = (np.flatnonzero(corpus.train == id) for id in (corpus.tokenizer.start, tab))  # (pairs,)
    return float((ends - tabs).sum() / corpus.train_size)


def batch_for(read: float, training: TrainingConfig, train_size: int, machine: Machine) -> int:
    """The batch size: that of ``training``, halved until the text is hardly read too often.

    Args:
        read: characters that can be read with the batch size of ``training``.
        training: the settings.
        train_size: characters to learn from.
        machine: where; on a processor a step of half the batch is cheaper, on an accelerator hardly.
    """
    if training.epochs is not None:
        halvings = math.log2(training.batch_size * training.seq_length * EPOCHS_STEPS / read)
    else:
        alike = training.steps is not None or machine.device.type != "cpu"
        shrinkage = 0.5 if alike else SHRINKAGE
        most = most_passes(training, pairs=False)
        halvings = math.log(read / train_size / most) / math.log(1 / shrinkage)
    batch = training.batch_size >> max(0, math.ceil(halvings - TOLERANCE))
    return max(min(SMALLEST_BATCH, training.batch_size), batch)


def dropout_for(passes: float, train_size: int, hidden_size: int = 256) -> float:
    """The dropout probability for a text that is read ``passes`` times.

    A million characters or more get 0.1, and each halving 0.04 more. Fewer than six passes get less in
    proportion; each doubling beyond MOST_PASSES gets 0.13 more. For a model larger than medium, on a text
    that is long enough for its output to read all layers, it grows by half from six passes to twelve. The
    most is MOST_DROPOUT.

    >>> [dropout_for(passes, 1_000_000) for passes in (1, 3, 6, 12, 24, 100)]
    [0.02, 0.05, 0.1, 0.1, 0.23, 0.5]
    >>> [dropout_for(passes, 1_000_000, hidden_size=384) for passes in (3, 6, 12)]
    [0.05, 0.1, 0.15]
    >>> [dropout_for(10, size) for size in (10_000, 125_000, 10_000_000)]
    [0.37, 0.22, 0.1]
    """
    rate = 0.1 + 0.04 * max(0.0, math.log2(1e6 / train_size))
    if hidden_size > SIZES["medium"].hidden_size and train_size >= OUTPUT_READS_ALL_FROM:
        rate *= 1 + 0.5 * min(1.0, max(0.0, passes / 6 - 1))
    rate = rate * min(1.0, passes / 6) + 0.13 * max(0.0, math.log2(passes / MOST_PASSES))
    return round(min(MOST_DROPOUT, rate), 2)


def size_for(read: float, learnt: float = math.inf, budgets: Mapping[str, float] = SMALLEST_BUDGETS) -> str:
    """The largest size whose smallest budget is reached.

    Args:
        read: characters that a medium model would read in the time.
        learnt: characters that it would read at most, since a text is not read more often than pays; they
            limit the sizes above large.
        budgets: the characters that each size wants.

    >>> [size_for(read) for read in (1e4, 3e5, 3e6, 1e7, 1e8, 1e12)]
    ['tiny', 'small', 'medium', 'large', '512', '2048']
    >>> size_for(1e12, learnt=1e6)
    'large'
    """
    reached = [size for size, least in budgets.items() if read >= least]
    grown = [size for size in reached if size.isdecimal() and learnt < budgets[size]]
    return reached[-1 - len(grown)]


def _fitting(
    size: str, why: str, training: TrainingConfig, corpus: Corpus, machine: Machine
) -> tuple[str, str]:
    """The size, or the largest smaller one whose training fits into memory, and why it is that one."""
    wanted, names, window = size, list(SIZES), symbols_a_step(corpus, training) / machine.workers
    replicas = training.replicas or default_replicas(training, training.batch_size, machine)
    free = free_memory(machine)
    while True:
        needed = training_memory(SIZES[size], corpus.tokenizer.size, round(window), replicas)
        if needed <= free or size == names[0]:
            break
        size = names[names.index(size) - 1]
    if size != wanted:
        needed = training_memory(SIZES[wanted], corpus.tokenizer.size, round(window), replicas)
        needs = f"{wanted} would need {rounded(needed / 1e9)} GB of memory"
        why = f"{size} ({needs}, and {rounded(free / 1e9)} are free); "
    return size, why


def characters_read(model: ModelConfig, training: TrainingConfig, corpus: Corpus, machine: Machine) -> float:
    """How many characters a training reads: from --steps or --epochs, else from the time and the speed."""
    if training.epochs is not None:
        return max(1.0, training.epochs * corpus.train_size)  # a step is taken, however little was asked for
    if training.steps is not None:
        return training.steps * symbols_a_step(corpus, training)
    assert training.time is not None
    return max(1.0, training.time * measure_speed(model, training, corpus, machine))


def _times(passes: float) -> str:
    """A number of passes: 1 time, 7.3 times."""
    count = rounded(passes)
    return f"{count} time{'' if count == '1' else 's'}"


def _amount(characters: float) -> str:
    """A number of characters, rounded.

    >>> _amount(950_000), _amount(9_400_000)
    ('950 thousand characters', '9.4 million characters')
    """
    if characters < 1e6:
        return f"{characters / 1e3:.3g} thousand characters"
    return f"{characters / 1e6:.3g} million characters"
