"""The ordinal head against its equations, written row by row."""

import math

import pytest
import torch
from torch import Tensor

from model.network.heads import TaskHead, predictions
from model.network.losses import joint_loss
from model.network.thresholds import Ordinal, Thresholds

ORDINAL = Ordinal(thresholds=3, bins=2, length=1)
HEADS = [
    TaskHead("vtr", "binary"),
    TaskHead("vcr", "regression", (0.0, 1.0), ordinal=ORDINAL),
    TaskHead("shr", "binary"),
]
EDGE = 0.5
FLOOR = [[0.1], [0.05]]
STEPS = [[0.2, 0.3, 0.3], [0.4, 0.0, 0.35]]
REACHED = [[0.2, 0.5, 0.9], [0.3, math.inf, 0.7]]


def thresholds() -> Thresholds:
    tables = Thresholds(ORDINAL)
    tables.edges.fill_(EDGE)
    for buffer, values in ((tables.floor, FLOOR), (tables.steps, STEPS), (tables.reached, REACHED)):
        buffer.copy_(torch.tensor(values))
    return tables


def outputs(logits: Tensor, lengths: Tensor) -> Tensor:
    """A network's outputs: vtr, the three answers with their tables, shr."""
    numeric = torch.stack([torch.zeros(len(lengths)), lengths], dim=1)
    return torch.cat([logits[:, :1], logits[:, 1:4], thresholds()(numeric), logits[:, 4:]], dim=1)


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def literal(logits: Tensor, length: float) -> float:
    place = int(length >= EDGE)
    return FLOOR[place][0] + sum(
        sigmoid(float(logit)) * step for logit, step in zip(logits, STEPS[place], strict=True)
    )


def test_a_prediction_is_the_expectation_that_the_answers_make_in_the_rows_own_bin() -> None:
    logits, lengths = torch.randn(50, 5), torch.randn(50)
    lengths[0] = EDGE
    found = predictions(HEADS, outputs(logits, lengths))
    expected = [literal(logits[row, 1:4], float(lengths[row])) for row in range(50)]
    torch.testing.assert_close(found[:, 1], torch.tensor(expected))
    torch.testing.assert_close(found[:, [0, 2]], torch.sigmoid(logits[:, [0, 4]]))


def test_sure_answers_give_the_mean_label_of_their_cell_and_none_leaves_the_bounds() -> None:
    logits = torch.tensor([[0.0, 1e30, 1e30, -1e30, 0.0], [0.0, 1e30, 1e30, 1e30, 0.0], [0.0] + [-1e30] * 4])
    found = predictions(HEADS, outputs(logits, torch.tensor([0.0, 1.0, 1.0])))
    torch.testing.assert_close(found[:, 1], torch.tensor([0.6, 0.8, 0.05]))


def test_the_loss_is_the_squared_error_and_the_mean_cross_entropy_of_the_questions_asked() -> None:
    logits, lengths = torch.randn(40, 5), torch.randn(40)
    labels, mask = torch.rand(40, 3).round(decimals=1), torch.rand(40, 3) < 0.7
    labels[:, [0, 2]] = labels[:, [0, 2]].round()
    terms = []
    for row in range(40):
        if not mask[row, 1]:
            continue
        y, place = float(labels[row, 1]), int(lengths[row] >= EDGE)
        asked = [
            -math.log(sigmoid(float(logit)) if y >= t else 1 - sigmoid(float(logit)))
            for logit, t in zip(logits[row, 1:4], torch.tensor(REACHED[place]).tolist(), strict=True)
            if math.isfinite(t)
        ]
        terms.append((literal(logits[row, 1:4], float(lengths[row])) - y) ** 2 + sum(asked) / len(asked))
    _, per_task = joint_loss(outputs(logits, lengths), labels, mask, HEADS, torch.ones(3))
    assert float(per_task[1]) == pytest.approx(sum(terms) / len(terms), rel=1e-5)


def test_a_question_that_is_not_asked_and_a_row_that_is_masked_move_nothing() -> None:
    logits = torch.randn(6, 5, requires_grad=True)
    labels, mask = torch.rand(6, 3), torch.ones(6, 3, dtype=torch.bool)
    labels[:, [0, 2]] = 1.0
    mask[0, 1], labels[0, 1] = False, torch.nan
    loss, _ = joint_loss(outputs(logits, torch.full((6,), 9.0)), labels, mask, HEADS, torch.ones(3))
    loss.backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    assert (logits.grad[:, 2] == 0).all()
    assert (logits.grad[0, 1:4] == 0).all()
    assert (logits.grad[1:, [1, 3]] != 0).all()


def test_thresholds_of_a_binary_task_are_refused() -> None:
    with pytest.raises(ValueError, match="task 'vtr': only a regression has thresholds"):
        TaskHead("vtr", "binary", ordinal=ORDINAL)
