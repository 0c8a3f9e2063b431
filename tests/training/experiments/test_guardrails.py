import math

import numpy as np
import pytest

from training.experiments import by_counts, by_mean
from training.experiments.differences import Difference
from training.experiments.guardrails import divergence

N = 80


def mean_e_value(share_now, share, harm, margin=0.0):
    """Where each of N units that did it is the arm's with that probability."""
    return sum(
        math.comb(N, k)
        * share_now**k
        * (1 - share_now) ** (N - k)
        * by_counts(N - k, k, share, harm, margin=margin).e_value
        for k in range(N + 1)
    )


@pytest.mark.parametrize("harm", ["falls", "rises"])
@pytest.mark.parametrize("share", [0.5, 0.05])
def test_where_there_is_no_harm_the_e_value_is_1_in_the_mean(harm, share):
    assert mean_e_value(share, share, harm) == pytest.approx(1.0)


@pytest.mark.parametrize(("harm", "borne"), [("falls", 0.9), ("rises", 1.1)])
def test_what_is_borne_is_no_harm(harm, borne):
    at_the_margin = 0.5 * borne / (0.5 * borne + 0.5)
    assert mean_e_value(at_the_margin, 0.5, harm, margin=0.1) == pytest.approx(1.0)
    assert mean_e_value(0.5, 0.5, harm, margin=0.1) < 0.9


def test_harm_is_found_on_its_side_alone():
    assert by_counts(200, 120, 0.5, "falls").alarm
    assert not by_counts(200, 120, 0.5, "rises").alarm
    assert by_counts(120, 200, 0.5, "rises").alarm
    assert not by_counts(120, 200, 0.5, "falls").alarm


def test_the_ratio_is_of_rates_whatever_the_shares():
    assert by_counts(900, 50, 0.1, "falls").ratio == pytest.approx(0.5)
    assert math.isnan(by_counts(0, 0, 0.1, "falls").ratio)


def test_nothing_yet_is_no_alarm():
    assert by_counts(0, 0, 0.5, "falls").e_value == pytest.approx(1.0)


def test_fewer_units_that_do_it_are_found_soon():
    """Their number until the alarm is at most 1.5 times what any test needs in the mean."""
    rng, times = np.random.default_rng(1), []
    for _ in range(200):
        arm = np.cumsum(rng.random(2_000) < 0.62 / 1.62)
        seen = np.arange(1, 2_001)
        times.append(
            next(
                n
                for n, k in zip(seen.tolist(), arm.tolist(), strict=True)
                if by_counts(n - k, k, 0.5, "falls").alarm
            )
        )
    assert np.mean(times) < 1.5 * -math.log(0.005) / divergence(0.62, 0.5)


def test_a_mean_alarms_beyond_its_margin():
    surely_less = Difference(math.log(0.95), 0.005)
    assert by_mean(surely_less, 0.005, "falls").alarm
    assert not by_mean(surely_less, 0.005, "rises").alarm
    assert not by_mean(surely_less, 0.005, "falls", margin=0.1).alarm
    assert by_mean(Difference(math.log(1.05), 0.005), 0.005, "rises").alarm
    assert not by_mean(Difference(math.nan, math.nan), 0.005, "falls").alarm
