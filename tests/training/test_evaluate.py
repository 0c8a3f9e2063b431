"""Evaluation: the service's own numbers, on the training data's validation split or on all of other data."""

from __future__ import annotations

import shutil

import numpy as np
import orjson
import polars as pl
import pytest
from rich.console import Console

from model.bundle import load_bundle
from model.errors import FulcrumError
from model.inference import NetworkInputs, NetworkSession
from training import evaluate
from training.datasets import read_source
from training.evaluate import evaluate_bundle, predict_log
from training.metrics import auc
from training.preparation import prepare_log
from training.train import encode_log

QUIET = Console(quiet=True)


@pytest.fixture(scope="module")
def bundle(trained):
    return load_bundle(trained.bundle)


@pytest.fixture(scope="module")
def evaluation(trained, bundle):
    return evaluate_bundle(bundle, trained.data, None, "default", QUIET)


@pytest.fixture
def other_data(trained, tmp_path):
    """The same data with one more impression."""
    folder = shutil.copytree(trained.data, tmp_path / "data")
    log = pl.read_csv(folder / "log.csv")
    pl.concat([log, log.tail(1)]).write_csv(folder / "log.csv")
    return folder


def test_the_report_has_the_promised_keys(evaluation, bundle):
    report = orjson.loads(orjson.dumps(evaluation.report, option=orjson.OPT_SERIALIZE_NUMPY))
    assert {"bundle", "tasks", "groups", "fusion"} <= set(report)
    assert report["bundle"]["version"] == bundle.version
    assert list(report["tasks"]) == ["vtr", "vcr", "shr"]
    wanted = {"auc", "auc_interval", "gauc", "logloss", "calibration", "rows", "positives"}
    for task in ("vtr", "shr"):
        assert wanted <= set(report["tasks"][task])
        low, high = report["tasks"][task]["auc_interval"]
        assert low <= report["tasks"][task]["auc"] <= high
    assert {"mse", "mse_interval", "rows", "calibration"} <= set(report["tasks"]["vcr"])
    assert report["fusion"] == {}


def test_training_data_is_judged_on_its_validation_split(evaluation, trained):
    assert evaluation.report["data"]["split"] == "validation"
    assert evaluation.rows.height == 240
    assert evaluation.rows["time"].min() == 960


def test_the_training_data_is_known_by_its_content_wherever_it_lies(trained, bundle, tmp_path, evaluation):
    moved = shutil.copytree(trained.data, tmp_path / "elsewhere")
    assert evaluate_bundle(bundle, moved, None, "default", QUIET).rows.equals(evaluation.rows)


def test_other_data_is_judged_on_all_rows(bundle, other_data):
    found = evaluate_bundle(bundle, other_data, None, "default", QUIET)
    assert found.report["data"]["split"] == "all"
    assert found.rows.height == 1201


def test_other_data_need_not_have_the_rows_of_a_split(bundle, other_data):
    log = pl.read_csv(other_data / "log.csv")
    log.filter(pl.col("time") < 300).write_csv(other_data / "log.csv")
    assert evaluate_bundle(bundle, other_data, None, "default", QUIET).rows.height == 300
    log.head(0).write_csv(other_data / "log.csv")
    with pytest.raises(FulcrumError, match="the log has no rows"):
        evaluate_bundle(bundle, other_data, None, "default", QUIET)


def test_predictions_are_the_networks_for_the_encoded_rows(evaluation, trained, bundle):
    log = prepare_log(bundle.schema, read_source(bundle.schema.data, trained.data))
    rows = encode_log(bundle.encoder, log).take(log.validation)
    session = NetworkSession(bundle.network_path)
    for row in (0, 100, 239):
        # Each alone, as a request of one candidate would be.
        alone = session.predict(
            NetworkInputs(
                rows.user.take(slice(row, row + 1)), rows.item.take(slice(row, row + 1)), np.zeros(1, int)
            )
        )
        for task, values in alone.items():
            assert evaluation.rows[f"{task}_prediction"][row] == pytest.approx(float(values[0]), abs=1e-5)
    for place, task in enumerate(bundle.task_names):
        mask = evaluation.rows[f"{task}_mask"].to_numpy()
        np.testing.assert_array_equal(mask, rows.masks[:, place])
        label = evaluation.rows[f"{task}_label"].to_numpy()
        np.testing.assert_array_equal(label[mask], rows.labels[mask, place])


