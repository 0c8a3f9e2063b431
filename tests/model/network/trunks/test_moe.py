"""MoE against a second one that reads the mixture literally, one row at a time."""

import random

import pytest
import torch

from model.network.trunks.moe import MoE, MoEConfig
from tests.model.network.trunks import laws, literal
from tests.model.network.trunks.literal import Vector, heads

SMALL = MoEConfig(experts=3, expert=(16, 8), tower=(8,))


def literal_moe(moe: MoE, x: Vector) -> list[float]:
    """All tasks' outputs for one row x [D]."""
    experts = [literal.mlp(expert, x) for expert in moe.mixture.experts]
    (gate,) = moe.mixture.gates
    fusion = literal.gate(gate.linear.weight, x, experts)
    return [literal.tower(tower, fusion) for tower in moe.towers]


def random_moe(seed: int) -> tuple[MoE, int]:
    draw = random.Random(seed)
    torch.manual_seed(seed)
    config = MoEConfig(
        experts=draw.randint(1, 4),
        expert=tuple(draw.randint(1, 7) for _ in range(draw.randint(1, 3))),
        tower=tuple(draw.randint(1, 5) for _ in range(draw.randint(0, 2))),
    )
    fields = (draw.randint(1, 4), draw.randint(1, 4))
    names = [f"task{task}" for task in range(draw.randint(1, 4))]
    moe = MoE(config, fields=fields, tasks=heads(*names))
    laws.randomised(moe)
    return moe, sum(fields)


@pytest.mark.parametrize("seed", range(8))
def test_it_equals_a_mixture_read_literally(seed: int) -> None:
    moe, inputs = random_moe(seed)
    laws.equals_literally(moe, lambda row: literal_moe(moe, row), inputs)


@pytest.mark.parametrize("seed", range(8))
def test_experts_side_by_side_learn_what_they_learn_one_by_one(seed: int) -> None:
    laws.learns_in_training_what_it_learns_in_evaluation(*random_moe(seed))


def test_one_gate_weighs_every_expert_for_all_tasks() -> None:
    moe = MoE(SMALL, fields=(10,), tasks=heads("a", "b")).eval()
    experts = ("expert 1", "expert 2", "expert 3")
    (gate,) = moe.gates()
    assert (gate.level, gate.reader, gate.experts) == (1, "all", experts)
    assert tuple(expert.name for expert in moe.experts()) == experts
    assert [list(parameter.shape) for parameter in gate.gate.parameters()] == [[3, 10]]
    torch.testing.assert_close(gate.gate(torch.randn(5, 10)).sum(dim=1), torch.ones(5))
