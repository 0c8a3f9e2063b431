"""Customized sharing against a literal reading, one row at a time."""

import numpy as np
import pytest

from model.network.trunks.customized_sharing import CustomizedSharing
from tests.model.network.trunks import literal
from tests.model.network.trunks.literal import Vector


def literal_customized_sharing(trunk: CustomizedSharing, x: Vector) -> list[float]:
    shared = literal.mlp(trunk.shared, x)
    return [
        literal.tower(tower, np.concatenate([shared, literal.mlp(own, x)]))
        for own, tower in zip(trunk.own, trunk.towers, strict=True)
    ]


@pytest.mark.parametrize("seed", range(10))
def test_it_equals_the_paper_read_literally(seed: int) -> None:
    trunk, x = literal.random_trunk(CustomizedSharing, seed)
    expected = [literal_customized_sharing(trunk, row) for row in x.numpy()]
    np.testing.assert_allclose(literal.outputs(trunk, x), expected, rtol=1e-9, atol=1e-9)


def test_tasks_share_the_shared_bottom_alone() -> None:
    trunk, x = literal.two_layers(CustomizedSharing, "a", "b")
    both = literal.reached(trunk, 0, x) & literal.reached(trunk, 1, x)
    assert both == {name for name, _ in trunk.named_parameters() if name.startswith("shared.")}
