"""Each step of the sampler against its definition, and the frequencies against the distribution."""

from __future__ import annotations

import math
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from charrnn.errors import ConfigError
from charrnn.sampling.sampler import (
    Sampler,
    add_bias,
    apply_temperature,
    draw,
    draw_many,
    forbid,
    keep_min_p,
    keep_top_k,
    keep_top_p,
    log_probabilities,
    penalize,
    probabilities,
)
from charrnn.use_config import SamplingConfig

Floats = NDArray[Any]

logit = st.floats(-30, 30, width=32)
logits_of = st.lists(logit, min_size=2, max_size=20).map(lambda values: np.array(values, np.float32))


def kept(logits: Floats) -> set[int]:
    """The ids that may still be chosen."""
    return set(np.flatnonzero(np.isfinite(logits)).tolist())


@given(logits_of)
def test_probabilities_are_the_softmax(logits: Floats) -> None:
    """``probabilities`` is e^l over the sum of them, and ``log_probabilities`` its logarithm."""
    expected = [math.exp(value) for value in logits.tolist()]
    total = math.fsum(expected)
    np.testing.assert_allclose(probabilities(logits), [value / total for value in expected], rtol=1e-5)
    np.testing.assert_allclose(log_probabilities(logits), logits - math.log(total), atol=1e-5)


def test_rows_of_very_different_size_have_their_own_distribution() -> None:
    """What is far below another row's maximum is not lost."""
    logits = np.array([[0.0, 0.0], [-1e4, -1e4], [-5e3, 5e3]])
    assert probabilities(logits).tolist() == [[0.5, 0.5], [0.5, 0.5], [0, 1]]
    assert draw_many(logits, np.array([0.7, 0.3, 0.0])).tolist() == [1, 0, 1]


def test_a_nucleus_that_holds_p_exactly_is_enough() -> None:
    """Of two ids of probability one half, the first holds p = 0.5."""
    assert kept(keep_top_p(np.zeros(2), 0.5)) == {0}
    assert kept(keep_top_p(np.zeros(2), 0.500001)) == {0, 1}


def test_a_seed_of_its_own_takes_the_place_of_the_settings() -> None:
    """Samplers of several texts have the settings in common, but not the seed."""
    config, other = SamplingConfig(seed=1), SamplingConfig(seed=2)

    def chosen(sampler: Sampler) -> list[int]:
        return [sampler(np.zeros(50)) for _ in range(20)]

    assert chosen(Sampler(config, seed=2)) == chosen(Sampler(other)) != chosen(Sampler(config))


@given(logits_of, st.floats(0.05, 20))
def test_temperature_is_a_power(logits: Floats, temperature: float) -> None:
    """Temperature T makes probabilities proportional to p^(1/T)."""
    powers = probabilities(logits) ** (1 / temperature)
    assume(powers.sum() > 1e-200)
    found = probabilities(apply_temperature(logits, temperature))
    np.testing.assert_allclose(found, powers / powers.sum(), rtol=1e-3, atol=1e-12)


@given(logits_of, st.integers(1, 25))
def test_top_k_keeps_the_k_largest(logits: Floats, k: int) -> None:
    """``keep_top_k`` keeps what fewer than k others exceed, and changes none of it."""
    found = keep_top_k(logits, k)
    expected = {id for id, value in enumerate(logits) if (logits > value).sum() < k}
    assert kept(found) == expected
    assert all(found[id] == logits[id] for id in expected)


@given(logits_of, st.floats(0.01, 0.99))
def test_top_p_keeps_the_smallest_nucleus(logits: Floats, p: float) -> None:
    """``keep_top_p`` keeps the most probable ids that reach p, and would miss it with one fewer."""
    chances = probabilities(logits)
    found = kept(keep_top_p(logits, p))
    mass = math.fsum(chances[id] for id in found)
    least = min(chances[id] for id in found)
    assert mass >= p - 1e-9
    assert mass - least < p + 1e-9
    assert all(chances[id] <= least for id in set(range(len(logits))) - found)


@given(logits_of, st.floats(0.001, 1))
def test_min_p_is_relative_to_the_best(logits: Floats, p: float) -> None:
    """``keep_min_p`` keeps what is at least p times as probable as the most probable."""
    ratios = np.exp(logits.astype(np.float64) - logits.max())
    assume((np.abs(ratios / p - 1) > 1e-4).all() or p == 1)
    assert kept(keep_min_p(logits, p)) == set(np.flatnonzero(ratios >= p).tolist())


