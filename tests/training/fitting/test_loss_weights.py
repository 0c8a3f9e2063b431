"""Loss weights: by the formulas, on tasks by name."""

from __future__ import annotations

import math
from pathlib import Path
from typing import get_args

import pytest
import torch
from pydantic import TypeAdapter

from model.errors import FulcrumError
from model.network.heads import TaskHead
from training.fitting.loss_weights import task_weights
from training.recipe import (
    DecayedLossWeights,
    FixedLossWeights,
    LossWeights,
    UncertaintyLossWeights,
    load_recipe,
)

HEADS = [TaskHead("vtr", "binary"), TaskHead("vcr", "regression"), TaskHead("shr", "binary")]
START = [1.0, 2.0, 0.5]
ALL = torch.tensor([True, True, True])


def made(start=START, **config):
    return task_weights(TypeAdapter(LossWeights).validate_python(config), start, HEADS)


def test_fixed_weights_are_those_of_the_recipe_at_any_time():
    weights = made(kind="fixed")
    for epoch, step in ((1, 0), (1, 5), (7, 1000)):
        assert weights.at(epoch, step).tolist() == START
    assert weights.penalty(ALL) is None
    assert not list(weights.parameters())


def test_decayed_weights_fall_by_their_ratio_each_epoch_or_step_and_others_stay():
    by_epoch = made(kind="decayed", ratio={"shr": 0.5, "vcr": 1.5})
    assert by_epoch.at(1, 99).tolist() == START
    assert by_epoch.at(3, 99).tolist() == [1.0, 2.0 * 1.5**2, 0.5 * 0.5**2]
    by_step = made(kind="decayed", ratio={"shr": 0.999}, every="step")
    assert by_step.at(1, 0).tolist() == START
    assert by_step.at(9, 5000).tolist() == pytest.approx([1.0, 2.0, 0.5 * 0.999**5000])


def test_learned_weights_start_as_the_paper_has_them():
    weights = made(kind="uncertainty")
    assert weights.at(1, 0).tolist() == [1.0, 1.0, 0.5]
    assert weights.penalty(ALL).item() == 0.0
    with torch.no_grad():
        weights.log_variance.copy_(torch.tensor([0.0, 1.0, -1.0]))
    assert weights.at(1, 0).tolist() == pytest.approx([1.0, math.exp(-1), 0.5 * math.e])
    assert weights.penalty(ALL).item() == pytest.approx(2.0 * 0.5 - 0.5 * 0.5)
    assert weights.penalty(torch.tensor([True, True, False])).item() == pytest.approx(1.0)


def test_learned_weights_come_to_rest_where_a_tasks_loss_says_whatever_its_weight():
    """The joint loss is least at exp(-s) = 1 / (2 L), and at 1 / L for a regression."""
    weights, losses = made(kind="uncertainty"), torch.tensor([0.6, 0.1, 0.05])
    descent = torch.optim.Adam(weights.parameters(), lr=0.05)
    for _ in range(400):
        descent.zero_grad()
        ((weights.at(1, 0) * losses).sum() + weights.penalty(ALL)).backward()
        descent.step()
    assert torch.exp(-weights.log_variance).tolist() == pytest.approx([1 / 1.2, 1 / 0.1, 1 / 0.1], rel=1e-2)


def test_a_task_of_weight_zero_or_without_rows_moves_no_learned_weight():
    weights = made(start=[1.0, 0.0, 1.0], kind="uncertainty")
    losses = torch.tensor([0.6, 0.1, 0.0])
    ((weights.at(1, 0) * losses).sum() + weights.penalty(torch.tensor([True, True, False]))).backward()
    assert weights.log_variance.grad[0] != 0.0
    assert weights.log_variance.grad[1:].tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    ("value", "match"),
    [
        ("{kind: decayed, ratio: {shr: 0.9}, every: batch}", "'epoch' or 'step', found 'batch'"),
        ("{kind: decayed, ratio: {shr: 0}}", r"ratio\.shr: expected a number above 0, found 0"),
        ("{kind: decayed, ratio: {}}", "ratio: expected 1 or more values"),
        ("{kind: decayed}", "ratio: required, but absent"),
        ("{kind: decayed, ratio: {shar: 0.9}}", "unknown task 'shar'; the tasks are vtr, vcr, shr, cmr"),
        ("{kind: fixed, ratio: {shr: 0.9}}", "ratio: unknown key"),
        ("{kind: gradnorm}", "unknown kind 'gradnorm'; the kinds are fixed, decayed, uncertainty"),
    ],
)
def test_a_mistake_names_key_expected_and_found(value, match):
    with pytest.raises(FulcrumError, match=rf"training\..*{match}"):
        load_recipe("demo", [f"training.loss_weights={value}"])


def test_every_kind_and_key_is_documented():
    text = (Path(__file__).parents[3] / "docs" / "recipes.md").read_text()
    for kind in (FixedLossWeights, DecayedLossWeights, UncertaintyLossWeights):
        (name,) = get_args(kind.model_fields["kind"].annotation)
        for word in (name, *kind.model_fields):
            assert f"`{word}`" in text, f"docs/recipes.md does not explain training.loss_weights: {word}"