def test_predictions_do_not_depend_on_the_chunk(trained, bundle, monkeypatch):
    log = prepare_log(bundle.schema, read_source(bundle.schema.data, trained.data))
    rows, session = encode_log(bundle.encoder, log), NetworkSession(bundle.network_path)
    whole = predict_log(session, rows, QUIET)
    monkeypatch.setattr(evaluate, "_CHUNK", 7)
    for task, values in predict_log(session, rows, QUIET).items():
        np.testing.assert_allclose(values, whole[task], rtol=0, atol=1e-6)


def test_metrics_count_only_a_tasks_own_rows(evaluation):
    for task in ("vtr", "shr"):
        inside = evaluation.rows.filter(pl.col(f"{task}_mask"))
        metrics = evaluation.report["tasks"][task]
        assert metrics["rows"] == inside.height
        assert metrics["positives"] == inside[f"{task}_label"].sum()
        assert metrics["auc"] == pytest.approx(
            auc(inside[f"{task}_prediction"].to_numpy(), inside[f"{task}_label"].to_numpy())
        )
    assert evaluation.report["tasks"]["shr"]["rows"] < evaluation.report["tasks"]["vtr"]["rows"]


def test_a_row_carries_its_keys_context_and_length(evaluation, trained):
    log = pl.read_csv(trained.data / "log.csv").filter(pl.col("time") >= 960)
    for name in ("user_id", "video_id", "time", "tab"):
        assert evaluation.rows[name].to_list() == log[name].to_list()
    lengths = dict(
        pl.read_csv(trained.data / "items.csv").select("video_id", pl.col("length_ms") / 1000).iter_rows()
    )
    assert evaluation.rows["video_len_s"].to_list() == [lengths[video] for video in log["video_id"]]


def test_ranking_is_judged_within_users_and_within_each_context(evaluation):
    groups = evaluation.report["groups"]
    assert set(groups) == {"user_id", "tab"}
    assert set(groups["tab"]) == {"vtr", "shr"}
    assert groups["tab"]["vtr"]["groups"] == 2
    assert groups["tab"]["vtr"]["coverage"] == 1.0
    assert 0 < groups["user_id"]["shr"]["coverage"] <= 1


def test_a_fusion_config_is_judged_by_the_order_of_its_score(trained, bundle, evaluation, tmp_path):
    config = tmp_path / "fusion.yaml"
    config.write_text(
        "schema_version: 1\n"
        "scenes: {default: {tasks: {}}, feed: {tasks: {vtr: {weight: 2.0}}, video_len: {kind: none}}}"
    )
    found = evaluate_bundle(bundle, trained.data, config, "feed", QUIET).report["fusion"]
    # A score of vtr alone orders vtr as its prediction does.
    assert found["auc_of_score"]["vtr"]["auc"] == pytest.approx(evaluation.report["tasks"]["vtr"]["auc"])
    assert found["scene"] == "feed"
    assert found["version"].startswith("sha256:")
    with pytest.raises(FulcrumError, match=r"--scene home: .*has the scenes default, feed"):
        evaluate_bundle(bundle, trained.data, config, "home", QUIET)


def test_a_fusion_config_of_other_tasks_is_refused(trained, bundle, tmp_path):
    config = tmp_path / "fusion.yaml"
    config.write_text("schema_version: 1\nscenes: {default: {tasks: {cmr: {weight: 1.0}}}}")
    with pytest.raises(FulcrumError, match=r"'cmr'.*vtr, vcr, shr"):
        evaluate_bundle(bundle, trained.data, config, "default", QUIET)


def test_data_that_lacks_a_column_is_refused_by_field(bundle, other_data):
    pl.read_csv(other_data / "users.csv").drop("age").write_csv(other_data / "users.csv")
    with pytest.raises(FulcrumError, match=r"features\.age: column 'age' is not in the data"):
        evaluate_bundle(bundle, other_data, None, "default", QUIET)
