"""Sluice against the paper's alpha, beta and Omega read literally, one row at a time."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from model.network.losses import joint_loss
from model.network.trunks.sluice import Sluice, SluiceConfig
from tests.model.network.trunks import literal
from tests.model.network.trunks.literal import Vector, heads


def literal_sluice(trunk: Sluice, subspaces: int, x: Vector) -> list[float]:
    tasks = range(len(trunk.towers))
    streams = [x for _ in tasks]
    beta = literal.matrix(trunk.mixture)
    mixtures = [np.zeros(1) for _ in tasks]
    for number, (layers, stitch, to_last) in enumerate(
        zip(trunk.layers, trunk.stitches, trunk.to_last, strict=True)
    ):
        outputs = [literal.mlp(layers[k], streams[k]) for k in tasks]
        parts = [part for output in outputs for part in np.split(output, subspaces)]
        alpha = literal.matrix(stitch.weight)
        mixed = [
            sum(alpha[row, column] * part for column, part in enumerate(parts)) for row in range(len(parts))
        ]
        streams = [np.concatenate(mixed[k * subspaces : (k + 1) * subspaces]) for k in tasks]
        for k in tasks:
            weights = list(to_last[k].parameters())
            term = literal.matrix(weights[0]) @ streams[k] if weights else streams[k]
            mixtures[k] = mixtures[k] + beta[k, number] * term
    return [literal.tower(trunk.towers[k], mixtures[k]) for k in tasks]


@pytest.mark.parametrize("subspaces", [1, 2, 3])
@pytest.mark.parametrize("seed", range(8))
def test_it_equals_the_paper_read_literally(seed: int, subspaces: int) -> None:
    trunk, x = literal.random_trunk(Sluice, seed, multiple=subspaces, subspaces=subspaces)
    expected = [literal_sluice(trunk, subspaces, row) for row in x.numpy()]
    np.testing.assert_allclose(literal.outputs(trunk, x), expected, rtol=1e-9, atol=1e-9)


def test_layers_of_one_width_are_mixed_as_they_are_and_others_through_a_map() -> None:
    trunk = Sluice(SluiceConfig(expert=(8, 4, 4)), fields=(3,), tasks=heads("a", "b"))
    maps = {name: list(p.shape) for name, p in trunk.named_parameters() if name.startswith("to_last.")}
    assert maps == {"to_last.0.0.weight": [4, 8], "to_last.0.1.weight": [4, 8]}


@pytest.mark.parametrize("subspaces", [1, 2, 3])
@pytest.mark.parametrize("seed", range(3))
def test_the_loss_adds_the_overlap_of_every_pair_of_subspaces(seed: int, subspaces: int) -> None:
    trunk, x = literal.random_trunk(Sluice, seed, multiple=subspaces, subspaces=subspaces, orthogonality=0.3)
    overlap = 0.0
    for layers in trunk.layers:
        for layer in layers:
            parts = np.split(literal.matrix(layer.linears[0].weight), subspaces)
            for one in range(subspaces):
                for other in range(one):
                    overlap += float(((parts[one] @ parts[other].T) ** 2).sum())
    tasks = heads(*trunk.names)
    outputs = torch.cat(trunk(x), dim=1)
    labels = torch.rand_like(outputs).round()
    given = (labels, torch.ones_like(labels), tasks, torch.ones(len(tasks)))
    plain, plain_per_task = joint_loss(outputs, *given)
    total, per_task = trunk.loss(outputs, *given)
    torch.testing.assert_close(per_task, plain_per_task, rtol=0, atol=0)
    np.testing.assert_allclose(total.item(), plain.item() + 0.3 * overlap, rtol=1e-9)
    assert (overlap > 0) == (subspaces > 1)


def test_own_subspaces_and_the_last_layer_weigh_most_at_first() -> None:
    trunk = Sluice(SluiceConfig(expert=(4, 4, 4)), fields=(3,), tasks=heads("a", "b"))
    for stitch in trunk.stitches:
        torch.testing.assert_close(stitch.weight.diag(), torch.full((4,), 0.9))
        torch.testing.assert_close(stitch.weight.sum(dim=1), torch.ones(4))
    torch.testing.assert_close(trunk.mixture, torch.tensor([[0.05, 0.05, 0.9]] * 2))
    one_layer = Sluice(SluiceConfig(expert=(4,)), fields=(3,), tasks=heads("a"))
    assert one_layer.mixture.tolist() == [[1.0]]


def test_subspaces_that_do_not_part_a_layer_are_refused() -> None:
    with pytest.raises(ValidationError, match="3 subspaces do not part a layer of 8 units evenly"):
        SluiceConfig(expert=(9, 8), subspaces=3)


def test_a_task_does_not_reach_another_tasks_tower_or_mixture() -> None:
    trunk, x = literal.two_layers(Sluice, "a", "b")
    reached = literal.reached(trunk, 0, x)
    assert not any(name.startswith(("towers.1.", "to_last.0.1.")) for name in reached)
    assert any(name.startswith("layers.0.1.") for name in reached)
    assert not trunk.mixture.grad[1].any()  # type: ignore[index]
