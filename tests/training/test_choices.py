"""Which model a training gets."""

from __future__ import annotations

import dataclasses
import itertools
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from charrnn.config import (
    MOST_DROPOUT,
    MOST_VALIDATED,
    SIZES,
    CorpusConfig,
    TrainingConfig,
)
from charrnn.model.device import Machine, choose_machine
from charrnn.settings import from_mapping
from charrnn.text.corpus import Corpus, read_corpus
from charrnn.training.batches import fit_shape
from charrnn.training.choices import (
    ACCELERATED_BUDGETS,
    EPOCHS_STEPS,
    SHRINKAGE,
    SMALLEST_BATCH,
    SMALLEST_BUDGETS,
    WIDE_BATCH,
    Chosen,
    batch_for,
    choose_model,
    dropout_for,
    learnt_share,
    size_for,
)
from charrnn.training.schedule import MOST_PASSES

CPU, GPU = (Machine(torch.device(name), bf16=False) for name in ("cpu", "cuda"))


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    """A text of 20,000 characters, nine tenths of them to learn from."""
    path = tmp_path / "text.txt"
    path.write_text("to be or not to be\n" * 1052 + "so it is said")
    return read_corpus([str(path)], CorpusConfig())


@pytest.fixture
def speeds(monkeypatch: pytest.MonkeyPatch) -> dict[int, float]:
    """What measuring finds, by hidden size, instead of a clock."""
    found = {64: 60_000.0, 128: 40_000.0, 256: 10_000.0, 384: 5_000.0}
    monkeypatch.setattr("charrnn.training.choices.measure_speed", lambda model, *_: found[model.hidden_size])
    return found


def choose(corpus: Corpus, **asked: object) -> Chosen:
    """What is chosen where these settings are asked for."""
    training: TrainingConfig = from_mapping(TrainingConfig, {"seed": 1} | asked).with_length()
    return choose_model(asked, training, corpus, choose_machine("cpu", "fp32"))


def test_more_time_makes_larger_models() -> None:
    """The tables' budgets grow with the sizes, and each size is chosen from its budget on."""
    wanted = ("small", "512", "768", "2048")
    for budgets, millions in (
        (SMALLEST_BUDGETS, (0.1, 70, 317.3, 12286)),
        (ACCELERATED_BUDGETS, (0.1, 19.9, 90.1, 3487.8)),
    ):
        assert list(budgets) == list(SIZES)
        assert [round(budgets[size] / 1e6, 1) for size in wanted] == pytest.approx(millions, rel=0.005)
        for (_, least), (size, budget) in itertools.pairwise(budgets.items()):
            assert least < budget
            assert size_for(budget, budgets=budgets) == size != size_for(0.999 * budget, budgets=budgets)
    hidden = [model.hidden_size for model in SIZES.values()]
    assert hidden == sorted(hidden)


def test_large_models_need_large_texts() -> None:
    """Sizes above large are chosen only for texts that are long enough for them."""
    for text, largest, accelerated in (
        (1e5, "large", "large"),
        (1e6, "large", "large"),
        (1e7, "512", "768"),
        (1e8, "1024", "1536"),
        (1e9, "1536", "2048"),
    ):
        assert size_for(1e12, MOST_PASSES * text) == largest
        assert size_for(1e12, MOST_PASSES * text, ACCELERATED_BUDGETS) == accelerated
        assert size_for(5e6, MOST_PASSES * text) == "medium"


@pytest.mark.usefixtures("speeds")
def test_an_accelerator_reads_in_wide_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With --time a GPU begins with WIDE_BATCH sequences, halved until the text is hardly read too often."""
    monkeypatch.setattr("charrnn.training.choices.free_memory", lambda _: 8e10)
    path = tmp_path / "text.txt"
    path.write_text("to be or not to be, that is what it said\n" * 25_000)
    corpus, asked = read_corpus([str(path)], CorpusConfig()), {"seed": 1, "size": "medium"}

    def batch(machine: Machine, **more: object) -> int:
        training: TrainingConfig = from_mapping(TrainingConfig, asked | more)
        return choose_model(asked | more, training, corpus, machine).training.batch_size

    passes = corpus.train_size / 10_000.0  # seconds that one takes at the speed of the fixture
    assert batch(GPU, time=passes) == WIDE_BATCH
    assert batch(GPU, time=8 * MOST_PASSES * passes) == WIDE_BATCH // 8
    assert batch(CPU, time=passes) == 32
    assert batch(GPU, steps=100) == 32
    assert batch(GPU, time=passes, batch_size=7) == 7


@pytest.mark.usefixtures("speeds")
def test_a_model_that_does_not_fit_is_not_chosen(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where memory is short, the largest size that fits is chosen, and the reason names the other one."""
    monkeypatch.setattr("charrnn.training.memory.available_memory", lambda: 4.2e8)
    chosen = choose(corpus, time=3600.0)
    assert chosen.training.size == "small"
    assert chosen.reason.startswith("small (large would need 0.")
    assert "GB of memory, and 0.42 are free" in chosen.reason
    assert not chosen.grows
    assert choose(corpus, time=3600.0, size="large").training.size == "large"


