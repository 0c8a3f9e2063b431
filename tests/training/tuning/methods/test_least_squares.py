import numpy as np
import pytest

from model.fusion import FusionConfig
from tests.support.tuning_problems import additive_problem, gain_share, made_problem
from training.tuning.methods import METHODS
from training.tuning.methods.least_squares import least_squares
from training.tuning.prices import prices_of


@pytest.fixture(scope="module")
def additive():
    return additive_problem()


def test_prices_are_what_behaviours_are_worth(additive):
    prices = prices_of(additive)

    assert prices.price["shr"] + 20 * prices.per_s["shr"] == pytest.approx(40.0, rel=0.25)
    assert prices.per_s["vtr"] == pytest.approx(0.03, rel=0.15)
    assert prices.price["vtr"] == pytest.approx(0.0, abs=0.3)


def test_the_sum_gains_nearly_all_that_an_additive_reward_has_to_give(additive):
    found = least_squares(additive)

    assert found.formula == "weighted_sum"
    assert gain_share(additive, found.value) > 0.95


def test_rewards_of_places_that_few_look_at_count_as_much():
    """Without looks, what stands low would look worthless: here the best videos stand there."""
    problem = made_problem(lambda p, seconds: 2.0 * p["vtr"])
    outcomes = problem.outcomes
    by_vtr = np.argsort(problem.predictions["vtr"][outcomes.at].reshape(-1, 5), axis=1)  # worst first
    random = np.random.default_rng(1)
    at = np.take_along_axis(outcomes.at.reshape(-1, 5), by_vtr, axis=1).ravel()
    looked = random.uniform(size=len(at)) < problem.looks[outcomes.position]
    acts = random.uniform(size=len(at)) < problem.predictions["vtr"][at]
    object.__setattr__(outcomes, "at", at)
    object.__setattr__(outcomes, "reward", 2.0 * looked * acts)

    assert prices_of(problem).price["vtr"] == pytest.approx(2.0, rel=0.15)


def test_what_is_found_goes_into_a_config_and_explores_as_before(additive):
    explore = {"share": 0.05, "noise": 0.2}
    config = FusionConfig.model_validate(
        {
            "schema_version": 1,
            "scenes": {"default": additive.incumbent.model_dump() | {"explore": explore}},
        }
    )

    found = METHODS["least_squares"](additive, lambda event: None)
    scene = found.into(config, "default").scene("default")[0]

    assert scene.formula == "weighted_sum"
    assert scene.explore == config.scene("default")[0].explore
    assert scene.tasks == found.scene.tasks
