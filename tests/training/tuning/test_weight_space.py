import numpy as np
import pytest

from model.fusion import WeightedSum
from tests.support.world_logs import WorldRequests, by_truth
from tests.training.tuning.test_exposure import CONFIG, exploring
from training.simulation import World, WorldConfig
from training.tuning.weight_space import density


@pytest.fixture(scope="module")
def outcomes():
    visits = WorldRequests.of(World.create(WorldConfig(users=100, items=200)), 2_000, by_truth(0.5))
    return visits.log(exploring(CONFIG, share=0.5), np.random.default_rng(0)).outcomes


def moved(by):
    """The config whose weight of vcr is that many standard deviations away."""
    scene = CONFIG.scenes["default"]
    weight = scene.tasks["vcr"].weight
    changed = scene.with_parameters({"vcr": weight * (1.0 + 0.3 * by)})
    return CONFIG.model_copy(update={"scenes": {"default": changed}})


@pytest.mark.parametrize("by", [0.0, 0.5, 1.0])
def test_weights_have_mean_1_and_n_exp_minus_c_squared_requests_speak(outcomes, by):
    found = density(outcomes, moved(by))
    explored = outcomes.requests.explored
    assert found.shift == pytest.approx(by)
    assert found.speaking == pytest.approx(explored.sum() * np.exp(-(by**2)))
    assert found.weight[explored].mean() == pytest.approx(1.0, abs=0.15)
    assert (found.weight[~explored] == 0).all()


def test_what_no_draw_varies_is_infinitely_far(outcomes):
    scene = CONFIG.scenes["default"]
    more = scene.tasks["vtr"].model_copy(update={"smoothing": 0.1})
    smoothed = scene.model_copy(update={"tasks": {**scene.tasks, "vtr": more}})
    for other in (
        smoothed,
        WeightedSum.model_validate({"tasks": {"vtr": {"price": 0.2}}, "formula": "weighted_sum"}),
    ):
        found = density(outcomes, CONFIG.model_copy(update={"scenes": {"default": other}}))
        assert found.speaking == 0.0
        assert not np.isfinite(found.shift)