@pytest.mark.usefixtures("speeds")
def test_what_more_time_would_enlarge(corpus: Corpus) -> None:
    """More time makes the model larger up to the largest size for the text, if the size was left open."""
    assert choose(corpus, steps=3).grows
    assert choose(corpus, time=60.0).grows
    assert not choose(corpus, time=60.0, hidden_size=64).grows
    assert not choose(corpus, time=60.0, size="small").grows
    longest = choose(corpus, time=1e6)
    assert (longest.training.size, longest.grows) == ("large", False)  # of which a short text makes no more


@pytest.mark.parametrize("size", ["small", "medium", "large"])
def test_budgets_are_time_times_speed(tmp_path: Path, speeds: dict[int, float], size: str) -> None:
    """With --time, the budget is what a medium model reads at the speed that was measured here."""
    budget, corpus = SMALLEST_BUDGETS[size], text_of(tmp_path, 500_000)
    assert choose(corpus, time=(budget + 1) / speeds[256]).training.size == size
    assert choose(corpus, time=(budget + 1) / speeds[256] / 2).training.size == size_for(budget / 2)


@pytest.mark.parametrize(("characters", "least"), [(10**5, 4 * 90_000), (10**4, SMALLEST_BUDGETS["small"])])
def test_a_short_text_soon_wants_a_medium_model(
    characters: int, least: float, tmp_path: Path, speeds: dict[int, float]
) -> None:
    """A text that a medium model reads four times gets one, however few characters these are."""
    corpus = text_of(tmp_path, characters)
    assert choose(corpus, time=1.01 * least / speeds[256]).training.size == "medium"
    assert choose(corpus, time=0.99 * least / speeds[256]).training.size in ("small", "tiny")


