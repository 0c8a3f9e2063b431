import math

import numpy as np
import pytest

from model.errors import FulcrumError
from training.experiments import DesignEffect, plan
from training.experiments.sequences import factor


def test_a_plan_finds_its_difference_as_often_as_it_says():
    found = plan(0.01, 0.77, 100_000)
    assert found.days == pytest.approx(4.46, abs=0.01)
    looks = 9
    days = np.linspace(found.days / looks, found.days, looks)
    errors = 0.77 * np.sqrt(4 / (100_000 * days))
    rng = np.random.default_rng(1)
    step = rng.standard_normal((4_000, looks)) * np.sqrt(np.diff(1 / errors**2, prepend=0))
    estimate = math.log1p(0.01) + step.cumsum(axis=1) * errors**2
    factors = np.array([factor(float(error), found.error, 0.05) for error in errors])
    assert 0.89 < (estimate > errors * factors).any(axis=1).mean() < 0.96


def test_smaller_differences_clusters_and_unlike_shares_take_longer():
    days = plan(0.01, 0.77, 1e5).days
    assert plan(0.005, 0.77, 1e5).days == pytest.approx(4 * days, rel=0.02)
    assert plan(0.01, 0.77, 1e5, design=DesignEffect(2.5)).days == pytest.approx(2.5 * days)
    assert plan(0.01, 0.77, 1e5, shares=(0.9, 0.1)).days == pytest.approx(days / 4 / 0.09)
    assert plan(-0.01, 0.77, 1e5).days == pytest.approx(days, rel=0.05)


def test_units_that_come_again_bring_less_each_day_and_may_never_suffice():
    days = plan(0.01, 0.77, 1e5).days
    again = plan(0.01, 0.77, 1e5, design=DesignEffect(2.0, 10)).days
    assert again == pytest.approx(days / (1 - days / 10))  # which is days * (1 + again / 10)
    assert plan(0.005, 0.77, 1e5, design=DesignEffect(2.0, 10)).days == math.inf


@pytest.mark.parametrize(("difference", "requests"), [(0.0, 1e5), (-1.0, 1e5), (0.01, 0.0)])
def test_what_cannot_be_planned_is_refused(difference, requests):
    with pytest.raises(FulcrumError, match="cannot plan for a difference of"):
        plan(difference, 0.77, requests)
