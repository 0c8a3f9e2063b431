"""Recipes: found by name or file, overridden by key, and refused by file, field, expected and found."""

from __future__ import annotations

import pytest

from model.errors import FulcrumError
from training.recipe import load_recipe, packaged_recipes


def refused(match, *arguments, **more):
    with pytest.raises(FulcrumError, match=match) as error:
        load_recipe(*arguments, **more)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", packaged_recipes())
def test_every_packaged_recipe_is_sound(name):
    assert load_recipe(name).name == name


def test_the_promised_recipes_are_packaged():
    assert {"demo", "bench"} <= set(packaged_recipes())


def test_the_yardstick_has_336_user_and_192_item_inputs():
    schema = load_recipe("bench").data_schema
    assert sum(spec.width for spec in schema.side("user")) == 336
    assert sum(spec.width for spec in schema.side("item")) == 192


def test_an_unknown_recipe_name_lists_those_that_exist():
    refused("no recipe named 'dmeo': expected a YAML file or one of .*demo", "dmeo")


def test_a_recipe_file_that_cannot_be_read_is_named(tmp_path):
    refused(r"recipe .*absent\.yaml: cannot read the file: No such file", str(tmp_path / "absent.yaml"))
    (tmp_path / "latin.yaml").write_bytes("name: café".encode("latin-1"))
    refused(r"recipe .*latin\.yaml: byte .* is not UTF-8", str(tmp_path / "latin.yaml"))


@pytest.mark.parametrize("text", ["", "- 1", "7", "text"])
def test_a_recipe_that_is_no_mapping_is_refused(tmp_path, text):
    (tmp_path / "recipe.yaml").write_text(text)
    refused(r"recipe .*recipe\.yaml: expected keys name, data", str(tmp_path / "recipe.yaml"))


def test_a_recipe_that_is_no_yaml_says_where(tmp_path):
    (tmp_path / "recipe.yaml").write_text("name: a\nname: b\n")
    refused(r"recipe .*recipe\.yaml: duplicate key 'name' at line 2", str(tmp_path / "recipe.yaml"))


@pytest.mark.parametrize(
    ("keys", "value", "match"),
    [
        (
            ["notes"],
            "x",
            "notes: unknown key; known keys are name, data, features, tasks, reward, network, training",
        ),
        (["features", 0, "widht"], 4, "features.user_id.widht: unknown key"),
        (["features", 0, "kind"], "bag", "features.user_id.kind: unknown kind 'bag'"),
        (["tasks", 0, "type"], "rank", "tasks.vtr.type: unknown type 'rank'"),
        (
            ["network", "model"],
            "transformer",
            "network.model: unknown network 'transformer'; there are .*cgc",
        ),
        (["network", "levles"], 2, "network.levles: unknown key"),
        (
            ["network", "experts", "task"],
            {"vtx": 1},
            "network.experts.task: unknown task 'vtx'; .*vtr, vcr, shr",
        ),
        (["network"], "ple", "network: expected a mapping, found 'ple'"),
        (["training"], None, "training: expected a mapping, found null"),
        (["training", "epochs"], 0, "training.epochs: expected a number of at least 1, found 0"),
        (["training", "epoch"], 1, "training.epoch: unknown key"),
        (["training", "learning_rate"], "fast", "training.learning_rate: .*found 'fast'"),
        (["training", "average"], 1.0, "training.average: .*found 1"),
        (["training", "monitor", "mode"], "up", "training.monitor.mode: .*'max' or 'min', found 'up'"),
        (
            ["training", "monitor", "metric"],
            "vtr.mse",
            "metric 'vtr.mse' is unknown; it is one of loss, vtr.auc",
        ),
        (
            ["training", "monitor", "metric"],
            "ctr.auc",
            "'ctr.auc' is unknown; .*vtr.logloss, vcr.mse, shr.auc",
        ),
    ],
)
def test_a_mistake_names_file_field_expected_and_found(document, saved, keys, value, match):
    owner = document
    for key in keys[:-1]:
        owner = owner[key]
    owner[keys[-1]] = value
    refused(rf"recipe .*recipe\.yaml: .*{match}", saved(document))


