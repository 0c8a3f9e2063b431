"""ESMM against a second one that reads the paper literally, and its loss against plain probabilities."""

import math
import random

import pytest
import torch
from torch import Tensor

from model.network.embedding import SideSpec
from model.network.heads import TaskHead, predictions
from model.network.losses import joint_loss
from model.network.network import build_network
from model.network.trunks.esmm import ESMM, ESMMConfig
from tests.model.network.trunks import laws, literal
from tests.model.network.trunks.literal import Vector, heads

SMALL = ESMMConfig(expert=(16, 8), tower=(8,))
TASKS = (
    TaskHead("vtr", "binary"),
    TaskHead("vcr", "regression", (0.0, 2.0), space="played"),
    TaskHead("shr", "binary", space="played"),
    TaskHead("buy", "binary", space="clicked"),
    TaskHead("price", "regression", (1.0, 3.0), space="clicked"),
)
WEIGHTS = torch.tensor([1.0, 0.5, 3.0, 2.0, 0.7], dtype=torch.float64)


def esmm(tasks: tuple[TaskHead, ...] = TASKS, **settings: float) -> ESMM:
    config = ESMMConfig.model_validate({"expert": [16, 8], "tower": [8]} | settings)
    return ESMM(config, fields=(4, 6), tasks=tasks)


def literal_esmm(network: ESMM, x: Vector) -> list[float]:
    """All tasks' outputs, then all entries', for one row x [D]."""
    pairs = zip(network.layers, network.towers, strict=True)
    return [literal.tower(tower, literal.mlp(layers, x)) for layers, tower in pairs]


def literal_losses(outputs: Tensor, labels: Tensor, mask: Tensor) -> tuple[list[float], list[float]]:
    """Each task's loss and each entry's, by probabilities, row by row; spaces in the order of TASKS."""
    spaces = ["played", "clicked"]

    def sigmoid(value: Tensor) -> float:
        return 1 / (1 + math.exp(-float(value)))

    def is_inside(row: int, space: str) -> bool:
        return any(bool(mask[row, k]) for k, head in enumerate(TASKS) if head.space == space)

    def crossed(p: float, y: float) -> float:
        return -(y * math.log(p) + (1 - y) * math.log(1 - p))

    losses = []
    for k, head in enumerate(TASKS):
        terms = []
        for row in range(len(outputs)):
            p = sigmoid(outputs[row, k])
            value = head.bounds[0] + (head.bounds[1] - head.bounds[0]) * p if head.kind == "regression" else p
            y = float(labels[row, k]) if mask[row, k] else 0.0
            if head.space is None:
                if not mask[row, k]:
                    continue
            else:
                if is_inside(row, head.space) and not mask[row, k]:
                    continue
                value *= sigmoid(outputs[row, len(TASKS) + spaces.index(head.space)])
            terms.append((value - y) ** 2 if head.kind == "regression" else crossed(value, y))
        losses.append(sum(terms) / len(terms) if terms else 0.0)
    entries = []
    for place, space in enumerate(spaces):
        terms = [
            crossed(sigmoid(outputs[row, len(TASKS) + place]), float(is_inside(row, space)))
            for row in range(len(outputs))
        ]
        entries.append(sum(terms) / len(terms))
    return losses, entries


def batch(seed: int, rows: int) -> tuple[Tensor, Tensor, Tensor]:
    """Outputs, labels and masks as they come: inside a space, too, a label may be unknown."""
    draw = torch.Generator().manual_seed(seed)
    outputs = torch.randn(rows, len(TASKS) + 2, generator=draw, dtype=torch.float64)
    labels = torch.randint(0, 2, (rows, len(TASKS)), generator=draw).double()
    spaces = torch.rand(rows, 2, generator=draw) < 0.5
    holds = torch.stack([torch.ones(rows).bool(), *spaces[:, [0, 0, 1, 1]].T], dim=1)
    mask = holds & (torch.rand(rows, len(TASKS), generator=draw) < 0.8)
    return outputs.requires_grad_(), labels.where(mask, torch.nan), mask


@pytest.mark.parametrize("seed", range(8))
def test_it_equals_the_paper_read_literally(seed: int) -> None:
    draw = random.Random(seed)
    torch.manual_seed(seed)
    config = ESMMConfig(
        expert=tuple(draw.randint(1, 7) for _ in range(draw.randint(1, 3))),
        tower=tuple(draw.randint(1, 5) for _ in range(draw.randint(0, 2))),
    )
    network = ESMM(config, fields=(3, 2), tasks=draw.sample(TASKS, draw.randint(1, len(TASKS))))
    laws.randomised(network)
    laws.equals_literally(network, lambda row: literal_esmm(network, row), 5)
    laws.learns_in_training_what_it_learns_in_evaluation(network, 5)


