"""Resampling: draws of users, the same each time, and sums over them that equal weighing rows."""

from __future__ import annotations

import numpy as np
import pytest

from training.metrics.resampling import (
    LEAST_USERS,
    POSITIVE,
    UNIT,
    Resamples,
    interval_around,
    percentiles,
    widening,
)


def test_a_draw_takes_as_many_users_as_there_are_and_the_next_pass_takes_the_same():
    resamples = Resamples(np.array([7, 7, -1, 3]), replicates=5)
    draws = list(resamples)
    assert (resamples.users, len(draws)) == (3, 5)
    assert all(draw.sum() == 3 for draw in draws)
    np.testing.assert_array_equal(draws, list(resamples))
    assert len({tuple(draw) for draw in draws}) > 1


def test_sums_are_those_of_the_drawn_rows_in_each_bin():
    random = np.random.default_rng(0)
    users, bins = random.integers(0, 6, 50), random.integers(0, 3, 50)
    values = random.normal(size=(2, 50))
    resamples = Resamples(users, replicates=7)
    found = resamples.sums(*values, bins=bins, count=3)
    for replicate, drawn in enumerate(resamples):
        weight = drawn[resamples.user]
        for column, sums in zip(values, found, strict=True):
            expected = [(column * weight)[bins == number].sum() for number in range(3)]
            np.testing.assert_allclose(sums[replicate], expected)
    np.testing.assert_allclose(resamples.sums(values[0])[0][:, 0], resamples.draws(lambda w: values[0] @ w))


def test_users_stand_behind_rows_however_many_rows_each_has():
    resamples = Resamples(np.repeat(np.arange(LEAST_USERS), 5))
    everyone = np.ones(5 * LEAST_USERS, bool)
    assert resamples.behind(everyone) == LEAST_USERS
    assert resamples.behind(everyone, np.arange(0, 5 * LEAST_USERS, 5)) == LEAST_USERS
    assert resamples.behind(everyone, np.arange(5 * (LEAST_USERS - 1))) == LEAST_USERS - 1
    assert resamples.behind(everyone, ~everyone) == 0


def test_no_rows_have_no_draws():
    resamples = Resamples(np.zeros(0, np.int64))
    assert list(resamples) == []
    assert resamples.sums(np.zeros(0), np.zeros(0), count=4)[1].shape == (0, 4)
    assert np.isnan(percentiles(resamples.draws(lambda weights: 1.0))).all()


def test_another_draw_falls_within_an_interval_as_often_as_it_says_and_draws_without_a_value_are_left_out():
    """Of 99 draws, the next one is equally likely to fall into each of the 100 gaps between them."""
    assert percentiles(np.r_[np.arange(1.0, 100.0), np.nan, np.inf], level=0.9) == pytest.approx((5, 95))


@pytest.mark.parametrize(("users", "factor"), [(10, 1.2165), (12, 1.1729), (30, 1.0613), (200, 1.0087)])
def test_an_interval_of_few_users_is_wider_by_students_quantile_and_the_samples_lesser_spread(users, factor):
    draws = np.random.default_rng(4).normal(3.0, 1.0, 400)
    low, high = percentiles(draws)
    found = interval_around(3.0, draws, users)
    assert found == pytest.approx((3 - factor * (3 - low), 3 + factor * (high - 3)), rel=1e-3)
    assert widening(users) == pytest.approx(factor, abs=1e-4)


def test_an_interval_stays_within_the_values_that_the_statistic_can_have():
    draws = np.linspace(0.9, 1.0, 400)
    assert interval_around(0.98, draws, 10)[1] > 1.0
    assert interval_around(0.98, draws, 10, UNIT)[1] == 1.0
    assert interval_around(0.05, draws - 0.9, 10)[0] < 0.0
    assert interval_around(0.05, draws - 0.9, 10, POSITIVE)[0] == 0.0


def test_an_interval_of_two_users_is_the_widest_and_of_one_there_is_none():
    draws = np.linspace(-1.0, 1.0, 400)
    assert np.isnan(interval_around(0.0, draws, 1)).all()
    assert interval_around(0.0, draws, 2)[1] == pytest.approx(widening(2) * percentiles(draws)[1])
    assert widening(2) == pytest.approx(np.sqrt(2) * 12.706 / 1.959964)


def test_a_value_that_is_no_number_has_no_interval():
    assert np.isnan(interval_around(float("nan"), np.arange(400.0), 50)).all()


def _held(users: int, repeats: int) -> tuple[float, float]:
    """How often the interval of a mean of users holds its truth, 0; and how often percentiles alone do."""
    held = np.zeros(2)
    for seed in range(repeats):
        by_user = np.random.default_rng([users, seed]).normal(size=users)
        resamples = Resamples(np.arange(users), seed=seed)
        draws = resamples.sums(by_user)[0][:, 0] / users
        ends = interval_around(float(by_user.mean()), draws, users), percentiles(draws)
        held += [low <= 0 <= high for low, high in ends]
    return tuple(held / repeats)


@pytest.mark.slow
def test_intervals_of_twelve_users_hold_the_truth_as_often_as_they_say_and_percentiles_do_not():
    widened, plain = _held(12, 400)
    assert 0.93 <= widened <= 0.97
    assert plain < 0.92
