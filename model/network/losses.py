"""The joint loss of all tasks, each over its own sample space.

After Tang et al., RecSys 2020, section 4.3: tasks are defined on different rows (a share needs a view first),
so the batch is the union of their rows, and each task's loss is the mean over its own. Knows nothing about
the network, nor how the weights come about.

Shapes: B rows, T tasks, C output columns of all tasks.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from model.network.heads import TaskHead, answers, columns, prediction


def joint_loss(
    outputs: Tensor, labels: Tensor, mask: Tensor, heads: Sequence[TaskHead], weights: Tensor
) -> tuple[Tensor, Tensor]:
    """Weighted sum of the tasks' losses, and each task's loss before weighting.

    Binary: cross-entropy of the logit, in nats. Regression: squared error of the bounded value, in the square
    of the label's unit. Each is averaged over the task's own unmasked rows; a task without any contributes
    exactly 0, and a gradient of exactly 0. Computed in the wider float type of outputs and labels.

    Args:
        outputs: tower outputs, float [B, C or more], as `RankingNetwork.logits` gives them.
        labels: [B, T]; where the mask is 0 anything may stand, NaN too.
        mask: bool or 0/1 [B, T]; 1 where the row belongs to the task's sample space.
        heads: the T tasks, in the order of the columns.
        weights: float [T], the tasks' weights in the sum.

    Returns:
        The total, a scalar, and the losses per task [T]. Both carry gradients.

    Raises:
        ValueError: shapes do not agree.
    """
    shape = (outputs.shape[0], len(heads))
    width = sum(head.width for head in heads)
    for name, array, expected in (
        ("outputs", outputs[:, :width], (shape[0], width)),
        ("labels", labels, shape),
        ("mask", mask, shape),
        ("weights", weights, shape[1:]),
    ):
        if array.shape != expected:
            raise ValueError(f"joint_loss: {name} must be {list(expected)}; got {list(array.shape)}")

    kept = mask.bool()
    wider = torch.promote_types(outputs.dtype, labels.dtype)
    labels = labels.to(wider).where(kept, 0.0)
    # Emptied before the loss, not after: zero times the gradient of a NaN is NaN.
    rows = [
        _loss(head, output.to(wider).where(kept[:, task, None], 0.0), labels[:, task])
        for task, (head, output) in enumerate(zip(heads, columns(heads, outputs), strict=True))
    ]
    per_row = torch.stack(rows, dim=1).where(kept, 0.0)  # [B, T]
    per_task = per_row.sum(dim=0) / kept.sum(dim=0).clamp(min=1)  # [T]
    return (weights * per_task).sum(), per_task


def _loss(head: TaskHead, output: Tensor, label: Tensor) -> Tensor:
    if head.kind == "binary":
        return F.binary_cross_entropy_with_logits(output.squeeze(1), label, reduction="none")  # [B]
    square = (prediction(head, output).squeeze(1) - label).square()  # [B]
    return square if head.ordinal is None else square + _of_thresholds(head, output, label)


def _of_thresholds(head: TaskHead, output: Tensor, label: Tensor) -> Tensor:
    """Mean cross-entropy of an ordinal head's answers, over the thresholds in use: [B]."""
    found = answers(head, output)
    used = found.reached.isfinite()
    told = (label[:, None] >= found.reached).to(found.logits.dtype)
    each = F.binary_cross_entropy_with_logits(found.logits, told, reduction="none").where(used, 0.0)
    return each.sum(dim=1) / used.sum(dim=1).clamp(min=1)
