"""From a recipe to a bundle: what is written, what is refused before anything is trained."""

from __future__ import annotations

import shutil

import numpy as np
import orjson
import polars as pl
import pytest
import torch

from model.bundle import load_bundle
from model.errors import FulcrumError
from model.fusion import load_fusion
from model.network.network import build_network
from training.fitting.network import side_spec, task_heads
from training.progress import Warned
from training.recipe import load_recipe
from training.train import TrainingPlan, train_bundle


def train(recipe, data, folder, **more):
    return train_bundle(TrainingPlan(load_recipe(recipe, **more), folder / "bundle", data, folder / "run"))


def test_the_manifest_says_what_was_trained_on_what_and_how_well(trained):
    manifest = load_bundle(trained.bundle).manifest
    assert manifest.name == "tiny-ple"
    assert [(task.name, task.type) for task in manifest.tasks] == [
        ("vtr", "binary"),
        ("vcr", "regression"),
        ("shr", "binary"),
    ]
    assert manifest.training["seed"] == 3
    assert 1 <= manifest.training["best_epoch"] <= 3
    assert manifest.network["model"] == "ple"
    assert (manifest.data["train_rows"], manifest.data["validation_rows"]) == (960, 240)
    # The planted behaviour is learned.
    assert manifest.metrics["vtr"]["auc"] > 0.75
    assert manifest.metrics["vcr"]["mse"] < 0.7 * manifest.metrics["vcr"]["variance"]
    assert set(manifest.parity) == {"1", "7", "500", "4096"}
    assert all(0 <= difference <= 1e-5 for difference in manifest.parity.values())
    assert manifest.environment["torch"] == torch.__version__


def test_the_default_fusion_smooths_each_task_by_half_its_mean(trained):
    bundle = load_bundle(trained.bundle)
    smoothings = load_fusion(bundle.fusion_path).scenes["default"].smoothings
    means = {task: metrics["mean_label"] for task, metrics in bundle.manifest.metrics.items()}
    assert smoothings == pytest.approx({task: 0.5 * mean for task, mean in means.items()}, rel=0.05)


def test_the_example_request_names_a_known_user_videos_and_context(trained):
    example = load_bundle(trained.bundle).manifest.example
    log = pl.read_csv(trained.data / "log.csv")
    last = log.sort("time").row(-1, named=True)
    assert example["user_id"] == str(last["user_id"])
    assert example["context"] == {"tab": last["tab"]}
    assert len(set(example["candidate_ids"])) == 5
    assert set(example["candidate_ids"]) <= {str(video) for video in log["video_id"]}


def test_the_run_folder_lets_the_training_be_told_apart_and_repeated(trained):
    files = sorted(path.name for path in trained.run.iterdir())
    assert files == ["best.pt", "checkpoint.pt", "metrics.jsonl", "recipe.json", "run.json"]
    manifest = load_bundle(trained.bundle).manifest
    run = orjson.loads((trained.run / "run.json").read_bytes())
    assert (run["recipe"], run["seed"]) == ("tiny", 3)
    assert run["data_fingerprint"] == manifest.data["fingerprint"]
    recipe = load_recipe(trained.recipe)
    assert type(recipe).model_validate_json((trained.run / "recipe.json").read_bytes()) == recipe
    epochs = [orjson.loads(line) for line in (trained.run / "metrics.jsonl").read_bytes().splitlines()]
    assert [epoch["epoch"] for epoch in epochs] == [1, 2, 3]
    assert [epoch["epoch"] for epoch in epochs if epoch["best"]][-1] == manifest.training["best_epoch"]
    assert epochs[-1]["validation"]["vtr"]["rows"] == 240


def test_the_bundle_predicts_by_the_best_epochs_weights(trained):
    bundle, recipe = load_bundle(trained.bundle), load_recipe(trained.recipe)
    network = build_network(
        recipe.network,
        user=side_spec(bundle.encoder, "user", "context"),
        item=side_spec(bundle.encoder, "item"),
        tasks=task_heads(bundle.encoder),
    )
    network.load_state_dict(torch.load(trained.run / "best.pt", weights_only=True))
    network.eval()
    inputs = {name: torch.from_numpy(array) for name, array in bundle.sample.inputs.arrays().items()}
    with torch.inference_mode():
        predictions = network.predictions(**inputs).numpy()
    for place, expected in enumerate(bundle.sample.expected.values()):
        np.testing.assert_allclose(predictions[:, place], expected, atol=1e-6)


def test_the_encoder_knows_nothing_of_validation(trained, tmp_path):
    """The same bundle's encoder comes of a log whose validation rows are of new users."""
    data = shutil.copytree(trained.data, tmp_path / "data")
    log = pl.read_csv(data / "log.csv")
    log.with_columns(user_id=pl.when(pl.col("time") >= 960).then(999).otherwise("user_id")).write_csv(
        data / "log.csv"
    )
    from model.encoding import Encoder
    from training.datasets import read_source
    from training.preparation.preparation import prepare_log

    schema = load_recipe(trained.recipe).data_schema
    prepared = prepare_log(schema, read_source(schema, data))
    encoder = Encoder.fit(
        schema, {name: column.take(prepared.train) for name, column in prepared.columns.items()}
    )
    assert encoder.fingerprint == load_bundle(trained.bundle).encoder.fingerprint


