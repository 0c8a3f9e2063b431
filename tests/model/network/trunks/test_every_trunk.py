"""What holds for every trunk there is, whatever it calculates."""

from dataclasses import dataclass

import pytest
import torch

from model.network.embedding import SideSpec
from model.network.heads import TaskHead
from model.network.network import build_network
from model.network.trunk import Trunk
from model.network.trunks import build_trunk, network_config

HEADS = (
    TaskHead("vtr", "binary"),
    TaskHead("vcr", "regression", space="watched"),
    TaskHead("shr", "binary", space="watched"),
)
FIELDS = (4, 1, 5)

every_trunk = pytest.mark.parametrize("model", sorted(Trunk.known))


@dataclass(frozen=True)
class WideHead(TaskHead):
    """A regression that reads three outputs."""

    @property
    def columns(self) -> int:
        return 3


def trunk_of(model: str, heads: tuple[TaskHead, ...] = HEADS, **settings: object) -> Trunk:
    torch.manual_seed(0)
    config = network_config({"model": model, "expert": [16, 8], "tower": [4], **settings})
    return build_trunk(config, fields=FIELDS, tasks=heads)


@every_trunk
def test_every_parameter_receives_a_gradient(model: str) -> None:
    trunk = trunk_of(model)
    labels = torch.rand(200, 3).round()
    outputs = torch.cat(trunk(torch.randn(200, sum(FIELDS))), dim=1)
    loss, per_task = trunk.loss(outputs, labels, torch.ones(200, 3), HEADS, torch.ones(3))
    assert loss.shape == ()
    assert per_task.shape == (3,)
    loss.backward()
    assert [name for name, p in trunk.named_parameters() if p.grad is None or not p.grad.any()] == []


@every_trunk
def test_a_row_alone_gives_what_it_gives_in_a_batch(model: str) -> None:
    trunk = trunk_of(model).double().eval()
    x = torch.randn(40, sum(FIELDS), dtype=torch.float64)
    together = torch.cat(trunk(x), dim=1)
    alone = torch.cat([torch.cat(trunk(row), dim=1) for row in x.split(1)])
    torch.testing.assert_close(alone, together, rtol=1e-12, atol=1e-12)


@every_trunk
def test_training_calculates_what_is_exported(model: str) -> None:
    trunk = trunk_of(model).double()
    x = torch.randn(9, sum(FIELDS), dtype=torch.float64)

    def outputs_and_gradients(training: bool) -> list[torch.Tensor]:
        trunk.train(training).zero_grad()
        source = x.clone().requires_grad_()
        outputs = torch.cat(trunk(source), dim=1)
        (outputs.square() * torch.arange(1, outputs.shape[1] + 1)).sum().backward()
        return [outputs, source.grad, *(parameter.grad for parameter in trunk.parameters())]  # type: ignore[list-item]

    for learned, exported in zip(outputs_and_gradients(True), outputs_and_gradients(False), strict=True):
        torch.testing.assert_close(learned, exported, rtol=1e-9, atol=1e-9)


@every_trunk
def test_dropout_acts_in_training_and_rests_in_evaluation(model: str) -> None:
    trunk = trunk_of(model, dropout=0.5)
    x = torch.randn(20, sum(FIELDS))
    assert not torch.equal(trunk(x)[0], trunk(x)[0])
    trunk.eval()
    assert torch.equal(trunk(x)[0], trunk(x)[0])


@every_trunk
def test_each_task_gets_as_many_outputs_as_its_head_reads(model: str) -> None:
    heads = (HEADS[0], WideHead("vcr", "regression", space="watched"), HEADS[2])
    trunk = trunk_of(model, heads)
    shapes = [output.shape for output in trunk(torch.randn(5, sum(FIELDS)))]
    assert shapes[:3] == [(5, 1), (5, 3), (5, 1)]
    assert sum(width for _, width in shapes[3:]) == trunk.auxiliary


@every_trunk
def test_a_trunk_calculates_in_the_precision_of_its_input(model: str) -> None:
    trunk = trunk_of(model)
    x = torch.randn(50, sum(FIELDS))
    exact, rough = torch.cat(trunk(x), dim=1), torch.cat(trunk(x.bfloat16()), dim=1)
    assert not torch.equal(rough, exact)
    torch.testing.assert_close(rough.float(), exact, rtol=0.1, atol=0.1)


@every_trunk
def test_gates_weigh_the_experts_that_they_name(model: str) -> None:
    trunk = trunk_of(model).eval()
    names = {(expert.level, expert.name) for expert in trunk.experts()}
    assert len(names) == len(trunk.experts())
    for gate in trunk.gates():
        above = {name for level, name in names if level == gate.level + 1}
        assert gate.reader in {"shared", "all", *(head.name for head in HEADS)} | above
        assert {(gate.level, name) for name in gate.experts} <= names


@every_trunk
def test_the_same_seed_makes_the_same_network(model: str) -> None:
    def made() -> dict[str, torch.Tensor]:
        torch.manual_seed(3)
        config = network_config({"model": model, "expert": [8]})
        sides = SideSpec(numeric=2), SideSpec(numeric=3)
        return build_network(config, user=sides[0], item=sides[1], tasks=HEADS).state_dict()

    first, second = made(), made()
    assert all(torch.equal(first[name], second[name]) for name in first)
