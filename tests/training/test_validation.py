"""Validation: processes that share it out find what one alone does, and stop together."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from charrnn.config import CorpusConfig, ModelConfig
from charrnn.evaluation.evaluator import Evaluator
from charrnn.model.device import choose_machine
from charrnn.model.file import ModelFile
from charrnn.model.network import CharRNN, export_weights
from charrnn.text.corpus import Corpus, read_corpus
from charrnn.text.validated import validated
from charrnn.training import validation as module
from charrnn.training.group import Group
from charrnn.training.validation import Score, Validation

MACHINE = choose_machine("cpu", "fp32")
PATIENCE = 60  # seconds, after which processes that do not meet are a failure


class Meetings:
    """Where threads that stand for processes add up tensors."""

    def __init__(self, size: int) -> None:
        self.parts: list[Tensor] = [torch.zeros(0)] * size
        self.barrier = threading.Barrier(size, timeout=PATIENCE)
        self.count = 0


class Process(Group):
    """A thread that stands for one of several processes."""

    def __init__(self, rank: int, meetings: Meetings) -> None:
        super().__init__()
        self.rank, self.size, self._meetings = rank, len(meetings.parts), meetings

    def sum(self, tensor: Tensor) -> None:
        """As torch.distributed does it."""
        meetings = self._meetings
        meetings.parts[self.rank] = tensor.clone()
        meetings.barrier.wait()
        tensor.copy_(torch.stack(meetings.parts).sum(0))
        if meetings.barrier.wait() == 0:
            meetings.count += 1


def write(directory: Path, kind: str) -> tuple[Path, CorpusConfig]:
    """A text of a kind, and how it is read."""
    path = directory / f"{kind}.txt"
    if kind == "lines":
        path.write_text("".join(f"{'x' * (n % 13)}{n * n}\n" for n in range(700)) + "y" * 3000 + "\n")
        return path, CorpusConfig(lines=True, val_fraction=0.5)
    if kind == "pairs":
        path.write_text("".join(f"{n}+{n % 7}\t{n + n % 7}\n" for n in range(2500)))
        return path, CorpusConfig(pairs=True, val_fraction=0.2)
    path.write_text("".join(f"{n * n % 97} bottles, {n * 7919 % 1009} of beer;\n" for n in range(400)))
    if kind == "other":
        other = directory / "val.txt"
        other.write_text("99 bottles of élan and beer;\n" * 90)
        return path, CorpusConfig(val=str(other))
    return path, CorpusConfig(val_fraction=0.5)


def network(corpus: Corpus) -> CharRNN:
    """A network that knows nothing, without dropout."""
    torch.manual_seed(1)
    return CharRNN(ModelConfig("lstm", 2, 12, 6, dropout=0.0), corpus.tokenizer.size)


def scores(
    corpus: Corpus, size: int, evaluating: Sequence[Callable[[float], bool]] = ()
) -> tuple[list[Score | None], int]:
    """What each of several processes finds, and how often they met."""
    meetings, scored = Meetings(size), validated(corpus, 10**6)
    sent = dataclasses.replace(corpus, ids=corpus.ids[:0], val=None)  # what those that follow have

    def score(rank: int) -> Score | None:
        held_out = Validation(sent, scored, MACHINE, group=Process(rank, meetings))
        return held_out.score(models[rank], evaluating[rank] if evaluating else lambda _: False)

    models = [network(corpus) for _ in range(size)]
    with ThreadPoolExecutor(size) as pool:
        found = list(pool.map(score, range(size)))
    assert all(model.training for model in models)
    return found, meetings.count


@pytest.mark.parametrize("kind", ["text", "other", "lines", "pairs"])
def test_shared_out_it_is_the_same(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two, three or twelve processes find the loss of one to 1e-6 nats, and the same exact targets.

    All of them find the same to the bit, however often they meet; those for whom nothing is left just come.
    """
    path, config = write(tmp_path, kind)
    corpus = read_corpus([str(path)], config)
    alone = scores(corpus, 1)[0][0]
    assert alone is not None
    for size, every in ((2, 0.0), (3, 1e-3), (3, 9.0), (12, 0.1)):
        monkeypatch.setattr(module, "MEETING_EVERY", every)
        found, _ = scores(corpus, size)
        assert found == [found[0]] * size
        assert found[0] is not None
        assert found[0].loss == pytest.approx(alone.loss, abs=1e-6)
        assert found[0].exact == alone.exact
    assert (alone.exact is None) == (kind != "pairs")


def test_how_often_they_meet_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three processes that meet after every piece find the loss, to the bit, of three that meet once."""
    path, config = write(tmp_path, "lines")
    corpus = read_corpus([str(path)], config)
    outcomes = []
    for every in (0.0, 3600.0):
        monkeypatch.setattr(module, "MEETING_EVERY", every)
        outcomes.append(scores(corpus, 3))
    (often, many), (once, few) = outcomes
    assert often == once
    assert few == 2 < many  # the last time with what they found of each symbol


@pytest.mark.parametrize("kind", ["text", "lines", "pairs"])
def test_each_symbol_has_its_probability(kind: str, tmp_path: Path) -> None:
    """Each of three processes has the log probability of every symbol, which are those of evaluate."""
    path, config = write(tmp_path, kind)
    corpus = read_corpus([str(path)], config)
    meetings, scored = Meetings(3), validated(corpus, 10**6)
    model, *others = (network(corpus) for _ in range(4))
    held_out = [Validation(corpus, scored, MACHINE, group=Process(rank, meetings)) for rank in range(3)]
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda one, its: one.score(its, lambda _: False), held_out, others))
    file = ModelFile(export_weights(model), model.config, corpus.tokenizer)
    expected = np.zeros(len(scored.ids))
    for place, found in Evaluator(file).read(scored.ids, corpus.tokenizer.start, scored.ends):
        expected[place : place + len(found)] = found
    for one in held_out:
        np.testing.assert_allclose(one.logs, expected, atol=1e-5)


def test_all_stop_when_the_first_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the first process stops after a part, the others leave with it, and no loss is found."""
    path, config = write(tmp_path, "text")
    corpus = read_corpus([str(path)], config)
    monkeypatch.setattr(module, "MEETING_EVERY", 0.0)
    seen: list[list[float]] = [[], [], []]

    def watch(rank: int) -> Callable[[float], bool]:
        def evaluating(share: float) -> bool:
            seen[rank].append(share)
            return rank == 0 and len(seen[rank]) == 3

        return evaluating

    found, count = scores(corpus, 3, [watch(rank) for rank in range(3)])
    assert found == [None] * 3
    assert count == 3
    assert [len(shares) for shares in seen] == [3, 3, 3]


def test_the_share_that_is_done_is_that_of_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first process's progress counts what the others have done, never falls, and ends with all."""
    path, config = write(tmp_path, "text")
    corpus = read_corpus([str(path)], config)
    monkeypatch.setattr(module, "MEETING_EVERY", 0.0)
    shares: list[float] = []

    def watch(share: float) -> bool:
        shares.append(share)
        return False

    scores(corpus, 3, [watch, lambda _: False, lambda _: False])
    assert (np.diff(shares) >= 0).all()
    assert 0 < shares[0] < 0.5
    assert shares[-1] == 1.0


def test_nothing_held_out_needs_no_meeting(tmp_path: Path) -> None:
    """Without a validation split there is no loss, and nobody waits for anybody."""
    path, config = write(tmp_path, "text")
    corpus = read_corpus([str(path)], dataclasses.replace(config, val_fraction=0.0))
    assert scores(corpus, 2) == ([Score(None, None)] * 2, 0)
