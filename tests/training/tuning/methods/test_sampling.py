import sys

import numpy as np
import pytest

from model.errors import FulcrumError
from tests.support.tuning_problems import additive_problem, gain_share, made_problem
from training.progress import Advanced
from training.tuning.methods import METHODS
from training.tuning.methods.sampling import cma_es, nsga2
from training.tuning.objective import scored

TRIALS = 120


@pytest.fixture(scope="module")
def additive():
    return additive_problem(3000, trials=TRIALS)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "share"), [("cma_es", 0.9), ("grid", 0.9), ("tpe", 0.8), ("random", 0.7)])
def test_a_search_finds_a_product_that_is_smoothed_like_a_sum(additive, name, share):
    seen = []

    found = METHODS[name](additive, seen.append)

    assert found.formula == "log_power"
    assert gain_share(additive, found.value) > share
    assert [event.done for event in seen if isinstance(event, Advanced)] == list(range(1, len(seen) + 1))
    assert len(seen) <= TRIALS


def test_cma_es_loses_nothing_of_what_least_squares_found(additive):
    problem = additive_problem(3000, trials=TRIALS, formula="weighted_sum")

    assert cma_es(problem).value >= METHODS["least_squares"](problem, lambda event: None).value * 0.999


def test_the_same_seed_finds_the_same():
    problem = additive_problem(500, trials=80)

    assert cma_es(problem).scene == cma_es(problem).scene


@pytest.mark.slow
def test_a_rate_that_is_to_be_kept_is_kept_at_a_price():
    """Only shares are worth something here, and what is watched would be given up for them."""
    free = made_problem(lambda p, seconds: 40.0 * p["shr"], 3000, trials=TRIALS)
    bound = made_problem(lambda p, seconds: 40.0 * p["shr"], 3000, trials=TRIALS, keep={"vtr": -0.01})

    found, kept = cma_es(free), cma_es(bound)

    order = scored(found.scene, free.outcomes.requests)
    assert set(bound.missed(order)) == {"vtr"}
    assert not bound.missed(scored(kept.scene, bound.outcomes.requests))
    assert bound.current_value < kept.value < found.value
    assert kept.doubts == ()
    assert any(doubt.startswith("vtr changes by -") for doubt in bound.found("any", found.scene).doubts)


@pytest.mark.slow
def test_the_front_gives_up_reward_for_the_behaviour_beside_it():
    problem = additive_problem(1500, trials=TRIALS, beside="vtr", formula="weighted_sum")

    front = nsga2(problem).front

    assert len(front) > 2
    values, rates = [one.value for one in front], [one.rate for one in front]
    assert values == sorted(values, reverse=True)
    assert rates == sorted(rates)
    assert rates[-1] > problem.rates["vtr"]
    order = scored(front[0].scene, problem.outcomes.requests)
    assert front[0].value == pytest.approx(problem.objective.per_request(order).mean())


def test_a_front_needs_a_behaviour_beside_the_reward():
    with pytest.raises(FulcrumError, match="method nsga2: no behaviour beside the reward"):
        nsga2(additive_problem(100, trials=10))


def test_a_package_that_is_missing_is_named_with_the_way_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "cmaes", None)

    with pytest.raises(FulcrumError, match=r"cmaes is not installed; pip install 'fulcrum\[tuning\]'"):
        cma_es(additive_problem(100))


def test_trials_are_judged_on_a_sample_of_the_requests():
    problem = additive_problem(500)

    sample = problem.sampled(100)

    assert len(sample.outcomes) == 100
    at = np.isin(problem.outcomes.requests.ids, sample.outcomes.requests.ids)
    whole = problem.objective.per_request(problem.current)
    np.testing.assert_allclose(sample.objective.per_request(sample.current), whole[at])
