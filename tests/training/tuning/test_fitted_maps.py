"""Maps are fitted to what was planted, rise whatever they are fitted on, and say nothing for certain."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.fusion.calibration import Isotonic, Platt
from tests.support.properties import examples
from training.tuning.fitted_maps import MOST_POINTS, fit, fit_platt, pooled, smoothed

shares = st.sampled_from([0.0, 1e-300, 1e-6, 0.5, 1.0]) | st.floats(0, 1, width=32)
rows = st.lists(st.tuples(shares, st.sampled_from([0.0, 1.0, 0.25])), min_size=1, max_size=80)


def drawn(count, a, b, seed=0):
    """Predictions, what they should be, and outcomes."""
    random = np.random.default_rng(seed)
    p = random.beta(1.0, 12.0, count)
    q = Platt(a=a, b=b).apply(p)
    return p, q, (random.random(count) < q).astype(float)


@pytest.mark.parametrize(("a", "b"), [(-0.5, 0.7), (0.4, 1.5), (0.0, 1.0), (2.0, 1.0)])
def test_platts_map_is_found_again(a, b):
    p, _, labels = drawn(100_000, a, b)
    found = fit("platt", p, labels)
    assert isinstance(found, Platt)
    assert (found.a, found.b) == pytest.approx((a, b), abs=0.08)


@pytest.mark.parametrize(("a", "b"), [(-0.5, 0.7), (0.4, 1.5)])
def test_an_isotonic_map_comes_near_what_is_so(a, b):
    p, q, labels = drawn(100_000, a, b)
    assert np.abs(fit("isotonic", p, labels).apply(p) - q).mean() < 0.006


def test_shares_are_fitted_like_outcomes():
    p, q, _ = drawn(20_000, -0.5, 0.7)
    found = fit("platt", p, q)
    assert isinstance(found, Platt)
    assert (found.a, found.b) == pytest.approx((-0.5, 0.7), abs=0.01)


def test_newtons_method_ends_where_the_gradient_is_nothing():
    p, _, labels = drawn(5_000, 0.4, 1.5)
    targets, found = smoothed(labels), fit_platt(p, smoothed(labels))
    error = found.apply(p) - targets
    assert abs(error.mean()) < 1e-6
    assert abs((error * np.log(p / (1 - p))).mean()) < 1e-5


@examples(100)
@given(rows, st.sampled_from(["platt", "isotonic"]))
def test_a_map_rises_and_is_nowhere_certain_whatever_it_is_fitted_on(pairs, kind):
    p, labels = (np.array(column) for column in zip(*pairs, strict=True))
    mapped = fit(kind, p, labels).apply(np.linspace(0.0, 1.0, 101))
    assert (np.diff(mapped) >= 0).all()
    inside = fit(kind, p, labels).apply(p[(p > 1e-3) & (p < 1)])
    assert ((inside > 0) & (inside < 1)).all()


@pytest.mark.parametrize("kind", ["platt", "isotonic"])
def test_two_predictions_do_not_become_equal(kind):
    p, _, labels = drawn(3_000, 0.0, 1.0)
    for outcomes in (labels, 1 - labels, np.zeros(len(p))):
        mapped = fit(kind, np.sort(p), outcomes[np.argsort(p)]).apply(np.linspace(1e-4, 0.9999, 500))
        assert (np.diff(mapped) > 0).all()


def test_predictions_that_point_the_wrong_way_become_nearly_one():
    p, _, labels = drawn(5_000, 0.0, 1.0)
    for kind in ("platt", "isotonic"):
        mapped = fit(kind, p, 1 - labels).apply(p)
        assert mapped.mean() == pytest.approx((1 - labels).mean(), abs=0.01)
        assert mapped.std() < 0.05


def test_an_isotonic_map_has_few_points_however_many_rows_there_are():
    p, _, labels = drawn(50_000, -0.5, 0.7)
    found = fit("isotonic", p, labels)
    assert isinstance(found, Isotonic)
    assert 10 < len(found.points) <= MOST_POINTS


def test_rows_of_one_prediction_share_a_point():
    p = np.repeat([0.1, 0.2, 0.3], [1000, 5, 1000])
    labels = np.concatenate([np.arange(1000) % 10 == 0, np.zeros(5), np.arange(1000) % 2 == 0]).astype(float)
    found = fit("isotonic", p, labels)
    assert found.apply(np.array([0.1, 0.3])) == pytest.approx([0.1, 0.5], abs=0.01)


def test_falling_bins_are_pooled():
    """By the definition: the means of pools rise, and each pool's beginnings have no lower mean than it."""
    ones = np.ones(5)
    pools = pooled(ones, np.arange(5.0), np.array([1.0, 3.0, 2.0, 2.0, 5.0]))
    assert pools == [(1, 0, 1), (3, 6, 7), (1, 4, 5)]
    assert pooled(ones, np.arange(5.0), np.array([5.0, 4.0, 3.0, 2.0, 1.0])) == [(5, 10, 15)]
    assert pooled(ones[:2], np.arange(2.0), np.array([0.0, 0.0])) == [(2, 1, 0)]


def test_labels_move_off_the_ends_by_as_much_as_few_of_them_say():
    assert smoothed(np.array([1.0, 0.0, 0.0])).tolist() == [2 / 3, 1 / 4, 1 / 4]
    assert smoothed(np.array([0.5, 0.5]))[0] == pytest.approx((2 / 3 + 1 / 3) / 2)
    assert math.isclose(smoothed(np.zeros(998))[0], 1 / 1000)
