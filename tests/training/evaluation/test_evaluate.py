"""Evaluation: the service's own numbers, on the training data's validation split or on all of other data."""

from __future__ import annotations

import io
import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import orjson
import polars as pl
import pytest
import yaml
from polars.testing import assert_frame_equal
from rich.console import Console

from model.bundle import load_bundle
from model.bundle.inputs import NetworkInputs
from model.bundle.session import NetworkSession
from model.errors import FulcrumError
from tests.support.learned_networks import Graph, write_learned
from training.commands.evaluation_tables import details, summary
from training.datasets import read_source
from training.evaluation import predicting
from training.evaluation.evaluate import Judgement, evaluate_bundle
from training.evaluation.fused_order import FusedScore
from training.evaluation.predicting import predict_log
from training.metrics.task_metrics import auc
from training.preparation.preparation import prepare_log
from training.progress import Advanced, Stage
from training.recipe import load_recipe
from training.rows.material import encode_log
from training.train import TrainingPlan, train_bundle


@pytest.fixture(scope="module")
def bundle(trained):
    return load_bundle(trained.bundle)


@pytest.fixture(scope="module")
def evaluation(trained, bundle):
    return evaluate_bundle(bundle, trained.data)


@pytest.fixture(scope="module")
def poorer(trained, made_once):
    """A bundle of the same tasks and rows with fewer features, hardly trained."""
    document = yaml.safe_load(Path(trained.recipe).read_text())
    dropped = ("quality", "tab", "views")
    document["features"] = [each for each in document["features"] if each["name"] not in dropped]
    document["data"]["tables"] = document["data"]["tables"][:2]
    document["training"]["epochs"] = 1

    def train(folder):
        (folder / "recipe.yaml").write_text(yaml.safe_dump(document))
        recipe = load_recipe(str(folder / "recipe.yaml"))
        train_bundle(TrainingPlan(recipe, folder / "bundle", trained.data, folder / "run"))

    return load_bundle(made_once("poorer", train) / "bundle")


@pytest.fixture
def fusion(tmp_path):
    config = tmp_path / "fusion.yaml"
    config.write_text(
        "schema_version: 1\n"
        "scenes:\n"
        "  default: {tasks: {vtr: {weight: 1.0}, shr: {weight: 0.5}}, video_len: {kind: none}}\n"
        "  vtr: {tasks: {vtr: {weight: 2.0}}, video_len: {kind: none}}\n"
    )
    return config


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
    assert evaluate_bundle(bundle, moved).rows.equals(evaluation.rows)


def test_other_data_is_judged_on_all_rows(bundle, other_data):
    found = evaluate_bundle(bundle, other_data)
    assert found.report["data"]["split"] == "all"
    assert found.rows.height == 1201


def test_other_data_need_not_have_the_rows_of_a_split(bundle, other_data):
    log = pl.read_csv(other_data / "log.csv")
    log.filter(pl.col("time") < 300).write_csv(other_data / "log.csv")
    assert evaluate_bundle(bundle, other_data).rows.height == 300
    log.head(0).write_csv(other_data / "log.csv")
    with pytest.raises(FulcrumError, match="the log has no rows"):
        evaluate_bundle(bundle, other_data)


def test_rows_may_be_chosen_and_all_are_their_past(trained, bundle, evaluation):
    found = evaluate_bundle(bundle, trained.data, Judgement(where="tab = 1 and time < 1100"))
    assert (found.report["data"]["where"], found.report["data"]["split"]) == (
        "tab = 1 and time < 1100",
        "validation",
    )
    chosen = (pl.col("tab") == 1) & (pl.col("time") < 1100)
    assert_frame_equal(found.rows, evaluation.rows.filter(chosen), abs_tol=1e-6)
    assert 0 < found.report["data"]["rows"] < evaluation.report["data"]["rows"]
    for where, match in (
        ("time < 0", "no row to judge in .* where time < 0"),
        ("day > 1", "where: column 'day'"),
    ):
        with pytest.raises(FulcrumError, match=match):
            evaluate_bundle(bundle, trained.data, Judgement(where=where))


