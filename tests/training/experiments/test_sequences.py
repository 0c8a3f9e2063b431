import math

import numpy as np
import pytest

from training.experiments.sequences import factor, normal_quantile, planned_factor


def test_the_half_width_is_the_papers():
    """sd * sqrt(2 (t r + 1) log(sqrt(t r + 1) / alpha) / (t^2 r)), with r tuned to the planned t."""
    alpha, planned_t, sd = 0.05, 1_000, 3.0
    r = (-2 * math.log(alpha) + math.log(-2 * math.log(alpha)) + 1) / planned_t
    for t in (10, 1_000, 50_000):
        paper = sd * math.sqrt(2 * (t * r + 1) * math.log(math.sqrt(t * r + 1) / alpha) / (t**2 * r))
        error, planned = sd / math.sqrt(t), sd / math.sqrt(planned_t)
        assert error * factor(error, planned, alpha) == pytest.approx(paper)


def test_where_planned_it_is_1_55_times_as_wide_as_for_one_look():
    assert planned_factor(0.05) / normal_quantile(0.975) == pytest.approx(1.55, abs=0.005)


@pytest.mark.parametrize("sides", [1, 2])
def test_it_is_narrowest_about_where_it_is_planned(sides):
    """By information: another plan gives no narrower sequence at this error."""
    here = planned_factor(0.05, sides=sides)
    for planned in (0.5, 0.8, 1.25, 2.0):
        assert factor(1.0, planned, 0.05, sides=sides) > here - 0.02


@pytest.mark.parametrize("sides", [1, 2])
def test_a_random_walk_leaves_it_as_rarely_as_promised(sides):
    walks, looks = 4_000, 200
    walk = np.random.default_rng(1).standard_normal((walks, looks)).cumsum(axis=1)
    errors = 1 / np.sqrt(np.arange(1, looks + 1))
    factors = [factor(error, float(errors[100]), 0.05, sides=sides) for error in errors]
    z = walk / np.arange(1, looks + 1) / errors
    left = ((np.abs(z) if sides == 2 else z) > factors).any(axis=1).mean()
    assert 0.01 < left < 0.05
    assert (np.abs(z) > 1.96).any(axis=1).mean() > 0.3  # and one who looks as often at the usual interval


def test_nothing_known_is_no_interval():
    assert factor(0.0, 1.0, 0.05) == math.inf
    assert factor(math.nan, 1.0, 0.05) == math.inf