def text_of(directory: Path, characters: int) -> Corpus:
    """A text of so many characters, nine tenths of them to learn from."""
    path = directory / f"{characters}.txt"
    path.write_text("ten chars\n" * (characters // 10))
    return read_corpus([str(path)], CorpusConfig())


def test_steps_and_epochs_need_no_clock(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where steps or epochs are counted nothing is measured, so that every machine chooses the same."""
    monkeypatch.setattr("charrnn.training.choices.measure_speed", None)
    large = SMALLEST_BUDGETS["large"]
    window = math.prod(dataclasses.astuple(fit_shape(corpus.train_size, 32, 64)))
    assert choose(corpus, steps=int(large / window) + 1).training.size == "large"
    assert choose(corpus, steps=3).training.size == "tiny"
    epochs = 1.01 * SMALLEST_BUDGETS["medium"] / corpus.train_size
    assert choose(corpus, epochs=epochs).training.size == "medium"
    assert choose(corpus, epochs=7).model.dropout == dropout_for(7, corpus.train_size)


def test_large_numbers_are_written_out(corpus: Corpus) -> None:
    """How often a text will be read is told to two digits, and not as a power of ten."""
    for passes, told in ((8472, "8,500 times"), (99.6, "100 times"), (7.34, "7.3 times"), (1, "1 time")):
        assert choose(corpus, epochs=passes).reason.endswith(f"the text will be read about {told}")


def test_of_pairs_the_targets_count(tmp_path: Path, speeds: dict[int, float]) -> None:
    """The size of a model of pairs follows from how much of their targets and line ends is read."""
    path = tmp_path / "pairs.tsv"
    path.write_text("".join(f"{number:07}\t{number % 7}\n" for number in range(1000)))  # 2 symbols of 10
    pairs = read_corpus([str(path)], CorpusConfig(pairs=True))
    assert learnt_share(pairs) == pytest.approx(0.2)
    seconds = SMALLEST_BUDGETS["medium"] / 0.2 / speeds[256]
    assert choose(pairs, time=0.99 * seconds).training.size == "small"
    chosen = choose(pairs, time=1.01 * seconds)
    assert chosen.training.size == "medium"
    assert "7.58 million characters, 20% of them in targets" in chosen.reason


@pytest.mark.usefixtures("speeds")
def test_what_was_given_stays(corpus: Corpus) -> None:
    """A shape or a dropout that was asked for is had, whatever size the rest is of; so is a size."""
    chosen = choose(corpus, steps=100, hidden_size=48, dropout=0.37, cell="gru")
    assert (chosen.model.hidden_size, chosen.model.dropout, chosen.model.cell) == (48, 0.37, "gru")
    assert chosen.training.size == "medium"
    same = choose(corpus, steps=100, hidden_size=256, dropout=0.1)  # of the defaults' values, but asked for
    assert (same.model.hidden_size, same.model.dropout) == (256, 0.1)
    assert choose(corpus, steps=100).model.hidden_size == 64
    for size, model in list(SIZES.items())[:4]:
        shape = choose(corpus, time=1.0, size=size).model
        assert dataclasses.replace(shape, dropout=model.dropout) == model


@pytest.mark.usefixtures("speeds")
def test_a_short_text_is_read_in_fewer_streams() -> None:
    """The batch is halved until a text is read MOST_PASSES times or less; there are bounds to that."""
    million = 1_000_000
    counted = TrainingConfig(steps=1, batch_size=32)
    for factor, batch in ((0.5, 32), (1.1, 32), (1.5, 16), (2.3, 16), (4, 8), (8, 4), (1000, SMALLEST_BATCH)):
        assert batch_for(factor * MOST_PASSES * million, counted, million, CPU) == batch
    timed = TrainingConfig(time=60.0, batch_size=32)  # where fewer streams make more steps in the time
    assert batch_for(MOST_PASSES * million / SHRINKAGE, timed, million, CPU) == 16
    assert batch_for(MOST_PASSES * million / SHRINKAGE**1.5, timed, million, CPU) == 8
    assert batch_for(1e12, dataclasses.replace(timed, batch_size=2), million, CPU) == 2
    epochs = TrainingConfig(epochs=10.0)
    assert batch_for(10 * EPOCHS_STEPS * 64, epochs, EPOCHS_STEPS * 64, CPU) == 8  # for 3,000 steps at least
    wide = TrainingConfig(time=60.0, batch_size=512)  # whose steps take a GPU as long as those of fewer
    assert batch_for(8 * MOST_PASSES * million, wide, million, GPU) == 64


@pytest.mark.usefixtures("speeds")
def test_one_pass_is_one_time(corpus: Corpus) -> None:
    """A number of passes that is shown as 1 is followed by "time", any other by "times"."""
    assert choose(corpus, epochs=1.0).reason.endswith("the text will be read about 1 time")
    assert choose(corpus, epochs=1.5).reason.endswith("the text will be read about 1.5 times")


@given(st.floats(0.01, 1e4), st.integers(3, 10**9))
def test_dropout_is_for_what_is_memorized(passes: float, train_size: int) -> None:
    """More passes never want less dropout, nor does less text; it goes from almost nothing to half."""
    rate = dropout_for(passes, train_size)
    assert 0 <= rate <= MOST_DROPOUT
    assert dropout_for(2 * passes, train_size) >= rate
    assert dropout_for(passes, 2 * train_size) <= rate


@pytest.mark.usefixtures("speeds")
def test_a_batch_that_was_given_stays(corpus: Corpus) -> None:
    """``--batch-size`` is had even where fewer streams would be better."""
    assert choose(corpus, time=60.0).training.batch_size == SMALLEST_BATCH
    assert choose(corpus, time=60.0, batch_size=24).training.batch_size == 24
    assert choose(corpus, time=60.0, batch_size=32).training.batch_size == 32


@pytest.mark.usefixtures("speeds")
def test_a_short_text_is_said_to_be_short(corpus: Corpus) -> None:
    """Where there is time for more passes than are good, the reason says both numbers and the way out."""
    short = choose(corpus, size="medium", time=90.0)  # at 10,000 char/s: 50 times
    assert f"about {MOST_PASSES:.2g} times, not 50" in short.reason
    assert "--patience 0" in short.reason
    assert short.model.dropout == dropout_for(MOST_PASSES, corpus.train_size)
    patient = choose(corpus, size="medium", time=90.0, patience=0)
    assert "about 50 times" in patient.reason
    assert patient.model.dropout == dropout_for(50, corpus.train_size)


def test_an_evaluation_takes_a_share_of_the_time(corpus: Corpus, speeds: dict[int, float]) -> None:
    """With --time, no more is scored than a tenth of it allows; with steps, everything."""
    assert speeds[256] == 10_000
    assert choose(corpus, time=1.0, size="medium", batch_size=32).training.validate == 3_000
    assert choose(corpus, time=3600.0, size="medium").training.validate == MOST_VALIDATED
    assert choose(corpus, steps=10, size="medium").training.validate == MOST_VALIDATED


@pytest.mark.parametrize("epochs", [5e-324, 1e-320, 1e-9, 1e9])
def test_the_least_and_the_most_passes_are_choices_too(corpus: Corpus, epochs: float) -> None:
    """However few or many passes are asked for, a model and a batch are chosen."""
    chosen = choose(corpus, epochs=epochs)
    assert 1 <= chosen.training.batch_size <= 32
    assert 0 <= chosen.model.dropout <= MOST_DROPOUT
