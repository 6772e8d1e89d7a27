"""How much of a text a training counts in the end, and the time that it keeps for that."""

from __future__ import annotations

from pathlib import Path

import pytest

from charrnn.config import CorpusConfig, TrainingConfig
from charrnn.model.ngram import MOST_COUNTED
from charrnn.text.corpus import Corpus, read_corpus
from charrnn.training.beside import (
    LARGEST_SHARE,
    MOST_UNASKED,
    SECONDS_PER_SYMBOL,
    counting_seconds,
    symbols_counted,
)
from charrnn.training.schedule import Schedule


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    """A text of 10,000 characters, of which 9,000 are learnt."""
    (tmp_path / "t").write_text("ten chars\n" * 1000)
    return read_corpus([str(tmp_path / "t")], CorpusConfig())


@pytest.mark.parametrize(
    ("settings", "symbols"),
    [
        ({"time": 60}, 9000),
        ({"time": 1e-3}, int(LARGEST_SHARE * 1e-3 / SECONDS_PER_SYMBOL)),
        ({"time": 1e-3, "with_ngram": True}, 9000),
        ({"time": 60, "with_ngram": False}, 0),
        ({"steps": 10**6}, 0),
        ({"epochs": 9}, 0),
        ({"steps": 10**6, "with_ngram": True}, 9000),
    ],
)
def test_how_much_is_counted(settings: dict[str, float], symbols: int, corpus: Corpus) -> None:
    """With --time as much as there is time for; all where it is asked for; else nothing."""
    config = TrainingConfig(**settings)  # type: ignore[arg-type]
    assert symbols_counted(config, corpus) == symbols
    seconds = SECONDS_PER_SYMBOL * (symbols + 1000)
    assert counting_seconds(config, corpus) == pytest.approx(seconds if symbols else 0)


def test_never_too_much(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long training counts so many symbols at most, and more only if it is asked to."""
    monkeypatch.setattr("charrnn.training.beside.MOST_UNASKED", 70)
    monkeypatch.setattr("charrnn.training.beside.MOST_COUNTED", 700)
    assert symbols_counted(TrainingConfig(time=1e6), corpus) == 70
    assert symbols_counted(TrainingConfig(time=1e6, with_ngram=True), corpus) == 700
    assert MOST_UNASKED < MOST_COUNTED


@pytest.mark.parametrize("config", [CorpusConfig(pairs=True), CorpusConfig(val_fraction=0)])
def test_what_it_is_not_for(config: CorpusConfig, tmp_path: Path) -> None:
    """Unasked, nothing is counted of pairs, and nothing where nothing is held out to measure it."""
    (tmp_path / "t").write_text("".join(f"{n}\t{n + 1}\n" for n in range(500)))
    corpus = read_corpus([str(tmp_path / "t")], config)
    assert symbols_counted(TrainingConfig(time=60), corpus) == 0
    assert symbols_counted(TrainingConfig(time=60, with_ngram=True), corpus) == corpus.train_size


def test_the_time_is_kept_for_it() -> None:
    """A training of 100 s that keeps 20 s for what follows has ended after 80 s, and not before."""
    schedule = Schedule(TrainingConfig(time=100, patience=0), 100, 50, 0)
    schedule.closing = 20
    schedule.stepped(79)
    assert 0.98 < schedule.done < 1
    schedule.stepped(1.5)
    assert schedule.done == 1
