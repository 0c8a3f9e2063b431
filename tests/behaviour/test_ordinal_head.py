"""A regression with an ordinal head: trained, exported, served, resumed, gone on from, and refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import yaml

from model.bundle import load_bundle
from model.errors import FulcrumError
from tests.support.harness import serving
from tests.support.parity import largest_difference
from training.evaluation.evaluate import evaluate_bundle
from training.fitting.network import fresh_network
from training.fitting.trainer import FitPlan, fit, predict_rows
from training.publishing.publish import publish
from training.recipe import load_recipe
from training.rows.material import material_in_memory, streamed_material
from training.rows.streaming import RowStore
from training.runs.run_folder import RunFolder
from training.runs.warm_start import kept_weights, open_bundle
from training.train import TrainingPlan, train_bundle

HEAD = {"kind": "ordinal", "thresholds": 5, "length_bins": 3}
LENGTH = {"name": "length_ms", "side": "item", "kind": "numeric", "transform": "log1p"}


@pytest.fixture(scope="module")
def recipe(trained, tmp_path_factory):
    """The tiny recipe whose vcr has an ordinal head, with overrides."""
    document = yaml.safe_load(Path(trained.recipe).read_text())
    # A store holds the views of the log's end, and an impression knew fewer.
    document["features"] = [spec for spec in document["features"] if spec["name"] != "views"] + [LENGTH]
    document["tasks"][1]["head"] = HEAD
    path = tmp_path_factory.mktemp("ordinal") / "recipe.yaml"
    path.write_text(yaml.safe_dump(document))
    return lambda *sets: load_recipe(str(path), sets)


@pytest.fixture(scope="module")
def bundle(recipe, data_folder, made_once):
    def train(folder):
        train_bundle(TrainingPlan(recipe(), folder / "bundle", data_folder, folder / "run"))

    return load_bundle(made_once("ordinal", train) / "bundle")


def test_it_learns_and_its_graph_gives_what_torch_gives(bundle):
    # Exporting compares with torch, 1 to 4,096 candidates.
    assert max(bundle.manifest.parity.values()) <= 1e-5
    assert bundle.manifest.metrics["vcr"]["mse"] < 0.05
    assert bundle.manifest.metrics["vcr"]["calibration"] == pytest.approx(1.0, abs=0.15)
    assert (np.isfinite(bundle.sample.expected["vcr"])).all()


def test_another_head_is_another_schema_by_which_a_bundle_has_its_version(bundle, recipe):
    other = recipe("tasks.vcr.head={kind: ordinal, thresholds: 5, length_bins: 2}")
    assert bundle.schema == recipe().data_schema != other.data_schema


def test_a_service_gives_what_evaluate_gives_and_goes_by_the_length_that_a_request_brings(
    bundle, data_folder, tmp_path
):
    publish(bundle, data_folder, str(tmp_path / "store"))
    rows = evaluate_bundle(bundle, data_folder).rows

    def of_length(seconds):
        candidates = [{"id": "5", "video_len": seconds}]
        request = {"user_id": "3", "context": {"tab": 1}, "candidates": candidates}
        return client.post("/v1/rank", json=request).json()["items"][0]["predictions"]["vcr"]

    words = ("--bundle", bundle.path, "--features", tmp_path / "store")
    with serving(*words, log=tmp_path / "service.log") as client:
        compared, worst = largest_difference(client, rows, "user_id", "video_id", ["tab"])
        short, long = of_length(4.5), of_length(59.0)
    assert compared >= 200
    assert worst <= 1e-5
    assert abs(short - long) > 1e-4


def test_a_resumed_run_ends_with_the_same_tables_and_weights(
    graphs_from_stock, bundle, recipe, data_folder, tmp_path, monkeypatch
):
    class StoppedError(Exception):
        pass

    def stop(folder, state):
        checkpoint(folder, state)
        raise StoppedError

    checkpoint = RunFolder.checkpoint
    with monkeypatch.context() as patched:
        patched.setattr(RunFolder, "checkpoint", stop)
        with pytest.raises(StoppedError):
            train_bundle(TrainingPlan(recipe(), tmp_path / "bundle", data_folder, tmp_path / "run"))
    train_bundle(TrainingPlan(recipe(), tmp_path / "bundle", data_folder, tmp_path / "run", resume=True))
    again = np.load(tmp_path / "bundle" / "weights.npz")
    for name, value in np.load(bundle.path / "weights.npz").items():
        np.testing.assert_array_equal(again[name], value)


def test_a_warm_start_keeps_the_tables_and_refuses_another_head(bundle, recipe, data_folder):
    later = recipe("data.split={train: 'time >= 600 and time < 960', validation: 'time >= 960'}")
    warm = open_bundle(bundle.path, later.data_schema, later.network)
    material = material_in_memory(later.data_schema, data_folder, warm.growth)
    network = fresh_network(later.network, later.training, material.encoder)
    warm.put(network, material.encoder, later.network)
    fit(network, FitPlan(later.training, [1.0, 1.0, 1.0], material.train, material.validation, warm=True))
    tables = [name for name in warm.weights if "thresholds.of_vcr" in name]
    assert len(tables) == 4
    kept = kept_weights(network)
    for name in tables:
        np.testing.assert_array_equal(warm.weights[name], kept[name])
    assert warm.weights["network/trunk.towers.1.output.weight"].shape == (5, 8)
    other = recipe("tasks.vcr.head={kind: bounded}")
    with pytest.raises(FulcrumError, match="a warm start keeps tasks, their order, types, bounds and heads"):
        open_bundle(bundle.path, other.data_schema, other.network)


def test_streamed_rows_give_the_same_tables(recipe, data_folder, tmp_path):
    folder = tmp_path / "parquet"
    folder.mkdir()
    for name in ("log", "users", "items", "views"):
        pl.read_csv(data_folder / f"{name}.csv").write_parquet(folder / f"{name}.parquet")
    sets = ["data.log=log.parquet", "training.epochs=1"]
    sets += [f"data.tables.{name}.files={name}.parquet" for name in ("users", "items", "views")]
    plain, streaming = recipe(*sets), recipe(*sets, "training.stream=true")
    materials = [
        material_in_memory(plain.data_schema, folder),
        streamed_material(
            streaming.data_schema, folder, RowStore(tmp_path / "rows", streaming.training.stream, 0)
        ),
    ]
    states = []
    for material in materials:
        network = fresh_network(plain.network, plain.training, material.encoder)
        fit(network, FitPlan(plain.training, [1.0, 1.0, 1.0], material.train, material.validation))
        states.append({name: value for name, value in network.named_buffers() if "thresholds" in name})
        assert ((found := predict_rows(network, material.validation)) >= 0).all()
        assert (found <= 1).all()
    assert len(states[0]) == 4
    for name, value in states[0].items():
        np.testing.assert_allclose(value.numpy(), states[1][name].numpy(), rtol=1e-5)


def test_without_a_length_that_the_network_reads_it_is_refused(document, saved):
    document["tasks"][1]["head"] = HEAD
    with pytest.raises(
        FulcrumError, match=r"task 'vcr': .* add the feature \{name: length_ms, side: item, kind"
    ):
        load_recipe(saved(document))
    document["features"].append(LENGTH)
    load_recipe(saved(document))
    del document["data"]["video_len"]
    with pytest.raises(FulcrumError, match=r"task 'vcr': .* name its column in data\.video_len"):
        load_recipe(saved(document))


def test_a_binary_task_has_no_such_head(document, saved):
    document["tasks"][0]["head"] = HEAD
    with pytest.raises(FulcrumError, match=r"tasks.*head"):
        load_recipe(saved(document))
