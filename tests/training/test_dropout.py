"""Dropout masks that follow from seed, step and place."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from charrnn.config import ModelConfig
from charrnn.training.dropout import INCREMENT, Masks

CPU = torch.device("cpu")


def masks_of(rate: float, seed: int = 1, hidden: int = 64, layers: int = 2) -> Masks:
    """The masks of a network of this size."""
    return Masks(ModelConfig("lstm", layers, hidden, 8, dropout=rate), seed, CPU)


def kept(masks: Masks, step: int, begin: int, end: int) -> torch.Tensor:
    """Which activations are kept: (layers, 1, places, hidden) of bool."""
    factors = masks(step, begin, end)
    assert factors is not None
    return factors > 0


@pytest.mark.parametrize("rate", [0.02, 0.1, 0.5, 0.9])
def test_the_share_dropped_is_the_probability(rate: float) -> None:
    """Over half a million activations the share is within five standard deviations."""
    masks = masks_of(rate)
    drawn = torch.stack([factors for step in range(128) if (factors := masks(step, 0, 32)) is not None])
    dropped = float((drawn == 0).double().mean())
    assert dropped == pytest.approx(rate, abs=5 * math.sqrt(rate * (1 - rate) / drawn.numel()))
    assert np.unique(drawn.numpy()).tolist() == [0.0, pytest.approx(1 / (1 - rate))]


def test_what_is_dropped_is_independent() -> None:
    """Neighbours in unit, place, layer, step or seed are both dropped with the square of the probability."""
    rate, masks = 0.3, masks_of(0.3)
    steps = torch.stack(
        [~kept(masks, step, 0, 32)[:, 0] for step in range(64)]
    )  # (steps, layers, 32, hidden)
    other = masks_of(0.3, seed=2)
    seeds = torch.stack([~kept(other, step, 0, 32)[:, 0] for step in range(64)])
    both = [steps.narrow(axis, 1, size - 1) & steps.narrow(axis, 0, size - 1)
            for axis, size in enumerate(steps.shape)]  # fmt: skip
    for pair in [*both, steps & seeds]:
        spread = math.sqrt(rate**2 * (1 - rate**2) / pair.numel())
        assert float(pair.double().mean()) == pytest.approx(rate**2, abs=6 * spread)


def test_every_unit_is_dropped_as_often() -> None:
    """No unit, place or layer is dropped more often than chance has it: chi-squared over 4,096 of them."""
    steps, masks = 400, masks_of(0.3)
    counts = sum((~kept(masks, step, 0, 32)).double() for step in range(steps))
    assert isinstance(counts, torch.Tensor)
    chi = float(((counts - 0.3 * steps) ** 2 / (steps * 0.3 * 0.7)).sum())
    assert chi == pytest.approx(4096, abs=5 * math.sqrt(2 * 4096))


def test_places_keep_their_masks_however_they_are_shared_out() -> None:
    """The masks of places 0 to 7 are those of 0 to 2, 3 to 6 and 7, of any step, in any order."""
    whole, ranges = masks_of(0.4), [(0, 3), (3, 7), (7, 8)]
    parts = [masks_of(0.4) for _ in ranges]
    for step in (5, 0, 1 << 40):
        cuts = [part(step, *where) for part, where in zip(parts, ranges, strict=True)]
        joined = torch.cat([cut for cut in cuts if cut is not None], 2)
        found = whole(step, 0, 8)
        assert found is not None
        assert torch.equal(joined, found)


def test_torch_s_generator_is_left_alone() -> None:
    """Masks neither depend on the global generator nor move it."""
    before = torch.get_rng_state()
    first = masks_of(0.4)(3, 0, 4)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(99)
    second = masks_of(0.4)(3, 0, 4)
    assert first is not None
    assert second is not None
    assert torch.equal(first, second)


def test_seeds_and_steps_have_masks_of_their_own() -> None:
    """Different steps and seeds, the largest among them, give different masks."""
    found = [kept(masks_of(0.5, seed), step, 0, 4) for seed in (0, 1, 2**63 - 1) for step in (0, 1, 10**15)]
    assert not any(torch.equal(a, b) for a, b in itertools.combinations(found, 2))


def test_extreme_probabilities() -> None:
    """Without dropout there are no masks; with nearly all of it, next to nothing is kept."""
    assert masks_of(0.0)(0, 0, 4) is None
    factors = masks_of(0.999999)(0, 0, 32)
    assert factors is not None
    assert torch.isfinite(factors).all()
    assert int((factors > 0).sum()) <= 2
    assert float((masks_of(5e-324)(0, 0, 32) == 0).sum()) == 0  # type: ignore[union-attr]


def test_the_bits_are_those_of_splitmix64() -> None:
    """A mask agrees with SplitMix64 written out in Python's whole numbers."""
    key = int(np.random.SeedSequence([7, 3, 1]).generate_state(1, np.uint64)[0])
    expected = []
    for count in range(2 * 2 * 5 + 1, 3 * 2 * 5 + 1):  # place 2 of 2 layers of 5
        word = (key + count * 0x9E3779B97F4A7C15) % 2**64
        word = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        word = (word ^ (word >> 27)) * 0x94D049BB133111EB % 2**64
        signed = word - 2**64 if word >> 63 else word
        expected.append(signed >= int(0.25 * 2**64) - 2**63)
    assert INCREMENT < 0
    found = kept(masks_of(0.25, seed=7, hidden=5), 3, 2, 3)
    assert found.flatten().tolist() == expected
