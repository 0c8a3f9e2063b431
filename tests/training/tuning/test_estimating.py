from dataclasses import replace

import numpy as np
import pytest

from model.fusion import PricedTask, WeightedSum
from tests.support.world_logs import WorldRequests, by_truth
from tests.training.tuning.test_exposure import CONFIG, exploring
from training.metrics.resampling import Resamples
from training.simulation import World, WorldConfig
from training.tuning.estimating import difference, figure, requests_to_see
from training.tuning.exposure import Exposure
from training.tuning.reward_model import cross_fitted

LOOKS = 0.985 ** np.arange(10)


@pytest.fixture(scope="module")
def visits():
    return WorldRequests.of(World.create(WorldConfig(users=800, items=400)), 3_000, by_truth(0.5))


@pytest.fixture(scope="module")
def outcomes(visits):
    return visits.log(exploring(CONFIG), np.random.default_rng(0)).outcomes


@pytest.fixture(scope="module")
def worth(outcomes):
    return cross_fitted(outcomes, LOOKS)


@pytest.fixture(scope="module")
def compared(outcomes, worth):
    """A difference on that log."""
    logged = Exposure(outcomes, LOOKS).logged(draws=48)
    return lambda after, against, worth=worth: difference(
        outcomes, worth, LOOKS, after, against, logged=logged
    )


def with_weights(**weights):
    scene = CONFIG.scenes["default"].with_parameters(weights)
    return CONFIG.model_copy(update={"scenes": {"default": scene}})


def with_scene(**changes):
    scene = CONFIG.scenes["default"].model_copy(update=changes)
    return CONFIG.model_copy(update={"scenes": {"default": scene}})


def some(outcomes, count):
    return outcomes.kept(np.arange(len(outcomes)) < count)


OTHER = with_weights(shr=0.4)
"""Two standard deviations of exploring away."""
REVERSED = with_weights(vcr=-0.5, shr=-1.0, vtr=-0.2)


def test_a_difference_is_near_the_truth_and_its_interval_holds_it(visits, compared):
    truth = visits.true_value(OTHER) / visits.true_value(CONFIG) - 1.0
    found = compared(OTHER, CONFIG)
    assert not found.refused
    low, high = found.interval
    assert low < truth < high
    assert high - low < 0.06
    back = compared(CONFIG, OTHER)
    assert (1.0 + found.difference) * (1.0 + back.difference) == pytest.approx(1.0)


def test_weights_make_good_what_a_reward_model_gets_wrong(visits, compared):
    """Which prefers what is really worth least."""
    other = with_weights(vcr=1.5)
    truth = visits.true_value(other) / visits.true_value(CONFIG) - 1.0
    wrong = 2.0 - visits.worth
    found = compared(other, CONFIG, wrong).methods
    low, high = found["doubly_robust"].interval
    assert low < truth < high
    assert abs(found["direct"].difference - truth) > 3.0 * abs(found["doubly_robust"].difference - truth)


def test_what_the_reward_model_says_alone_widens_the_interval(compared):
    """By an error of a tenth of it, one standard deviation."""
    far, near = (compared(config, CONFIG) for config in (REVERSED, OTHER))
    for found, least in ((far, 0.5), (near, 0.0)):
        alone, (low, high) = found.diagnostics["after"]["by_model"], found.methods["doubly_robust"].interval
        assert least <= alone < 1.0
        assert found.diagnostics["after"]["never_logged"] <= alone
        value = found.methods["doubly_robust"].difference
        assert min(high - value, value - low) > 1.9 * 0.1 * 0.5 * alone
    assert near.diagnostics["after"]["by_model"] < 0.05


def test_a_difference_that_changes_with_the_days_is_told(outcomes, worth):
    """On the last of them, shares alone are worth anything."""
    days = np.arange(len(outcomes)) * 3 // len(outcomes)
    bound = replace(outcomes, requests=replace(outcomes.requests, time_ms=days * 86_400_000))
    logged = Exposure(outcomes, LOOKS).logged(draws=12)
    late = (days == 2)[outcomes.of_request]
    shares = LOOKS[outcomes.position] * outcomes.requests.predictions["shr"][outcomes.at] * 50.0
    moved = replace(bound, reward=np.where(late, shares, outcomes.reward))
    for log, changes in ((bound, False), (moved, True)):
        drift = difference(log, worth, LOOKS, OTHER, CONFIG, logged=logged).diagnostics["drift"]
        low, high = drift["interval"]
        assert (low > 0.0 or high < 0.0) == changes


