import numpy as np
import polars as pl
import pytest

from model.errors import FulcrumError
from model.schema import Schema
from training.datasets.served import world_of
from training.preparation.expressions import floats
from training.preparation.needed import needed_columns
from training.preparation.worth import reward_of, worth_of
from training.recipe import load_recipe
from training.simulation import World
from training.simulation.log import simulate_log

SECONDS = np.array([10.0, 20.0])


@pytest.mark.parametrize("name", ["demo", "served"])
def test_the_packaged_reward_is_the_one_that_the_world_of_the_recipe_plants(name: str) -> None:
    small = [f"data.options.{dial}" for dial in ("users=60", "items=50", "rows=4000")]
    schema = load_recipe(name, small).data_schema
    world = World.create(world_of(schema, name))
    log = simulate_log(world)
    play_ms, length = (
        log[column].to_numpy().astype(np.float64) for column in ("play_time_ms", "duration_ms")
    )
    clicked, shared, commented = (
        log[column].to_numpy() > 0 for column in ("is_click", "is_share", "is_comment")
    )
    planted = world.config.reward.realised(
        (play_ms > 0) | clicked, play_ms, np.minimum(play_ms / length, 1.0), shared, commented
    )
    labels = {
        task.name: np.where(floats(log, task.where or "1", "") == 1.0, floats(log, task.label, ""), np.nan)
        for task in schema.tasks
    }
    labels["vcr"] = np.clip(labels["vcr"], 0.0, 1.0)
    found = worth_of(reward_of(schema), log, labels, length / 1000.0)
    assert planted.max() > 12.0
    np.testing.assert_allclose(found, planted, rtol=1e-12, atol=1e-12)


def test_a_reward_may_name_columns_and_tasks_and_a_task_means_its_label() -> None:
    frame = pl.DataFrame({"saved": [True, False], "vtr": [7, 7], "seconds": [3, None]})
    labels = {"vtr": np.array([1.0, 0.0])}
    assert worth_of("vtr + 2 * saved", frame, labels, SECONDS).tolist() == [3.0, 0.0]
    np.testing.assert_array_equal(worth_of("seconds / video_len_s", frame, labels, SECONDS), [0.3, np.nan])
    with pytest.raises(FulcrumError, match="there is no label 'liked'; there is video_len_s, saved, vtr"):
        worth_of("saved + liked", frame, labels, SECONDS)


def test_the_reward_given_comes_before_the_recipes_and_that_before_the_sum_of_labels(document) -> None:
    kept = {key: document[key] for key in ("name", "data", "features", "tasks")}
    plain, declared = Schema.model_validate(kept), Schema.model_validate(kept | {"reward": "2 * vtr"})
    assert reward_of(declared, "vcr") == "vcr"
    assert reward_of(declared) == "2 * vtr"
    assert reward_of(plain) == "vtr + coalesce(vcr, 0) + coalesce(shr, 0)"


def test_columns_that_the_reward_names_are_read_and_tasks_are_none(document) -> None:
    kept = {key: document[key] for key in ("name", "data", "features", "tasks")}
    plain = Schema.model_validate(kept)
    declared = Schema.model_validate(kept | {"reward": "vtr + saved * video_len_s"})
    named = needed_columns(declared) - needed_columns(plain)
    assert "saved" in named
    assert not named & {"vtr", "video_len_s"}
