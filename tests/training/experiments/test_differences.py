import math

import numpy as np
import pytest

from training.experiments import ArmSums, Covariate, design_effect, difference


def arm(rng, units=400, *, gain=0.0, known=False):
    """Users with a reward of their own, who ask 1 to 12 times, and what the weeks before said of them."""
    own, requests = rng.gamma(4.0, 0.25, units), rng.integers(1, 13, units)
    reward = requests * own * (1 + gain) + np.sqrt(requests) * rng.normal(0.0, 0.3, units)
    before = rng.integers(1, 13, units)
    past = Covariate(before * own + np.sqrt(before) * rng.normal(0.0, 0.3, units), before.astype(float))
    return ArmSums(reward, requests.astype(float), past if known else None)


@pytest.mark.parametrize("known", [False, True])
def test_the_error_is_what_differences_of_clustered_arms_spread_by(known):
    rng = np.random.default_rng(2)
    found = [difference(arm(rng, known=known), arm(rng, gain=0.1, known=known)) for _ in range(600)]
    spread = np.std([one.log_ratio for one in found])
    assert np.mean([one.error for one in found]) == pytest.approx(spread, rel=0.1)
    assert np.mean([one.log_ratio for one in found]) == pytest.approx(
        math.log(1.1), abs=4 * spread / 600**0.5
    )


def test_what_was_known_before_takes_noise_out():
    rng = np.random.default_rng(3)
    arms = [arm(rng, known=True) for _ in range(2)]
    plain = [ArmSums(one.value, one.count) for one in arms]
    assert difference(*arms).error < 0.8 * difference(*plain).error


def test_a_covariate_that_says_nothing_changes_next_to_nothing():
    rng = np.random.default_rng(4)
    plain = [arm(rng) for _ in range(2)]
    empty = [ArmSums(one.value, one.count, Covariate(one.count * 0, one.count * 0)) for one in plain]
    assert difference(*empty) == difference(*plain)


def test_requests_of_a_unit_are_not_so_many_witnesses():
    rng = np.random.default_rng(5)
    one, other = arm(rng), arm(rng)
    repeated = [ArmSums(9 * each.value, 9 * each.count) for each in (one, other)]
    assert difference(*repeated).error == pytest.approx(difference(one, other).error)


def test_the_relative_difference_is_of_the_controls_mean():
    rng = np.random.default_rng(6)
    one = arm(rng)
    doubled = ArmSums(2 * one.value, one.count)
    found = difference(one, doubled)
    assert found.relative == pytest.approx(1.0)
    low, high = found.interval(found.error, 0.05)
    assert low < 1.0 < high
    assert (1 + low) * (1 + high) == pytest.approx(4.0)


def test_few_units_or_a_mean_of_nothing_are_no_difference():
    rng = np.random.default_rng(7)
    nothing = ArmSums(np.zeros(400), np.ones(400))
    for pair in ((arm(rng, 99), arm(rng)), (arm(rng), nothing), (nothing, nothing)):
        found = difference(*pair)
        assert math.isnan(found.log_ratio)
        assert found.interval(0.01, 0.05) == (-1.0, math.inf)


def test_the_design_effect_counts_repetitions():
    value = np.random.default_rng(8).random(2_000)
    assert design_effect(np.arange(2_000), value) == pytest.approx(1.0)
    assert design_effect(np.repeat(np.arange(2_000), 5), np.repeat(value, 5)) == pytest.approx(5.0)
