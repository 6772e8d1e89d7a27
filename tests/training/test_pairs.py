"""Training on pairs: the loss against a naive loop, and exact matches against answers that are written."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from charrnn.config import CorpusConfig, ModelConfig, TrainingConfig
from charrnn.model.device import Machine
from charrnn.model.file import ModelFile
from charrnn.model.network import CharRNN, export_weights
from charrnn.sampling.each import EachLine
from charrnn.sampling.session import SamplingSession
from charrnn.text.corpus import Corpus, read_corpus
from charrnn.training.batches import IGNORED, PairBatches, build_batches, symbols_a_step
from charrnn.training.choices import PAIRS_A_STEP, choose_model
from charrnn.training.listener import Listener, Status
from charrnn.training.pairs import HeldOut
from charrnn.training.state import load_training
from charrnn.training.trainer import Interrupted, Trainer
from charrnn.use_config import SamplingConfig

CPU = torch.device("cpu")
MACHINE = Machine(CPU, bf16=False)


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    """Sums of numbers up to 14, which are hard, and products with 0, which are easy."""
    sums = [f"{a}+{b}\t{a + b}\n" for a in range(15) for b in range(15)]
    products = [f"{a}*0\t0\n" for a in range(60)]
    (tmp_path / "sums.tsv").write_text("".join(sums + products))
    return read_corpus([str(tmp_path / "sums.tsv")], CorpusConfig(pairs=True))


def network(corpus: Corpus, seed: int = 0) -> CharRNN:
    """A little network without dropout."""
    torch.manual_seed(seed)
    return CharRNN(ModelConfig("lstm", 2, 12, 6, dropout=0.0), corpus.tokenizer.size)


def naive_nats(model: CharRNN, corpus: Corpus, pair: str) -> list[float]:
    """The nats of each symbol of a pair's target and line end, read symbol by symbol from a zero state."""
    ids = [corpus.tokenizer.start, *corpus.tokenizer.encode(pair + "\n").tolist()]
    nats, state = [], None
    for read, following in itertools.pairwise(ids):
        logits, state = model(torch.tensor([[read]]), state)
        nats.append(float(-logits[0, 0].log_softmax(-1)[following].detach()))
    return nats[pair.index("\t") + 1 :]


def pairs_of(batches: PairBatches, step: int, corpus: Corpus) -> list[str]:
    """The pairs that a step reads, from its inputs and targets."""
    inputs, targets = batches.window(step)
    texts = []
    for column in range(inputs.shape[1]):
        learnt = targets[:, column] != IGNORED
        last = int(learnt.nonzero()[-1])
        texts.append(corpus.tokenizer.decode(inputs[1 : last + 1, column].tolist()))
    return texts


def test_the_loss_is_that_of_a_loop_over_pairs(corpus: Corpus) -> None:
    """A batch's loss is the mean over all its targets' symbols, each pair read by itself, to 1e-5."""
    batches = build_batches(corpus, TrainingConfig(batch_size=16, seed=3), CPU)
    assert isinstance(batches, PairBatches)
    model = network(corpus).eval()
    for step in range(3):
        inputs, targets = batches.window(step)
        loss, _ = model.loss(inputs, targets, None)
        naive = [nats for pair in pairs_of(batches, step, corpus) for nats in naive_nats(model, corpus, pair)]
        assert float(loss.detach()) == pytest.approx(sum(naive) / len(naive), abs=1e-5)


def test_an_epoch_reads_every_pair_once(corpus: Corpus) -> None:
    """An epoch holds each training pair at most once, and all but a rest of less than a batch."""
    batches = build_batches(corpus, TrainingConfig(batch_size=16, seed=3), CPU)
    assert isinstance(batches, PairBatches)
    read = [pair for step in range(batches.steps_per_epoch) for pair in pairs_of(batches, step, corpus)]
    training = set(corpus.tokenizer.decode(corpus.train).split("\n")[:-1])
    assert len(read) == len(set(read)) > len(training) - 16
    assert set(read) <= training
    assert batches.batch == 16


def test_only_targets_have_gradients(corpus: Corpus) -> None:
    """Nothing is learnt of the source: what the output says of its symbols has no gradient."""
    batches = build_batches(corpus, TrainingConfig(batch_size=4, seed=1), CPU)
    inputs, targets = batches.window(0)
    model = network(corpus)
    logits, _ = model(inputs, None)
    logits.retain_grad()
    torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten()).backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    learnt = logits.grad.abs().sum(-1) > 0
    assert torch.equal(learnt, targets != IGNORED)
    tab = int(corpus.tokenizer.lookup("\t")[0])
    first = (inputs == tab).int().argmax(0)  # (batch,)
    assert all(
        not learnt[: int(at), column].any() and learnt[int(at), column] for column, at in enumerate(first)
    )