def test_predictions_are_the_networks_for_the_encoded_rows(evaluation, trained, bundle):
    log = prepare_log(bundle.schema, read_source(bundle.schema, trained.data))
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
    log = prepare_log(bundle.schema, read_source(bundle.schema, trained.data))
    rows, session = encode_log(bundle.encoder, log), NetworkSession(bundle.network_path)
    whole = predict_log(session, rows)
    monkeypatch.setattr(predicting, "_CHUNK", 7)
    for task, values in predict_log(session, rows).items():
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


def test_predictions_that_are_not_numbers_are_judged_by_null_and_printed_as_dashes(
    trained, bundle, fusion, monkeypatch
):
    def broken(network, rows, observer):
        predicted = predicting.bundle_predictions(network, rows, observer)
        return predicted | {"vtr": np.where(np.arange(len(rows)) == 5, np.nan, predicted["vtr"])}

    monkeypatch.setattr("training.evaluation.evaluate.bundle_predictions", broken)
    report = evaluate_bundle(bundle, trained.data, Judgement(FusedScore(fusion), against=bundle)).report
    vtr, shr = report["tasks"]["vtr"], report["tasks"]["shr"]
    for name in ("auc", "gauc", "logloss", "calibration"):
        assert vtr[name] is vtr["all_rows"][name] is None
        assert vtr[f"{name}_interval"] == [None, None]
    assert vtr["calibration_error"] is report["groups"]["tab"]["vtr"]["auc"] is None
    assert report["fusion"]["ndcg"]["fused"] == {"ndcg": None, "interval": [None, None]}
    assert report["fusion"]["auc_of_score"]["shr"]["auc"] is None
    assert report["against"]["tasks"]["vtr"]["auc"]["difference"] is None
    assert 0 < shr["auc"] < 1
    console = Console(file=io.StringIO(), width=200)
    for part in (*summary(report), *details(report)):
        console.print(part)
    assert "nan" not in console.file.getvalue()


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
    found = evaluate_bundle(bundle, trained.data, Judgement(FusedScore(config, "feed"))).report["fusion"]
    # A score of vtr alone orders vtr as its prediction does.
    assert found["auc_of_score"]["vtr"]["auc"] == pytest.approx(evaluation.report["tasks"]["vtr"]["auc"])
    assert found["scene"] == "feed"
    assert found["version"].startswith("sha256:")
    with pytest.raises(FulcrumError, match=r"scene 'home': .*has the scenes default, feed"):
        evaluate_bundle(bundle, trained.data, Judgement(FusedScore(config, "home")))
    segments = "segments: [{name: one, when: {tab: a}, tasks: {vtr: {weight: 1.0}}}]"
    config.write_text(
        f"schema_version: 1\nscenes: {{default: {{tasks: {{vtr: {{weight: 2.0}}}}, {segments}}}}}"
    )
    with pytest.raises(FulcrumError, match=r"scene 'default' .* has conditions on tab"):
        evaluate_bundle(bundle, trained.data, Judgement(FusedScore(config)))


def test_a_learned_formula_is_judged_by_its_networks_scores(trained, bundle, evaluation, tmp_path):
    graph, config = Graph(), tmp_path / "fusion.yaml"
    column = graph("Gather", ["x", graph.constant([1], np.int64)], axis=1)
    network = graph.finish(graph("Mul", [column, graph.constant(3.0)]), columns=2)
    write_learned(config, network, inputs=["shr", "vtr"])
    found = evaluate_bundle(bundle, trained.data, Judgement(FusedScore(config, "learned"))).report["fusion"]
    assert found["auc_of_score"]["vtr"]["auc"] == pytest.approx(evaluation.report["tasks"]["vtr"]["auc"])
    (tmp_path / "score.onnx").write_bytes(b"another")
    with pytest.raises(FulcrumError, match=r"network score\.onnx: its sha256 is"):
        evaluate_bundle(bundle, trained.data, Judgement(FusedScore(config, "learned")))


