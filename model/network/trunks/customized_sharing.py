"""Customized sharing: each tower reads its task's own bottom and a shared one, side by side, without a gate.

After Tang et al., "Progressive Layered Extraction", RecSys 2020, figure 1c.

Shapes: B rows, D width of the input x, W width of a bottom, T tasks.
"""

from collections.abc import Sequence
from typing import Literal, cast

import torch
from torch import Tensor, nn

from model.network.config import LayersConfig
from model.network.heads import TaskHead
from model.network.layers.mlp import MLP, Tower
from model.network.layers.side_by_side import outputs_of
from model.network.trunk import NamedExpert, Trunk


class CustomizedSharingConfig(LayersConfig):
    """Settings of customized sharing."""

    model: Literal["customized-sharing"] = "customized-sharing"


class CustomizedSharing(Trunk, config=CustomizedSharingConfig):
    """x [B, D] -> T tower outputs, each on the shared bottom and its own, [B, 2 W]."""

    def __init__(
        self, config: CustomizedSharingConfig, *, fields: Sequence[int], tasks: Sequence[TaskHead]
    ) -> None:
        super().__init__(config, fields=fields, tasks=tasks)
        self.names = tuple(task.name for task in tasks)

        def bottom() -> MLP:
            return MLP(sum(fields), config.expert, config.dropout)

        self.own = nn.ModuleList(bottom() for _ in tasks)
        self.shared = bottom()
        self.towers = nn.ModuleList(
            Tower(2 * config.expert[-1], config.tower, config.dropout, task.columns) for task in tasks
        )

    def forward(self, x: Tensor) -> list[Tensor]:  # noqa: D102 (the base says it)
        *own, shared = outputs_of(self._mlps, x)  # [B, W] each
        return [
            tower(torch.cat([shared, bottom], dim=1)) for tower, bottom in zip(self.towers, own, strict=True)
        ]

    def experts(self) -> list[NamedExpert]:  # noqa: D102 (the base says it)
        return [
            NamedExpert(1, f"{owner} 1", bottom)
            for owner, bottom in zip([*self.names, "shared"], self._mlps, strict=True)
        ]

    @property
    def _mlps(self) -> list[MLP]:
        """The tasks' bottoms, then the shared one."""
        return cast(list[MLP], [*self.own, self.shared])
