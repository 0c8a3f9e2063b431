"""Resampling: draws of users, the same each time, and sums over them that equal weighing rows."""

from __future__ import annotations

import numpy as np
import pytest

from training.metrics.resampling import LEAST_USERS, Resamples, percentiles


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


def test_enough_counts_users_and_not_rows():
    resamples = Resamples(np.repeat(np.arange(LEAST_USERS), 5))
    everyone = np.ones(5 * LEAST_USERS, bool)
    assert resamples.enough(everyone)
    assert resamples.enough(everyone, np.arange(0, 5 * LEAST_USERS, 5))
    assert not resamples.enough(everyone, np.arange(5 * (LEAST_USERS - 1)))
    assert not resamples.enough(everyone, ~everyone)


def test_no_rows_have_no_draws():
    resamples = Resamples(np.zeros(0, np.int64))
    assert list(resamples) == []
    assert resamples.sums(np.zeros(0), np.zeros(0), count=4)[1].shape == (0, 4)
    assert np.isnan(percentiles(resamples.draws(lambda weights: 1.0))).all()


def test_draws_without_a_value_are_left_out_of_an_interval():
    assert percentiles(np.r_[np.arange(101.0), np.nan, np.inf], level=0.9) == pytest.approx((5, 95))