@given(logits_of, st.lists(st.integers(0, 1), max_size=9), st.floats(1, 5))
def test_the_penalty_moves_recent_ids_down(logits: Floats, recent: list[int], penalty: float) -> None:
    """``penalize`` divides positive and multiplies negative logits of the ids given, once each."""
    found = penalize(logits, recent, penalty)
    for id, value in enumerate(logits.tolist()):
        expected = value if id not in recent else value / penalty if value > 0 else value * penalty
        assert found[id] == pytest.approx(expected, rel=1e-5)


@given(logits_of)
def test_what_is_forbidden_has_no_chance(logits: Floats) -> None:
    """``forbid`` takes away the ids given, leaves the others as they are and its argument unchanged."""
    before = logits.copy()
    assert kept(forbid(logits, [0])) == set(range(1, len(logits)))
    np.testing.assert_array_equal(logits, before)


@given(logits_of, st.floats(0, 1, exclude_max=True))
def test_draw_inverts_the_cumulative_distribution(logits: Floats, uniform: float) -> None:
    """``draw`` gives the id whose share of [0, 1) holds the uniform number."""
    ends = np.cumsum(probabilities(logits))
    id = draw(logits, uniform)
    assert uniform <= ends[id] + 1e-9
    assert uniform >= (ends[id - 1] if id else 0) - 1e-9


@pytest.mark.parametrize("uniform", [0.0, 0.5, 1 - 2**-53])
def test_no_uniform_draws_the_impossible(uniform: float) -> None:
    """Ids of probability 0 are not drawn, neither at the ends nor in the middle."""
    logits = np.array([-np.inf, 0.0, -np.inf, 0.1, -np.inf], np.float32)
    assert draw(logits, uniform) in {1, 3}
    assert draw_many(np.stack([logits, logits]), np.array([uniform, uniform])).tolist()[0] in {1, 3}


@given(st.floats(2.3e-308, 1.7e308))
def test_the_highest_uniform_times_a_total_is_less_than_it(total: float) -> None:
    """However it is rounded, and so some id's cumulative weight passes it."""
    assert (1 - 2**-53) * total < total
    assert (np.array([1 - 2**-53]) * np.array([total]) < total).all()


@given(logits_of, st.floats(0.3, 3))
def test_the_highest_uniform_draws_the_last_that_may_be_drawn(logits: Floats, temperature: float) -> None:
    """On either path, for one stream and for many, with ids behind it that are forbidden."""
    forbidden = [len(logits) - 1]
    weights = np.exp((logits.astype(np.float64) - logits.max()) / temperature)
    weights[forbidden] = 0
    behind = weights.sum() - np.cumsum(weights)  # of each id, what those after it weigh
    for largest in (math.inf, 30.0):
        sampler = Sampler(SamplingConfig(temperature=temperature), forbidden, largest=largest)
        sampler._uniform = lambda: 1 - 2**-53
        for id in (sampler(logits), *sampler.choose_many(np.stack([logits, logits], 1)).tolist()):
            assert id not in forbidden
            assert behind[id] <= 1e-12 * weights.sum()


@pytest.mark.parametrize("broken", [[np.nan, 0.0, 1.0], [np.inf, np.inf, -np.inf], [np.nan] * 3])
@pytest.mark.parametrize("largest", [math.inf, 30.0])
def test_logits_that_are_no_numbers_draw_what_is_allowed(broken: list[float], largest: float) -> None:
    """Extreme weights make them; even then no forbidden id is drawn."""
    sampler = Sampler(SamplingConfig(temperature=1.0, seed=1), [2], largest=largest)
    with np.errstate(all="ignore"):
        assert {sampler(np.array(broken, np.float32)) for _ in range(200)} <= {0, 1}


def chi_square(counts: Floats, expected: Floats) -> float:
    """Pearson's statistic over the ids that can occur; what cannot must not have."""
    possible = expected > 0
    assert counts[~possible].sum() == 0
    return float(((counts - expected)[possible] ** 2 / expected[possible]).sum())


LOGITS = np.array([2.0, 1.5, 1.0, 0.0, -0.5, -1.0, -2.0, 1.2], np.float32)
CONFIGS = [
    SamplingConfig(seed=1),
    SamplingConfig(seed=1, temperature=1.0),
    SamplingConfig(seed=2, temperature=0.5),
    SamplingConfig(seed=3, temperature=3.0),
    SamplingConfig(seed=4, top_k=3, temperature=1.0),
    SamplingConfig(seed=5, top_p=0.8, temperature=1.5),
    SamplingConfig(seed=6, min_p=0.2, temperature=1.0),
    SamplingConfig(seed=7, top_k=6, top_p=0.9, min_p=0.05, temperature=0.9),
]


