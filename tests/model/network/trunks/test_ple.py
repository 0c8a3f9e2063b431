"""PLE against a second one that reads the paper's sections 4.1 and 4.2 literally, one row at a time."""

import random

import numpy as np
import pytest
import torch
from torch import nn

from model.network.layers.gate import Gate
from model.network.trunks.ple import PLE, PLEConfig
from tests.model.network.trunks import literal
from tests.model.network.trunks.literal import Vector, heads


def literal_ple(ple: PLE, x: Vector) -> list[float]:
    """All tasks' outputs for one row x [D]."""
    tasks = range(len(ple.towers))
    task_streams = [x for _ in tasks]
    shared_stream = x
    for number, level in enumerate(ple.levels):
        last = number == len(ple.levels) - 1
        shared = [literal.mlp(expert, shared_stream) for expert in level.shared_experts]
        own = [[literal.mlp(expert, task_streams[k]) for expert in level.task_experts[k]] for k in tasks]
        fusions = []
        for k in tasks:
            selected = own[k] + shared
            fusions.append(literal.gate(level.task_gates[k].linear.weight, task_streams[k], selected))
        if not last:
            selected = [expert for k in tasks for expert in own[k]] + shared
            shared_stream = literal.gate(level.shared_gate.linear.weight, shared_stream, selected)
        task_streams = fusions
    return [literal.tower(ple.towers[k], task_streams[k]) for k in tasks]


def random_ple(seed: int, levels: int) -> tuple[PLE, PLEConfig, int]:
    """A PLE whose counts, widths and depths differ between tasks, in float64, with every bias filled in."""
    draw = random.Random(seed)
    torch.manual_seed(seed)
    names = [f"task{k}" for k in range(draw.randint(1, 4))]
    width, inputs = draw.randint(1, 6), draw.randint(1, 9)

    def widths() -> list[int]:
        return [draw.randint(1, 7) for _ in range(draw.randint(0, 2))] + [width]

    config = PLEConfig.model_validate(
        {
            "levels": levels,
            "experts": {"shared": draw.randint(1, 3), "task": {name: draw.randint(1, 4) for name in names}},
            "expert": {"shared": widths(), "task": {name: widths() for name in names}},
            "tower": [draw.randint(1, 5) for _ in range(draw.randint(0, 2))],
        }
    )
    ple = PLE(config, fields=(inputs,), tasks=heads(*names)).double().eval()
    for parameter in ple.parameters():
        nn.init.normal_(parameter)
    return ple, config, inputs


