"""Loss weights: what each task weighs in the joint loss at a step, from its `weight` in the recipe.

Knows nothing about networks or how a task's loss is computed.

Shapes: T tasks.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from model.network.heads import TaskHead
from training.recipe import DecayedLossWeights, FixedLossWeights, LossWeights, UncertaintyLossWeights


class TaskWeights(nn.Module):
    """Weights that stay as they are; what changes or is learned builds on them.

    Its parameters, where it has any, are trained with the network's and leave with the training.
    """

    def __init__(self, start: Sequence[float]) -> None:
        super().__init__()
        self._constant("start", torch.tensor(start, dtype=torch.float32))  # [T]
        self.start: Tensor

    def _constant(self, name: str, value: Tensor) -> None:
        """Follows the module to a device, and is no part of its state."""
        self.register_buffer(name, value, persistent=False)

    def at(self, epoch: int, step: int) -> Tensor:  # noqa: ARG002
        """Weights [T] for a step: `epoch` counts from 1, `step` those done before."""
        return self.start

    def penalty(self, present: Tensor) -> Tensor | None:  # noqa: ARG002
        """What the joint loss has beside the weighted losses, if anything.

        Args:
            present: bool [T], the tasks of which the batch has rows.
        """
        return None


class DecayedWeights(TaskWeights):
    """`start * ratio^t`, where t counts the epochs or steps done before."""

    def __init__(self, start: Sequence[float], ratio: Sequence[float], *, by_epoch: bool) -> None:
        super().__init__(start)
        self._constant("_ratio", torch.tensor(ratio, dtype=torch.float64))
        self._ratio: Tensor
        self._by_epoch = by_epoch

    def at(self, epoch: int, step: int) -> Tensor:  # noqa: D102 (the class says it)
        done = epoch - 1 if self._by_epoch else step
        return (self.start * self._ratio**done).float()


class UncertaintyWeights(TaskWeights):
    """Weights that fall with a task's noise, which is learned: Kendall et al., CVPR 2018, equation 10.

    With s a task's log variance and L its loss, its part of the joint loss is `start * (exp(-s) L + s / 2)`,
    and half of the first term for a regression. `start` scales all of it, so that it does not move the s to
    which the task is drawn, and a task of weight 0 takes no part.
    """

    def __init__(self, start: Sequence[float], heads: Sequence[TaskHead]) -> None:
        super().__init__(start)
        self._constant("_scale", torch.tensor([0.5 if head.kind == "regression" else 1.0 for head in heads]))
        self._scale: Tensor
        self.log_variance = nn.Parameter(torch.zeros(len(heads)))

    def at(self, epoch: int, step: int) -> Tensor:  # noqa: ARG002, D102 (the class says it)
        return self.start * self._scale * torch.exp(-self.log_variance)

    def penalty(self, present: Tensor) -> Tensor:
        """`start * s / 2` of the tasks in the batch: one without rows has no loss to hold its s up."""
        return (self.start * self.log_variance / 2.0 * present).sum()


def task_weights(config: LossWeights, start: Sequence[float], heads: Sequence[TaskHead]) -> TaskWeights:
    """The weights that a recipe asks for.

    Args:
        config: the kind and its settings.
        start: each task's `weight`, [T].
        heads: the tasks, [T].
    """
    match config:
        case FixedLossWeights():
            return TaskWeights(start)
        case DecayedLossWeights(ratio=ratio, every=every):
            ratios = [ratio.get(head.name, 1.0) for head in heads]
            return DecayedWeights(start, ratios, by_epoch=every == "epoch")
        case UncertaintyLossWeights():
            return UncertaintyWeights(start, heads)
