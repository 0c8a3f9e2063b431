import pytest
from pydantic import ValidationError

from model.errors import FulcrumError, checked
from training.datasets.served import world_of
from training.recipe import load_recipe
from training.simulation import AdditiveReward, ComplementaryReward, WorldConfig


def test_a_world_too_small_to_fill_a_request_is_refused_with_the_numbers() -> None:
    with pytest.raises(
        ValidationError, match="pool is 12 and items is 2000; with 10 slots both must be at least 20"
    ):
        WorldConfig(pool=12)


def test_an_unknown_dial_is_refused_by_name() -> None:
    with pytest.raises(ValidationError, match="viewers"):
        WorldConfig.model_validate({"viewers": 10})


def test_a_config_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        WorldConfig().seed = 8  # type: ignore[misc]


def test_a_world_is_additive_where_it_says_nothing_and_is_then_written_down_as_ever() -> None:
    config = WorldConfig.model_validate({"reward": {"share": 9.0}})
    assert config.reward == AdditiveReward(share=9.0)
    assert WorldConfig.model_validate({"reward": {"kind": "additive", "share": 9.0}}) == config
    written = config.model_dump_json()
    assert written.endswith('"reward":{"watch_s":0.02,"completion":0.5,"share":9.0,"comment":12.0}}')
    assert WorldConfig.model_validate_json(written) == config


def test_a_recipe_makes_its_world_complementary_by_one_option() -> None:
    recipe = load_recipe("demo", ["data.options.reward.kind=complementary"])
    config = checked(WorldConfig, recipe.data_schema.data.options)
    assert config.reward == ComplementaryReward()
    assert WorldConfig.model_validate_json(config.model_dump_json()) == config


def test_what_was_served_in_a_complementary_world_is_read_as_such() -> None:
    recipe = load_recipe("served", ["data.options.reward.kind=complementary"])
    assert world_of(recipe.data_schema, "served").reward == ComplementaryReward()


def test_an_unknown_kind_of_reward_and_a_dial_of_the_other_kind_are_refused_by_name() -> None:
    with pytest.raises(FulcrumError, match="unknown kind 'product'; the kinds are additive, complementary"):
        checked(WorldConfig, {"reward": {"kind": "product"}})
    with pytest.raises(FulcrumError, match="watch_s"):
        checked(WorldConfig, {"reward": {"kind": "complementary", "watch_s": 1.0}})