@pytest.mark.parametrize("seed", range(8))
def test_a_task_of_a_space_is_learned_on_all_rows_as_a_product_with_its_entry(seed: int) -> None:
    outputs, labels, mask = batch(seed, 1 + 3 * seed)
    total, per_task = esmm(entry_weight=0.3).loss(outputs, labels, mask, TASKS, WEIGHTS)
    losses, entries = literal_losses(outputs.detach(), labels, mask)
    assert per_task.tolist() == pytest.approx(losses, abs=1e-9)
    weighted = sum(w * loss for w, loss in zip(WEIGHTS.tolist(), losses, strict=True))
    assert total.item() == pytest.approx(weighted + 0.3 * sum(entries))


def test_a_row_of_which_no_label_is_known_teaches_that_nobody_entered() -> None:
    outputs = torch.zeros(2, 2, requires_grad=True)
    task = (TaskHead("shr", "binary", space="played"),)
    labels, mask = torch.tensor([[1.0], [torch.nan]]), torch.tensor([[True], [False]])
    total, _ = esmm(task).loss(outputs, labels, mask, task, torch.ones(1))
    (gradient,) = torch.autograd.grad(total, outputs)
    assert (gradient[0] < 0).all()
    assert (gradient[1] > 0).all()


def test_a_label_that_is_unknown_inside_teaches_its_task_nothing() -> None:
    outputs = torch.zeros(1, 3, requires_grad=True)
    tasks = (TaskHead("shr", "binary", space="played"), TaskHead("cmr", "binary", space="played"))
    labels, mask = torch.tensor([[1.0, torch.nan]]), torch.tensor([[True, False]])
    total, per_task = esmm(tasks).loss(outputs, labels, mask, tasks, torch.ones(2))
    (gradient,) = torch.autograd.grad(total, outputs)
    assert per_task[1] == 0
    assert gradient[0, 1] == 0
    assert gradient[0, 2] < 0


def test_extreme_outputs_give_finite_losses() -> None:
    for sign in (1.0, -1.0):
        outputs = torch.full((2, len(TASKS) + 2), sign * 1e4, requires_grad=True)
        labels = torch.tensor([[1.0] * len(TASKS), [0.0] * len(TASKS)])
        total, _ = esmm().loss(outputs, labels, torch.ones_like(labels), TASKS, WEIGHTS.float())
        total.backward()
        assert total.isfinite()
        assert outputs.grad is not None
        assert outputs.grad.isfinite().all()


def test_without_spaces_its_loss_is_that_of_every_network() -> None:
    tasks = (TaskHead("a", "binary"), TaskHead("b", "regression"))
    network = esmm(tasks)
    assert network.auxiliary == 0
    outputs, labels, mask = torch.randn(9, 2), torch.rand(9, 2), torch.rand(9, 2) < 0.5
    weights = torch.tensor([1.0, 0.2])
    for own, common in zip(
        network.loss(outputs, labels, mask, tasks, weights),
        joint_loss(outputs, labels, mask, tasks, weights),
        strict=True,
    ):
        torch.testing.assert_close(own, common)


@pytest.mark.slow
def test_it_finds_the_conditional_rate_and_the_entrys() -> None:
    torch.manual_seed(0)
    tasks = (TaskHead("shr", "binary", space="played"), TaskHead("vcr", "regression", space="played"))
    network = ESMM(ESMMConfig(expert=(8,), tower=()), fields=(1,), tasks=tasks)
    # Of four rows three enter; of these one is shared, and they are watched to .5 on average.
    labels = torch.tensor([[1.0, 0.2], [0.0, 0.5], [0.0, 0.8], [0.0, 0.0]])
    mask = torch.tensor([[True, True]] * 3 + [[False, False]])
    optimizer = torch.optim.Adam(network.parameters(), lr=0.02)
    for _ in range(800):
        optimizer.zero_grad()
        outputs = torch.cat(network(torch.ones(4, 1)), dim=1)
        network.loss(outputs, labels, mask, tasks, torch.ones(2))[0].backward()
        optimizer.step()
    served = predictions(tasks, outputs)[0].tolist()
    assert served == pytest.approx([1 / 3, 0.5], abs=1e-2)
    assert torch.sigmoid(outputs[0, 2]).item() == pytest.approx(3 / 4, abs=1e-2)


def test_entries_stand_behind_the_tasks_and_are_not_served() -> None:
    network = build_network(SMALL, user=SideSpec((), numeric=2), item=SideSpec((), numeric=3), tasks=TASKS)
    inputs = (
        torch.zeros(4, 0, dtype=torch.int64),
        torch.randn(4, 2),
        torch.zeros(4, 0, dtype=torch.int64),
        torch.randn(4, 3),
        torch.arange(4),
    )
    assert network.logits(*inputs).shape == (4, 7)
    assert network.predictions(*inputs).shape == (4, 5)


def test_layers_are_told_by_task_and_entry() -> None:
    network = esmm((*heads("a"), TaskHead("b", "binary", space="is_click = 1")))
    assert [(one.level, one.name) for one in network.experts()] == [
        (1, "a 1"),
        (1, "b 1"),
        (1, "enters is_click = 1 1"),
    ]
    assert network.gates() == []
