"""Plan: one recipe becomes many networks by the rules that the module states."""

from __future__ import annotations

import re

import numpy as np
import pytest

from model.errors import FulcrumError
from model.network.trunk import Trunk
from training.recipe import load_recipe
from training.report.plan import SINGLE, ReportSpec, make_plan, of_tasks
from training.rows.material import material_in_memory


def test_all_networks_are_planned_and_single_task_comes_first(trained):
    plan = make_plan(ReportSpec(trained.recipe, seeds=3))
    assert set(plan.networks) == set(Trunk.known)
    assert next(iter(plan.networks)) == SINGLE
    assert plan.seeds == (3, 4, 5)
    assert list(make_plan(ReportSpec(trained.recipe, models=["mmoe"])).networks) == [SINGLE, "mmoe"]


def test_ple_differs_from_cgc_unless_told_otherwise(trained):
    plan = make_plan(ReportSpec(trained.recipe, models=["ple", "cgc"]))
    assert plan.own == "cgc"
    assert plan.networks["ple"].levels == 2
    assert make_plan(ReportSpec(trained.recipe)).networks["ml-mmoe"].levels == 2
    assert plan.recipe.network == plan.networks["cgc"]
    told = make_plan(ReportSpec(trained.recipe, models=["ple"], overrides=["network.levels=1"]))
    assert told.own == "ple"
    assert told.networks["ple"].levels == 1


def test_networks_take_what_they_can_read_of_the_recipe(trained):
    plan = make_plan(ReportSpec(trained.recipe, overrides=["network.dropout=0.25"]))
    for name, config in plan.networks.items():
        assert config.dropout == 0.25, name
        assert config.tower == (8,), name
        assert config.expert == (16,), name
    assert (
        plan.networks["mmoe"].experts == 1 + 3
    )  # as many as CGC has: one shared, one for each of three tasks


def test_an_override_goes_where_it_fits_and_is_refused_where_nothing_takes_it(trained):
    plan = make_plan(ReportSpec(trained.recipe, models=["ple", "mmoe"], overrides=["network.experts=5"]))
    assert plan.networks["mmoe"].experts == 5
    assert plan.networks["ple"].experts.shared == 1
    for text in ("network.levles=3", "network.model=ple", "network.dropout=2"):
        with pytest.raises(FulcrumError, match=re.escape(text)):
            make_plan(ReportSpec(trained.recipe, models=["ple", "mmoe"], overrides=[text]))


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"models": ["plé"]}, "unknown network 'plé'; there are"),
        ({"tasks": ["vtr", "cvr"]}, "unknown task 'cvr'; the recipe has vtr, vcr, shr"),
        ({"seeds": 0}, "seeds: expected 1 or more, found 0"),
        ({"overrides": ["training.stream=true"]}, "leave training.stream out"),
    ],
)
def test_bad_input_is_told(trained, asked, said):
    with pytest.raises(FulcrumError, match=re.escape(said)):
        make_plan(ReportSpec(trained.recipe, **asked))


def test_leaving_tasks_out_changes_neither_rows_nor_labels(trained):
    whole = load_recipe(trained.recipe)
    part = of_tasks(whole, ["vcr"])
    assert part.training.monitor.metric == "loss"
    assert part.data_schema.task_names == ["vcr"]
    of_all, of_one = (material_in_memory(recipe.data_schema, trained.data) for recipe in (whole, part))
    for split in ("train", "validation"):
        all_rows, one_rows = getattr(of_all, split), getattr(of_one, split)
        np.testing.assert_array_equal(all_rows.item.ids, one_rows.item.ids)
        np.testing.assert_array_equal(all_rows.labels[:, 1], one_rows.labels[:, 0])
        np.testing.assert_array_equal(all_rows.masks[:, 1], one_rows.masks[:, 0])


def test_what_speaks_of_other_tasks_goes_with_them(document, saved):
    document["network"]["experts"] = {"shared": 1, "task": {"vtr": 1, "vcr": 2, "shr": 3}}
    document["training"]["loss_weights"] = {"kind": "decayed", "ratio": {"shr": 0.9}}
    document["training"]["gate"] = {"vtr.auc": 0.01, "shr.auc": 0.02}
    part = of_tasks(load_recipe(saved(document)), ["vtr", "vcr"])
    assert part.network.experts.task == {"vtr": 1, "vcr": 2}
    assert part.training.loss_weights.kind == "fixed"
    assert part.training.gate == {"vtr.auc": 0.01}
    assert part.training.monitor.metric == "vtr.auc"