def intended(config: SamplingConfig, forbidden: int) -> Floats:
    """The distribution that a config means, computed with Python floats and loops."""
    weights = [math.exp(value / config.temperature) for value in LOGITS.tolist()]
    weights[forbidden] = 0
    order = sorted(range(len(weights)), key=lambda id: -weights[id])
    if config.top_k:
        order = order[: config.top_k]
    total, mass, nucleus = sum(weights[id] for id in order), 0.0, []
    for id in order:
        if mass < config.top_p * total:
            nucleus.append(id)
        mass += weights[id]
    floor = config.min_p * weights[order[0]]
    chosen = {id for id in nucleus if weights[id] >= floor and weights[id] > 0}
    left = sum(weights[id] for id in chosen)
    return np.array([weights[id] / left if id in chosen else 0 for id in range(len(weights))])


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("largest", [math.inf, 3.0])
def test_frequencies_agree_with_the_distribution(config: SamplingConfig, largest: float) -> None:
    """20,000 draws pass a chi-square test at 0.1 % against the intended distribution, on either path."""
    sampler = Sampler(config, [3], largest=largest)
    counts = np.bincount([sampler(LOGITS) for _ in range(20_000)], minlength=len(LOGITS))
    assert chi_square(counts, intended(config, 3) * 20_000) < 24.3  # of 7 degrees of freedom


def test_frequencies_of_a_batch_agree_with_the_distribution() -> None:
    """Choosing for many streams at once draws from the same distribution as for one."""
    sampler = Sampler(SamplingConfig(seed=9, temperature=0.7), [3])
    counts = np.bincount(sampler.choose_many(np.tile(LOGITS[:, None], 20_000)), minlength=len(LOGITS))
    assert chi_square(counts, intended(SamplingConfig(temperature=0.7), 3) * 20_000) < 24.3


@given(st.lists(logits_of, min_size=1, max_size=5), st.integers(0, 2**40), st.floats(0.3, 3))
def test_the_quick_path_chooses_what_the_definition_does(
    steps: list[Floats], seed: int, temperature: float
) -> None:
    """With a bound on the logits the sampler chooses, for the same seed, the ids it chooses without one."""
    config = SamplingConfig(seed=seed, temperature=temperature)
    quick, plain = Sampler(config, largest=30.0), Sampler(config)
    assert [quick(logits) for logits in steps] == [plain(logits) for logits in steps]


@given(logits_of)
def test_greedy_takes_the_first_of_the_most_probable(logits: Floats) -> None:
    """Temperature 0 chooses the largest logit, the first of equals, whatever the seed."""
    sampler = Sampler(SamplingConfig(temperature=0))
    assert sampler(logits) == logits.tolist().index(logits.max())
    assert sampler.choose_many(np.stack([logits, logits], 1)).tolist() == [int(logits.argmax())] * 2


@given(logits_of)
def test_barred_ids_are_not_chosen(logits: Floats) -> None:
    """What is barred for one choice is not chosen then, and may be the next time."""
    sampler = Sampler(SamplingConfig(temperature=0), largest=30.0)
    best = int(logits.argmax())
    assert sampler(logits, [best]) != best
    assert sampler(logits) == best


def test_barred_ids_are_not_drawn() -> None:
    """Nor are they where nothing else filters, and drawing takes a shorter way."""
    sampler = Sampler(SamplingConfig(temperature=1.0, seed=1), largest=1.0)
    assert {sampler(np.zeros(4), [1, 3]) for _ in range(100)} == {0, 2}
    assert {sampler(np.zeros(4)) for _ in range(100)} == {0, 1, 2, 3}


def test_the_penalty_looks_at_the_window_only() -> None:
    """An id is penalized while it stands among the last ``repetition_window`` ids, and not after."""
    config = SamplingConfig(temperature=0, repetition_penalty=2.0, repetition_window=2)
    sampler = Sampler(config)
    sampler.read([0])
    logits = np.array([2.0, 1.9, 1.8, 0.1], np.float32)
    assert [sampler(logits) for _ in range(6)] == [1, 2, 0, 1, 2, 0]


def test_a_small_temperature_does_not_overflow() -> None:
    """A temperature near 0 chooses the most probable, without a warning."""
    sampler = Sampler(SamplingConfig(temperature=1e-6, seed=1), largest=40.0)
    assert sampler(np.array([1.0, 40.0, -40.0], np.float32)) == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", -1.0), ("temperature", math.inf), ("temperature", math.nan), ("top_p", 2.0),
        ("top_p", 0.0), ("top_k", -1), ("min_p", 1.5), ("length", -2), ("repetition_penalty", 0.5),
        ("repetition_window", 0), ("best_of", 0), ("num_samples", 0), ("lines", -1), ("novel_span", 1),
        ("logprobs", -1), ("seed", -1), ("no_repeat", 1),
    ],
)  # fmt: skip
def test_settings_out_of_range_are_refused_by_their_flag(name: str, value: Any) -> None:
    """A setting out of range raises ConfigError with its flag and value."""
    with pytest.raises(ConfigError, match=f"--{name.replace('_', '-')} {value}"):
        SamplingConfig(**{name: value})