def test_a_fusion_config_of_other_tasks_is_refused(trained, bundle, tmp_path):
    config = tmp_path / "fusion.yaml"
    config.write_text("schema_version: 1\nscenes: {default: {tasks: {cmr: {weight: 1.0}}}}")
    with pytest.raises(FulcrumError, match=r"'cmr'.*vtr, vcr, shr"):
        evaluate_bundle(bundle, trained.data, Judgement(FusedScore(config)))


def test_data_that_lacks_a_column_is_refused_by_field(bundle, other_data):
    pl.read_csv(other_data / "users.csv").drop("age").write_csv(other_data / "users.csv")
    with pytest.raises(FulcrumError, match=r"features\.age: column 'age' is not in the data"):
        evaluate_bundle(bundle, other_data)


def numbers(value):
    """All numbers of a report with where they stand."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in items:
        if isinstance(inner, dict | list | tuple):
            yield from ((f"{key}.{path}", number) for path, number in numbers(inner))
        elif isinstance(inner, float):
            yield str(key), inner


def test_every_number_of_a_report_is_finite_or_null(bundle, other_data, fusion):
    """Five rows: hardly anything can be computed."""
    log = pl.read_csv(other_data / "log.csv").head(5)
    log.write_csv(other_data / "log.csv")
    found = evaluate_bundle(bundle, other_data, Judgement(FusedScore(fusion), against=bundle)).report
    assert [path for path, number in numbers(found) if not math.isfinite(number)] == []
    assert found["tasks"]["shr"]["auc_interval"] == [None, None]
    assert orjson.loads(orjson.dumps(found, option=orjson.OPT_SERIALIZE_NUMPY)) == found


def test_metrics_on_all_rows_take_every_known_label(evaluation, trained):
    everything = evaluation.report["tasks"]["shr"]["all_rows"]
    assert everything["rows"] == 240
    rows = evaluation.rows
    assert everything["positives"] == rows["shr_label"].sum()
    assert everything["auc"] == pytest.approx(
        auc(rows["shr_prediction"].to_numpy(), rows["shr_label"].to_numpy())
    )
    assert everything["mean_label"] != evaluation.report["tasks"]["shr"]["mean_label"]
    # Every row counts for vtr: both ways are one.
    metrics = evaluation.report["tasks"]["vtr"]
    assert metrics["all_rows"] == {key: metrics[key] for key in metrics["all_rows"]}


def test_a_label_that_is_unknown_outside_the_sample_space_takes_no_part(trained, bundle, tmp_path):
    """Without a length there is no watched share, whatever the division gives."""
    data = shutil.copytree(trained.data, tmp_path / "data")
    items = pl.read_csv(data / "items.csv")
    length = pl.when(pl.col("video_id") < 30).then(0).otherwise("length_ms").alias("length_ms")
    items.with_columns(length).write_csv(data / "items.csv")
    found = evaluate_bundle(bundle, data)
    rows = found.rows.filter(pl.col("vcr_label").is_not_nan())
    assert 0 < rows.height < found.rows.height
    assert found.report["tasks"]["vcr"]["all_rows"]["rows"] == rows.height


def test_calibration_is_told_by_decile_and_by_length(evaluation):
    for name, metrics in evaluation.report["tasks"].items():
        assert sum(entry["rows"] for entry in metrics["deciles"]) == metrics["rows"]
        assert sum(entry["rows"] for entry in metrics["lengths"]) == metrics["rows"]
        inside = evaluation.rows.filter(pl.col(f"{name}_mask"))
        first = metrics["lengths"][0]
        short = inside.filter(pl.col("video_len_s") < first["to_s"])
        assert first["rows"] == short.height
        assert first["mean_label"] == pytest.approx(short[f"{name}_label"].mean())
        assert ("mse" in first) == (name == "vcr")
        assert metrics["calibration_error"] >= 0


def test_groups_may_be_of_another_column(trained, bundle, evaluation):
    found = evaluate_bundle(bundle, trained.data, Judgement(group="band"))
    # The user tables of the data are joined: any of their columns that a recipe names will do.
    assert list(found.report["groups"]) == ["band", "tab"]
    assert found.report["groups"]["band"]["vtr"]["groups"] <= 3
    assert found.report["data"]["group"] == "band"
    assert found.report["tasks"]["vtr"]["gauc"] != evaluation.report["tasks"]["vtr"]["gauc"]
    assert "band" in found.rows.columns
    with pytest.raises(FulcrumError, match=r"group 'request': .*not in the data; there is .*user_id"):
        evaluate_bundle(bundle, trained.data, Judgement(group="request"))


def test_rows_that_name_no_group_are_not_lumped_together(bundle, other_data):
    log = pl.read_csv(other_data / "log.csv")
    request = pl.when(pl.col("time") < 600).then(pl.col("time") // 6)
    log.with_columns(request_id=request).write_csv(other_data / "log.csv")
    found = evaluate_bundle(bundle, other_data, Judgement(group="request_id")).report
    assert found["groups"]["request_id"]["vtr"]["groups"] <= 100
    assert found["groups"]["request_id"]["vtr"]["coverage"] <= 600 / 1201


def test_the_fused_score_is_judged_by_the_reward_it_collects(trained, bundle, fusion):
    wanted = FusedScore(fusion, "vtr", reward="vtr + 2 * shr")
    report = evaluate_bundle(bundle, trained.data, Judgement(wanted)).report
    ndcg = report["fusion"]["ndcg"]
    assert (ndcg["reward"], ndcg["k"], ndcg["group"]) == ("vtr + 2 * shr", 10, "user_id")
    assert 0 < ndcg["coverage"] <= 1
    assert ndcg["random"] < ndcg["fused"]["ndcg"] <= 1
    low, high = ndcg["fused"]["interval"]
    assert low < ndcg["fused"]["ndcg"] < high
    # This scene orders by vtr alone.
    assert list(ndcg["tasks"]) == ["vtr", "vcr", "shr"]
    assert ndcg["tasks"]["vtr"]["ndcg"] == pytest.approx(ndcg["fused"]["ndcg"])
    assert ndcg["tasks"]["vtr"]["fused_less_this"]["verdict"] == "undecided"
    by_default = evaluate_bundle(bundle, trained.data, Judgement(FusedScore(fusion, "vtr"))).report
    assert by_default["fusion"]["ndcg"]["reward"] == "vtr + coalesce(vcr, 0) + coalesce(shr, 0)"


def test_a_reward_of_unknown_labels_is_refused(trained, bundle, fusion):
    with pytest.raises(FulcrumError, match="no label 'cmr'"):
        evaluate_bundle(bundle, trained.data, Judgement(FusedScore(fusion, reward="cmr")))


def test_two_bundles_of_other_features_are_compared_row_by_row(trained, bundle, poorer, fusion, evaluation):
    report = evaluate_bundle(bundle, trained.data, Judgement(FusedScore(fusion), against=poorer)).report
    against = report["against"]
    assert against["bundle"]["version"] == poorer.version != bundle.version
    assert (against["rows"], against["trained_on"], against["notes"]) == (240, 0, [])
    assert {task: list(metrics) for task, metrics in against["tasks"].items()} == {
        "vtr": ["auc", "gauc", "logloss"],
        "vcr": ["mse"],
        "shr": ["auc", "gauc", "logloss"],
    }
    alone = evaluate_bundle(poorer, trained.data).report["tasks"]
    for task, metrics in against["tasks"].items():
        for metric, found in metrics.items():
            assert found["value"] == pytest.approx(evaluation.report["tasks"][task][metric])
            assert found["other"] == pytest.approx(alone[task][metric])
    # It does not see what its videos are watched for.
    assert against["tasks"]["vtr"]["auc"]["verdict"] == "better"
    assert against["fusion"]["ndcg"]["value"] == report["fusion"]["ndcg"]["fused"]["ndcg"]
    assert against["fusion"]["ndcg"]["difference"] > 0


def test_a_bundle_ties_with_itself(trained, bundle):
    report = evaluate_bundle(bundle, trained.data, Judgement(against=bundle)).report
    for metrics in report["against"]["tasks"].values():
        for found in metrics.values():
            assert (found["difference"], found["verdict"]) == (0.0, "undecided")
    assert report["against"]["fusion"] == {}


def changed(bundle, **data):
    schema = bundle.schema
    return replace(bundle, schema=schema.model_copy(update={"data": schema.data.model_copy(update=data)}))


def test_a_comparison_with_rows_that_the_other_was_trained_on_says_so(trained, bundle):
    swapped = bundle.schema.data.split.model_copy(
        update={"train": "time >= 1000", "validation": "time < 1000"}
    )
    report = evaluate_bundle(bundle, trained.data, Judgement(against=changed(bundle, split=swapped))).report
    assert report["against"]["trained_on"] == 200
    assert "was trained on 200 of these rows" in report["against"]["notes"][0]


def test_a_bundle_that_reads_other_rows_is_not_compared(trained, bundle):
    for other in (
        changed(bundle, keep="time > 3"),
        changed(bundle, item="user_id"),
        changed(bundle, time="tab"),
    ):
        with pytest.raises(FulcrumError, match="it reads other rows from this data"):
            evaluate_bundle(bundle, trained.data, Judgement(against=other))


def test_tasks_that_only_one_bundle_has_are_left_out_and_named(trained, bundle, fusion):
    def renamed(*names):
        tasks = [
            task.model_copy(update={"name": name}) if name else task
            for name, task in zip(names, bundle.schema.tasks, strict=True)
        ]
        return replace(bundle, schema=bundle.schema.model_copy(update={"tasks": tuple(tasks)}))

    nothing_read = Path("nowhere")
    with pytest.raises(FulcrumError, match="no task in common: it has a, b, c, the bundle vtr, vcr, shr"):
        evaluate_bundle(bundle, nothing_read, Judgement(against=renamed("a", "b", "c")))
    report = evaluate_bundle(bundle, trained.data, Judgement(against=renamed(None, None, "likes"))).report
    assert list(report["against"]["tasks"]) == ["vtr", "vcr"]
    assert report["against"]["notes"] == ["not compared, since only one bundle has it so: shr, likes"]


def test_tasks_of_one_name_and_two_meanings_are_noted(trained, bundle):
    tasks = list(bundle.schema.tasks)
    tasks[0] = tasks[0].model_copy(update={"label": "watched_ms * 3 >= length_ms"})
    other = replace(bundle, schema=bundle.schema.model_copy(update={"tasks": tuple(tasks)}))
    report = evaluate_bundle(bundle, trained.data, Judgement(against=other)).report
    assert len(report["against"]["notes"]) == 1
    assert "means something else by 'vtr'" in report["against"]["notes"][0]
    assert report["against"]["tasks"]["vtr"]["auc"]["difference"] == 0.0


def test_an_observer_sees_the_stages_and_how_far_they_are(trained, bundle):
    events = []
    evaluate_bundle(bundle, trained.data, Judgement(against=bundle), events.append)
    titles = [event.title for event in events if isinstance(event, Stage)]
    assert titles == ["Evaluating the validation split: 240 impressions", f"Comparing with {bundle.path}"]
    assert Advanced("predicting", 240, 240, "rows") in events
