"""Cross-stitch against the paper's equation 1 read literally, one row at a time."""

import numpy as np
import pytest
import torch

from model.network.trunks.cross_stitch import CrossStitch, CrossStitchConfig
from tests.model.network.trunks import literal
from tests.model.network.trunks.literal import Vector, heads


def literal_cross_stitch(trunk: CrossStitch, x: Vector) -> list[float]:
    tasks = range(len(trunk.towers))
    streams = [x for _ in tasks]
    for layers, stitch in zip(trunk.layers, trunk.stitches, strict=True):
        outputs = [literal.mlp(layers[k], streams[k]) for k in tasks]
        alpha = literal.matrix(stitch.weight)
        streams = [np.sum([alpha[k, other] * outputs[other] for other in tasks], axis=0) for k in tasks]
    return [literal.tower(trunk.towers[k], streams[k]) for k in tasks]


@pytest.mark.parametrize("seed", range(12))
def test_it_equals_the_paper_read_literally(seed: int) -> None:
    trunk, x = literal.random_trunk(CrossStitch, seed)
    expected = [literal_cross_stitch(trunk, row) for row in x.numpy()]
    np.testing.assert_allclose(literal.outputs(trunk, x), expected, rtol=1e-9, atol=1e-9)


def test_stitches_start_near_the_identity_and_convex() -> None:
    trunk = CrossStitch(CrossStitchConfig(expert=(4, 4)), fields=(3,), tasks=heads("a", "b", "c"))
    for stitch in trunk.stitches:
        torch.testing.assert_close(stitch.weight.diag(), torch.full((3,), 0.9))
        torch.testing.assert_close(stitch.weight.sum(dim=1), torch.ones(3))
    alone = CrossStitch(CrossStitchConfig(expert=(4,)), fields=(3,), tasks=heads("a"))
    assert alone.stitches[0].weight.tolist() == [[1.0]]


def test_tasks_reach_each_other_through_the_stitches_alone() -> None:
    trunk, x = literal.two_layers(CrossStitch, "a", "b")
    assert any(name.startswith("layers.0.1.") for name in literal.reached(trunk, 0, x))
    for stitch in trunk.stitches:
        torch.nn.init.eye_(stitch.weight)
    of_b = {name for name in literal.reached(trunk, 1, x) if not name.startswith("stitches.")}
    assert all(name.split(".")[-3] == "1" or name.startswith("towers.1.") for name in of_b)
    assert not any(name.startswith("layers.0.0.") for name in of_b)
