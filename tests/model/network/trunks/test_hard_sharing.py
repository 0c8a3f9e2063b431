"""Hard sharing against a literal reading, one row at a time."""

import numpy as np
import pytest

from model.network.trunks.hard_sharing import HardSharing
from tests.model.network.trunks import literal
from tests.model.network.trunks.literal import Vector


def literal_hard_sharing(trunk: HardSharing, x: Vector) -> list[float]:
    shared = literal.mlp(trunk.bottom, x)
    return [literal.tower(tower, shared) for tower in trunk.towers]


@pytest.mark.parametrize("seed", range(10))
def test_it_equals_a_shared_bottom_read_literally(seed: int) -> None:
    trunk, x = literal.random_trunk(HardSharing, seed)
    expected = [literal_hard_sharing(trunk, row) for row in x.numpy()]
    np.testing.assert_allclose(literal.outputs(trunk, x), expected, rtol=1e-9, atol=1e-9)


def test_tasks_share_the_bottom_and_no_tower() -> None:
    trunk, x = literal.two_layers(HardSharing, "a", "b")
    both = literal.reached(trunk, 0, x) & literal.reached(trunk, 1, x)
    assert both == {name for name, _ in trunk.named_parameters() if name.startswith("bottom.")}
