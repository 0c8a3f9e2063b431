from dataclasses import replace

import numpy as np
import pytest

from model.fusion import Explore, parse_fusion
from tests.support.world_logs import WorldRequests, by_truth
from training.simulation import World, WorldConfig
from training.tuning.exposure import Exposure

CONFIG = parse_fusion(
    """
schema_version: 1
scenes:
  default:
    tasks: {vtr: {weight: 0.2}, vcr: {weight: 0.5}, shr: {weight: 1.0, smoothing: 0.05}}
    video_len: {kind: log, scale_s: 30.0, weight: 0.3}
"""
)
LOOKS = 0.9 ** np.arange(10)


def exploring(config, share=1.0, noise=0.3):
    scene = config.scenes["default"].model_copy(update={"explore": Explore(share=share, noise=noise)})
    return config.model_copy(update={"scenes": {"default": scene}})


@pytest.fixture(scope="module")
def visits():
    return WorldRequests.of(World.create(WorldConfig(users=100, items=200)), 300, by_truth(0.5))


@pytest.mark.parametrize("share", [1.0, 0.4])
def test_exposure_under_the_law_is_the_mean_of_what_it_shows(visits, share):
    config, rng = exploring(CONFIG, share), np.random.default_rng(0)
    shown = np.mean(
        [Exposure(visits.log(config, rng).outcomes, LOOKS).shown for _ in range(200)], axis=0
    )  # [N]
    logged = Exposure(visits.log(config, rng).outcomes, LOOKS).logged(draws=200)
    assert logged.sum() == pytest.approx(300 * LOOKS.sum())
    assert np.abs(logged - shown).mean() < 0.01
    assert np.corrcoef(logged, shown)[0, 1] > 0.99


def test_few_draws_weigh_without_a_bias(visits):
    """Though 1 / e of few draws is too large in the mean: what was shown is one of them."""
    config, rng = exploring(CONFIG), np.random.default_rng(0)
    weights = []
    for seed in range(40):
        exposure = Exposure(visits.log(config, rng).outcomes, LOOKS)
        wanted, logged = exposure.of_config(CONFIG), exposure.logged(draws=6, seed=seed)
        spoken_for = wanted[logged > 0].sum()
        weights.append((exposure.shown / np.maximum(logged, 1e-12) * wanted).sum() / spoken_for)
    assert np.mean(weights) == pytest.approx(1.0, abs=4 * np.std(weights) / np.sqrt(40))
    assert np.std(weights) < 0.05


def test_without_exploring_the_log_says_what_it_showed(visits):
    exposure = Exposure(visits.log(CONFIG, np.random.default_rng(0)).outcomes, LOOKS)
    np.testing.assert_array_equal(exposure.logged(), exposure.shown)
    np.testing.assert_array_equal(exposure.of_config(CONFIG), exposure.shown)


def test_answers_are_as_long_as_those_logged(visits):
    outcomes = visits.log(exploring(CONFIG), np.random.default_rng(0)).outcomes
    few = outcomes.position < 3
    requests = replace(
        outcomes.requests, shown=outcomes.requests.shown[few], shown_start=np.arange(len(outcomes) + 1) * 3
    )
    short = replace(outcomes, requests=requests, at=outcomes.at[few], position=outcomes.position[few])
    exposure = Exposure(short, LOOKS)
    for found in (exposure.of_config(CONFIG), exposure.logged(draws=4)):
        assert found.sum() == pytest.approx(300 * LOOKS[:3].sum())