@pytest.fixture
def trained(corpus: Corpus, tmp_path: Path) -> Trainer:
    """A trainer after some steps, which answers some sums right and others not."""
    config = TrainingConfig(steps=150, seed=1, batch_size=16, eval_every=75)
    trainer = Trainer(corpus, ModelConfig("lstm", 1, 32, 16, dropout=0.0), config, MACHINE, tmp_path / "run")
    (tmp_path / "run").mkdir()
    trainer.run()
    return trainer


def test_validation_is_on_the_held_out_targets(trained: Trainer) -> None:
    """The loss is the mean over the held-out targets, and exact matches are those of written answers."""
    corpus, model = trained.corpus, trained.model.eval()
    pairs = corpus.tokenizer.decode(corpus.validation).split("\n")[:-1]
    naive = [nats for pair in pairs for nats in naive_nats(model, corpus, pair)]
    score = trained.validation.score(trained.model, lambda _: False)
    assert score is not None
    assert score.loss == pytest.approx(sum(naive) / len(naive), abs=1e-5)
    model.eval()
    held_out = HeldOut(corpus.validation, corpus.tokenizer, CPU)
    assert trained.validation.count == len(naive)
    file = ModelFile(export_weights(model), model.config, corpus.tokenizer, {"pairs": True})
    session = SamplingSession(file, SamplingConfig(temperature=0.0))
    found = EachLine(session).texts([[pair.split("\t")[0] for pair in pairs]])
    right = [one.text == pair.split("\t")[1] for one, pair in zip(found, pairs, strict=True)]
    assert len(pairs) <= 64
    assert held_out.exact(model, MACHINE) == (sum(right), len(pairs))
    assert score.exact == pytest.approx(np.mean(right))
    assert 0 < np.mean(right) < 1


def test_the_log_says_how_many_are_exact(trained: Trainer) -> None:
    """log.jsonl has the share of exact matches at each evaluation, and the model file that of the best."""
    lines = (trained.directory / "log.jsonl").read_text().splitlines()
    assert len(lines) == 2
    assert all('"exact": 0.' in line or '"exact": 1.' in line for line in lines)


class StopAt(Listener):
    """Asks a trainer to stop after a step."""

    def __init__(self, trainer: Trainer, step: int) -> None:
        self._trainer, self._step = trainer, step

    def stepped(self, status: Status) -> None:
        """Sets the signal."""
        if status.step == self._step:
            self._trainer.stopping = True


def test_a_resumed_training_is_exact(corpus: Corpus, tmp_path: Path) -> None:
    """Stopped in the middle of an epoch and resumed, a training ends with the same weights to the bit."""
    config = TrainingConfig(steps=40, seed=1, batch_size=16, eval_every=15)

    def trainer(name: str) -> Trainer:
        (tmp_path / name).mkdir(exist_ok=True)
        shape = ModelConfig("lstm", 1, 16, 8, dropout=0.1)
        return Trainer(corpus, shape, config, MACHINE, tmp_path / name)

    whole = trainer("whole")
    whole.run()
    stopped = trainer("parts")
    with pytest.raises(Interrupted):
        stopped.run(StopAt(stopped, 22))
    resumed = trainer("parts")
    resumed.restore(load_training(tmp_path / "parts"))
    resumed.run()
    for name, weights in export_weights(whole.model).items():
        assert np.array_equal(weights, export_weights(resumed.model)[name])
    assert resumed.progress.best == whole.progress.best


def test_choices_for_pairs(corpus: Corpus) -> None:
    """Pairs are learnt without dropout, PAIRS_A_STEP at a time unless asked otherwise."""
    training = TrainingConfig(steps=10, seed=1)
    chosen = choose_model({"steps": 10}, training, corpus, MACHINE)
    assert (chosen.training.batch_size, chosen.model.dropout) == (PAIRS_A_STEP, 0.0)
    asked = choose_model(
        {"batch_size": 8, "dropout": 0.2}, TrainingConfig(steps=10, batch_size=8, seed=1), corpus, MACHINE
    )
    assert (asked.training.batch_size, asked.model.dropout) == (8, 0.2)
    count = int((corpus.train == corpus.tokenizer.start).sum())
    assert symbols_a_step(corpus, asked.training) == pytest.approx(8 * corpus.train_size / count)
