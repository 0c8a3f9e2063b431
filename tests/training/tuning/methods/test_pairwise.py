from dataclasses import replace

import numpy as np
import pytest

from model.fusion import LogPower, TaskTerm
from tests.support.tuning_problems import additive_problem, gain_share, made_problem
from training.tuning.methods.pairwise import pairwise

PLAIN = LogPower(tasks={"vtr": TaskTerm(weight=1.0), "shr": TaskTerm(weight=1.0)})


def certain(truth, count=4000, **more):
    """The mean reward itself, times the place's looks: what is found is what pairs say without chance."""
    problem = made_problem(truth, count, incumbent=PLAIN, smoothing=False, **more)
    outcomes = problem.outcomes
    reward = problem.objective.worth[outcomes.at] * problem.looks[outcomes.position]
    return replace(problem, outcomes=replace(outcomes, reward=reward))


def bernoulli(problem, seed=3):
    """Rewards of 1 with these means, which must be below 1."""
    reward = np.random.default_rng(seed).uniform(size=len(problem.outcomes.at)) < problem.outcomes.reward
    return replace(problem, outcomes=replace(problem.outcomes, reward=reward.astype(np.float64)))


def test_weights_are_the_elasticities_of_a_product():
    problem = bernoulli(
        certain(lambda p, seconds: 0.9 * p["vtr"] ** 1.5 * np.minimum(40 * p["shr"], 1) ** 0.5)
    )

    weights = pairwise(problem).scene.weights

    assert weights["vtr"] / weights["shr"] == pytest.approx(3.0, rel=0.2)
    assert sum(weights.values()) == pytest.approx(2.0)  # as the incumbent's


def test_places_take_what_position_does_to_rewards():
    """The answers were ordered by vtr, which is worth nothing: without places, it would look good."""
    problem = bernoulli(certain(lambda p, seconds: np.minimum(30 * p["shr"], 1.0), 6000))
    outcomes = problem.outcomes
    order = np.argsort(-problem.predictions["vtr"][outcomes.at].reshape(-1, 5), axis=1)
    at = np.take_along_axis(outcomes.at.reshape(-1, 5), order, axis=1).ravel()
    looked = np.tile(np.array([1.0, 0.5, 0.25, 0.12, 0.06]), len(outcomes))
    reward = (np.random.default_rng(1).uniform(size=len(at)) < problem.objective.worth[at] * looked) * 1.0
    problem = replace(problem, outcomes=replace(outcomes, at=at, reward=reward))

    weights = pairwise(problem).scene.weights

    assert abs(weights["vtr"]) < 0.15 * weights["shr"]


def test_a_rare_reward_counts_by_what_it_brings():
    found = pairwise(additive_problem(6000))

    assert gain_share(additive_problem(6000), found.value) > 0.75


def test_answers_that_brought_nothing_leave_the_weights_at_nothing():
    problem = additive_problem(50)
    nothing = replace(problem, outcomes=replace(problem.outcomes, reward=problem.outcomes.reward * 0.0))

    assert set(pairwise(nothing).scene.weights.values()) == {0.0}
