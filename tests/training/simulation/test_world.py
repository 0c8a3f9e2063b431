import numpy as np
import pytest

from training.simulation import World, WorldConfig


@pytest.fixture(scope="module")
def world() -> World:
    return World.create(WorldConfig(users=30, items=40))


def test_one_value_stands_for_all_rows(world: World) -> None:
    truth = world.truth("u12", ["v1", "v2", "v3"], hour=[8, 12, 21])
    assert truth.vtr.shape == (3,)
    assert truth.vtr[1] == world.truth("u12", "v2", hour=12).vtr[0]


def test_no_rows_give_no_truth(world: World) -> None:
    assert world.truth("u1", []).reward.shape == (0,)


def test_an_unknown_id_is_named_with_what_exists(world: World) -> None:
    with pytest.raises(ValueError, match="no user 'u30'; there are u0 to u29"):
        world.truth("u30", "v1")
    with pytest.raises(ValueError, match="no video '12'; there are v0 to v39"):
        world.truth("u1", "12")
    with pytest.raises(ValueError, match="no tab 'home'; there are feed to friends"):
        world.truth("u1", "v1", tab="home")


def test_arguments_of_different_lengths_are_refused_by_name(world: World) -> None:
    with pytest.raises(ValueError, match="user_ids has 2 values where others have 3"):
        world.truth(["u1", "u2"], ["v1", "v2", "v3"])


@pytest.mark.parametrize("context", [{"hour": 24}, {"hour": -1}, {"position": -1}])
def test_a_context_out_of_range_is_refused(world: World, context: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"hour must be 0 to 23|position counts from 0"):
        world.truth("u1", "v1", **context)


def test_more_viewers_leave_the_videos_as_they_were() -> None:
    few, many = World.create(WorldConfig(users=10)), World.create(WorldConfig(users=20))
    assert np.array_equal(few.videos.quality, many.videos.quality)