@pytest.mark.parametrize("rows", [1, 2, 13])
@pytest.mark.parametrize("levels", [1, 2, 3])
@pytest.mark.parametrize("seed", range(8))
def test_it_equals_the_paper_read_literally(seed: int, levels: int, rows: int) -> None:
    ple, _, inputs = random_ple(seed * 10 + levels, levels)
    x = torch.randn(rows, inputs, dtype=torch.float64)
    outputs = torch.cat(ple(x), dim=1).detach().numpy()
    expected = [literal_ple(ple, row) for row in x.numpy()]
    np.testing.assert_allclose(outputs, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("levels", [1, 2, 3])
@pytest.mark.parametrize("seed", range(8))
def test_experts_side_by_side_learn_what_they_learn_one_by_one(seed: int, levels: int) -> None:
    ple, _, inputs = random_ple(seed * 10 + levels, levels)
    x = torch.randn(9, inputs, dtype=torch.float64)

    def outputs_and_gradients(training: bool) -> list[torch.Tensor]:
        ple.zero_grad()
        source = x.clone().requires_grad_()
        outputs = torch.cat(ple.train(training)(source), dim=1)
        (outputs.square() * torch.arange(1, outputs.shape[1] + 1)).sum().backward()
        return [outputs, source.grad, *(parameter.grad for parameter in ple.parameters())]  # type: ignore[list-item]

    for fast, slow in zip(outputs_and_gradients(True), outputs_and_gradients(False), strict=True):
        torch.testing.assert_close(fast, slow, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_every_parameter_receives_a_gradient_and_the_last_level_has_no_shared_gate(levels: int) -> None:
    torch.manual_seed(levels)
    config = PLEConfig(levels=levels, expert=(16, 8), tower=(8,))
    ple = PLE(config, fields=(10,), tasks=heads("a", "b", "c"))
    sum(output.sum() for output in ple(torch.randn(64, 10))).backward()
    without = [name for name, p in ple.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []
    assert [level.shared_gate is None for level in ple.levels] == [False] * (levels - 1) + [True]


def test_gates_are_linear_without_bias_and_as_wide_as_the_experts_they_see() -> None:
    config = PLEConfig.model_validate({"levels": 2, "experts": {"shared": 3, "task": {"a": 1, "b": 4}}})
    ple = PLE(config, fields=(10,), tasks=heads("a", "b"))
    gates = {name: gate for name, gate in ple.named_modules() if isinstance(gate, Gate)}
    assert {name: [list(p.shape) for p in gate.parameters()] for name, gate in gates.items()} == {
        "levels.0.task_gates.0": [[4, 10]],
        "levels.0.task_gates.1": [[7, 10]],
        "levels.0.shared_gate": [[8, 10]],
        "levels.1.task_gates.0": [[4, 128]],
        "levels.1.task_gates.1": [[7, 128]],
    }


def test_a_task_does_not_reach_into_another_tasks_experts_or_tower() -> None:
    torch.manual_seed(0)
    ple = PLE(PLEConfig(levels=1, expert=(8,), tower=(4,)), fields=(5,), tasks=heads("a", "b"))
    ple(torch.randn(32, 5))[0].sum().backward()
    (level,) = ple.levels
    for theirs in (level.task_experts[1], level.task_gates[1], ple.towers[1]):
        assert all(parameter.grad is None or not parameter.grad.any() for parameter in theirs.parameters())
    assert all(parameter.grad.any() for parameter in level.shared_experts.parameters())


@pytest.mark.parametrize("levels", [1, 3])
def test_a_row_alone_gives_what_it_gives_in_a_batch(levels: int) -> None:
    ple, _, inputs = random_ple(levels, levels)
    x = torch.randn(40, inputs, dtype=torch.float64)
    together = torch.cat(ple(x), dim=1)
    alone = torch.cat([torch.cat(ple(row), dim=1) for row in x.split(1)])
    torch.testing.assert_close(alone, together, rtol=1e-12, atol=1e-12)


def test_dropout_acts_in_training_and_rests_in_evaluation() -> None:
    torch.manual_seed(0)
    ple = PLE(PLEConfig(expert=(16,), tower=(8,), dropout=0.5), fields=(6,), tasks=heads("a"))
    x = torch.randn(20, 6)
    assert not torch.equal(ple(x)[0], ple(x)[0])
    ple.eval()
    assert torch.equal(ple(x)[0], ple(x)[0])


def test_settings_for_a_task_that_does_not_exist_are_refused() -> None:
    config = PLEConfig.model_validate({"experts": {"task": {"vtr": 1, "shar": 1}}})
    with pytest.raises(ValueError, match="unknown task 'shar'; the tasks are vtr, shr"):
        PLE(config, fields=(4,), tasks=heads("vtr", "shr"))


def test_gates_and_experts_are_told_by_level_and_name() -> None:
    config = PLEConfig.model_validate(
        {"levels": 2, "experts": {"shared": 1, "task": {"a": 1, "b": 2}}, "expert": [8]}
    )
    ple = PLE(config, fields=(10,), tasks=heads("a", "b")).eval()
    gates = {(gate.level, gate.reader): gate for gate in ple.gates()}
    assert {place: gate.experts for place, gate in gates.items()} == {
        (1, "a"): ("a 1", "shared 1"),
        (1, "b"): ("b 1", "b 2", "shared 1"),
        (1, "shared"): ("a 1", "b 1", "b 2", "shared 1"),
        (2, "a"): ("a 1", "shared 1"),
        (2, "b"): ("b 1", "b 2", "shared 1"),
    }
    experts = {(expert.level, expert.name): expert.expert for expert in ple.experts()}
    assert experts[2, "b 2"] is ple.levels[1].task_experts[1][1]
    assert len(experts) == 8
    weights = gates[1, "b"].gate(torch.randn(5, 10))
    assert weights.shape == (5, 3)
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(5))
