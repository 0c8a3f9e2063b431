"""PLE: extraction levels, stacked, and a tower per task.

After Tang et al., "Progressive Layered Extraction (PLE): A Novel Multi-Task Learning (MTL) Model for
Personalized Recommendations", RecSys 2020, section 4.3. Knows nothing about features, nor what an output
means: that is `heads`.

Shapes: B rows, D width of the input x, W width of a fusion, T tasks.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from model.network.cgc import ExtractionLevel, Streams
from model.network.config import PLEConfig
from model.network.mlp import Tower


class PLE(nn.Module):
    """x [B, D] -> T tower outputs of [B], in the order of `tasks`.

    Args:
        config: levels, experts, towers.
        inputs: width D of x.
        tasks: names of the tasks; settings given task by task are looked up under them.

    Raises:
        ValueError: the config names a task that does not exist, or leaves one out of a mapping.
    """

    def __init__(self, config: PLEConfig, *, inputs: int, tasks: Sequence[str]) -> None:
        super().__init__()
        width = config.fusion_width
        self.levels = nn.ModuleList(
            ExtractionLevel(
                inputs if level == 0 else width,
                config.task_experts(tasks),
                config.shared_experts,
                last=level == config.levels - 1,
                dropout=config.dropout,
            )
            for level in range(config.levels)
        )
        self.towers = nn.ModuleList(Tower(width, config.tower, config.dropout) for _ in tasks)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Let x [B, D] into every stream, extract level by level, and read each task's last fusion."""
        streams = Streams(tasks=[x] * len(self.towers), shared=x)
        for level in self.levels:
            streams = level(streams)
        return [tower(fusion) for tower, fusion in zip(self.towers, streams.tasks, strict=True)]
