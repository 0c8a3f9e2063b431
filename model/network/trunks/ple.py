"""PLE: extraction levels, stacked, and a tower per task.

After Tang et al., "Progressive Layered Extraction (PLE): A Novel Multi-Task Learning (MTL) Model for
Personalized Recommendations", RecSys 2020, section 4.2. Knows nothing about features, nor what an output
means: that is `heads`.

Shapes: B rows, D width of the input x, W width of a fusion, T tasks.
"""

from collections.abc import Sequence
from typing import Literal, cast

from torch import Tensor, nn

from model.network.config import Count, ExtractionConfig
from model.network.heads import TaskHead
from model.network.layers.extraction import ExtractionLevel, Streams
from model.network.layers.mlp import Tower
from model.network.trunk import NamedExpert, NamedGate, Trunk


class PLEConfig(ExtractionConfig):
    """Settings of PLE. With one level it is CGC."""

    model: Literal["ple"] = "ple"
    levels: Count = 2
    """Extraction levels, stacked. More separate the tasks' knowledge in finer steps."""


class PLE(Trunk, config=PLEConfig):
    """x [B, D] -> T tower outputs, [B, columns] each, in the order of `tasks`.

    Raises:
        ValueError: the config names a task that does not exist, or leaves one out of a mapping.
    """

    def __init__(self, config: PLEConfig, *, fields: Sequence[int], tasks: Sequence[TaskHead]) -> None:
        super().__init__(config, fields=fields, tasks=tasks)
        self.names = tuple(task.name for task in tasks)
        width = config.fusion_width
        self.levels = nn.ModuleList(
            ExtractionLevel(
                sum(fields) if level == 0 else width,
                config.task_experts(self.names),
                config.shared_experts,
                last=level == config.levels - 1,
                dropout=config.dropout,
            )
            for level in range(config.levels)
        )
        self.towers = nn.ModuleList(
            Tower(width, config.tower, config.dropout, task.columns) for task in tasks
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        """Let x [B, D] into every stream, extract level by level, and read each task's last fusion."""
        streams = Streams(tasks=[x] * len(self.towers), shared=x)
        for level in self.levels:
            streams = level(streams)
        return [tower(fusion) for tower, fusion in zip(self.towers, streams.tasks, strict=True)]

    def gates(self) -> list[NamedGate]:  # noqa: D102 (the base says it)
        return [gate for number, level in self._numbered() for gate in level.named_gates(number, self.names)]

    def experts(self) -> list[NamedExpert]:  # noqa: D102 (the base says it)
        return [
            expert for number, level in self._numbered() for expert in level.named_experts(number, self.names)
        ]

    def _numbered(self) -> list[tuple[int, ExtractionLevel]]:
        return [(number, cast(ExtractionLevel, level)) for number, level in enumerate(self.levels, 1)]
