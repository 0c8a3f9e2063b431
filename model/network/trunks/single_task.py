"""Single-task: each task has layers and a tower of its own; what multi-task networks are held against.

Tasks share nothing here. But a network's input is made of embeddings, and its tables are one for all tasks:
trained on all of them at once, the tasks still meet in the tables. The single-task models that the literature
compares with (Tang et al., RecSys 2020, section 5.1) are one training a task, with the `weight` of the others
at 0: nothing but that task then moves any parameter that its predictions read.

Shapes: B rows, D width of the input x, W width of the last layer, T tasks.
"""

from collections.abc import Sequence
from typing import Literal, cast

from torch import Tensor, nn

from model.network.config import LayersConfig
from model.network.heads import TaskHead
from model.network.layers.mlp import MLP, Tower
from model.network.layers.side_by_side import outputs_of
from model.network.trunk import NamedExpert, Trunk


class SingleTaskConfig(LayersConfig):
    """Settings of single-task networks side by side."""

    model: Literal["single-task"] = "single-task"


class SingleTask(Trunk, config=SingleTaskConfig):
    """x [B, D] -> T tower outputs, each of a network of its own."""

    def __init__(self, config: LayersConfig, *, fields: Sequence[int], tasks: Sequence[TaskHead]) -> None:
        super().__init__(config, fields=fields, tasks=tasks)
        self.names = tuple(task.name for task in tasks)
        self.layers = nn.ModuleList(MLP(sum(fields), config.expert, config.dropout) for _ in tasks)
        self.towers = nn.ModuleList(
            Tower(config.expert[-1], config.tower, config.dropout, task.columns) for task in tasks
        )

    def forward(self, x: Tensor) -> list[Tensor]:  # noqa: D102 (the base says it)
        hidden = outputs_of(self._mlps, x)  # T of [B, W]
        return [tower(own) for tower, own in zip(self.towers, hidden, strict=True)]

    def experts(self) -> list[NamedExpert]:  # noqa: D102 (the base says it)
        return [
            NamedExpert(1, f"{name} 1", layers) for name, layers in zip(self.names, self._mlps, strict=True)
        ]

    @property
    def _mlps(self) -> list[MLP]:
        return cast(list[MLP], list(self.layers))
