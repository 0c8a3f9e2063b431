import numpy as np

from training.simulation import World, WorldConfig, noisy_interest
from training.simulation.behaviour import interest


def test_a_request_shows_distinct_videos_even_from_a_tiny_catalogue() -> None:
    world = World.create(WorldConfig(users=5, items=20, pool=20, slots=10))
    shown = noisy_interest(world, np.zeros(3_000, dtype=np.int64), np.random.default_rng(0))
    assert shown.shape == (3_000, 10)
    assert all(len(set(row)) == 10 for row in shown.tolist())


def test_no_requests_show_nothing() -> None:
    world = World.create(WorldConfig(users=5, items=20))
    assert noisy_interest(world, np.empty(0, dtype=np.int64), np.random.default_rng(0)).shape == (0, 10)


def test_skill_shows_what_interests_the_viewer_and_none_shows_anything() -> None:
    def mean_interest(skill: float) -> tuple[float, float]:
        world = World.create(WorldConfig(policy_skill=skill))
        users = np.arange(4_000)
        shown = noisy_interest(world, users, np.random.default_rng(0))
        drawn = interest(world.viewers, world.videos, users[:, None], shown, world.config.response)
        return float(drawn.mean()), float(drawn[:, 0].mean() - drawn[:, -1].mean())

    (random_level, random_slope), (level, slope) = mean_interest(0.0), mean_interest(0.8)
    assert level > random_level + 0.3
    assert slope > 0.05
    assert abs(random_slope) < 0.05