@pytest.mark.parametrize(
    "settings",
    [
        {"stop": ("",)}, {"best_of": 2, "lines": 3}, {"best_of": 2, "length": -1},
        {"best_of": 2, "novel": True}, {"distinct": True, "length": -1}, {"lines": 2, "num_samples": 2},
        {"lines": 2, "stop": ("x",)}, {"until": ("",)}, {"until": ("x",), "length": -1},
        {"until": ("x",), "lines": 2}, {"until": ("x",), "novel": True}, {"no_repeat": 4, "length": -1},
        {"bias": ("e",)}, {"bias": ("=1",)}, {"bias": ("e=inf",)}, {"bias": ("e=x",)},
        {"novel": True, "stop": ("x",)},
    ],
)  # fmt: skip
def test_settings_that_contradict_are_refused(settings: dict[str, Any]) -> None:
    """Settings that cannot hold together raise a ConfigError of one line."""
    with pytest.raises(ConfigError, match=r"^--[^\n]+$"):
        SamplingConfig(**settings)


TINY, HUGE = 5e-324, sys.float_info.max
EDGES: dict[str, list[Any]] = {
    "temperature": [0, TINY, 1e-320, 1e-6, 0.8, 1, 1e6, HUGE],
    "top_k": [0, 1, 2, 10**30],
    "top_p": [TINY, 0.5, math.nextafter(1, 0), 1],
    "min_p": [0, TINY, 0.5, 1],
    "repetition_penalty": [1, math.nextafter(1, 2), 1.2, 1e39, HUGE],
    "repetition_window": [1, 64, 2**63 - 1, 2**63, 10**30],
}
edge_settings = st.fixed_dictionaries({name: st.sampled_from(values) for name, values in EDGES.items()})
extreme_logit = st.sampled_from(
    [0.0, 1.0, -1.0, 3e38, -3e38, 1e-45, math.inf, -math.inf, math.nan]
) | st.floats(-30, 30, width=32)
extreme_logits = st.lists(extreme_logit, min_size=3, max_size=8).map(lambda v: np.array(v, np.float32))
edge_bias = st.dictionaries(st.integers(0, 2), st.sampled_from([0.0, TINY, -3.0, 1e39, HUGE, -HUGE]))


@settings(max_examples=1000)
@given(edge_settings, extreme_logits, edge_bias, st.booleans(), st.integers(0, 2**63 - 1))
def test_what_is_drawn_is_always_allowed(
    edges: dict[str, Any], logits: Floats, bias: dict[int, float], barred: bool, seed: int
) -> None:
    """At the edges of all settings, and for any logits, ids that are allowed are drawn, without a warning."""
    config = SamplingConfig(**edges)
    magnitude = float(np.abs(logits).max())
    for largest in (math.inf, magnitude if math.isfinite(magnitude) else 30.0):
        sampler = Sampler(config, [0], bias=bias, largest=largest, seed=seed)
        sampler.read([1, 2])
        allowed = set(range(1, len(logits))) - ({1} if barred else set())
        assert {sampler(logits, [1] if barred else []) for _ in range(3)} <= allowed
        shares = probabilities(sampler.filtered(logits, [1] if barred else []))
        assert math.isclose(shares.sum(), 1)
        assert set(np.flatnonzero(shares).tolist()) <= allowed
    assert set(Sampler(config, [0], bias=bias, seed=seed).choose_many(logits[:, None]).tolist()) <= set(
        range(1, len(logits))
    )


@given(logits_of, st.floats(-5, 5))
def test_a_bias_is_added_to_its_logits(logits: Floats, value: float) -> None:
    """A bias is added to the logits of its ids, the others stay, and -b undoes b."""
    found = add_bias(logits, [0, 1], [value, -value])
    assert found[:2] == pytest.approx(logits[:2] + np.array([value, -value]))
    np.testing.assert_array_equal(found[2:], logits[2:])


def test_frequencies_with_a_bias_are_those_of_the_logits() -> None:
    """Drawn with a bias, ids have the frequencies of the logits with the bias added."""
    bias = {0: -1.5, 5: 2.0}
    shares = LOGITS.astype(np.float64)
    for id, value in bias.items():
        shares[id] += value
    weights = np.exp(shares)
    weights[3] = 0
    sampler = Sampler(SamplingConfig(temperature=1.0, seed=1), [3], bias=bias, largest=3.0)
    counts = np.bincount([sampler(LOGITS) for _ in range(20_000)], minlength=len(LOGITS))
    assert chi_square(counts, weights / weights.sum() * 20_000) < 24.3