@pytest.mark.parametrize(
    ("override", "match"),
    [
        ("tasks.vtr.label='watched_ms >= 0'", r"tasks\.vtr: every label is 1 in the training split"),
        ("tasks.shr.where='watched_ms < 0'", r"tasks\.shr: no row has a label in the training split"),
        ("data.split.train='time < 0'", r"data\.split\.train: no row of 1200 is in it"),
        (
            "tasks.vtr.where='time < 960'",
            r"tasks\.vtr: no row in validation has a label, and training\.monitor\.metric is vtr\.auc",
        ),
        (
            "tasks.vtr.label='watched_ms * 2 >= length_ms or time >= 960'",
            r"tasks\.vtr: every label in validation is 1, and training\.monitor\.metric is vtr\.auc",
        ),
        ("features.age.column=years", r"features\.age: column 'years' is not in the data"),
    ],
)
def test_data_that_nothing_can_be_learned_from_is_refused_and_nothing_written(
    trained, tmp_path, override, match
):
    with pytest.raises(FulcrumError, match=match):
        train(trained.recipe, trained.data, tmp_path, overrides=[override])
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("graphs_from_stock")
def test_a_task_that_validation_cannot_judge_is_warned_of(trained, tmp_path):
    heard = []
    recipe = load_recipe(trained.recipe, ["tasks.shr.where='time < 960'", "training.epochs=1"])
    train_bundle(TrainingPlan(recipe, tmp_path / "b", trained.data, tmp_path / "r"), heard.append)
    warned = [event.text for event in heard if isinstance(event, Warned)]
    assert "tasks.shr: no row in validation has a label; what is learned of it cannot be judged" in warned


def test_a_training_that_diverges_writes_no_bundle(trained, tmp_path, monkeypatch):
    from training.fitting import trainer

    monkeypatch.setattr(
        trainer,
        "task_metrics",
        lambda *_: {"auc": float("nan"), "mse": float("nan"), "rows": 0, "calibration": 1.0},
    )
    with pytest.raises(FulcrumError, match=r"training diverged or vtr\.auc cannot be computed"):
        train(trained.recipe, trained.data, tmp_path, overrides=["training.epochs=1"])
    assert not (tmp_path / "bundle").exists()


def test_a_folder_of_something_else_is_refused_before_any_data_is_read(trained, tmp_path):
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "holiday.jpg").write_bytes(b"precious")
    with pytest.raises(FulcrumError, match=r"bundle holds something else than a bundle"):
        train(trained.recipe, tmp_path / "nowhere", tmp_path)
    assert (tmp_path / "bundle" / "holiday.jpg").read_bytes() == b"precious"


def test_a_run_folder_that_holds_a_run_is_refused(trained, tmp_path):
    run = shutil.copytree(trained.run, tmp_path / "run")
    before = (run / "run.json").read_bytes()
    with pytest.raises(FulcrumError, match=r"the run folder .*run holds a run already"):
        train(trained.recipe, trained.data, tmp_path)
    assert (run / "run.json").read_bytes() == before
    assert not (tmp_path / "bundle").exists()


@pytest.mark.slow
def test_the_same_recipe_trained_again_is_the_same_bundle(trained, tmp_path):
    again = train(trained.recipe, trained.data, tmp_path)
    assert again.manifest.version == load_bundle(trained.bundle).version


@pytest.mark.slow
def test_lists_shared_tables_and_the_past_learn_what_only_they_tell(document, saved, data_folder, tmp_path):
    """A video is watched after one of an even number, which the history alone tells."""
    log = pl.read_csv(data_folder / "log.csv").with_columns(
        watched_ms=pl.lit(0)
        + 40_000 * (pl.col("video_id").shift(1).over("user_id") % 2 == 0).fill_null(False),
    )
    log.write_csv(tmp_path / "log.csv")
    for table in ("users.csv", "items.csv", "views.csv"):
        (tmp_path / table).write_bytes((data_folder / table).read_bytes())
    document["data"]["histories"] = [{"name": "last", "by": "user_id", "of": "video_id", "last": 4}]
    document["data"]["priors"] = [{"name": "rate", "by": "user_id", "of": "watched_ms > 0"}]
    document["features"] = [
        {"name": "user_id", "side": "user", "kind": "id", "width": 4},
        {"name": "rate", "side": "user", "kind": "numeric"},
        {"name": "video_id", "side": "item", "kind": "id", "width": 4},
        {"name": "last", "side": "user", "kind": "sequence", "max_values": 1, "shares": "video_id"},
        {
            "name": "seen",
            "side": "user",
            "kind": "sequence",
            "column": "last",
            "shares": "video_id",
            "pool": "attention",
            "heads": 2,
        },
    ]
    document["tasks"] = [{"name": "vtr", "type": "binary", "label": "watched_ms > 0"}]
    document["training"] |= {"epochs": 12, "patience": 12, "embedding_updates": "sparse"}
    out = tmp_path / "bundle"
    train_bundle(TrainingPlan(load_recipe(saved(document)), out, tmp_path, tmp_path / "run"))
    bundle = load_bundle(out)
    assert bundle.manifest.metrics["vtr"]["auc"] > 0.9


@pytest.mark.usefixtures("graphs_from_stock")
def test_an_observer_hears_the_stations_in_their_order(trained, tmp_path):
    heard = []
    plan = TrainingPlan(load_recipe(trained.recipe), tmp_path / "bundle", trained.data, tmp_path / "run")
    train_bundle(plan, observer=heard.append)
    kinds = [type(event).__name__ for event in heard]
    in_turn = [kind for kind, before in zip(kinds, [None, *kinds], strict=False) if kind != before]
    epoch = ["StepDone", "EpochDone", "CheckpointDue"]
    assert in_turn == ["Stage", "Note", "Stage", *epoch, *epoch, *epoch, "Stage"]
    # A notebook prints them.
    assert max(len(repr(event)) for event in heard) < 2_000
