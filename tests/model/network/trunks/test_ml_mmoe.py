"""ML-MMoE against a second one that reads its description literally, one row at a time."""

import random

import pytest
import torch

from model.network.trunks.ml_mmoe import MLMMoE, MLMMoEConfig
from model.network.trunks.mmoe import MMoE, MMoEConfig
from tests.model.network.trunks import laws, literal
from tests.model.network.trunks.literal import Vector, heads


def literal_ml_mmoe(network: MLMMoE, x: Vector) -> list[float]:
    """All tasks' outputs for one row x [D]."""
    sources = [x] * len(network.levels[0].experts)
    for level in network.levels:
        experts = [literal.mlp(expert, source) for expert, source in zip(level.experts, sources, strict=True)]
        sources = [literal.gate(gate.linear.weight, x, experts) for gate in level.gates]
    return [literal.tower(tower, source) for tower, source in zip(network.towers, sources, strict=True)]


def random_ml_mmoe(seed: int, levels: int) -> tuple[MLMMoE, int]:
    draw = random.Random(seed)
    torch.manual_seed(seed)
    config = MLMMoEConfig(
        levels=levels,
        experts=draw.randint(1, 4),
        expert=tuple(draw.randint(1, 7) for _ in range(draw.randint(1, 3))),
        tower=tuple(draw.randint(1, 5) for _ in range(draw.randint(0, 2))),
    )
    fields = (draw.randint(1, 4), draw.randint(1, 4))
    names = [f"task{task}" for task in range(draw.randint(1, 4))]
    network = MLMMoE(config, fields=fields, tasks=heads(*names))
    laws.randomised(network)
    return network, sum(fields)


@pytest.mark.parametrize("levels", [1, 2, 3])
@pytest.mark.parametrize("seed", range(8))
def test_it_equals_its_description_read_literally(seed: int, levels: int) -> None:
    network, inputs = random_ml_mmoe(seed, levels)
    laws.equals_literally(network, lambda row: literal_ml_mmoe(network, row), inputs)


@pytest.mark.parametrize("levels", [1, 2, 3])
@pytest.mark.parametrize("seed", range(8))
def test_experts_side_by_side_learn_what_they_learn_one_by_one(seed: int, levels: int) -> None:
    laws.learns_in_training_what_it_learns_in_evaluation(*random_ml_mmoe(seed, levels))


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_every_parameter_receives_a_gradient(levels: int) -> None:
    torch.manual_seed(levels)
    config = MLMMoEConfig(levels=levels, experts=3, expert=(32, 16), tower=(8,))
    laws.every_parameter_learns(MLMMoE(config, fields=(10,), tasks=heads("a", "b", "c")), 10)


@pytest.mark.parametrize("levels", [1, 3])
def test_a_row_alone_gives_what_it_gives_in_a_batch(levels: int) -> None:
    laws.a_row_alone_gives_what_it_gives_in_a_batch(*random_ml_mmoe(1, levels))


def test_with_one_level_it_is_mmoe() -> None:
    settings = {"experts": 3, "expert": [8, 4], "tower": [3]}
    x, outputs = torch.randn(6, 5), []
    for trunk, config in ((MLMMoE, MLMMoEConfig), (MMoE, MMoEConfig)):
        levels = {"levels": 1} if trunk is MLMMoE else {}
        torch.manual_seed(0)
        built = trunk(config.model_validate(settings | levels), fields=(2, 3), tasks=heads("a", "b"))
        outputs.append(torch.cat(built.eval()(x), dim=1))
    torch.testing.assert_close(outputs[0], outputs[1], rtol=0, atol=0)


def test_a_gate_below_the_last_level_serves_one_expert_of_the_next() -> None:
    config = MLMMoEConfig(levels=2, experts=3, expert=(8,))
    network = MLMMoE(config, fields=(10,), tasks=heads("a", "b")).eval()
    experts = ("expert 1", "expert 2", "expert 3")
    gates = network.gates()
    assert [(gate.level, gate.reader) for gate in gates] == [
        (1, "expert 1"),
        (1, "expert 2"),
        (1, "expert 3"),
        (2, "a"),
        (2, "b"),
    ]
    assert {gate.experts for gate in gates} == {experts}
    assert [(expert.level, expert.name) for expert in network.experts()] == [
        (level, name) for level in (1, 2) for name in experts
    ]
    # All gates share one selector, the input.
    assert all(list(gate.gate.linear.weight.shape) == [3, 10] for gate in gates)  # type: ignore[union-attr]
    torch.testing.assert_close(gates[3].gate(torch.randn(5, 10)).sum(dim=1), torch.ones(5))
