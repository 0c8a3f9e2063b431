"""Soft sharing: its outputs are a network a task, and its penalty against a literal reading."""

from itertools import combinations
from typing import Literal

import numpy as np
import pytest
import torch

from model.network.losses import joint_loss
from model.network.trunks.single_task import SingleTask
from model.network.trunks.soft_sharing import SoftSharing, SoftSharingConfig
from tests.model.network.trunks import literal
from tests.model.network.trunks.literal import heads


def literal_penalty(trunk: SoftSharing, distance: str) -> float:
    total = 0.0
    for one, other in combinations(trunk.layers, 2):
        theirs = dict(other.named_parameters())
        for name, parameter in one.named_parameters():
            for difference in (literal.matrix(parameter) - literal.matrix(theirs[name])).flatten():
                total += difference**2 / 2 if distance == "l2" else abs(difference)
    return total


@pytest.mark.parametrize("seed", range(10))
def test_it_predicts_as_single_task_of_its_weights_does(seed: int) -> None:
    trunk, x = literal.random_trunk(SoftSharing, seed)
    alone, _ = literal.random_trunk(SingleTask, seed)
    alone.load_state_dict(trunk.state_dict())
    np.testing.assert_array_equal(literal.outputs(trunk, x), literal.outputs(alone, x))


@pytest.mark.parametrize("distance", ["l2", "l1"])
@pytest.mark.parametrize("seed", range(5))
def test_the_loss_adds_the_distance_of_every_pair_of_tasks(seed: int, distance: Literal["l2", "l1"]) -> None:
    trunk, x = literal.random_trunk(SoftSharing, seed, distance=distance, strength=0.3)
    tasks = heads(*trunk.names)
    outputs = torch.cat(trunk(x), dim=1)
    labels = torch.rand_like(outputs).round()
    given = (labels, torch.ones_like(labels), tasks, torch.arange(1.0, len(tasks) + 1))
    plain, plain_per_task = joint_loss(outputs, *given)
    total, per_task = trunk.loss(outputs, *given)
    torch.testing.assert_close(per_task, plain_per_task, rtol=0, atol=0)
    expected = plain.item() + 0.3 * literal_penalty(trunk, distance)
    np.testing.assert_allclose(total.item(), expected, rtol=1e-9)


def test_tasks_start_from_the_same_layers_and_the_penalty_holds_them_together() -> None:
    def distance_after_training(strength: float) -> float:
        torch.manual_seed(0)
        config = SoftSharingConfig(expert=(8, 4), tower=(4,), strength=strength)
        trunk = SoftSharing(config, fields=(5,), tasks=heads("a", "b", "c"))
        assert literal_penalty(trunk, "l2") == 0.0
        optimizer = torch.optim.Adam(trunk.parameters(), lr=0.01)
        x = torch.randn(64, 5)
        labels = (x[:, :3] > 0).float()
        for _ in range(30):
            optimizer.zero_grad()
            outputs = torch.cat(trunk(x), dim=1)
            trunk.loss(outputs, labels, torch.ones(64, 3), heads("a", "b", "c"), torch.ones(3))[0].backward()
            optimizer.step()
        return literal_penalty(trunk, "l2")

    free, held = distance_after_training(0.0), distance_after_training(1.0)
    assert 0 < held < free / 10
