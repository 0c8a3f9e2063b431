"""Budgets: counted right, and matched."""

from __future__ import annotations

import pytest
import torch

from model.network.heads import TaskHead
from model.network.trunk import Trunk
from model.network.trunks import build_trunk, network_config
from training.report.budget import CLOSE, matched, measure

FIELDS = (8, 8, 4, 4, 1, 1, 1, 1)
TASKS = (TaskHead("vtr", "binary"), TaskHead("vcr", "regression"))
OWN = network_config(
    {"model": "ple", "levels": 1, "experts": {"shared": 2, "task": 2}, "expert": [32, 16], "tower": [32]}
)


def test_a_budget_is_what_the_layers_add_up_to():
    config = network_config(
        {"model": "cgc", "experts": {"shared": 1, "task": 1}, "expert": [5, 3], "tower": []}
    )
    found = measure(config, FIELDS, TASKS, apart=False)
    inputs, experts = sum(FIELDS), 3
    matrices = experts * (inputs * 5 + 5 * 3) + 2 * (inputs * 2) + 2 * 3
    assert found.parameters == matrices + experts * (5 + 3) + 2
    assert found.flops == 2 * matrices
    trunk = build_trunk(config, fields=FIELDS, tasks=TASKS)
    assert found.parameters == sum(each.numel() for each in trunk.parameters())


def test_single_task_models_cost_the_sum_of_their_trunks():
    config = network_config({"model": "single-task", "expert": [32, 16], "tower": [32]})
    alone = measure(config, FIELDS, TASKS[:1], apart=False)
    both = measure(config, FIELDS, TASKS, apart=True)
    assert both.parameters == 2 * alone.parameters
    assert both.flops == 2 * alone.flops


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "match"), [*((name, "flops") for name in sorted(Trunk.known)), ("mmoe", "parameters")]
)
def test_every_network_is_matched_within_two_percent(name, match):
    own = network_config({**OWN.model_dump(mode="json"), "expert": [64, 32]})
    target = measure(own, FIELDS, TASKS, apart=False)
    config = network_config({"model": name, "expert": [64, 32], "tower": [32]})
    apart = name == "single-task"
    try:
        measure(config, FIELDS, TASKS, apart=apart)
    except ValueError as error:
        pytest.skip(f"{name} is for other tasks: {error}")
    found, budget = matched(config, FIELDS, TASKS, apart=apart, match=match, target=target)
    assert abs(budget.of(match) / target.of(match) - 1) <= CLOSE
    assert found.tower == config.tower
    assert budget == measure(found, FIELDS, TASKS, apart=apart)


def test_without_matching_nothing_changes_and_the_own_network_never_does():
    config = network_config({"model": "cgc", "expert": [8], "tower": [4]})
    target = measure(OWN, FIELDS, TASKS, apart=False)
    assert matched(config, FIELDS, TASKS, apart=False, match="none", target=target)[0] == config
    assert matched(OWN, FIELDS, TASKS, apart=False, match="flops", target=target)[0] == OWN


def test_measuring_draws_nothing_from_the_generator():
    before = torch.get_rng_state()
    measure(OWN, FIELDS, TASKS, apart=False)
    assert torch.equal(torch.get_rng_state(), before)
