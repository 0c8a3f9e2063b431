"""Calibration in bins, against the obvious way of computing it."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.metrics.calibration import by_length, by_prediction, calibration_error

USERS = np.arange(4000) % 500


@pytest.fixture(scope="module")
def planted():
    """Predictions that are right below .5 and .1 too high above; labels drawn from the truth."""
    random = np.random.default_rng(5)
    predictions = random.random(4000)
    truth = np.where(predictions > 0.5, predictions - 0.1, predictions)
    return predictions.astype(np.float32), (random.random(4000) < truth).astype(np.float32)


def test_deciles_hold_equally_many_rows_and_say_what_was_predicted_and_what_came(planted):
    predictions, labels = planted
    found = by_prediction("binary", predictions, labels, USERS)
    assert [entry["rows"] for entry in found] == [400] * 10
    order = np.argsort(predictions, kind="stable").reshape(10, 400)
    for entry, rows in zip(found, order, strict=True):
        assert entry["mean_prediction"] == pytest.approx(predictions[rows].mean(dtype=float))
        assert entry["mean_label"] == pytest.approx(labels[rows].mean(dtype=float))
        assert entry["bias"] == pytest.approx(entry["mean_prediction"] - entry["mean_label"])
        assert (entry["low"], entry["high"]) == (predictions[rows].min(), predictions[rows].max())
        low, high = entry["bias_interval"]
        assert low < entry["bias"] < high
    error = np.mean([abs(predictions[rows].mean(dtype=float) - labels[rows].mean()) for rows in order])
    assert calibration_error(found) == pytest.approx(error)


def test_a_planted_bias_is_seen_where_it_is(planted):
    found = by_prediction("binary", *planted, USERS)
    sure = [entry["bias_interval"][0] > 0 for entry in found]
    assert sum(sure[:5]) <= 1
    assert all(sure[5:])


@given(st.lists(st.sampled_from([0.1, 0.2, 0.2001, 0.7]), min_size=1, max_size=40))
def test_rows_of_one_prediction_share_a_bin_and_every_row_is_in_one(values):
    predictions = np.array(values)
    found = by_prediction("regression", predictions, predictions, np.arange(len(values)))
    assert sum(entry["rows"] for entry in found) == len(values)
    for lower, upper in itertools.pairwise(found):
        assert lower["high"] < upper["low"]
    assert calibration_error(found) == pytest.approx(0)


def test_lengths_fall_into_declared_buckets_and_unknown_ones_come_last():
    seconds = np.array([np.nan, 6.9, 7.0, 29.9, 120.0, 9999.0])
    predictions, labels = np.array([0.5, 0.2, 0.4, 0.4, 0.6, 0.8]), np.zeros(6)
    found = by_length("regression", predictions, labels, seconds, np.arange(6))
    edges = [(entry["from_s"], entry["to_s"], entry["rows"]) for entry in found]
    assert edges == [(0.0, 7.0, 1), (7.0, 15.0, 1), (15.0, 30.0, 1), (120.0, None, 2), (None, None, 1)]
    assert found[3]["mse"] == pytest.approx((0.36 + 0.64) / 2)
    assert found[3]["bias"] == pytest.approx(0.7)


def test_without_any_length_there_are_no_buckets():
    assert by_length("binary", np.ones(3), np.ones(3), np.full(3, np.nan), np.arange(3)) == []


def test_a_regressions_error_is_told_by_bin_with_its_interval(planted):
    predictions, labels = planted
    seconds = np.where(np.arange(4000) % 2, 10.0, 90.0)
    found = by_length("regression", predictions, labels, seconds, USERS)
    for entry, kept in zip(found, (seconds == 10, seconds == 90), strict=True):
        errors = (predictions[kept].astype(float) - labels[kept]) ** 2
        assert entry["mse"] == pytest.approx(errors.mean())
        assert entry["mse_interval"][0] < entry["mse"] < entry["mse_interval"][1]


@pytest.mark.parametrize("rarer", [1.0, 0.0])
def test_a_bin_with_nine_users_of_either_class_has_no_interval_and_one_with_ten_has(rarer):
    users = np.arange(400) % 40
    for behind in (9, 10):
        labels = np.where(users < behind, rarer, 1 - rarer)
        (found,) = by_prediction("binary", np.full(400, 0.3), labels, users)
        assert np.isnan(found["bias_interval"]).all() == (behind < 10)
        (found,) = by_length("binary", np.full(400, 0.3), labels, np.full(400, 9.0), users)
        assert np.isnan(found["bias_interval"]).all() == (behind < 10)


def test_a_bin_without_positives_is_no_certainty():
    """Every draw of it has the same bias: an interval of no width would call chance a fact."""
    labels = np.zeros(1000)
    labels[900:] = 1
    found = by_prediction("binary", np.linspace(0, 1, 1000), labels, np.arange(1000))
    assert found[0]["bias"] > 0
    assert np.isnan(found[0]["bias_interval"]).all()
    few = by_prediction("binary", np.full(40, 0.5), np.tile([0.0, 1.0], 20), np.arange(40) // 10)
    assert np.isnan(few[0]["bias_interval"]).all()


@pytest.mark.parametrize("order", [slice(None), slice(None, None, -1)])
def test_calibration_of_a_prediction_that_is_not_a_number_is_not_a_number(planted, order):
    predictions, labels = planted
    broken = np.where(np.arange(4000) == 17, np.nan, predictions)[order]
    assert np.isnan(calibration_error(by_prediction("binary", broken, labels[order], USERS[order])))
    seconds = np.where(np.arange(4000) % 2, 10.0, 90.0)[order]
    short, long = by_length("regression", broken, labels[order], seconds, USERS[order])
    assert np.isnan([short["bias"], short["mse"], *short["bias_interval"], *short["mse_interval"]]).all()
    assert np.isfinite([long["bias"], long["mse"], *long["bias_interval"], *long["mse_interval"]]).all()


def test_an_errors_interval_ends_at_0_and_a_bias_lies_on_either_side():
    users = np.repeat(np.arange(10), 20)
    (found,) = by_prediction("regression", np.full(200, 0.5), np.where(users == 0, 1.0, 0.5), users)
    assert found["mse_interval"][0] == 0.0
    assert found["bias_interval"][0] < -0.1 < found["bias"] < 0.0 < found["bias_interval"][1]


def test_nothing_to_judge_has_no_bins_and_no_error():
    empty = np.zeros(0)
    assert by_prediction("binary", empty, empty, np.zeros(0, np.int64)) == []
    assert np.isnan(calibration_error([]))
