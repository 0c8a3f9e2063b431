"""Soft sharing: a network a task, and a penalty on the distance between their weights.

After Duong et al., "Low Resource Dependency Parsing: Cross-lingual Parameter Sharing in a Neural Network
Parser", ACL 2015, whose objective adds lambda / 2 times the squared Frobenius norm of the difference of two
networks' matrices; here over every pair of tasks, or with the L1 norm in its place. Towers are the tasks'
own, and so are not compared.

Shapes: B rows, C output columns of all tasks, A auxiliary columns, T tasks.
"""

from collections.abc import Sequence
from itertools import combinations
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from model.network.config import LayersConfig
from model.network.heads import TaskHead
from model.network.trunks.single_task import SingleTask


class SoftSharingConfig(LayersConfig):
    """Settings of soft sharing."""

    model: Literal["soft-sharing"] = "soft-sharing"
    distance: Literal["l2", "l1"] = "l2"
    """Between the layers of two tasks: half the sum of squared differences, or the sum of absolute ones."""
    strength: Annotated[float, Field(ge=0.0)] = 1e-4
    """What the distances of all pairs of tasks are multiplied by in the joint loss."""


class SoftSharing(SingleTask, config=SoftSharingConfig):
    """x [B, D] -> T tower outputs, each of a network of its own that the penalty holds near the others.

    All tasks' layers start from the same weights. Hidden units have no order: between layers that started
    apart, a distance unit by unit would mean nothing.
    """

    def __init__(
        self, config: SoftSharingConfig, *, fields: Sequence[int], tasks: Sequence[TaskHead]
    ) -> None:
        super().__init__(config, fields=fields, tasks=tasks)
        self.distance = config.distance
        self.strength = config.strength
        for layers in self.layers[1:]:
            layers.load_state_dict(self.layers[0].state_dict())

    def loss(  # noqa: D102 (the base says it)
        self, outputs: Tensor, labels: Tensor, mask: Tensor, heads: Sequence[TaskHead], weights: Tensor
    ) -> tuple[Tensor, Tensor]:
        total, per_task = super().loss(outputs, labels, mask, heads, weights)
        return total + self.strength * self.penalty(), per_task

    def penalty(self) -> Tensor:
        """The distances of all pairs of tasks, a scalar."""
        total = next(self.parameters()).new_zeros(())
        for same in zip(*(layers.parameters() for layers in self.layers), strict=True):
            if self.distance == "l2":
                # The sum over pairs is T times the sum around the mean.
                stacked = torch.stack(same)  # [T, ...]
                total = total + len(same) / 2 * (stacked - stacked.mean(dim=0)).square().sum()
            else:
                for one, other in combinations(same, 2):
                    total = total + (one - other).abs().sum()
        return total
