"""MMoE against a second one that reads the paper's section 4.2 literally, one row at a time."""

import random

import pytest
import torch

from model.network.trunks.mmoe import MMoE, MMoEConfig
from tests.model.network.trunks import laws, literal
from tests.model.network.trunks.literal import Vector, heads

SMALL = MMoEConfig(experts=3, expert=(16, 8), tower=(8,))


def literal_mmoe(mmoe: MMoE, x: Vector) -> list[float]:
    """All tasks' outputs for one row x [D]."""
    experts = [literal.mlp(expert, x) for expert in mmoe.mixture.experts]
    fusions = [literal.gate(gate.linear.weight, x, experts) for gate in mmoe.mixture.gates]
    return [literal.tower(tower, fusion) for tower, fusion in zip(mmoe.towers, fusions, strict=True)]


def random_mmoe(seed: int) -> tuple[MMoE, int]:
    draw = random.Random(seed)
    torch.manual_seed(seed)
    config = MMoEConfig(
        experts=draw.randint(1, 4),
        expert=tuple(draw.randint(1, 7) for _ in range(draw.randint(1, 3))),
        tower=tuple(draw.randint(1, 5) for _ in range(draw.randint(0, 2))),
    )
    fields = (draw.randint(1, 4), draw.randint(1, 4))
    names = [f"task{task}" for task in range(draw.randint(1, 4))]
    mmoe = MMoE(config, fields=fields, tasks=heads(*names))
    laws.randomised(mmoe)
    return mmoe, sum(fields)


@pytest.mark.parametrize("seed", range(8))
def test_it_equals_the_paper_read_literally(seed: int) -> None:
    mmoe, inputs = random_mmoe(seed)
    laws.equals_literally(mmoe, lambda row: literal_mmoe(mmoe, row), inputs)


@pytest.mark.parametrize("seed", range(8))
def test_experts_side_by_side_learn_what_they_learn_one_by_one(seed: int) -> None:
    laws.learns_in_training_what_it_learns_in_evaluation(*random_mmoe(seed))


def test_a_task_weighs_every_expert_by_a_gate_of_its_own() -> None:
    mmoe = MMoE(SMALL, fields=(10,), tasks=heads("a", "b")).eval()
    experts = ("expert 1", "expert 2", "expert 3")
    gates = mmoe.gates()
    assert [(gate.level, gate.reader, gate.experts) for gate in gates] == [
        (1, "a", experts),
        (1, "b", experts),
    ]
    assert tuple(expert.name for expert in mmoe.experts()) == experts
    assert [expert.expert for expert in mmoe.experts()] == list(mmoe.mixture.experts)
    assert [list(parameter.shape) for parameter in gates[1].gate.parameters()] == [[3, 10]]
    weights = gates[1].gate(torch.randn(5, 10))
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(5))
