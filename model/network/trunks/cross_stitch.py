"""Cross-stitch: a network a task, whose layers' outputs are mixed across tasks before the next layer.

After Misra et al., "Cross-stitch Networks for Multi-task Learning", CVPR 2016, section 3, equation 1, with T
tasks in place of two: after each layer, the T x T weights alpha make each task's stream a mixture of all
tasks' outputs. As there, alphas start convex and near the identity; unlike there, they have no learning rate
of their own, since Adam's steps do not depend on a gradient's size.

Shapes: B rows, D width of the input x, W width of a layer, T tasks.
"""

from collections.abc import Sequence
from typing import Annotated, Literal, cast

from pydantic import Field
from torch import Tensor, nn

from model.network.config import LayersConfig
from model.network.heads import TaskHead
from model.network.layers.mlp import MLP, Tower
from model.network.layers.side_by_side import outputs_of
from model.network.layers.stitch import Stitch
from model.network.trunk import NamedExpert, Trunk


class CrossStitchConfig(LayersConfig):
    """Settings of cross-stitch networks."""

    model: Literal["cross-stitch"] = "cross-stitch"
    own: Annotated[float, Field(ge=0.0, le=1.0)] = 0.9
    """What a task's own output weighs in its mixture at first; the other tasks share the rest evenly."""


class CrossStitch(Trunk, config=CrossStitchConfig):
    """x [B, D] -> T tower outputs, each on its own stream after the last stitch."""

    def __init__(
        self, config: CrossStitchConfig, *, fields: Sequence[int], tasks: Sequence[TaskHead]
    ) -> None:
        super().__init__(config, fields=fields, tasks=tasks)
        self.names = tuple(task.name for task in tasks)
        widths = [sum(fields), *config.expert]
        self.layers = nn.ModuleList(
            nn.ModuleList(MLP(before, [after], config.dropout) for _ in tasks)
            for before, after in zip(widths, config.expert, strict=False)
        )
        self.stitches = nn.ModuleList(Stitch(len(tasks), config.own) for _ in config.expert)
        self.towers = nn.ModuleList(
            Tower(widths[-1], config.tower, config.dropout, task.columns) for task in tasks
        )

    def forward(self, x: Tensor) -> list[Tensor]:  # noqa: D102 (the base says it)
        first, *others = self._layers
        streams = self.stitches[0](outputs_of(first, x))  # T of [B, W]
        for layers, stitch in zip(others, self.stitches[1:], strict=True):
            streams = stitch([layer(stream) for layer, stream in zip(layers, streams, strict=True)])
        return [tower(stream) for tower, stream in zip(self.towers, streams, strict=True)]

    def experts(self) -> list[NamedExpert]:  # noqa: D102 (the base says it)
        return [
            NamedExpert(level, f"{name} 1", layer)
            for level, layers in enumerate(self._layers, 1)
            for name, layer in zip(self.names, layers, strict=True)
        ]

    @property
    def _layers(self) -> list[list[MLP]]:
        return [cast(list[MLP], list(cast(nn.ModuleList, layers))) for layers in self.layers]
