"""Counting a run: the order by validation, what is held out, and what the run's directory holds."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from charrnn.config import CorpusConfig, NGramConfig
from charrnn.errors import CorpusError, RunError
from charrnn.evaluation.baselines import Baselines
from charrnn.evaluation.evaluator import Evaluator
from charrnn.model.file import load_model
from charrnn.text.corpus import read_corpus
from charrnn.text.recorded import recorded_split
from charrnn.training import counting
from charrnn.training.counting import Counted, count_run
from tests.conftest import PLAY, SHARED

NAMES = [f"{a}{b}{c}" for a in ("An", "Be", "Cor", "Do") for b in ("na", "to", "lia", "ri") for c in "aeio"]
PAIRS = [f"{n}\t{2 * n}" for n in range(400)]


def count(tmp_path: Path, text: str | Path, order: int | None = None, **corpus: Any) -> Counted:
    """Counts a text into ``tmp_path / "run"``."""
    path = text if isinstance(text, Path) else tmp_path / "t.txt"
    if isinstance(text, str):
        path.write_text(text)
    return count_run(
        [str(path)], tmp_path / "run", CorpusConfig(**corpus), NGramConfig(order=order), force=True
    )


CASES: dict[str, tuple[str | Path, dict[str, Any]]] = {
    "characters": (PLAY, {}),
    "bytes": (PLAY, {"tokenizer": "byte"}),
    "rare characters": (PLAY, {"min_count": 30}),
    "lines": ("\n".join(NAMES), {"lines": True}),
}


@pytest.mark.parametrize("case", CASES)
def test_the_file_is_as_good_as_the_baselines(case: str, tmp_path: Path) -> None:
    """The file scores its validation split as the baseline of its order does, and as its quality says."""
    text, settings = CASES[case]
    found = count(tmp_path, text, **settings)
    model = load_model(found.path)
    validation = recorded_split(model.corpus, model.tokenizer, "validation")
    score = Evaluator(model).score(validation)
    train = recorded_split(model.corpus, model.tokenizer, "training")
    baselines = dict(Baselines(train, items=bool(settings.get("lines"))).scores(validation))
    assert model.grams is not None
    order = model.grams.highest
    assert order > 1
    assert score.nats_per_character == pytest.approx(baselines[f"{order}-gram"].nats_per_character, abs=1e-9)
    assert found.orders[order - 1] == found.orders.min()
    if "min_count" not in settings:  # what an unknown character is costs more than the unknown symbol
        assert model.quality["nats_per_character"] == pytest.approx(score.nats_per_character, abs=1e-9)
    assert model.quality["characters"] == score.characters


def test_pairs_are_judged_by_their_targets(tmp_path: Path) -> None:
    """The loss of pairs is the mean over the symbols of the targets and their ends."""
    found = count(tmp_path, "\n".join(PAIRS) + "\n", pairs=True)
    model = load_model(found.path)
    validation = recorded_split(model.corpus, model.tokenizer, "validation")
    logs = Evaluator(model).log_probabilities(validation)
    text = model.tokenizer.decode(validation.ids)
    at, nats, characters = 0, 0.0, 0
    for line in text.splitlines(keepends=True):
        source = line.index("\t") + 1
        nats -= float(logs[at + source : at + len(line)].sum())
        characters += len(line) - source
        at += len(line)
    assert model.quality["nats_per_character"] == pytest.approx(nats / characters, abs=1e-6)
    assert model.quality["characters"] == characters


def test_another_text_to_validate_on(tmp_path: Path) -> None:
    """With --val all of the corpus is counted, and characters that it lacks are charged as in evaluate."""
    (tmp_path / "val.txt").write_text("the sea, the bell \u2603 and the sea")
    found = count(tmp_path, PLAY, val=str(tmp_path / "val.txt"))
    model = load_model(found.path)
    assert found.symbols == len(PLAY.read_text())
    score = Evaluator(model).score(recorded_split(model.corpus, model.tokenizer, "validation"))
    assert model.quality["nats_per_character"] == pytest.approx(score.nats_per_character, abs=1e-9)


def test_nothing_held_out(tmp_path: Path) -> None:
    """Without validation the order is the default one, and no quality is claimed."""
    found = count(tmp_path, PLAY, val_fraction=0.0)
    assert (found.best, len(found.orders), found.model.quality) == (counting.DEFAULT_ORDER, 0, {})


def test_an_order_that_is_asked_for(tmp_path: Path) -> None:
    """It is what is written, as far as the text has grams so long."""
    assert count(tmp_path, PLAY, order=3).best == 3
    assert count(tmp_path, "abc", order=8, val_fraction=0.0).best == 4


def test_large_orders_are_not_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An order whose tensors would take too much is replaced by the next smaller one, unless asked for."""
    best = count(tmp_path, PLAY).best
    monkeypatch.setattr("charrnn.training.counting.LEAST_BYTES", 1)
    monkeypatch.setattr("charrnn.training.counting.BYTES_PER_SYMBOL", 0.5)
    found = count(tmp_path, PLAY)
    assert found.model.grams is not None
    assert (found.best, found.model.grams.highest < best) == (best, True)
    assert found.path.stat().st_size < 0.5 * found.symbols + 4000
    asked = count(tmp_path, PLAY, order=best)
    assert asked.model.grams is not None
    assert asked.model.grams.highest == best


