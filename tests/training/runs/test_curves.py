"""Curves: what was written reads back, and a resumed run's are those of one that never stopped."""

from __future__ import annotations

from dataclasses import replace

import orjson
import pytest

from model.errors import FulcrumError
from training import train as train_module
from training.fitting.trainer import StepDone
from training.recipe import load_recipe
from training.runs import curves
from training.train import TrainingPlan, train_bundle


def read(run, part):
    """(step, value) of each curve."""
    accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator",
        reason="the extra tensorboard is not installed",
    ).EventAccumulator(str(run / "tensorboard" / part), size_guidance={"scalars": 0})
    accumulator.Reload()
    return {
        name: [(point.step, point.value) for point in accumulator.Scalars(name)]
        for name in accumulator.Tags()["scalars"]
    }


def killed_after(steps, plan):
    left = steps

    def count(event):
        nonlocal left
        left -= isinstance(event, StepDone)
        if left == 0:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_bundle(plan, count)


def test_curves_read_back_and_a_resumed_run_has_neither_gaps_nor_twice(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(train_module, "write_bundle", lambda *_, **__: None)
    sets = [
        "training.tensorboard=true",
        "training.schedule=cosine",
        "training.loss_weights={kind: uncertainty}",
    ]
    recipe = load_recipe(trained.recipe, [*sets, "training.checkpoint_seconds=1000"])
    plan = TrainingPlan(recipe, tmp_path / "bundle", trained.data, tmp_path / "run", resume=True)
    train_bundle(replace(plan, run=tmp_path / "whole"))
    # 15 steps an epoch; in the second life the last checkpoint is of the first epoch's end.
    killed_after(7, plan)
    killed_after(23, plan)
    train_bundle(plan)

    whole, resumed = (read(tmp_path / name, "steps") for name in ("whole", "run"))
    assert set(whole) == {"loss", "learning_rate", "rows_per_second"}
    assert [step for step, _ in whole["rows_per_second"]] == list(range(1, 46))
    for name in ("loss", "learning_rate"):
        assert resumed[name] == whole[name]
    assert [step for step, _ in resumed["rows_per_second"]] == list(range(1, 46))
    assert whole["learning_rate"][0][1] == pytest.approx(0.03)
    assert whole["learning_rate"][-1][1] < 0.03 * 0.02

    epochs = read(tmp_path / "whole", "epochs")
    assert read(tmp_path / "run", "epochs") == epochs
    lines = (tmp_path / "whole" / "metrics.jsonl").read_bytes().splitlines()
    for number, line in enumerate(map(orjson.loads, lines)):
        assert epochs["loss"][number] == (number + 1, pytest.approx(line["loss"], rel=1e-6))
        for task in ("vtr", "vcr", "shr"):
            assert epochs[f"task_loss/{task}"][number][1] == pytest.approx(
                line["task_losses"][task], rel=1e-6
            )
            assert epochs[f"task_weight/{task}"][number][1] == pytest.approx(
                line["loss_weights"][task], rel=1e-6
            )
        assert epochs["validation/vtr.auc"][number][1] == pytest.approx(
            line["validation"]["vtr"]["auc"], rel=1e-6
        )


def test_a_long_epoch_has_about_two_hundred_points(tmp_path):
    with curves.Curves(tmp_path, 1000) as made:
        for step in range(1, 1001):
            made(StepDone(step, 1, 1, 64 * step, 64_000, 64, 0.5, 0.1))
    assert [step for step, _ in read(tmp_path, "steps")["loss"]] == list(range(5, 1001, 5))


def test_without_the_package_a_training_is_refused_before_any_data_is_read(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(curves, "find_spec", lambda name: None)
    recipe = load_recipe(trained.recipe, ["training.tensorboard=true"])
    with pytest.raises(FulcrumError, match=r"pip install '\.\[tensorboard\]'"):
        train_bundle(TrainingPlan(recipe, tmp_path / "bundle", tmp_path / "nowhere", tmp_path / "run"))
