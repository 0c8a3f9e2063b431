"""Each transform by its formula, and what holds for all of them."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from model.schema import NumericFeature
from model.schema.transforms import TRANSFORMS

every_transform = pytest.mark.parametrize("name", TRANSFORMS)
numbers = st.lists(st.floats(-1e100, 1e100), min_size=1, max_size=20).map(np.array)


def transformed(name, training, values):
    transform = TRANSFORMS[name]
    fitted = None if transform.fit is None else transform.fit(np.array(training, np.float64))
    return transform.apply(np.array(values, np.float64), fitted)


def test_none_and_log1p_are_their_formulas():
    values = [-7.0, -0.5, 0.0, 0.25, 1e6]
    assert transformed("none", [1.0], values).tolist() == values
    expected = [math.copysign(math.log1p(abs(x)), x) for x in values]
    assert transformed("log1p", [1.0], values) == pytest.approx(expected)


def test_the_quantile_transform_gives_a_repeated_value_the_middle_of_its_ranks():
    zero, middle = transformed("quantile", [0.0] * 600 + list(range(1, 401)), [0.0, 200.0])
    # Ranks .3 and .8, by the logistic approximation of the normal.
    assert zero == pytest.approx(math.log(0.3 / 0.7) / 1.702, abs=0.01)
    assert middle == pytest.approx(math.log(0.8 / 0.2) / 1.702, abs=0.01)


@every_transform
@settings(deadline=None, max_examples=50)
@given(training=numbers, values=numbers)
def test_order_is_kept_and_what_is_finite_stays_so(name, training, values):
    moved = transformed(name, training, np.sort(values))
    assert np.isfinite(moved).all()
    assert (np.diff(moved) >= 0).all()


@every_transform
def test_one_that_learned_nothing_applies_all_the_same(name):
    assert np.isfinite(TRANSFORMS[name].apply(np.array([-2.0, 0.0, 3.0]), None)).all()


@every_transform
def test_what_it_learned_is_plain_numbers_for_the_encoders_file(name):
    fit = TRANSFORMS[name].fit
    assert fit is None or {type(number) for number in fit(np.arange(9.0))} == {float}


def test_a_feature_takes_every_transform_and_refuses_another_by_the_names_there_are():
    for name in TRANSFORMS:
        assert NumericFeature(name="f", side="item", kind="numeric", transform=name).transform == name
    with pytest.raises(ValidationError) as refusal:
        NumericFeature(name="f", side="item", kind="numeric", transform="sqrt")
    assert all(f"'{name}'" in str(refusal.value) for name in TRANSFORMS)


@every_transform
def test_the_documentation_of_recipes_describes_it(name):
    text = (Path(__file__).parents[3] / "docs" / "recipes.md").read_text()
    (row,) = (line for line in text.splitlines() if line.startswith("| `transform` |"))
    assert f"`{name}`" in row
