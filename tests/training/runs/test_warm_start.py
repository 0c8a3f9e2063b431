"""A training that goes on from a bundle: what it keeps, what it admits, and what it refuses."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch

from model.bundle import load_bundle
from model.errors import FulcrumError
from model.network.network import build_network
from training.fitting.network import side_spec, task_heads
from training.recipe import load_recipe
from training.rows.material import encode_log, material_in_memory
from training.runs.warm_start import kept_weights, open_bundle
from training.train import TrainingPlan, train_bundle

FIRST = "data.split={train: 'time < 960', validation: 'time >= 960'}"


def warmed(recipe, trained, data=None):
    """The bundle's weights in a network of the recipe, its encoder, and the log's rows."""
    warm = open_bundle(trained.bundle, recipe.data_schema, recipe.network)
    material = material_in_memory(recipe.data_schema, data or trained.data, warm.growth)
    encoder = material.encoder
    torch.manual_seed(99)
    network = build_network(
        recipe.network,
        user=side_spec(encoder, "user", "context"),
        item=side_spec(encoder, "item"),
        tasks=task_heads(encoder),
    )
    warm.put(network, encoder, recipe.network)
    network.eval()
    return network, material


def predictions(network, rows):
    with torch.inference_mode():
        return torch.cat([network.predictions(*batch.inputs) for batch in rows.slices(500)]).numpy()


def before(trained):
    """Torch's predictions of the bundle's validation rows."""
    return warmed(load_recipe(trained.recipe), trained)


@pytest.fixture
def recipe(document, saved):
    def make(**changed):
        document.update(changed)
        return load_recipe(saved(document))

    return make


def test_the_weights_are_the_bundles(trained):
    network, material = before(trained)
    best = torch.load(trained.run / "best.pt", weights_only=True)
    assert all(torch.equal(tensor, best[name]) for name, tensor in network.state_dict().items())
    assert material.encoder.fingerprint == load_bundle(trained.bundle).encoder.fingerprint


def test_known_ids_keep_their_rows_and_new_ones_predict_as_unknown_did(trained, tmp_path):
    data = shutil.copytree(trained.data, tmp_path / "data")
    log = pl.read_csv(data / "log.csv")
    # In training rows, too, so that they are admitted.
    new = log.with_columns(
        user_id=pl.when(pl.col("user_id") < 4).then(pl.col("user_id") + 500).otherwise("user_id")
    )
    new.write_csv(data / "log.csv")
    recipe = load_recipe(trained.recipe)
    old = load_bundle(trained.bundle).encoder
    network, material = warmed(recipe, trained, data)
    vocabulary = material.encoder.features["user_id"].vocabulary.known
    known = old.features["user_id"].vocabulary.known
    assert list(vocabulary[: len(known)]) == list(known)
    assert sorted(vocabulary[len(known) :]) == ["500", "501", "502", "503"]
    for name in ("age", "quality", "views"):
        assert material.encoder.features[name].state() == old.features[name].state()

    unaware, kept = before(trained)
    log = next(material.held_out(recipe.data_schema))[0]
    rows = encode_log(old, log).take(log.validation)
    np.testing.assert_allclose(
        predictions(network, material.validation), predictions(unaware, rows), atol=1e-7
    )
    table = kept_weights(network)["table/user_id"]
    assert len(table) == len(vocabulary) + 2
    assert np.array_equal(table[-4:], np.repeat(table[1:2], 4, axis=0))
    del kept


def test_new_features_start_neutral_wherever_they_stand_and_the_order_is_free(trained, recipe, document):
    document["features"].insert(
        0, {"name": "of_user", "side": "user", "kind": "categorical", "expr": "user_id % 3"}
    )
    document["features"].insert(
        3, {"name": "hour", "side": "context", "kind": "numeric", "expr": "time % 24"}
    )
    document["features"].append({"name": "length_ms", "side": "item", "kind": "numeric"})
    document["data"]["histories"] = [{"name": "seen", "by": "user_id", "of": "video_id", "last": 5}]
    document["features"] += [
        {"name": "seen", "side": "user", "kind": "sequence", "shares": "video_id", "pool": "attention"},
        {"name": "mean_of_seen", "side": "user", "kind": "sequence", "column": "seen", "shares": "video_id"},
    ]
    document["features"].reverse()
    network, material = warmed(recipe(), trained)
    unaware, old = before(trained)
    np.testing.assert_allclose(
        predictions(network, material.validation), predictions(unaware, old.validation), atol=1e-6
    )


@pytest.mark.usefixtures("graphs_from_stock")
def test_attention_goes_on_as_it_was(recipe, document, trained, tmp_path):
    document["data"]["histories"] = [{"name": "seen", "by": "user_id", "of": "video_id", "last": 5}]
    document["features"].append(
        {"name": "seen", "side": "user", "kind": "sequence", "shares": "video_id", "pool": "attention"}
    )
    document["training"]["epochs"] = 1
    train_bundle(TrainingPlan(recipe(), tmp_path / "bundle", trained.data, tmp_path / "run"))
    best = torch.load(tmp_path / "run" / "best.pt", weights_only=True)
    assert best["attentions.of_seen.query.weight"].shape == (3, 3)
    document["features"].reverse()
    with_more = [{"name": "length_ms", "side": "item", "kind": "numeric"}, *document["features"]]
    document["features"] = with_more
    network, _ = warmed(recipe(), replace(trained, bundle=tmp_path / "bundle"))
    state = network.state_dict()
    for name in ("query", "key", "value"):
        assert torch.equal(
            state[f"attentions.of_seen.{name}.weight"], best[f"attentions.of_seen.{name}.weight"]
        )


def test_features_that_are_gone_are_dropped_and_the_rest_keeps_its_weights(trained, recipe, document):
    document["features"] = [spec for spec in document["features"] if spec["name"] not in ("band", "views")]
    network, _ = warmed(recipe(), trained)
    ours = kept_weights(network)
    made = recipe()
    theirs = open_bundle(trained.bundle, made.data_schema, made.network).weights
    assert "table/band" not in ours
    for name in ("table/user_id", "table/tab", "table/video_id", "network/base"):
        assert np.array_equal(ours[name], theirs[name])


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (("features", 2, "transform", "log1p"), r"features\.age\.transform is 'none' there and 'log1p' here"),
        (("features", 0, "width", 5), r"features\.user_id\.width is 3 there and 5 here; give the changed"),
        (("features", 4, "hash_buckets", 31), r"features\.video_id\.hash_buckets is 30 there and 31 here"),
        (("tasks", 2, "name", "cmr"), r"its tasks are vtr, vcr, shr, the recipe's vtr, vcr, cmr"),
        (("network", "levels", 2), r"network\.levels is 1 there and 2 here; a warm start keeps the network"),
    ],
)
def test_what_the_weights_were_not_fitted_to_is_refused(trained, recipe, document, tmp_path, change, match):
    *path, last, value = change
    place = document
    for key in path:
        place = place[key]
    place[last] = value
    with pytest.raises(FulcrumError, match=rf"cannot start from .*: {match}"):
        train_bundle(
            TrainingPlan(
                recipe(), tmp_path / "bundle", tmp_path / "nowhere", tmp_path / "run", start=trained.bundle
            )
        )


def test_dropout_and_admission_may_change(trained, recipe, document):
    document["network"]["dropout"] = 0.3
    document["features"][0]["min_count"] = 5
    network, _ = warmed(recipe(), trained)
    assert network is not None


def test_a_bundle_without_weights_is_refused(trained, tmp_path):
    from model.bundle import MANIFEST, MANIFEST_SUM, read_manifest, write_manifest

    bundle = shutil.copytree(trained.bundle, tmp_path / "old")
    fields = read_manifest(bundle).model_dump(mode="json", exclude={"format", "version", "files"})
    for name in ("weights.npz", MANIFEST, MANIFEST_SUM):
        (bundle / name).unlink()
    write_manifest(bundle, **fields)
    assert load_bundle(bundle).version == load_bundle(trained.bundle).version
    recipe = load_recipe(trained.recipe)
    with pytest.raises(FulcrumError, match=r"this bundle has no weights\.npz"):
        open_bundle(bundle, recipe.data_schema, recipe.network)


@pytest.mark.usefixtures("graphs_from_stock")
def test_a_day_later_the_training_goes_on_from_the_bundle(trained, tmp_path):
    """One epoch from yesterday's weights is ahead of one epoch from none, and repeats to the bit."""
    late = "data.split={train: 'time >= 700 and time < 960', validation: 'time >= 960'}"
    sets = [late, "training.epochs=1", "training.learning_rate=0.003", "training.keep=last"]
    recipe = load_recipe(trained.recipe, sets)
    made = [
        train_bundle(TrainingPlan(recipe, tmp_path / f"b{n}", trained.data, tmp_path / f"r{n}", start=start))
        for n, start in enumerate((trained.bundle, trained.bundle, None))
    ]
    assert made[0].manifest.version == made[1].manifest.version
    aucs = [one.manifest.metrics["vtr"]["auc"] for one in made]
    assert aucs[0] > 0.75 > aucs[2]
    assert made[0].manifest.training["started_from"] == load_bundle(trained.bundle).version
    with pytest.raises(
        FulcrumError, match=r"started from sha256:.*, not from none\. Start from the same bundle"
    ):  # before any data is read
        train_bundle(TrainingPlan(recipe, tmp_path / "b", tmp_path / "nowhere", tmp_path / "r0", resume=True))
