import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from model.network.heads import TaskHead
from model.network.losses import joint_loss
from tests.support.properties import examples

HEADS = (TaskHead("vtr", "binary"), TaskHead("vcr", "regression", (0.0, 2.0)), TaskHead("shr", "binary"))
WEIGHTS = torch.tensor([1.0, 0.5, 3.0], dtype=torch.float64)


def literal_losses(outputs: torch.Tensor, labels: torch.Tensor, mask: torch.Tensor) -> list[float]:
    losses = []
    for task, head in enumerate(HEADS):
        terms = []
        for row in range(len(outputs)):
            if not mask[row, task]:
                continue
            p = 1 / (1 + math.exp(-float(outputs[row, task])))
            y = float(labels[row, task])
            if head.kind == "binary":
                terms.append(-(y * math.log(p) + (1 - y) * math.log(1 - p)))
            else:
                terms.append((head.bounds[0] + (head.bounds[1] - head.bounds[0]) * p - y) ** 2)
        losses.append(sum(terms) / len(terms) if terms else 0.0)
    return losses


@examples(60)
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(1, 9), kept=st.floats(0, 1))
def test_each_task_is_averaged_over_its_own_rows(seed: int, rows: int, kept: float) -> None:
    draw = torch.Generator().manual_seed(seed)
    outputs = torch.randn(rows, 3, generator=draw, dtype=torch.float64, requires_grad=True)
    labels = torch.randint(0, 2, (rows, 3), generator=draw).double()
    mask = torch.rand(rows, 3, generator=draw) < kept
    labels = labels.where(mask, torch.nan)

    total, per_task = joint_loss(outputs, labels, mask, HEADS, WEIGHTS)

    expected = literal_losses(outputs.detach(), labels, mask)
    assert per_task.tolist() == pytest.approx(expected, abs=1e-9)
    assert total.item() == pytest.approx(
        sum(w * loss for w, loss in zip(WEIGHTS.tolist(), expected, strict=True))
    )
    total.backward()
    assert outputs.grad is not None
    assert outputs.grad.isfinite().all()
    assert (outputs.grad[~mask] == 0).all()
    assert (outputs.grad[mask] != 0).all()


@pytest.mark.parametrize("hidden", [math.nan, math.inf, -math.inf, 1e38])
def test_what_stands_under_the_mask_changes_nothing(hidden: float) -> None:
    outputs = torch.randn(6, 3, requires_grad=True)
    labels = torch.rand(6, 3)
    mask = torch.tensor([[1, 1, 0], [1, 0, 0], [0, 1, 0]] * 2)

    def loss_and_gradient(labels: torch.Tensor, outputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        total, _ = joint_loss(outputs, labels, mask, HEADS, WEIGHTS.float())
        return total, torch.autograd.grad(total, outputs)[0]

    loss, gradient = loss_and_gradient(labels, outputs)
    for other in (
        loss_and_gradient(labels.where(mask.bool(), hidden), outputs),
        loss_and_gradient(labels, outputs.where(mask.bool(), hidden).detach().requires_grad_()),
    ):
        assert torch.equal(other[0], loss)
        assert torch.equal(other[1], gradient)


def test_a_task_without_rows_contributes_exactly_nothing() -> None:
    outputs = torch.randn(4, 3, requires_grad=True)
    labels = torch.full((4, 3), torch.nan)
    labels[:, 0] = 1.0
    mask = ~labels.isnan()
    total, per_task = joint_loss(outputs, labels, mask, HEADS, WEIGHTS.float())
    total.backward()
    assert per_task[1:].tolist() == [0.0, 0.0]
    assert total == per_task[0] > 0
    assert outputs.grad is not None
    assert (outputs.grad[:, 1:] == 0).all()


def test_extreme_outputs_give_finite_losses() -> None:
    outputs = torch.tensor([[1e4, 1e4, -1e4]], requires_grad=True)
    total, _ = joint_loss(outputs, torch.tensor([[0.0, 0.0, 1.0]]), torch.ones(1, 3), HEADS, WEIGHTS.float())
    total.backward()
    assert total.isfinite()
    assert outputs.grad is not None
    assert outputs.grad.isfinite().all()


def test_half_precision_outputs_are_judged_in_the_labels_precision() -> None:
    outputs = torch.randn(50, 3).bfloat16()
    labels, mask = torch.rand(50, 3), torch.ones(50, 3)
    _, per_task = joint_loss(outputs, labels, mask, HEADS, WEIGHTS.float())
    assert torch.equal(per_task, joint_loss(outputs.float(), labels, mask, HEADS, WEIGHTS.float())[1])


def test_shapes_that_would_broadcast_are_refused() -> None:
    outputs = torch.zeros(4, 3)
    with pytest.raises(ValueError, match=r"joint_loss: labels must be \[4, 3\]; got \[4, 1\]"):
        joint_loss(outputs, torch.zeros(4, 1), torch.ones(4, 3), HEADS, WEIGHTS)
    with pytest.raises(ValueError, match=r"joint_loss: weights must be \[3\]; got \[\]"):
        joint_loss(outputs, outputs, torch.ones(4, 3), HEADS, torch.tensor(1.0))
