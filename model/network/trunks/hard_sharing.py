"""Hard sharing, the shared bottom: all tasks read the same layers.

After Caruana, "Multitask Learning", Machine Learning 28, 1997.

Shapes: B rows, D width of the input x, W width of the last layer, T tasks.
"""

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from model.network.config import LayersConfig
from model.network.heads import TaskHead
from model.network.layers.mlp import MLP, Tower
from model.network.trunk import NamedExpert, Trunk


class HardSharingConfig(LayersConfig):
    """Settings of hard sharing."""

    model: Literal["hard-sharing"] = "hard-sharing"


class HardSharing(Trunk, config=HardSharingConfig):
    """x [B, D] -> T tower outputs on one bottom [B, W]."""

    def __init__(
        self, config: HardSharingConfig, *, fields: Sequence[int], tasks: Sequence[TaskHead]
    ) -> None:
        super().__init__(config, fields=fields, tasks=tasks)
        self.bottom = MLP(sum(fields), config.expert, config.dropout)
        self.towers = nn.ModuleList(
            Tower(config.expert[-1], config.tower, config.dropout, task.columns) for task in tasks
        )

    def forward(self, x: Tensor) -> list[Tensor]:  # noqa: D102 (the base says it)
        shared = self.bottom(x)  # [B, W]
        return [tower(shared) for tower in self.towers]

    def experts(self) -> list[NamedExpert]:  # noqa: D102 (the base says it)
        return [NamedExpert(1, "shared 1", self.bottom)]
