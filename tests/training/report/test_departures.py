"""Departures: whatever a report does otherwise than its recipe says is a sentence, and nothing else is."""

from __future__ import annotations

import pytest

from training.report.departures import departures
from training.report.plan import ReportSpec, make_plan


def _said(recipe, **asked):
    plan = make_plan(ReportSpec(recipe, **asked))
    return departures(plan, plan.networks)


def test_a_network_of_two_levels_where_the_recipe_says_one_is_told(trained):
    own, levels, *_ = _said(trained.recipe, models=["ple", "cgc"])
    assert own.startswith("The recipe's own network, ple with levels: 1, is named cgc here")
    assert levels.startswith("ple is trained with levels: 2, where the recipe says 1: with one level, ple is")
    assert "--set network.levels=1" in levels


def test_what_an_override_asks_for_is_no_departure(trained):
    said = _said(trained.recipe, models=["ple"], overrides=["network.levels=1", "network.dropout=0.2"])
    assert not [sentence for sentence in said if "level" in sentence or "dropout" in sentence]


def test_experts_without_streams_are_told_once_for_all_networks_that_have_them(trained):
    (said,) = [s for s in _said(trained.recipe, models=["mmoe", "moe"]) if "experts" in s]
    assert said == (
        "mmoe, moe are trained with experts: 4, where the recipe says {shared: 1, task: 1}: "
        "as many as the recipe's network has in all."
    )


def test_matched_widths_are_told_and_kept_ones_are_not(trained):
    plan = make_plan(ReportSpec(trained.recipe, models=["cgc", "mmoe"]))
    wider = plan.networks["mmoe"].model_copy(update={"expert": (23,)})
    said = [s for s in departures(plan, plan.networks | {"mmoe": wider}) if "wider" in s]
    assert [s.startswith("Experts of mmoe are wider or narrower") for s in said] == [True]
    assert "as many flops as the recipe's own" in said[0]


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"tasks": ["vcr", "shr"]}, "by the joint validation loss, where the recipe says vtr.auc"),
        ({}, "single-task models of vcr, shr choose their best epoch by their own validation loss"),
        ({"overrides": ["training.threads=4"]}, "Each run has one thread, where the recipe says"),
        ({"overrides": ["training.tensorboard=true"]}, "Not used here: training.tensorboard."),
        ({"overrides": ["training.gate={vtr.auc: 0.1}"]}, "Not used here: training.gate."),
    ],
)
def test_what_becomes_of_the_training_is_told(trained, asked, expected):
    assert any(expected in sentence for sentence in _said(trained.recipe, models=["cgc"], **asked))


def test_the_last_epoch_is_chosen_by_nothing(trained):
    said = _said(trained.recipe, models=["cgc"], overrides=["training.keep=last"])
    assert not [sentence for sentence in said if "epoch" in sentence]


def test_a_recipe_that_is_trained_as_it_says_has_no_departures(document, saved):
    document["network"]["levels"] = 2
    document["training"]["monitor"] = {"metric": "loss", "mode": "min"}
    assert _said(saved(document), models=["ple"]) == []
