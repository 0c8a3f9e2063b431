"""Single-task against a literal reading, one row at a time."""

import numpy as np
import pytest

from model.network.trunks.single_task import SingleTask
from tests.model.network.trunks import literal
from tests.model.network.trunks.literal import Vector


def literal_single_task(trunk: SingleTask, x: Vector) -> list[float]:
    return [
        literal.tower(tower, literal.mlp(layers, x))
        for layers, tower in zip(trunk.layers, trunk.towers, strict=True)
    ]


@pytest.mark.parametrize("seed", range(10))
def test_it_equals_a_network_a_task_read_literally(seed: int) -> None:
    trunk, x = literal.random_trunk(SingleTask, seed)
    expected = [literal_single_task(trunk, row) for row in x.numpy()]
    np.testing.assert_allclose(literal.outputs(trunk, x), expected, rtol=1e-9, atol=1e-9)


def test_no_parameter_serves_two_tasks() -> None:
    trunk, x = literal.two_layers(SingleTask, "a", "b", "c")
    reached = [literal.reached(trunk, task, x) for task in range(3)]
    for place, names in enumerate(reached):
        own = (f"layers.{place}.", f"towers.{place}.")
        assert names == {name for name, _ in trunk.named_parameters() if name.startswith(own)}


def test_its_layers_are_experts_by_the_names_of_the_tasks() -> None:
    trunk, x = literal.random_trunk(SingleTask, 2, names=("a", "b"))
    assert [(expert.level, expert.name) for expert in trunk.experts()] == [(1, "a 1"), (1, "b 1")]
    assert trunk.experts()[1].expert(x).shape == (len(x), trunk.layers[1].widths[-1])
