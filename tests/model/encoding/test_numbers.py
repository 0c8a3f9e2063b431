"""Numbers: what counts as one, and where the range of those that are told apart ends."""

from __future__ import annotations

import math

import numpy as np
import pytest

from model.encoding import Column, NumericEncoder
from model.encoding.numbers import as_numbers
from model.schema import NumericFeature


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (1e-100, 1e-100),
        (-1e-100, -1e-100),
        (0.9e-100, 0.0),
        (-0.9e-100, 0.0),
        (1e100, 1e100),
        (2e100, 1e100),
        (-2e100, -1e100),
        (math.inf, math.nan),
        (math.nan, math.nan),
    ],
)
def test_a_number_keeps_to_the_range_whose_squares_are_finite(value, number):
    for values in ([value], np.array([value])):
        np.testing.assert_array_equal(as_numbers(values), [number])


def test_each_value_is_judged_by_itself():
    found = as_numbers(["1.5", None, True, np.True_, [2], "two", 10**400, 3])
    np.testing.assert_array_equal(found, [1.5, np.nan, 1, 1, np.nan, np.nan, np.nan, 3])


def test_a_feature_without_any_number_takes_numbers_as_they_are():
    spec = NumericFeature(name="n", side="item", kind="numeric")
    encoder = NumericEncoder.fit(spec, Column([None, "none"]))
    assert encoder.encode(Column([3.0, None])).tolist() == [[3.0, 0.0], [0.0, 1.0]]


def test_what_training_saw_is_kept_by_name():
    encoder = NumericEncoder.fit(
        NumericFeature(name="n", side="item", kind="numeric"), Column([1.0, 3.0, None])
    )
    assert encoder.state() == {"mean": 2.0, "std": 1.0, "flag": True, "quantiles": None}
