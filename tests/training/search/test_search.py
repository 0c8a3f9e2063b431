"""Searching a recipe: trials are kept, go on, and are refused where they do not fit."""

from __future__ import annotations

import re

import pytest
import yaml

from model.errors import FulcrumError
from training.progress import Event, Warned
from training.recipe import load_recipe
from training.search.search import Search, SearchSpace, TrialEnded, load_space, search, trials_of
from training.train import TrainingPlan, train_bundle

SPACE = {
    "objective": {"vtr.auc": 1.0, "vcr.mse": -3.0},
    "seeds": [3, 4],
    "fixed": {"training.epochs": 1},
    "parameters": {
        "training.learning_rate": {"low": 0.003, "high": 0.1, "log": True},
        "network.expert": {"choices": [[16], [8, 4]]},
        "training.batch": {"low": 32, "high": 128},
    },
}


def space(**changes) -> SearchSpace:
    return SearchSpace.model_validate(SPACE | changes)


def test_the_first_trial_is_the_recipe_itself_and_the_best_comes_first(trained, tmp_path):
    events: list[Event] = []
    found = search(Search(trained.recipe, space()), trained.data, tmp_path / "s", 4, events.append)
    assert sorted(trial.number for trial in found) == [0, 1, 2, 3]
    assert [trial.value for trial in found] == sorted((trial.value for trial in found), reverse=True)
    first = next(trial for trial in found if trial.number == 0)
    assert first.parameters == {
        "training.learning_rate": 0.03,
        "network.expert": [16],
        "training.batch": 64,
    }
    for trial in found:
        assert trial.value == pytest.approx(trial.metrics["vtr.auc"] - 3 * trial.metrics["vcr.mse"])
        assert 0.003 <= trial.parameters["training.learning_rate"] <= 0.1
    ended = [event for event in events if isinstance(event, TrialEnded)]
    assert [event.trial.number for event in ended] == [0, 1, 2, 3]
    assert ended[-1].best.number == found[0].number


@pytest.mark.parametrize(
    ("key", "values", "said"),
    [
        ("training.batch", {"low": 128, "high": 256}, "is 64 in the recipe, and the space has whole numbers"),
        ("training.learning_rate", {"low": 1, "high": 2}, "is 0.03 in the recipe"),
        ("training.gradient_clip", {"low": 0.5, "high": 5.0}, "has no value in the recipe"),
        (
            "network.expert",
            {"choices": [[8], [4]]},
            "is [16] in the recipe, and the space has one of [8], [4]",
        ),
        ("training.batch", {"choices": ["32", 16]}, 'is 64 in the recipe, and the space has one of "32", 16'),
        ("data.options.size", {"low": 1, "high": 2}, "data.options.size has no value in the recipe"),
    ],
)
def test_a_value_of_the_recipe_outside_the_space_is_told_with_its_name_and_the_space(
    trained, tmp_path, key, values, said
):
    events: list[Event] = []
    wanted = Search(trained.recipe, space(parameters=SPACE["parameters"] | {key: values}))
    search(wanted, trained.data, tmp_path / "s", 0, events.append)
    (warned,) = events
    assert isinstance(warned, Warned)
    assert warned.text.startswith(f"trial 0 is not the recipe itself: {key} ")
    assert said in warned.text


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("training.batch", {"choices": [32, "64"]}),
        ("training.learning_rate", {"low": 0.03, "high": 1}),
        ("training.loss_weights", {"choices": [{"kind": "uncertainty"}, {"kind": "fixed"}]}),
        ("network.experts", {"choices": [{"task": 2}, {"shared": 1, "task": 1}]}),
        ("training.gradient_clip", {"choices": [None, 1.0]}),
    ],
)
def test_a_value_of_the_recipe_lies_in_the_space_however_it_is_spelt(trained, tmp_path, key, values):
    events: list[Event] = []
    wanted = Search(trained.recipe, space(parameters={key: values}))
    search(wanted, trained.data, tmp_path / "s", 0, events.append)
    assert events == []


@pytest.mark.usefixtures("graphs_from_stock")
def test_a_trial_gives_what_training_gives(trained, tmp_path):
    one = search(Search(trained.recipe, space(seeds=[3])), trained.data, tmp_path / "s", 1)[0]
    recipe = load_recipe(trained.recipe, ["training.epochs=1"])
    alone = train_bundle(TrainingPlan(recipe, tmp_path / "bundle", trained.data, tmp_path / "run"))
    assert one.metrics["vtr.auc"] == pytest.approx(alone.manifest.metrics["vtr"]["auc"], abs=1e-12)
    assert one.metrics["vcr.mse"] == pytest.approx(alone.manifest.metrics["vcr"]["mse"], abs=1e-12)


def test_a_search_goes_on_where_it_stopped(trained, tmp_path):
    wanted = space(seeds=[3])
    before = search(Search(trained.recipe, wanted), trained.data, tmp_path / "s", 2)
    after = search(Search(trained.recipe, wanted), trained.data, tmp_path / "s", 3)
    assert len(after) == 3
    assert {trial.number: trial for trial in before}.items() <= {t.number: t for t in after}.items()
    assert search(Search(trained.recipe, wanted), trained.data, tmp_path / "s", 3) == after
    assert trials_of(tmp_path / "s") == after


def test_one_folder_is_for_one_search(trained, tmp_path):
    search(Search(trained.recipe, space(seeds=[3])), trained.data, tmp_path / "s", 1)
    with pytest.raises(FulcrumError, match="holds a search of another recipe or space"):
        search(Search(trained.recipe, space(seeds=[4])), trained.data, tmp_path / "s", 1)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"objective": {"vtr.auk": 1.0}}, "unknown metric 'vtr.auk'; it is one of vtr.auc"),
        ({"parameters": {"training.batsh": {"low": 1, "high": 2}}}, "parameters.training.batsh"),
        ({"parameters": {"training.batch": {"low": -1, "high": 2}}}, "parameters.training.batch"),
        (
            {"parameters": {"training.batch": {"low": 2.0, "high": 9.0}}},
            "expected a whole number, found 6.326",
        ),
        ({"parameters": {"training.stream": {"choices": [False, True]}}}, "trials are trained in memory"),
        ({"parameters": {"training.seed": {"low": 1, "high": 2}}}, "parameters.training.seed"),
        ({"fixed": {"training.seed": 1}}, "fixed.training.seed"),
        ({"parameters": {"features.nobody.width": {"low": 1, "high": 2}}}, "nothing is named 'nobody'"),
    ],
)
def test_what_makes_no_recipe_is_refused_before_anything_is_trained(trained, tmp_path, changes, said):
    with pytest.raises(FulcrumError, match=re.escape(said)):
        search(Search(trained.recipe, space(**changes)), trained.data, tmp_path / "s", 1)
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"parameters": {"training.batch": {"low": 2, "high": 1}}}, "expected low < high"),
        ({"parameters": {"training.batch": {"low": 0, "high": 1, "log": True}}}, "low > 0 with log"),
        ({"parameters": {}}, "parameters"),
        ({"goal": 1}, "goal"),
    ],
)
def test_a_space_that_says_nonsense_is_refused_by_its_key(tmp_path, changes, said):
    file = tmp_path / "space.yaml"
    file.write_text(yaml.safe_dump(SPACE | changes))
    with pytest.raises(FulcrumError, match=re.escape(said)):
        load_space(file)


def test_a_space_that_is_not_text_is_refused(tmp_path):
    file = tmp_path / "space.yaml"
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(FulcrumError, match=r"search space .*space\.yaml: byte 0 is not UTF-8"):
        load_space(file)