@pytest.mark.parametrize("key", ["name", "data", "features", "tasks", "network", "training"])
def test_every_part_of_a_recipe_is_required(document, saved, key):
    del document[key]
    refused(rf"recipe .*recipe\.yaml: {key}: required, but absent", saved(document))


def test_a_value_is_overridden_by_dotted_path_and_by_name_in_lists(document, saved):
    recipe = load_recipe(
        saved(document),
        [
            "training.epochs=1",
            "training.learning_rate=1e-4",
            "tasks.shr.weight=2",
            "features.age.transform=log1p",
            "data.split={last: 0.2}",
            "network.experts.task=4",
            "name=other",
        ],
    )
    assert (recipe.training.epochs, recipe.training.learning_rate) == (1, 1e-4)
    assert [task.weight for task in recipe.data_schema.tasks] == [1.0, 1.0, 2.0]
    assert next(spec for spec in recipe.data_schema.features if spec.name == "age").transform == "log1p"
    assert recipe.data_schema.data.split.last == 0.2
    assert recipe.network.experts.task == 4
    assert recipe.name == "other"


def test_an_override_may_bring_a_key_that_the_recipe_leaves_out(document, saved):
    recipe = load_recipe(saved(document), ["data.options.rows=5", "training.gradient_clip=1"])
    assert recipe.data_schema.data.options == {"rows": 5}
    assert recipe.training.gradient_clip == 1.0


def test_an_override_may_replace_an_item_of_a_list(document, saved):
    recipe = load_recipe(saved(document), ["features.age={name: age, side: user, kind: categorical}"])
    assert [spec.kind for spec in recipe.data_schema.features][2] == "categorical"


@pytest.mark.parametrize(
    ("override", "match"),
    [
        ("training.epochs", "override training.epochs: expected dotted.key=value"),
        ("=3", "override =3: expected dotted.key=value"),
        ("training..epochs=3", "expected dotted.key=value"),
        ("training.epochs=[", r"override training.epochs=\[: not valid YAML"),
        ("training.epoch=3", "training.epoch: unknown key"),
        ("tasks.vtx.weight=2", "override tasks.vtx.weight: nothing is named 'vtx'; there are vtr, vcr, shr"),
        ("tasks.vtx=2", "override tasks.vtx: nothing is named 'vtx'"),
        ("name.first=x", "override name.first: name holds a value, not keys"),
        ("name.first.second=x", "override name.first.second: name holds a value"),
    ],
)
def test_an_override_that_fits_nothing_is_refused(document, saved, override, match):
    refused(match, saved(document), [override])


def test_the_model_option_takes_the_place_of_the_recipes_network(document, saved):
    refused("network.model: unknown network 'plle'", saved(document), model="plle")
    document["network"] |= {"levels": 3, "expert": [16, 8], "dropout": 0.2}
    same = load_recipe(saved(document), model="ple").network
    assert (same.levels, same.expert, same.dropout) == (3, (16, 8), 0.2)
    other = load_recipe(saved(document), ["network.experts.shared=5"], model="cgc").network
    assert (other.model, other.expert, other.dropout, other.experts.shared) == ("cgc", (16, 8), 0.2, 5)
    refused("network.levels: unknown key", saved(document), ["network.levels=2"], model="cgc")
    document["network"] = {"model": "cgc", "expert": {"shared": [8], "task": [8]}}
    assert load_recipe(saved(document), model="ple").network.expert == (256, 128)
    del document["network"]
    assert load_recipe(saved(document), model="ple").network.levels == 2
    document["network"] = ["ple"]
    refused("network: expected a mapping, found a list of 1", saved(document))