def test_the_same_orders_differ_by_nothing(visits, worth):
    log = visits.log(CONFIG, np.random.default_rng(0)).outcomes  # that nothing was explored for
    found = difference(log, worth, LOOKS, with_weights(vtr=0.4, vcr=1.0, shr=2.0, video_len=0.6), CONFIG)
    assert (found.difference, found.interval, found.refused) == (0.0, (0.0, 0.0), False)


def test_a_law_three_deviations_away_is_never_weighed_by_its_density(compared):
    far = with_weights(vcr=0.5 * (1 + 3 * 0.3))
    found = compared(far, CONFIG)
    assert found.methods["weight_space"].difference is None
    assert found.diagnostics["shift"] == pytest.approx(3.0)
    near = compared(with_weights(vcr=0.5 * (1 + 0.5 * 0.3)), CONFIG)
    assert near.methods["weight_space"].interval is not None


SUM = WeightedSum(formula="weighted_sum", tasks={"vtr": PricedTask(price=0.2), "shr": PricedTask(price=15.0)})


@pytest.mark.parametrize(
    ("after", "reason"),
    [
        (CONFIG.model_copy(update={"scenes": {"default": SUM}}), "weighted_sum never ranked here"),
        (
            with_scene(video_len=CONFIG.scenes["default"].video_len.model_copy(update={"scale_s": 9.0})),
            "scale_s",
        ),
        (REVERSED, "goes to items that the log never showed in such requests"),
    ],
)
def test_what_the_log_cannot_say_is_refused_with_the_reason(compared, after, reason):
    found = compared(after, CONFIG)
    assert found.refused
    assert reason in found.reason
    assert (found.difference, found.interval) == (None, None)
    assert found.methods["doubly_robust"].interval is not None  # a forecast that rests on the model


def test_a_log_that_explored_nothing_speaks_for_no_other_order(visits, worth):
    log = visits.log(CONFIG, np.random.default_rng(0)).outcomes
    found = difference(log, worth, LOOKS, OTHER, CONFIG)
    assert found.refused
    assert "it explored nothing; serve with `explore`" in found.reason


def test_few_requests_and_few_users_are_refused(outcomes, worth):
    few = some(outcomes, 100)
    found = difference(few, worth[: len(few.requests.item)], LOOKS, OTHER, CONFIG)
    assert found.refused
    assert "100 requests, where 1,000 are needed" in found.reason
    one = replace(outcomes, requests=replace(outcomes.requests, user=np.zeros(len(outcomes), np.int64)))
    found = difference(one, worth, LOOKS, OTHER, CONFIG, draws=2)
    assert found.refused
    assert "requests of 1 users" in found.reason
    assert found.methods["doubly_robust"].interval is None


def test_configs_that_are_not_those_that_ranked_are_found_by_the_mean_weight(outcomes, worth):
    """What was drawn around other weights than the log's config has is not drawn as its law says."""
    name = next(iter(outcomes.configs))
    wrong = replace(outcomes, configs={name: exploring(with_weights(shr=0.3), share=0.5)})
    found = difference(wrong, worth, LOOKS, OTHER, CONFIG, draws=24)
    assert found.refused
    assert "see whether the log's configs are those that ranked" in found.reason


def test_an_experiment_needs_as_many_requests_as_the_formula_says():
    """Sizes of arms in Kohavi, Tang and Xu 2020, "Trustworthy Online Controlled Experiments", 15.1."""
    assert requests_to_see(0.01, 0.77) == pytest.approx(16 * 0.77**2 / 0.01**2, rel=0.03)


def test_where_few_users_decide_intervals_hold_the_mean_more_often():
    """Of 200 users' log-normal rewards: in 91 of 100 cases, where a bootstrap's percentiles do in 87."""
    rng, held, plain = np.random.default_rng(5), 0, 0
    truth = np.exp(1.6**2 / 2.0)
    for seed in range(60):
        resamples = Resamples(np.arange(200), replicates=200, seed=seed)
        reward = np.exp(1.6 * rng.standard_normal(200))
        low, high = figure(resamples, lambda a, b: a / b, reward, np.ones(200)).interval
        held += low < truth < high
        draws = resamples.sums(reward)[0][:, 0] / 200
        plain += np.quantile(draws, 0.025) < truth < np.quantile(draws, 0.975)
    assert held > plain + 2
