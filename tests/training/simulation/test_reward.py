import numpy as np
import pytest

from training.simulation import ComplementaryReward, Impressions, ResponseConfig, World, WorldConfig
from training.simulation.log import simulate_log
from training.viewers import Audience

SMALL = {"users": 50, "items": 40, "rows": 2_000}


def complementary(**dials: float) -> World:
    """A world in which shares, comments and bounces are frequent enough to measure."""
    response = ResponseConfig(share_base=-1.5, comment_base=-1.0, bounce=0.3)
    return World.create(WorldConfig(**SMALL, response=response, reward=ComplementaryReward(**dials)))


@pytest.mark.parametrize(("user", "video", "position"), [(0, 0, None), (1, 7, 0), (2, 9, 4), (4, 33, 30)])
def test_the_complementary_truth_is_the_mean_of_many_draws(
    user: int, video: int, position: int | None
) -> None:
    world = complementary(scale=2.0, share=3.0, comment=2.0)
    of = [np.full(40_000, value) for value in (user, video, 20, 1)]
    rows = Impressions(*of, None if position is None else np.full(40_000, position))
    drawn = world.reward(rows, world.respond(rows, np.random.default_rng(5)))
    error = drawn.std() / np.sqrt(len(drawn))
    expected = world.expect(rows).reward[0]
    assert drawn.mean() == pytest.approx(expected, abs=4.0 * error)
    assert 4.0 * error < 0.1 * expected


def test_the_complementary_reward_is_a_product_and_nothing_without_watching() -> None:
    reward = ComplementaryReward(scale=2.0, share=3.0, comment=4.0)
    entered = np.array([False, True, True, True, True, True])
    completion = np.array([0.0, 0.0, 0.5, 0.5, 0.5, 0.5])
    share, comment = np.array([0, 1, 0, 1, 0, 1]) > 0, np.array([0, 1, 0, 0, 1, 1]) > 0
    found = reward.realised(entered, 1_000.0 * completion, completion, share, comment)
    assert found.tolist() == [0.0, 0.0, 1.0, 4.0, 5.0, 20.0]


def test_what_is_shown_to_callers_is_expected_to_bring_what_it_brings() -> None:
    audience = Audience(
        World.create(WorldConfig(users=200, items=80, pool=20, reward=ComplementaryReward())), 1
    )
    watched = [audience.watch(visit, visit.candidates[:10]) for visit in audience.visits(4_000)]
    difference = np.array([one.realised - one.expected for one in watched])
    assert abs(difference.mean()) < 4 * difference.std() / np.sqrt(len(difference))
    assert np.mean([one.expected for one in watched]) > 0.1


def test_the_reward_changes_no_log() -> None:
    additive, product = (
        World.create(WorldConfig(**SMALL, **reward)) for reward in ({}, {"reward": ComplementaryReward()})
    )
    assert simulate_log(additive).equals(simulate_log(product))
    assert not np.allclose(additive.truth("u1", "v1").reward, product.truth("u1", "v1").reward)
