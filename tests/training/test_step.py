"""One step of training as an object."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from charrnn.config import CorpusConfig, ModelConfig, TrainingConfig
from charrnn.model.device import choose_machine
from charrnn.model.file import Tensors
from charrnn.model.network import parameters_by_name
from charrnn.text.corpus import read_corpus
from charrnn.training.step import TrainingStep, build_step


@pytest.fixture
def text(tmp_path: Path) -> str:
    """The path of a regular text."""
    path = tmp_path / "text.txt"
    path.write_text("abcacb\n" * 300)
    return str(path)


def make_step(text: str, seed: int = 3) -> TrainingStep:
    """A step of a small network with dropout, in float32 on the CPU."""
    config = TrainingConfig(seed=seed, batch_size=4, seq_length=14)
    corpus = read_corpus([text], CorpusConfig())
    return build_step(
        corpus, ModelConfig("lstm", 2, 12, 6, dropout=0.2), config, choose_machine("cpu", "fp32")
    )


def in_bytes(tensors: Tensors) -> dict[str, bytes]:
    """The arrays' bytes by name, so that they compare to the bit."""
    return {name: array.tobytes() for name, array in tensors.items()}


def test_a_step_is_as_large_as_its_batches(text: str) -> None:
    """A step learns batch times time characters, and an epoch's steps read the text but for a remainder."""
    step = make_step(text)
    assert step.window == step.batches.batch * step.batches.time == 4 * 14
    assert 0 <= 1890 - step.window * step.steps_per_epoch < 2 * step.window  # nine tenths of 2100


def test_the_seed_decides_every_step(text: str) -> None:
    """The same seed gives the same weights after three steps, another seed others."""
    outcomes = []
    for seed in (3, 3, 4):
        step = make_step(text, seed)
        for number in range(3):
            step(number, rate=1.0)
        outcomes.append(in_bytes(step.capture()))
    assert outcomes[0] == outcomes[1]
    assert outcomes[0]["weights.output.bias"] != outcomes[2]["weights.output.bias"]


def test_restored_it_goes_on_to_the_bit(text: str) -> None:
    """A new step that takes over what another captured makes the same further steps."""
    first = make_step(text)
    for number in range(5):
        first(number, rate=0.5)
    captured = first.capture()
    for number in range(5, 9):
        first(number, rate=0.5)
    expected = in_bytes(first.capture())
    other = make_step(text)
    other(0, rate=1.0)
    other.restore(captured)
    assert in_bytes(other.capture()) == in_bytes(captured)
    for number in range(5, 9):
        other(number, rate=0.5)
    assert in_bytes(other.capture()) == expected


def test_states_with_generators_are_restored(text: str) -> None:
    """A state from before dropout was keyed by the step has generators, too, which change nothing."""
    step, old = make_step(text), make_step(text)
    tensors = step.capture()
    old.restore(tensors | {"random.cpu": torch.get_rng_state().numpy()})
    for each in (step, old):
        each(0, rate=1.0)
    assert in_bytes(step.capture()) == in_bytes(old.capture())


def test_at_rate_zero_no_weight_moves(text: str) -> None:
    """The rate is a share of the peak rates: with 0, a step computes a loss and changes no weight."""
    step = make_step(text)
    before = in_bytes(step.capture())
    step(0, rate=0.0)
    after = in_bytes(step.capture())
    assert float(step.loss) == pytest.approx(math.log(4), abs=0.5)  # a, b, c and the newline, not yet learnt
    assert {n: b for n, b in after.items() if n.startswith("weights.")} == {
        n: b for n, b in before.items() if n.startswith("weights.")
    }


def test_a_loss_that_is_not_finite_reaches_no_weight(text: str) -> None:
    """With a spoilt weight the loss is NaN: the other weights stay, and the hidden state begins anew."""
    step = make_step(text)
    step(0, rate=1.0)
    with torch.no_grad():
        parameters_by_name(step.model)["output.bias"][0] = math.nan
    before = in_bytes(step.capture())
    step(1, rate=1.0)
    after = in_bytes(step.capture())
    assert math.isnan(step.loss)
    assert step.hidden is None
    changed = {name for name in before if after.get(name) != before[name]}
    assert changed == {"gradient_norm", *(n for n in before if n.startswith("hidden."))}


@pytest.mark.parametrize("name", ["weights.output.bias", "gradient_norm"])
def test_a_missing_tensor_is_an_error(text: str, name: str) -> None:
    """Restoring without a tensor that is needed raises a KeyError with its name."""
    step = make_step(text)
    tensors = step.capture()
    del tensors[name]
    with pytest.raises(KeyError, match=name):
        step.restore(tensors)


def test_gradients_are_clipped_and_do_not_add_up(text: str) -> None:
    """Each step has the gradient of its own window, scaled down to the clip; the norm is that before."""
    step = build_step(
        read_corpus([text], CorpusConfig()),
        ModelConfig("lstm", 1, 12, 6, dropout=0.0),
        TrainingConfig(seed=3, batch_size=4, seq_length=14, clip=1e-3),
        choose_machine("cpu", "fp32"),
    )
    norms = []
    for _ in range(3):
        step.set_hidden(None)
        step(0, rate=0.0)
        gradients = [p.grad for p in step.model.parameters() if p.grad is not None]
        assert float(torch.cat([g.flatten() for g in gradients]).norm()) == pytest.approx(1e-3, rel=1e-4)
        norms.append(float(step.gradient_norm))
    assert norms[0] > 1e-2
    assert norms == [norms[0]] * 3


def test_an_infinite_gradient_of_a_finite_loss_moves_no_weight(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gradient may overflow where the loss does not: weights stay, the hidden state begins anew."""
    step = make_step(text)
    step(0, rate=1.0)
    before = [p.detach().clone() for p in step.model.parameters()]
    monkeypatch.setattr("charrnn.training.step.clip_gradients", lambda *_: torch.tensor(math.inf))
    step(1, rate=1.0)
    assert math.isfinite(step.loss)
    assert step.hidden is None
    for parameter, was in zip(step.model.parameters(), before, strict=True):
        assert torch.equal(parameter, was)


def test_a_state_may_be_restored_twice(text: str) -> None:
    """What a step does after it took over a state does not change the state."""
    first = make_step(text)
    for number in range(3):
        first(number, rate=1.0)
    state = first.capture()
    before, outcomes = in_bytes(state), []
    for _ in range(2):
        step = make_step(text)
        step.restore(state)
        step(3, rate=1.0)
        outcomes.append(in_bytes(step.capture()))
        assert in_bytes(state) == before
    assert outcomes[0] == outcomes[1]


def test_the_hidden_state_is_carried_until_the_epoch_ends(text: str) -> None:
    """A step reads on with the state that the one before left; an epoch's first step begins with zeros."""
    step = build_step(
        read_corpus([text], CorpusConfig()),
        ModelConfig("lstm", 1, 12, 6, dropout=0.0),
        TrainingConfig(seed=3, batch_size=4, seq_length=14),
        choose_machine("cpu", "fp32"),
    )
    first = step.steps_per_epoch
    assert step.batches.starts_epoch(first)
    for number in (0, 1, 2, first - 1, first, first + 1):
        state = step.hidden if number % first else None
        expected, _ = step.model.loss(*step.batches.window(number), state)
        step(number, rate=0.0)
        assert float(step.loss) == pytest.approx(float(expected.detach()), abs=1e-7)
    step.set_hidden(None)
    step(first + 1, rate=0.0)
    assert float(step.loss) != pytest.approx(float(expected.detach()), abs=1e-7)