def test_the_file_is_small_and_without_the_text(tmp_path: Path) -> None:
    """A megabyte of text takes at most 4 MB, and no line of it stands in the file."""
    text = SHARED / "shakespeare.txt"
    if not text.exists():
        pytest.skip("no megabyte of text here")
    found = count(tmp_path, text)
    data = found.path.read_bytes()
    assert len(data) < 4e6
    assert not any(line.encode() in data for line in text.read_text().splitlines()[:2000] if len(line) > 12)


def test_long_texts_are_counted_from_their_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a text that is too long the last part is counted, of lines whole ones."""
    monkeypatch.setattr("charrnn.training.counting.MOST_COUNTED", 100)
    assert count(tmp_path, PLAY).symbols == 100
    found = count(tmp_path, "\n".join(NAMES), lines=True)
    corpus = read_corpus([str(tmp_path / "t.txt")], CorpusConfig(lines=True))
    counted = corpus.train[-found.symbols :]
    assert 80 < found.symbols <= 100
    assert corpus.train[-found.symbols - 1] == corpus.tokenizer.newline != counted[0]


def test_the_run(tmp_path: Path) -> None:
    """The directory holds the model and a line of the log for each order, and the same bytes each time."""
    found = count(tmp_path, PLAY)
    assert sorted(path.name for path in found.path.parent.iterdir()) == ["log.jsonl", "model.safetensors"]
    log = [json.loads(line) for line in (found.path.parent / "log.jsonl").read_text().splitlines()]
    assert [entry["order"] for entry in log] == list(range(1, 9))
    assert [entry["val_loss"] for entry in log] == found.orders.tolist()
    again = count(tmp_path, PLAY)
    assert found.model.grams is not None
    assert again.model.grams is not None
    assert all(map(np.array_equal, found.model.grams.codes, again.model.grams.codes))
    assert dataclasses.replace(again.model, grams=None, training={}, tokenizer=found.model.tokenizer) == (
        dataclasses.replace(found.model, grams=None, training={})
    )


def test_a_run_in_the_way(tmp_path: Path) -> None:
    """Nothing that exists is replaced unasked, and a text too short leaves no directory."""
    (tmp_path / "short.txt").write_text("ab")
    with pytest.raises(CorpusError, match="too few"):
        count_run([str(tmp_path / "short.txt")], tmp_path / "x", CorpusConfig(), NGramConfig())
    assert not (tmp_path / "x").exists()
    count(tmp_path, PLAY)
    with pytest.raises(RunError, match="exists"):
        count_run([str(PLAY)], tmp_path / "run", CorpusConfig(), NGramConfig())
