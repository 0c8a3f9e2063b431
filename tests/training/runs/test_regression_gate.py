"""The regression gate: what is surely worse is not written, and nothing is lost."""

from __future__ import annotations

from dataclasses import replace

import polars as pl
import pytest

from model.bundle import load_bundle
from model.errors import FulcrumError
from training.metrics.comparison import Difference
from training.recipe import load_recipe
from training.runs.regression_gate import RegressionGate
from training.train import TrainingPlan, train_bundle

pytestmark = pytest.mark.usefixtures("graphs_from_stock")

NAN = float("nan")
BAD = ["training.epochs=1", "training.learning_rate=1e-6"]


def test_a_bundle_that_is_surely_worse_is_not_written_and_its_weights_are_kept(trained, tmp_path):
    plan = TrainingPlan(
        load_recipe(trained.recipe, BAD),
        tmp_path / "bundle",
        trained.data,
        tmp_path / "run",
        gate=trained.bundle,
    )
    with pytest.raises(FulcrumError, match=r"worse than .*: vtr\.auc .* margin 0\).*No bundle was written"):
        train_bundle(plan)
    assert not (tmp_path / "bundle").exists()
    assert (tmp_path / "run" / "best.pt").exists()
    made = train_bundle(replace(plan, resume=True, force=True))
    gate = made.manifest.training["gate"]
    assert not gate["passed"]
    assert gate["against"] == load_bundle(trained.bundle).version
    assert gate["metrics"]["vtr.auc"]["verdict"] == "worse"
    assert set(gate["metrics"]) == {"vtr.auc", "vcr.mse", "shr.auc"}


def test_a_margin_lets_through_what_the_recipe_can_bear(trained, tmp_path):
    sets = [*BAD, "training.gate={vtr.logloss: 1, vcr.mse: 1, shr.auc: 1}"]
    made = train_bundle(
        TrainingPlan(
            load_recipe(trained.recipe, sets),
            tmp_path / "bundle",
            trained.data,
            tmp_path / "run",
            gate=trained.bundle,
        )
    )
    gate = made.manifest.training["gate"]
    assert gate["passed"]
    assert set(gate["metrics"]) == {"vtr.logloss", "vcr.mse", "shr.auc"}
    assert gate["metrics"]["vtr.logloss"]["margin"] == 1


def test_a_bundle_as_good_passes_and_both_are_judged_on_the_same_rows(trained, tmp_path):
    made = train_bundle(
        TrainingPlan(
            load_recipe(trained.recipe),
            tmp_path / "bundle",
            trained.data,
            tmp_path / "run",
            gate=trained.bundle,
        )
    )
    metrics = made.manifest.training["gate"]["metrics"]
    for name, found in metrics.items():
        task, _, metric = name.partition(".")
        assert found["value"] == pytest.approx(made.manifest.metrics[task][metric], abs=1e-6)
        assert found["difference"] == pytest.approx(0, abs=1e-6)


def test_a_streamed_training_is_held_to_the_same_gate(trained, tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    for table in ("users", "items", "views"):
        (folder / f"{table}.csv").write_bytes((trained.data / f"{table}.csv").read_bytes())
    pl.read_csv(trained.data / "log.csv").sample(fraction=1, shuffle=True, seed=1).write_parquet(
        folder / "log.parquet"
    )
    sets = ["data.log=log.parquet", "training.stream={chunk: 500, block: 16, buffer: 200}"]
    made = train_bundle(
        TrainingPlan(
            load_recipe(trained.recipe, sets),
            tmp_path / "bundle",
            folder,
            tmp_path / "run",
            gate=trained.bundle,
        )
    )
    metrics = made.manifest.training["gate"]["metrics"]
    served = load_bundle(trained.bundle).manifest.metrics
    assert metrics["vtr.auc"]["other"] == pytest.approx(served["vtr"]["auc"], abs=1e-6)
    assert metrics["vcr.mse"]["other"] == pytest.approx(served["vcr"]["mse"], abs=1e-6)
    assert metrics["vtr.auc"]["value"] == pytest.approx(made.manifest.metrics["vtr"]["auc"], abs=1e-6)


@pytest.mark.parametrize(
    ("difference", "margin", "fails"),
    [
        (Difference(0.70, 0.71, (-0.015, -0.005), higher_is_better=True), 0.0, True),
        (Difference(0.70, 0.71, (-0.015, -0.005), higher_is_better=True), 0.02, False),
        (Difference(0.70, 0.71, (-0.025, 0.005), higher_is_better=True), 0.0, False),
        (Difference(0.72, 0.71, (0.005, 0.015), higher_is_better=True), 0.0, False),
        (Difference(0.12, 0.11, (0.005, 0.015), higher_is_better=False), 0.005, True),
        (Difference(0.12, 0.11, (NAN, NAN), higher_is_better=False), 0.0, False),
        (Difference(NAN, 0.11, (NAN, NAN), higher_is_better=False), 0.5, True),
        (Difference(NAN, NAN, (NAN, NAN), higher_is_better=True), 0.0, False),
    ],
)
def test_a_fall_fails_where_it_is_more_than_the_margin_and_no_chance_or_where_it_is_no_number(
    difference, margin, fails
):
    gate = RegressionGate("sha256:x", {"t.m": difference}, {"t.m": margin})
    assert bool(gate.failures()) is fails


def test_a_bundle_without_a_task_in_common_is_refused_before_any_data_is_read(
    trained, document, saved, tmp_path
):
    for task in document["tasks"]:
        task["name"] = f"other_{task['name']}"
    document["training"]["monitor"] = {"metric": "loss", "mode": "min"}
    recipe, nothing_read = load_recipe(saved(document)), tmp_path / "nowhere"
    with pytest.raises(FulcrumError, match="no task in common: it has vtr, vcr, shr, the recipe other_vtr"):
        train_bundle(TrainingPlan(recipe, tmp_path / "b", nothing_read, tmp_path / "r", gate=trained.bundle))


def test_a_bundle_that_reads_other_rows_is_no_yardstick(trained, tmp_path):
    recipe = load_recipe(trained.recipe, ["data.keep='time % 2 = 0'", "training.epochs=1"])
    with pytest.raises(FulcrumError, match=r"cannot compare with .*: it reads other rows from this data"):
        train_bundle(
            TrainingPlan(recipe, tmp_path / "bundle", trained.data, tmp_path / "run", gate=trained.bundle)
        )


def test_the_command_line_says_one_line_and_fails(trained, tmp_path, called):
    flags = [word for setting in BAD for word in ("--set", setting)]
    words = ["--recipe", trained.recipe, "--data", trained.data, "--gate", trained.bundle]
    status, _, err = called("train", *words, "--out", tmp_path / "bundle", "--run", tmp_path / "run", *flags)
    assert status == 1
    assert "No bundle was written; the weights are in" in err
